"""A walk over an encoded data set, element by element to its end, without loading values.

PS3.5 section 7. It finds what is cut off, mislabelled or overlong, and the few values that a
send needs; pydicom would load the data and forgive what must not be sent.

Most elements of a file have been seen before: the same tag, value representation and length in
thousands of files. Such headers are known by heart, with how far to go on from them, so that a
typical data set is walked in a dozen microseconds.
"""

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, TypeVar

_Known = TypeVar("_Known")
UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
DEEPEST = 64
LONGEST_VALUE = 4096
"""Bytes of a wanted value; longer ones count as absent."""
LONGEST_HEADER = 12
_MOST_KNOWN = 1 << 15
_LONGEST_KNOWN = 1 << 16
_NATIVE_PIXEL_DATA = (b"\xe0\x7f\x10\x00OW\0\0", b"\xe0\x7f\x10\x00OB\0\0")
_NO_DATA = frozenset({0x0000, 0x0002, 0xFFFE})
"""Groups that no data set has at its top level: commands, file meta information, delimiters."""
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN"}
    | {b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)


class Malformed(ValueError):
    """The data set can't be walked to its end; the message says why, without any value."""


class Reader(Protocol):
    """Bytes seen through a window that moves forwards.

    Attributes:
        size: where they end; of data that are being inflated, a bound until the end is reached.
        start: the position of the window.
        window: what is in memory.
    """

    size: int
    start: int
    window: bytes

    def move(self, position: int) -> None:
        """Put the window at a position: some thousand bytes, fewer only at the end."""
        ...

    def at(self, position: int, length: int) -> bytes:
        """Return some thousand bytes at most, fewer only at the end; may move the window."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """How elements are written; there are three ways, each the same object everywhere."""

    implicit: bool
    big_endian: bool = False


IMPLICIT = Encoding(implicit=True)
EXPLICIT = Encoding(implicit=False)
BIG_ENDIAN = Encoding(implicit=False, big_endian=True)


@dataclass(slots=True)
class Findings:
    """What a walk found at the top level.

    Attributes:
        values: wanted elements by tag, as encoded.
        vrs: their value representations, b"" in implicit VR.
        pixel_data_at: where the value of Pixel Data begins; 0: there are none.
        pixel_data_ends_at: where the element ends.
        encapsulated: pixel data are a sequence of fragments, PS3.5 annex A.4.
        first_fragment: position and length of the first one behind the Basic Offset Table.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    vrs: dict[int, bytes] = field(default_factory=dict)
    pixel_data_at: int = 0
    pixel_data_ends_at: int = 0
    encapsulated: bool = False
    first_fragment: tuple[int, int] | None = None


def walk(
    reader: Reader,
    start: int,
    encoding: Encoding,
    wanted: frozenset[int],
    findings: Findings | None = None,
) -> Findings:
    """Walk a data set from `start` to the end of the reader.

    Args:
        wanted: tags of the top level whose values are wanted.
        findings: what is filled and returned; holds what was found until a fault, too.

    Raises:
        Malformed: it is cut off, mislabelled, nested too deeply, or no data set at all.
    """
    findings = findings or Findings()
    if ends_natively(reader, start, encoding):
        findings.pixel_data_at, findings.pixel_data_ends_at = start + 12, reader.size
    else:
        _Walker(reader, encoding, wanted, findings).elements(start, depth=0)
    return findings


def ends_natively(reader: Reader, at: int, encoding: Encoding) -> bool:
    """Tell whether native pixel data are all that is left: a frequent and the shortest walk."""
    here = at - reader.start
    header = reader.window[here : here + 12]
    return (
        header[:8] in _NATIVE_PIXEL_DATA
        and encoding is EXPLICIT
        and at + 12 + int.from_bytes(header[8:], "little") == reader.size
    )


@dataclass(frozen=True, slots=True)
class _ByHeart:
    """The headers met so far in data sets of one encoding, by their 8 bytes.

    Attributes:
        skipped: how many bytes the whole element has; its value does not matter.
        wanted: tag, value representation, and how many bytes the whole element has.
    """

    skipped: dict[bytes, int] = field(default_factory=dict)
    wanted: dict[bytes, tuple[int, bytes, int]] = field(default_factory=dict)


