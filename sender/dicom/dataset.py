"""A walk over an encoded data set, element by element to its end, without loading values.

PS3.5 section 7. It finds what is cut off, mislabelled or overlong, and the few values that a
send needs; pydicom would load the data and forgive what must not be sent.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
DEEPEST = 64
LARGEST_INFLATED = 256 << 20
_WINDOW = 1 << 14
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN"}
    | {b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)
_LONGEST_VALUE = 128


class Malformed(ValueError):
    """The data set can't be walked to its end; the message says why, without any value."""


class Reader(Protocol):
    """Random access to bytes."""

    size: int

    def at(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position`, fewer at the end."""
        ...


class BytesReader:
    """Reads from memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def at(self, position: int, length: int) -> bytes:
        return self._content[position : position + length]


class WindowReader:
    """Reads from a file through a window that moves forwards."""

    def __init__(self, pread: Callable[[int, int], bytes], size: int) -> None:
        self._pread = pread
        self._start = 0
        self._window = b""
        self.size = size

    def at(self, position: int, length: int) -> bytes:
        start = position - self._start
        if start < 0 or start + length > len(self._window):
            self._window = self._pread(position, max(length, _WINDOW))
            self._start, start = position, 0
        return self._window[start : start + length]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written."""

    implicit: bool
    big_endian: bool = False


@dataclass(slots=True)
class Findings:
    """What a walk found at the top level: wanted values as text, and how pixel data are kept."""

    values: dict[int, str] = field(default_factory=dict)
    has_pixel_data: bool = False
    encapsulated: bool = False


@dataclass(frozen=True, slots=True)
class _Element:
    tag: int
    vr: bytes
    length: int
    value_at: int


def walk(reader: Reader, start: int, encoding: Encoding, wanted: frozenset[int]) -> Findings:
    """Walk a data set from `start` to the end of the reader.

    Raises:
        Malformed: it is cut off, mislabelled, nested too deeply, or no data set at all.
    """
    findings = Findings()
    position = start
    while position < reader.size:
        element = _element(reader, position, encoding)
        _check_group(element, position)
        if element.tag in wanted and element.length <= _LONGEST_VALUE:
            raw = reader.at(element.value_at, element.length)
            findings.values[element.tag] = raw.rstrip(b"\0 ").decode("latin-1").strip()
        if element.tag == PIXEL_DATA:
            findings.has_pixel_data = True
            findings.encapsulated = element.length == UNDEFINED
        position = _after(reader, element, encoding, depth=0)
    return findings


def _check_group(element: _Element, position: int) -> None:
    group = element.tag >> 16
    if group == 0x0002:
        raise Malformed("file meta information stands inside the data set")
    if group in (0, 0xFFFE):
        raise Malformed(f"what stands at byte {position} is no data element")


def _element(reader: Reader, position: int, encoding: Encoding) -> _Element:
    """Read an element's tag, VR and length."""
    header = reader.at(position, 12)
    if len(header) < 8:
        raise Malformed(f"it is cut off within a data element at byte {position}")
    order = ">" if encoding.big_endian else "<"
    group, number = struct.unpack_from(f"{order}HH", header)
    tag = group << 16 | number
    if encoding.implicit or group == 0xFFFE:
        (length,) = struct.unpack_from(f"{order}I", header, 4)
        return _Element(tag, b"", length, position + 8)
    vr = header[4:6]
    if vr in _LONG_VRS:
        if len(header) < 12:
            raise Malformed(f"it is cut off within a data element at byte {position}")
        (length,) = struct.unpack_from(f"{order}I", header, 8)
        return _Element(tag, vr, length, position + 12)
    if vr not in _SHORT_VRS:
        raise Malformed(
            f"element {_name(tag)} at byte {position} has no value representation, "
            "as explicit VR needs"
        )
    (length,) = struct.unpack_from(f"{order}H", header, 6)
    return _Element(tag, vr, length, position + 8)


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _after(reader: Reader, element: _Element, encoding: Encoding, *, depth: int) -> int:
    """Return the position after an element."""
    if element.length != UNDEFINED:
        return _end_of(reader, element)
    if element.tag == PIXEL_DATA:
        return _after_fragments(reader, element, encoding)
    # An element of unknown VR and undefined length is a sequence in implicit VR (PS3.5 6.2.2).
    inner = Encoding(implicit=True) if element.vr == b"UN" else encoding
    return _after_items(reader, element.value_at, inner, depth=depth + 1)


def _end_of(reader: Reader, element: _Element) -> int:
    end = element.value_at + element.length
    if end > reader.size:
        raise Malformed(
            f"it is cut off: element {_name(element.tag)} at byte {element.value_at} "
            f"has {element.length} bytes, {max(0, reader.size - element.value_at)} are left"
        )
    return end


def _after_fragments(reader: Reader, element: _Element, encoding: Encoding) -> int:
    position = element.value_at
    while True:
        item = _element(reader, position, encoding)
        if item.tag == SEQUENCE_END:
            return item.value_at
        if item.tag != ITEM or item.length == UNDEFINED:
            raise Malformed(f"pixel data are broken at byte {position}")
        position = _end_of(reader, item)


def _after_items(reader: Reader, position: int, encoding: Encoding, *, depth: int) -> int:
    if depth > DEEPEST:
        raise Malformed(f"its sequences are nested more than {DEEPEST} deep")
    while True:
        item = _element(reader, position, encoding)
        if item.tag == SEQUENCE_END:
            return item.value_at
        if item.tag != ITEM:
            raise Malformed(f"a sequence is broken at byte {position}")
        if item.length == UNDEFINED:
            position = _after_item(reader, item.value_at, encoding, depth=depth)
        else:
            position = _end_of(reader, item)


def _after_item(reader: Reader, position: int, encoding: Encoding, *, depth: int) -> int:
    while True:
        element = _element(reader, position, encoding)
        if element.tag == ITEM_END:
            return element.value_at
        position = _after(reader, element, encoding, depth=depth)


def looks_explicit(reader: Reader, start: int) -> bool:
    """Tell whether the first element has a value representation."""
    return reader.at(start + 4, 2) in _LONG_VRS | _SHORT_VRS


def inflate(content: bytes) -> bytes:
    """Inflate a deflated data set (PS3.5 annex A.5), within bounds.

    Raises:
        Malformed: it is cut off, broken, or inflates to more than 256 MiB.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(content, LARGEST_INFLATED)
    except zlib.error:
        raise Malformed("its deflated data are broken") from None
    if inflater.unconsumed_tail:
        raise Malformed(f"it inflates to more than {LARGEST_INFLATED >> 20} MiB")
    if not inflater.eof:
        raise Malformed("its deflated data are cut off")
    return inflated
