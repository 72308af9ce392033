"""What the main header of a compressed frame tells: its size, and whether it lost information.

JPEG 2000 and HTJ2K: ISO/IEC 15444-1 annex A.5 and A.6; JPEG: ISO/IEC 10918-1 B.2.2; JPEG-LS:
ISO/IEC 14495-1 C.2.2, all within the fragments of PS3.5 annex A.4.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_SOC, _SIZ, _COD, _COC, _SOD, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF93, 0xFFD9
_SOI, _SOS = 0xFFD8, 0xFFDA
_FRAME_HEADERS = frozenset({*range(0xFFC0, 0xFFD0), 0xFFF7}) - {0xFFC4, 0xFFC8, 0xFFCC}
"""SOF of JPEG and JPEG-LS; not DHT, JPG, DAC."""
_MOST_SEGMENTS = 1000
_ENDS = frozenset({_SOD, _EOC, _SOS})
_SEGMENT = struct.Struct(">HH")
_SIZE = struct.Struct(">2xIIII16xH")
_FRAME_HEADER = struct.Struct(">BHHB")

ReadAt = Callable[[int, int], bytes]
"""Returns bytes: position, number of bytes; fewer at the end."""


@dataclass(frozen=True, slots=True)
class FrameSize:
    """The size that a compressed frame declares itself.

    Attributes:
        bits: of a sample.
    """

    rows: int
    columns: int
    samples: int
    bits: int


def is_irreversible(read: ReadAt, position: int, length: int) -> bool | None:
    """Tell whether a JPEG 2000 or HTJ2K code stream lost information by its wavelet.

    The COD marker segment (ISO/IEC 15444-1 A.6.1, table A.20) and those of single components
    (COC, A.6.2), in the main header or that of the first tile, name the transformation: 0, the
    9-7 irreversible filter, loses information.
    1, the 5-3 reversible filter, does so too where an encoder dropped bit planes to reach a
    size, and nothing in the header shows that: the syntaxes .91 and .203 (PS3.5 A.4.4, A.4.11)
    allow both. So this never says that nothing was lost.

    Args:
        position: where the first fragment's content begins.
        length: its bytes.

    Returns:
        True: it did; None: the header can't tell, or there is none.
    """
    in_cod, in_coc = 9, 6
    for marker, segment in _segments(read, position, length, start=_SOC):
        if marker == _SIZ and len(segment) >= _SIZE.size:
            components = _SIZE.unpack_from(segment)[-1]
            in_coc = 6 if components < 257 else 7
        at = {_COD: in_cod, _COC: in_coc}.get(marker)
        if at is not None and segment[at : at + 1] == b"\0":
            return True
    return None


def frame_size(read: ReadAt, position: int, length: int) -> FrameSize | None:
    """Return the size that a frame of JPEG 2000, HTJ2K, JPEG or JPEG-LS declares.

    Returns:
        None: it begins with no header of these.
    """
    for marker, segment in _segments(read, position, length, start=_SOC):
        if marker == _SIZ and len(segment) > _SIZE.size:
            width, height, left, top, components = _SIZE.unpack_from(segment)
            bits = (segment[_SIZE.size] & 0x7F) + 1
            return FrameSize(max(0, height - top), max(0, width - left), components, bits)
    for marker, segment in _segments(read, position, length, start=_SOI):
        if marker in _FRAME_HEADERS and len(segment) >= _FRAME_HEADER.size:
            bits, rows, columns, components = _FRAME_HEADER.unpack_from(segment)
            return FrameSize(rows, columns, components, bits)
    return None


def _segments(
    read: ReadAt, position: int, length: int, *, start: int
) -> Iterator[tuple[int, bytes]]:
    """Yield the marker segments before the coded data: the marker, and what follows its length."""
    end = position + length
    if read(position, 2) != start.to_bytes(2, "big"):
        return
    position += 2
    for _ in range(_MOST_SEGMENTS):
        header = read(position, 4)
        if len(header) < 4 or position + 4 > end:
            return
        marker, size = _SEGMENT.unpack(header)
        if marker == 0xFFFF:  # a fill byte before the marker
            position += 1
            continue
        if marker in _ENDS or marker < 0xFF00 or position + 2 + size > end:
            return
        yield marker, read(position + 4, min(64, size - 2)) if size > 2 else b""
        position += 2 + size