@lru_cache(maxsize=64)
def _by_heart(_encoding: Encoding, _wanted: frozenset[int]) -> _ByHeart:
    return _ByHeart()


class _Walker:
    """Walks one data set in one encoding."""

    def __init__(
        self, reader: Reader, encoding: Encoding, wanted: frozenset[int], findings: Findings
    ) -> None:
        self._reader = reader
        self._wanted = wanted
        self._findings = findings
        self._encoding = encoding
        self._by_heart = _by_heart(encoding, wanted)
        self._formats = _BIG if encoding.big_endian else _LITTLE

    def elements(self, position: int, *, depth: int) -> int:
        """Walk a data set (depth 0) or an item; return the position after it."""
        reader, values, vrs = self._reader, self._findings.values, self._findings.vrs
        skipped, wanted = self._by_heart.skipped, {} if depth else self._by_heart.wanted
        window, base = reader.window, reader.start
        previous = at = position - base
        while True:
            header = window[at : at + 8]
            step = skipped.get(header)
            if step is None and (met := wanted.get(header)) and at + met[2] <= len(window):
                tag, vrs[tag], step = met
                values[tag] = window[at + 8 : at + step]
            if step is not None:
                previous = at
                at += step
                continue
            position, last = base + at, base + previous
            if position >= reader.size:
                return self._end(position, last, depth)
            if at + LONGEST_HEADER > len(window) and base + len(window) < reader.size:
                reader.move(position)
            elif depth and header[:4] == self._formats.item_end:
                return position + 8
            else:
                last, position = position, self._element(position, depth)
            window, base = reader.window, reader.start
            at, previous = position - base, last - base

    def _end(self, position: int, last: int, depth: int) -> int:
        if position > self._reader.size:
            raise Malformed(f"it is cut off within the data element at byte {last}")
        if depth:
            raise Malformed("it is cut off within a sequence")
        return position

    def _element(self, position: int, depth: int) -> int:
        """Look at one element that is not known by heart; return the position after it."""
        header = self._reader.at(position, LONGEST_HEADER)
        tag, vr, length, value_at = self._parse(header, position)
        if tag >> 16 in _NO_DATA and (tag >> 16 == 0xFFFE or not depth):
            raise _no_element(tag >> 16, position)
        if length == UNDEFINED:
            return self._undefined(tag, vr, value_at, depth)
        end = value_at + length
        if end > self._reader.size:
            raise Malformed(
                f"it is cut off: element {_name(tag)} at byte {position} has {length} bytes, "
                f"{self._reader.size - value_at} are left"
            )
        if tag == PIXEL_DATA and not depth:
            self._findings.pixel_data_at, self._findings.pixel_data_ends_at = value_at, end
        elif tag in self._wanted and not depth and length <= LONGEST_VALUE:
            self._findings.values[tag] = self._reader.at(value_at, length)
            self._findings.vrs[tag] = vr
        if value_at == position + 8 and length < _LONGEST_KNOWN:
            self._learn(header[:8], tag, vr, 8 + length)
        return end

    def _learn(self, header: bytes, tag: int, vr: bytes, step: int) -> None:
        """Know a header by heart; nobody can make us keep more than a bounded number of them."""
        if tag in self._wanted:
            if step <= LONGEST_VALUE:
                _bounded(self._by_heart.wanted)[header] = tag, vr, step
        elif tag != PIXEL_DATA and tag >> 16 not in _NO_DATA:
            _bounded(self._by_heart.skipped)[header] = step

    def _parse(self, header: bytes, position: int) -> tuple[int, bytes, int, int]:
        """Return an element's tag, value representation, length, and where its value begins."""
        if len(header) < 8:
            raise Malformed(f"it is cut off within a data element at byte {position}")
        tag, vr, length, _, ends = split_header(header, self._encoding)
        if not ends:
            raise Malformed(
                f"element {_name(tag)} at byte {position} has no value representation, "
                "as explicit VR needs"
            )
        if len(header) < ends:
            raise Malformed(f"it is cut off within a data element at byte {position}")
        return tag, vr, length, position + ends

    def _undefined(self, tag: int, vr: bytes, value_at: int, depth: int) -> int:
        """Walk an element of undefined length: encapsulated pixel data, or a sequence."""
        if tag == PIXEL_DATA:
            return self._fragments(value_at, depth)
        if vr == b"UN":
            # A sequence in Implicit VR Little Endian, whatever stands around it (PS3.5 6.2.2).
            inner = _Walker(self._reader, IMPLICIT, frozenset(), Findings())
            return inner._items(value_at, depth + 1)
        return self._items(value_at, depth + 1)

    def _items(self, position: int, depth: int) -> int:
        if depth > DEEPEST:
            raise Malformed(f"its sequences are nested more than {DEEPEST} deep")
        while True:
            tag, length = self._item(position)
            if tag == SEQUENCE_END:
                return position + 8
            if tag != ITEM:
                raise Malformed(f"a sequence is broken at byte {position}")
            if length == UNDEFINED:
                position = self.elements(position + 8, depth=depth)
            else:
                position = self._after_item(position, length)

    def _fragments(self, position: int, depth: int) -> int:
        findings = self._findings if not depth else Findings()
        findings.pixel_data_at, findings.encapsulated = position, True
        is_offset_table = True
        while True:
            tag, length = self._item(position)
            if tag == SEQUENCE_END:
                findings.pixel_data_ends_at = position + 8
                return position + 8
            if tag != ITEM or length == UNDEFINED:
                raise Malformed(f"pixel data are broken at byte {position}")
            if not is_offset_table and findings.first_fragment is None:
                findings.first_fragment = position + 8, length
            is_offset_table = False
            position = self._after_item(position, length)

    def _item(self, position: int) -> tuple[int, int]:
        """Return tag and length of an item or delimiter."""
        header = self._reader.at(position, 8)
        if len(header) < 8:
            raise Malformed(f"it is cut off within a sequence at byte {position}")
        group, number, length = self._formats.implicit.unpack_from(header)
        return group << 16 | number, length

    def _after_item(self, position: int, length: int) -> int:
        end = position + 8 + length
        if end > self._reader.size:
            raise Malformed(
                f"it is cut off: an item at byte {position} has {length} bytes, "
                f"{self._reader.size - position - 8} are left"
            )
        return end


