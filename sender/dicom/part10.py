"""The head of a DICOM file: preamble, prefix and file meta information, PS3.10 section 7.1."""

import struct

from sender.dicom.dataset import Reader

PREAMBLE = 128
SOP_CLASS = 0x00020002
SOP_INSTANCE = 0x00020003
TRANSFER_SYNTAX = 0x00020010
UIDS = frozenset({SOP_CLASS, SOP_INSTANCE, TRANSFER_SYNTAX})
_GROUP = b"\x02\x00"
_MOST_KNOWN = 1 << 12
_LONGEST = (1 << 31) - 1
_UNKNOWN = (0, 0)
_LONGEST_UID = 128
_LONG_VRS = frozenset({b"OB", b"UN", b"OW", b"UT", b"SQ"})
_HEADER = struct.Struct("<HH2sH")


class NoDicomFile(ValueError):
    """The bytes are no DICOM file; the message says what they are instead, as a clause."""


_by_heart: dict[bytes, tuple[int, int]] = {}
"""Headers met so far: the tag if it is of a wanted UID, else 0; bytes of the whole element."""


def read_file_meta(reader: Reader, uids: dict[int, bytes]) -> int:
    """Read file meta information, which is Explicit VR Little Endian.

    Its Group Length is not believed: the group ends where another begins.

    Args:
        uids: receives Media Storage SOP Class and Instance UID and Transfer Syntax UID by tag,
            as encoded.

    Returns:
        where the data set begins.

    Raises:
        NoDicomFile: there is none.
    """
    position = _first_element(reader)
    while True:
        # Mostly known by heart (see dataset.py), and within the first window.
        at, window = position - reader.start, reader.window
        uid, step = _by_heart.get(window[at : at + 8], _UNKNOWN)
        if not step or at + step > len(window):
            step = _read_element(reader, position, uids)
            if not step:
                break
        elif uid:
            uids[uid] = window[at + 8 : at + step]
        position += step
    if position > _LONGEST:  # more than any database keeps as the place of a data set
        raise NoDicomFile("its file meta information is longer than 2 GB")
    return position


def _read_element(reader: Reader, position: int, uids: dict[int, bytes]) -> int:
    """Read one element; return its bytes, 0 if it is of another group."""
    header = reader.at(position, 12)
    if header[:2] != _GROUP:
        return 0
    ends = 12 if header[4:6] in _LONG_VRS else 8
    if len(header) < ends:
        raise NoDicomFile("it is cut off within its file meta information")
    group, number, _, length = _HEADER.unpack_from(header)
    tag = group << 16 | number
    if ends == 12:
        length = int.from_bytes(header[8:], "little")
    is_wanted = tag in UIDS and length <= _LONGEST_UID
    if is_wanted:
        uids[tag] = reader.at(position + ends, length)
    if ends == 8 and len(_by_heart) < _MOST_KNOWN:
        _by_heart[header[:8]] = tag if is_wanted else 0, 8 + length
    return ends + int(length)


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
