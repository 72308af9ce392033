"""Sequences nested in sequences: what is too much is refused before anything follows them."""

import struct
from pathlib import Path

import pytest

from sender.dicom import files
from sender.dicom.dataset import DEEPEST, EXPLICIT, IMPLICIT, Encoding
from sender.dicom.encoding import ConversionFailed, convert
from sender.dicom.nesting import is_too_deep
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance
from tests import factories

CONTENT_SEQUENCE = struct.pack("<HH", 0x0040, 0xA730)
ITEM, ITEM_END, SEQUENCE_END = (
    struct.pack("<HHI", 0xFFFE, number, 0) for number in (0xE000, 0xE00D, 0xE0DD)
)
ENDLESS = 0xFFFFFFFF


def header(encoding: Encoding, length: int, vr: bytes = b"SQ") -> bytes:
    if encoding is IMPLICIT:
        return CONTENT_SEQUENCE + struct.pack("<I", length)
    return CONTENT_SEQUENCE + vr + b"\0\0" + struct.pack("<I", length)


def nested(
    depth: int, encoding: Encoding = EXPLICIT, *, is_defined: bool = True, vr: bytes = b"SQ"
) -> bytes:
    """Return sequences of one item each, nested so deep."""
    content = b""
    for _ in range(depth):
        if is_defined:
            item = ITEM[:4] + struct.pack("<I", len(content)) + content
            content = header(encoding, len(item), vr) + item
        else:
            item = ITEM[:4] + struct.pack("<I", ENDLESS) + content + ITEM_END
            content = header(encoding, ENDLESS, vr) + item + SEQUENCE_END
    return content


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("is_defined", [True, False])
def test_depth_counts_whether_lengths_are_defined_or_not(
    encoding: Encoding, *, is_defined: bool
) -> None:
    assert not is_too_deep(nested(DEEPEST, encoding, is_defined=is_defined), encoding)
    assert is_too_deep(nested(DEEPEST + 1, encoding, is_defined=is_defined), encoding)


def test_sequences_beside_each_other_are_not_deep() -> None:
    assert not is_too_deep(nested(2) * 200, EXPLICIT)
    assert not is_too_deep(nested(2, is_defined=False) * 200, EXPLICIT)
    assert is_too_deep(nested(2) * 200 + nested(DEEPEST + 1), EXPLICIT)


def test_what_hides_in_unknown_values_is_found() -> None:
    """PS3.5 section 6.2.2: UN of undefined length holds a sequence in implicit VR."""
    inner = nested(DEEPEST, IMPLICIT)
    item = ITEM[:4] + struct.pack("<I", len(inner)) + inner
    assert is_too_deep(header(EXPLICIT, ENDLESS, b"UN") + item + SEQUENCE_END, EXPLICIT)
    assert is_too_deep(nested(DEEPEST + 1, vr=b"OB"), EXPLICIT)


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"garbage " * 9, ITEM * 9, SEQUENCE_END * 9])
def test_what_can_not_be_told_is_not_deep(content: bytes) -> None:
    assert not is_too_deep(content, EXPLICIT)


def test_a_file_nested_too_deeply_is_not_converted_and_costs_nothing(tmp_path: Path) -> None:
    """pydicom took minutes and gigabytes for such a one."""
    path = factories.write_instance(tmp_path / "x.dcm", sop_instance="1.2.3")
    head, pixels, rest = path.read_bytes().partition(b"\xe0\x7f\x10\x00")
    path.write_bytes(head + nested(500) + pixels + rest)
    found = files.scan(str(path), relative_path="x.dcm")
    assert isinstance(found, ScannedInstance)
    with pytest.raises(ConversionFailed, match="nested more than 64 deep"):
        convert(found, syntaxes.IMPLICIT_VR_LE)
