"""Heads of files known by their layout: read in one step instead of element by element.

The files of a series, and mostly all files of a device, have the same elements in the same order;
only lengths vary. Once enough files with one sequence of tags and value representations have been
walked, their heads become one pattern: each header as it must stand, with the lengths met so far,
each followed by as many bytes as it says. What matches has been walked as truly as element by
element; what does not is walked so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sender.dicom.dataset import EXPLICIT, PIXEL_DATA, UNDEFINED, Encoding, split_header
from sender.dicom.part10 import PREAMBLE, SOP_INSTANCE, TRANSFER_SYNTAX

_PREFIX = b"DICM"
_DELIMITERS = frozenset({0xFFFEE00D, 0xFFFEE0DD})
_SAMPLE = 8
"""One file in so many is looked at closely when no layout matches."""
_SAMPLES = 40
"""So many files must have been looked at before their layout is worth a pattern."""
_MOST_PIECES = 250
_MOST_LENGTHS = 40
_MOST_LAYOUTS = 12
_MOST_CANDIDATES = 60
_MOST_COMPILATIONS = 8
_MOST_SERIES = 256
_INSTANCE = 0x00080018


@dataclass(frozen=True, slots=True)
class _Piece:
    """One header in the order of a file, and the value behind it.

    Attributes:
        prefix: the bytes before the length; all bytes if there is none that varies.
        width: bytes of the length.
        length: bytes of the value, which the pattern skips or captures.
        tag: of an element at the top level, else 0.
        vr: its value representation, b"" if implicit.
    """

    prefix: bytes
    width: int = 0
    length: int = 0
    tag: int = 0
    vr: bytes = b""


_BORDER = _Piece(b"")
"""Stands between file meta information and data set."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A pattern for the heads of files, from "DICM" on to where the pattern ends.

    Attributes:
        encoding: of the data set.
        syntax: the Transfer Syntax UID that the files all have.
        tags: of the wanted elements, in the order of the groups; 0 for the border.
        prefixed: tags whose group begins with the length, and how many bytes that has.
        border: the number of the group that stands where the data set begins.
        vrs: value representations of the wanted elements, by tag.
        instance: number and bytes of the length of the group of SOP Instance UID, in file meta
            information and in the data set; None if there are not both.
        series: what the instances with the same other values have in common, for whoever reads
            them; bounded.
    """

    pattern: re.Pattern[bytes]
    encoding: Encoding
    syntax: str
    tags: tuple[int, ...]
    prefixed: tuple[tuple[int, int], ...]
    border: int
    vrs: dict[int, bytes]
    instance: tuple[tuple[int, int], tuple[int, int]] | None
    series: dict[tuple[bytes, ...], Any] = field(default_factory=dict)

    def parts(self, found: re.Match[bytes]) -> tuple[bytes, tuple[bytes, ...]]:
        """Return SOP Instance UID and all other wanted values, as far as they are told apart.

        The UID is b"" where file meta information and data set disagree.
        """
        if self.instance is None:
            return b"", ()
        groups = found.groups()
        (said, skipped), (at, width) = self.instance
        uid = groups[at][width:]
        if groups[said][skipped:] != uid:
            return b"", ()
        return uid, groups[:said] + groups[said + 1 : at] + groups[at + 1 :]

    def remember(self, others: tuple[bytes, ...], common: object) -> None:
        """Keep what instances with these other values have in common."""
        if len(self.series) >= _MOST_SERIES:
            self.series.clear()
        self.series[others] = common

    def values(self, found: re.Match[bytes]) -> dict[int, bytes]:
        """Return wanted values and the UIDs of the file meta information, as encoded."""
        values: dict[int, bytes] = dict(zip(self.tags, found.groups(), strict=True))
        for tag, width in self.prefixed:
            values[tag] = values[tag][width:]
        return values


@dataclass(slots=True)
class _Candidate:
    """Files with the same sequence of headers."""

    lengths: tuple[set[int], ...]
    samples: int = 0
    compilations: int = 0
    layout: Layout | None = None


@dataclass(slots=True)
class Layouts:
    """The layouts known for one set of wanted tags, the latest to match first."""

    wanted: frozenset[int]
    known: tuple[Layout, ...] = ()
    candidates: dict[tuple[bytes, ...], _Candidate] = field(default_factory=dict)
    missed: int = 0

    def match(self, window: bytes) -> tuple[Layout, re.Match[bytes]] | None:
        """Return the layout of the file that begins so, and the match; None if none is known."""
        for layout in self.known:
            found = layout.pattern.match(window, PREAMBLE)
            if found:
                if layout is not self.known[0]:
                    self._put_first(layout)
                return layout, found
        return None

    def learn(self, window: bytes, dataset_at: int, syntax: str, encoding: Encoding) -> None:
        """Take note of a file that was walked to its end because no layout matched it."""
        self.missed += 1
        if self.missed % _SAMPLE or window[PREAMBLE : PREAMBLE + 4] != _PREFIX:
            return
        pieces = [
            *_pieces(window[:dataset_at], PREAMBLE + 4, EXPLICIT),
            _BORDER,
            *_pieces(window, dataset_at, encoding),
        ]
        candidate = self._candidate(pieces)
        for lengths, piece in zip(candidate.lengths, pieces, strict=True):
            if len(lengths) < _MOST_LENGTHS:
                lengths.add(piece.length)
        candidate.samples += 1
        if candidate.samples >= _SAMPLES and candidate.compilations < _MOST_COMPILATIONS:
            candidate.samples = 0
            candidate.compilations += 1
            old, candidate.layout = (
                candidate.layout,
                _layout(pieces, candidate.lengths, self.wanted, syntax, encoding),
            )
            self._put_first(candidate.layout, instead_of=old)

    def _candidate(self, pieces: Sequence[_Piece]) -> _Candidate:
        key = tuple(piece.prefix for piece in pieces)
        if key not in self.candidates and len(self.candidates) >= _MOST_CANDIDATES:
            self.candidates.clear()
        return self.candidates.setdefault(key, _Candidate(tuple(set() for _ in pieces)))

    def _put_first(self, layout: Layout, *, instead_of: Layout | None = None) -> None:
        others = (other for other in self.known if other not in (layout, instead_of))
        self.known = (layout, *others)[:_MOST_LAYOUTS]


def _pieces(window: bytes, at: int, encoding: Encoding) -> list[_Piece]:
    """Return the headers of whole top-level elements before pixel data, as far as one can see.

    The data must have been walked: nothing is checked again.
    """
    pieces: list[_Piece] = []
    complete = depth = 0
    while at <= len(window) and len(pieces) <= _MOST_PIECES:
        if not depth:
            complete = len(pieces)
        piece, tag = _piece(window, at, encoding)
        if piece is None:
            break
        at += len(piece.prefix) + piece.width + piece.length
        pieces.append(piece if not depth else _Piece(piece.prefix, piece.width, piece.length))
        if tag in _DELIMITERS:
            depth -= 1
        elif not piece.width and tag != TRANSFER_SYNTAX:
            depth += 1
    return pieces[:complete]


def _piece(window: bytes, at: int, encoding: Encoding) -> tuple[_Piece | None, int]:
    """Return the next header and its tag; None where a layout ends."""
    header = window[at : at + 12]
    if len(header) < 12:
        return None, 0
    tag, vr, length, width, ends = split_header(header, encoding)
    if tag == PIXEL_DATA or (vr == b"UN" and length == UNDEFINED):
        return None, 0
    if tag in _DELIMITERS or length == UNDEFINED:
        return _Piece(header[:ends]), tag
    if tag == TRANSFER_SYNTAX:
        return _Piece(window[at : at + ends + length], tag=tag), tag
    return _Piece(header[: ends - width], width, length, tag, vr), tag


def _layout(
    pieces: Sequence[_Piece],
    lengths: Sequence[set[int]],
    wanted: frozenset[int],
    syntax: str,
    encoding: Encoding,
) -> Layout:
    """Make the pattern of a candidate."""
    met = list(zip(pieces, map(sorted, lengths), strict=True))
    captured = [(piece, several) for piece, several in met if _is_captured(piece, wanted)]
    text = b"".join(
        _pattern(piece, several, encoding, is_captured=_is_captured(piece, wanted))
        for piece, several in met
    )
    widths = {piece.tag: piece.width if len(n) > 1 else 0 for piece, n in captured}
    tags = tuple(piece.tag for piece, _ in captured)
    both = [(tags.index(tag), widths[tag]) for tag in (SOP_INSTANCE, _INSTANCE) if tag in tags]
    return Layout(
        pattern=re.compile(_PREFIX + text, re.DOTALL),
        encoding=encoding,
        syntax=syntax,
        tags=tags,
        prefixed=tuple((tag, width) for tag, width in widths.items() if width),
        border=[piece for piece, _ in captured].index(_BORDER) + 1,
        vrs={piece.tag: piece.vr for piece, _ in captured},
        instance=(both[0], both[1]) if len(both) == 2 else None,
    )


def _is_captured(piece: _Piece, wanted: frozenset[int]) -> bool:
    return piece is _BORDER or (piece.tag in wanted and piece.width > 0)


def _pattern(
    piece: _Piece, lengths: Sequence[int], encoding: Encoding, *, is_captured: bool
) -> bytes:
    is_big = encoding.big_endian and piece.tag >> 16 != 2
    values = [b".{%d}" % length for length in lengths]
    if is_captured and len(lengths) == 1:
        values = [b"(" + values[0] + b")"]
    choices = b"|".join(
        re.escape(length.to_bytes(piece.width, "big" if is_big else "little")) + value
        for length, value in zip(lengths, values, strict=True)
    )
    if not piece.width:
        return re.escape(piece.prefix) + (b"()" if is_captured else b"")
    brackets = b"(%b)" if is_captured and len(lengths) > 1 else b"(?:%b)"
    return re.escape(piece.prefix) + brackets % choices
