"""What a scan makes of files: instances, or the reason why there is none."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sender.dicom import files
from sender.dicom.files import list_files, scan
from sender.dicom.reading import times_of
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance, Unreadable
from tests import factories
from tests.factories import CT, ELE, ILE
from tests.samples import ALL, sample

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a good file, changed as wanted."""

    def write(change: Callable[[bytes], bytes] = bytes, **options: object) -> Path:
        path = factories.write_instance(tmp_path / "x.dcm", sop_instance="1.2.3", **options)  # type: ignore[arg-type]
        path.write_bytes(change(path.read_bytes()))
        return path

    return write


def found(path: Path) -> ScannedInstance | Unreadable:
    return scan(str(path), relative_path=path.name)


def reason(path: Path) -> str:
    seen = found(path)
    assert isinstance(seen, Unreadable)
    return seen.reason


def test_a_good_file_is_an_instance(make: Make) -> None:
    path = make()
    seen = found(path)
    assert isinstance(seen, ScannedInstance)
    assert (seen.kind.sop_class, seen.kind.transfer_syntax) == (CT, ELE)
    assert (seen.sop_instance, seen.study_instance, seen.modality) == ("1.2.3", "1.2.826.1", "CT")
    assert (seen.size, seen.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


@pytest.mark.parametrize("keep", [0.995, 0.9, 0.7, 0.5])
def test_a_truncated_file_is_unreadable(keep: float, make: Make) -> None:
    path = make(lambda content: content[: int(len(content) * keep)])
    assert "cut off" in reason(path) or "beyond the end" in reason(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_truncation_whatever_is_taken_for_an_instance(make: Make, data: st.DataObject) -> None:
    path = make()
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(1, len(content) - 1))])
    seen = found(path)
    if isinstance(seen, ScannedInstance):
        # Cut exactly between two elements, after all that identifies it: still well-formed.
        assert seen.sop_instance == "1.2.3"
        from pydicom import dcmread

        assert "PixelData" not in dcmread(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_damage_whatever_breaks_the_scan(make: Make, data: st.DataObject) -> None:
    path = make(rows=2)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(128, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    assert isinstance(found(path), ScannedInstance | Unreadable)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"hello world" * 40, "not a DICOM file"),
        (b"\0" * 128 + b"DICM", "cut off within its file meta information"),
        (b"%PDF-1.7" + b"x" * 300, "not a DICOM file"),
        (b"\x08\x00\x16\x00UI\x04\x001.2\x00" * 20, "without file meta information"),
    ],
)
def test_what_is_no_dicom_file_says_so(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert said in reason(path)


def test_a_file_without_preamble_is_read(make: Make) -> None:
    assert isinstance(found(make(lambda content: content[128:])), ScannedInstance)


def test_a_dicomdir_is_an_index_and_no_instance() -> None:
    assert "a DICOMDIR" in reason(sample("DICOMDIR"))


def test_meta_information_and_data_set_must_agree(make: Make) -> None:
    def change(content: bytes) -> bytes:
        position = content.index(b"1.2.3\0")
        return content[:position] + b"1.2.4\0" + content[position + 6 :]

    path = make(change)
    assert "disagree on the SOP Instance UID" in reason(path)


def test_a_wrong_label_is_noticed(make: Make) -> None:
    def as_implicit(content: bytes) -> bytes:
        label = b"1.2.840.10008.1.2.1\0"
        return content.replace(label, b"1.2.840.10008.1.2\0\0\0", 1)

    assert "its data are explicit VR" in reason(make(as_implicit))


def test_native_pixels_labelled_as_compressed_are_noticed(make: Make) -> None:
    def as_rle(content: bytes) -> bytes:
        return content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1)

    assert "native pixel data labelled RLE" in reason(make(as_rle))


def test_an_element_that_claims_two_gigabytes_is_refused_at_once(make: Make) -> None:
    def change(content: bytes) -> bytes:
        position = content.rindex(b"OW") + 4
        return content[:position] + struct.pack("<I", 0x7FFFFFF0) + content[position + 4 :]

    assert "beyond the end" in reason(make(change)) or "cut off" in reason(make(change))


@pytest.mark.slow
def test_a_deflate_bomb_is_refused(tmp_path: Path, make: Make) -> None:
    path = make(transfer_syntax=syntaxes.EXPLICIT_VR_LE)
    seen = found(path)
    assert isinstance(seen, ScannedInstance)
    head = path.read_bytes()[: seen.dataset_offset]
    head = head.replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99", 1)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bomb.compress(bytes(1 << 20)) + bomb.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(head + block * 3001 + bomb.flush())
    assert path.stat().st_size < 10 << 20
    assert isinstance(found(path), Unreadable)


