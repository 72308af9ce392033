"""Attributes by keyword, and their values as text: what filters ask for.

pydicom's dictionary (PS3.6) and character sets (PS3.3 C.12.1.1.2) are loaded only when needed.
"""

import re
import struct
from collections.abc import Mapping

SPECIFIC_CHARACTER_SET = 0x00080005
_NUMBER = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_BINARY: Mapping[str, str] = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
_ENCODED_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_PLAIN_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_FILTERED = _ENCODED_TEXT | _PLAIN_TEXT | set(_BINARY)


def tag_of(keyword: str) -> int:
    """Return the tag of an attribute, to be asked for in a scan.

    Args:
        keyword: as in PS3.6, "StudyDescription"; or the tag itself, "(0008,1030)".

    Raises:
        ValueError: there is no such attribute, or none that a data set holds as text or number;
            the message says so in the user's words.
    """
    from pydicom.datadict import dictionary_has_tag, tag_for_keyword  # noqa: PLC0415 - see above

    name = keyword.strip()
    number = _NUMBER.fullmatch(name)
    tag = int("".join(number.groups()), 16) if number else tag_for_keyword(name)
    if not name or tag is None:
        raise ValueError(
            f"There is no DICOM attribute called “{keyword}”. "
            "Write its keyword, such as StudyDescription."
        )
    if tag >> 16 < 0x0008 or tag & 0xFFFF == 0:
        raise ValueError(f"“{keyword}” does not stand in the data set, so no filter can use it.")
    is_public = tag >> 16 & 1 == 0
    if is_public and dictionary_has_tag(tag) and not _FILTERED.intersection(_vrs(tag)):
        raise ValueError(f"“{keyword}” is neither text nor a number, so no filter can use it.")
    return int(tag)


def _vrs(tag: int) -> list[str]:
    from pydicom.datadict import dictionary_VR  # noqa: PLC0415

    return dictionary_VR(tag).split(" or ")


def text_of(
    tag: int, vr: bytes, value: bytes, *, big_endian: bool = False, character_set: bytes = b""
) -> str | None:
    """Return a value as text: several values joined by a backslash, padding removed.

    Args:
        vr: as encoded; b"" (implicit VR) and UN are looked up.
        value: as encoded.
        character_set: the value of Specific Character Set (0008,0005), as encoded.

    Returns:
        None: it is neither text nor a number, or is broken.
    """
    known = _known_vr(tag, vr)
    if known in _BINARY:
        return _numbers(value, _BINARY[known], ">" if big_endian else "<")
    if known in _ENCODED_TEXT:
        text = _decode(value, character_set)
    elif known in _PLAIN_TEXT:
        text = value.decode("latin-1")
    else:
        return None
    return "\\".join(part.strip(" \0") for part in text.split("\\"))


def _known_vr(tag: int, vr: bytes) -> str:
    from pydicom.datadict import dictionary_has_tag  # noqa: PLC0415

    if vr not in (b"", b"UN"):
        return vr.decode("latin-1")
    if not dictionary_has_tag(tag):
        return "LO" if tag >> 16 & 1 else ""
    return _vrs(tag)[0]


def _numbers(value: bytes, code: str, order: str) -> str | None:
    size = struct.calcsize(code)
    if len(value) % size:
        return None
    return "\\".join(
        str(number) for number in struct.unpack(f"{order}{len(value) // size}{code}", value)
    )


def _decode(value: bytes, character_set: bytes) -> str:
    import warnings  # noqa: PLC0415

    from pydicom.charset import convert_encodings, decode_bytes  # noqa: PLC0415

    names = [name.strip() for name in character_set.decode("latin-1").split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_bytes(value, convert_encodings(names), {0x0A, 0x0C, 0x0D, 0x09, 0x5C})
        except LookupError:
            return value.decode("latin-1")