def split_header(header: bytes, encoding: Encoding) -> tuple[int, bytes, int, int, int]:
    """Split the header of a data element, PS3.5 section 7.1; delimiters have none to represent.

    Args:
        header: 12 bytes, or 8 at least if no more are there.

    Returns:
        tag, value representation, length, how many bytes the length has, and how many the whole
        header has: 0 if explicit VR is wanted but there is none.
    """
    formats = _BIG if encoding.big_endian else _LITTLE
    group, number, vr, length = formats.explicit.unpack_from(header)
    tag = group << 16 | number
    if encoding.implicit or group == 0xFFFE:
        return tag, b"", formats.length.unpack_from(header, 4)[0], 4, 8
    if vr in _SHORT_VRS:
        return tag, vr, length, 2, 8
    if vr not in _LONG_VRS:
        return tag, vr, 0, 0, 0
    long = formats.length.unpack_from(header, 8)[0] if len(header) >= LONGEST_HEADER else 0
    return tag, vr, long, 4, 12


class _Formats:
    """How headers are packed in one byte order."""

    def __init__(self, order: str) -> None:
        self.explicit = struct.Struct(f"{order}HH2sH")
        self.implicit = struct.Struct(f"{order}HHI")
        self.length = struct.Struct(f"{order}I")
        self.item_end = struct.pack(f"{order}HH", ITEM_END >> 16, ITEM_END & 0xFFFF)


_LITTLE, _BIG = _Formats("<"), _Formats(">")


def _bounded(known: dict[bytes, _Known]) -> dict[bytes, _Known]:
    if len(known) >= _MOST_KNOWN:
        known.clear()
    return known


def _no_element(group: int, position: int) -> Malformed:
    if group == 2:
        return Malformed("file meta information stands inside the data set")
    return Malformed(f"what stands at byte {position} is no data element")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def looks_explicit(reader: Reader, start: int) -> bool:
    """Tell whether the first element has a value representation."""
    vr = reader.at(start, 6)[4:]
    return vr in _SHORT_VRS or vr in _LONG_VRS
