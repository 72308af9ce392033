"""A head read by its layout is the head read element by element, or is not read so."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from sender.dicom import files, identity
from sender.dicom.dataset import EXPLICIT
from sender.dicom.layouts import Layouts
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance, Unreadable
from tests import factories

ENOUGH = 330
"""Files of one layout after which it is known."""
NONE: frozenset[int] = frozenset()


@pytest.fixture(autouse=True)
def _nothing_learnt() -> Iterator[None]:
    identity.layouts_for.cache_clear()
    yield
    identity.layouts_for.cache_clear()


def make(path: Path, syntax: str = syntaxes.EXPLICIT_VR_LE) -> Path:
    """Write a file with sequences, private elements and values of all sorts."""
    inner = Dataset()
    inner.CodeValue = "T-D1100"
    inner.ReferencedSOPInstanceUID = "1.2.3.4"
    outer = Dataset()
    outer.StudyInstanceUID = "1.9.9.9"
    outer.ConceptNameCodeSequence = [inner]
    extra = [
        ("SpecificCharacterSet", "ISO_IR 192"),
        ("StudyDate", "20240102"),
        ("AnatomicRegionSequence", [outer, inner]),
        ("InstanceNumber", "17"),
        ("LossyImageCompression", "00"),
    ]
    rows = 8 if syntaxes.is_native(syntax) else 32
    return factories.write_instance(
        path, sop_instance="1.2.3.10007", transfer_syntax=syntax, extra=extra, rows=rows
    )


def scan(path: Path, wanted: frozenset[int] = NONE) -> ScannedInstance | Unreadable:
    return files.scan(str(path), relative_path=path.name, wanted=wanted)


def slowly(path: Path, wanted: frozenset[int] = NONE) -> ScannedInstance | Unreadable:
    """Scan without any layout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Layouts, "match", lambda *_: None)
        return scan(path, wanted)


def teach(path: Path, wanted: frozenset[int] = NONE) -> Layouts:
    """Scan a file until its layout is known."""
    for _ in range(ENOUGH):
        scan(path, wanted)
    layouts = identity.layouts_for(wanted)
    assert layouts.match(path.read_bytes())
    return layouts


SYNTAXES = [
    syntaxes.EXPLICIT_VR_LE,
    syntaxes.IMPLICIT_VR_LE,
    syntaxes.RLE_LOSSLESS,
    syntaxes.JPEG_2000_LOSSLESS,
]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_known_layout_changes_nothing(syntax: str, tmp_path: Path) -> None:
    path = make(tmp_path / "x.dcm", syntax)
    before = slowly(path)
    teach(path)
    assert isinstance(before, ScannedInstance)
    assert scan(path) == before


def test_big_endian_files_have_layouts_too() -> None:
    from tests.samples import sample

    path = sample("MR_small_bigendian.dcm")
    before = slowly(path)
    teach(path)
    assert isinstance(before, ScannedInstance)
    assert scan(path) == before


def test_wanted_attributes_are_found_in_a_known_layout(tmp_path: Path) -> None:
    path = make(tmp_path / "x.dcm")
    wanted = frozenset(map(files.tag_of, ("InstanceNumber", "Rows", "PatientName")))
    teach(path, wanted)
    seen = scan(path, wanted)
    assert seen == slowly(path, wanted)
    assert isinstance(seen, ScannedInstance)
    assert seen.values[files.tag_of("InstanceNumber")] == "17"
    assert seen.values[files.tag_of("Rows")] == "8"


def test_other_lengths_are_learnt(tmp_path: Path) -> None:
    path = make(tmp_path / "x.dcm")
    layouts = teach(path)
    longer = path.read_bytes()
    assert b"1.2.3.10007\0" in longer
    path.write_bytes(longer.replace(b"\x0c\x001.2.3.10007\0", b"\x0e\x001.2.3.1000789\0"))
    assert not layouts.match(path.read_bytes())
    teach(path)
    seen = scan(path)
    assert isinstance(seen, ScannedInstance)
    assert seen.sop_instance == "1.2.3.1000789"


def test_files_cut_off_anywhere_are_seen_as_without_layout(tmp_path: Path) -> None:
    path = make(tmp_path / "x.dcm")
    teach(path)
    content = path.read_bytes()
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        assert scan(path) == slowly(path), length


@pytest.mark.parametrize("syntax", SYNTAXES[:3])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_makes_a_layout_see_what_is_not_there(
    syntax: str, data: st.DataObject, tmp_path: Path
) -> None:
    path = make(tmp_path / "x.dcm", syntax)
    if not identity.layouts_for(NONE).match(path.read_bytes()):
        teach(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(120, len(content) - 1))
        match data.draw(st.sampled_from(["change", "insert", "remove", "repeat"])):
            case "change":
                content[at] = data.draw(st.integers(0, 255))
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=12))
            case "remove":
                del content[at : at + data.draw(st.integers(1, 12))]
            case _:
                content[at:at] = content[at : at + data.draw(st.integers(1, 80))]
    path.write_bytes(bytes(content))
    assert scan(path) == slowly(path)


def test_nobody_can_make_us_keep_layouts_without_end(tmp_path: Path) -> None:
    layouts = Layouts(frozenset({0x00080018}))
    window = make(tmp_path / "x.dcm").read_bytes()
    seen = scan(tmp_path / "x.dcm")
    assert isinstance(seen, ScannedInstance)
    encoding = EXPLICIT
    for number in range(150):
        strange = window + b"\x09\x00" + number.to_bytes(2, "little") + b"LO\x02\x00xy" + bytes(12)
        at = strange.rindex(b"\xe0\x7f\x10\x00")
        strange = strange[:at] + strange[at + 12 + 128 :]
        for _ in range(8):
            layouts.learn(strange, seen.dataset_offset, syntaxes.EXPLICIT_VR_LE, encoding)
    assert len(layouts.candidates) <= 61
    assert len(layouts.known) <= 12