def test_a_named_pipe_and_a_link_are_not_opened(tmp_path: Path, make: Make) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink(make(), tmp_path / "link")
    os.symlink(tmp_path, tmp_path / "loop")
    seen = {entry.relative_path: entry for entry in list_files(str(tmp_path))}
    assert set(seen) == {"pipe", "link", "loop", "x.dcm"}
    assert all(isinstance(seen[name], Unreadable) for name in ("pipe", "link", "loop"))
    assert isinstance(scan(str(tmp_path / "pipe"), relative_path="pipe"), Unreadable)
    link = scan(str(tmp_path / "link"), relative_path="link")
    assert isinstance(link, Unreadable)
    assert link.reason == "can't be read: it is a link now, which is not followed"


def test_folders_are_listed_in_order_and_whole(tmp_path: Path) -> None:
    names = ["b/2", "b/10", "a/x", "ü", "with space", "a/deep/er/y"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    listed = [entry.relative_path for entry in list_files(str(tmp_path))]
    assert len(listed) == len(names) + 1
    assert set(names) < set(listed)
    assert listed == [entry.relative_path for entry in list_files(str(tmp_path))]


def test_200_levels_are_listed(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(200):
        path = path / "d"
        path.mkdir()
    (path / "x").write_bytes(b"x")
    assert len(list(list_files(str(tmp_path)))) == 1


def test_the_same_data_set_has_the_same_digest_whatever_stands_before_it(make: Make) -> None:
    first = found(make())
    second = found(make(lambda content: b"x" * 128 + content[128:]))
    assert isinstance(first, ScannedInstance)
    assert isinstance(second, ScannedInstance)
    digest = files.dataset_digest(second)
    assert digest == files.dataset_digest(found(make()))  # type: ignore[arg-type]
    other = found(make(rows=4))
    assert files.dataset_digest(other) != digest  # type: ignore[arg-type]


def test_a_file_that_changed_is_noticed(make: Make) -> None:
    path = make()
    seen = found(path)
    assert isinstance(seen, ScannedInstance)
    assert files.is_unchanged(seen)
    os.utime(path, ns=(seen.mtime_ns, seen.mtime_ns + 1000))
    assert not files.is_unchanged(seen)


AFTER_2262 = 10**19
"""Nanoseconds since 1970 that are in the year 2286; no signed number of 64 bits holds them."""


def test_a_file_of_a_year_that_no_database_keeps_is_unreadable(make: Make) -> None:
    path = make()
    os.utime(path, ns=(0, AFTER_2262))
    said = "can't be read: its time of modification is not within the years 1678 to 2262"
    of_folder, of_file = [*list_files(str(path.parent)), *list_files(str(path))]
    for seen in (of_folder, of_file, found(path)):
        assert isinstance(seen, Unreadable)
        assert (seen.reason, seen.mtime_ns, seen.ctime_ns) == (said, 0, 0)


@pytest.mark.parametrize(
    ("modified", "changed"),
    [(AFTER_2262, 0), (0, AFTER_2262), (-AFTER_2262, 0), (1 << 63, 0), (-1 - (1 << 63), 0)],
)
def test_times_are_kept_or_refused(modified: int, changed: int) -> None:
    told = SimpleNamespace(st_mtime_ns=modified, st_ctime_ns=changed)
    with pytest.raises(OSError, match="years"):
        times_of(told)  # type: ignore[arg-type]
    told = SimpleNamespace(st_mtime_ns=(1 << 63) - 1, st_ctime_ns=-(1 << 63))
    assert times_of(told) == ((1 << 63) - 1, -(1 << 63))  # type: ignore[arg-type]


def test_file_meta_information_of_two_gigabytes_is_refused(make: Make) -> None:
    path = make()
    content = path.read_bytes()
    private = struct.pack("<HH2sHI", 2, 0x0102, b"OB", 0, 1 << 31)
    with path.open("wb") as file:  # most of it is a hole
        file.write(content[:132] + private)
        file.seek(1 << 31, os.SEEK_CUR)
        file.write(content[132:])
    assert "longer than 2 GB" in reason(path)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_pydicoms_files_agree_with_pydicom(path: Path) -> None:
    import warnings

    from pydicom import dcmread

    seen = found(path)
    if isinstance(seen, Unreadable):
        assert seen.reason
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path)
    assert seen.sop_instance == dataset.SOPInstanceUID
    assert seen.kind.sop_class == dataset.SOPClassUID
    assert seen.kind.transfer_syntax == dataset.file_meta.TransferSyntaxUID
    assert seen.study_instance in (str(dataset.get("StudyInstanceUID", "")), "")


def test_implicit_files_are_read() -> None:
    seen = found(sample("MR_small_implicit.dcm"))
    assert isinstance(seen, ScannedInstance)
    assert seen.kind.transfer_syntax == ILE
