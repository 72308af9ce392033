"""The head of a DICOM file: preamble, prefix and file meta information, PS3.10 section 7.1."""

import struct
from dataclasses import dataclass, field

from sender.dicom.dataset import Reader

PREAMBLE = 128
SOP_CLASS = 0x00020002
SOP_INSTANCE = 0x00020003
TRANSFER_SYNTAX = 0x00020010
_UIDS = frozenset({SOP_CLASS, SOP_INSTANCE, TRANSFER_SYNTAX})
_GROUP = b"\x02\x00"
_MOST_KNOWN = 1 << 12
_UNKNOWN = (0, 0)
_LONGEST_UID = 128
_LONG_VRS = frozenset({b"OB", b"UN", b"OW", b"UT", b"SQ"})
_HEADER = struct.Struct("<HH2sH")


class NoDicomFile(ValueError):
    """The bytes are no DICOM file; the message says what they are instead, as a clause."""


@dataclass(slots=True)
class FileMeta:
    """What file meta information says.

    Attributes:
        ends_at: where the data set begins.
        uids: Media Storage SOP Class and Instance UID and Transfer Syntax UID by tag, as encoded
            but for their padding.
    """

    ends_at: int = 0
    uids: dict[int, bytes] = field(default_factory=dict)


_by_heart: dict[bytes, tuple[int, int]] = {}
"""Headers met so far: the tag if it is of a wanted UID, else 0; bytes of the whole element."""


def read_file_meta(reader: Reader) -> FileMeta:
    """Read file meta information, which is Explicit VR Little Endian.

    Its Group Length is not believed: the group ends where another begins.

    Raises:
        NoDicomFile: there is none.
    """
    meta = FileMeta(_first_element(reader))
    is_more = True
    while is_more:
        # Mostly known by heart (see dataset.py), and within the first window.
        at, window = meta.ends_at - reader.start, reader.window
        uid, step = _by_heart.get(window[at : at + 8], _UNKNOWN)
        if step and at + step <= len(window):
            if uid:
                meta.uids[uid] = window[at + 8 : at + step].rstrip(b"\0 ")
            meta.ends_at += step
        else:
            is_more = _read_element(reader, meta)
    return meta


def _read_element(reader: Reader, meta: FileMeta) -> bool:
    """Read one element; False if the next one is of another group."""
    position = meta.ends_at
    header = reader.at(position, 12)
    if header[:2] != _GROUP:
        return False
    if len(header) < 8:
        raise NoDicomFile("it is cut off within its file meta information")
    group, number, vr, length = _HEADER.unpack_from(header)
    value_at, uid = position + 8, group << 16 | number
    if vr in _LONG_VRS and len(header) == 12:
        length, value_at = int.from_bytes(header[8:], "little"), position + 12
    if uid not in _UIDS or length > _LONGEST_UID:
        uid = 0
    if uid:
        meta.uids[uid] = reader.at(value_at, length).rstrip(b"\0 ")
    if value_at == position + 8 and len(_by_heart) < _MOST_KNOWN:
        _by_heart[header[:8]] = uid, 8 + length
    meta.ends_at = value_at + length
    return True


def _first_element(reader: Reader) -> int:
    if reader.at(PREAMBLE, 4) == b"DICM":
        return PREAMBLE + 4
    if reader.at(0, 4) == b"DICM":
        return 4
    head = reader.at(0, 8)
    if head[:6] == b"\x02\x00\x00\x00UL":
        return 0
    if len(head) == 8 and head[:2] == b"\x08\x00" and head[3] == 0:
        raise NoDicomFile("a data set without file meta information")
    raise NoDicomFile("not a DICOM file")
