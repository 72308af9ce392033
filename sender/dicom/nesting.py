"""How deep sequences are nested, those of defined length too, over which a walk passes.

Whoever reads what is in them had better ask before: libraries follow them, and what a few thousand
bytes nest takes them minutes and gigabytes.
"""

import math
import struct
from typing import NamedTuple

from sender.dicom.dataset import (
    DEEPEST,
    IMPLICIT,
    ITEM,
    LONGEST_HEADER,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    split_header,
)

_ITEM = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)


class _Open(NamedTuple):
    """A sequence that is being read: where it ends, and how its items are written."""

    end: float
    encoding: Encoding


def is_too_deep(content: bytes, encoding: Encoding) -> bool:
    """Tell whether sequences are nested more than `DEEPEST` deep in a little endian data set.

    What begins with an item counts as a sequence, whatever it is said to be (PS3.5 section 7.5);
    what can't be told counts as none.
    """
    at, inside = 0, [_Open(math.inf, encoding)]
    while at + 8 <= len(content):
        while inside[-1].end <= at:
            inside.pop()
        here = inside[-1].encoding
        tag, vr, length, _, ends = split_header(content[at : at + LONGEST_HEADER], here)
        if not ends:
            return False
        at += ends
        if tag == SEQUENCE_END and len(inside) > 1:
            inside.pop()
        elif tag >> 16 == SEQUENCE_END >> 16:
            continue  # an item, whose elements follow, or the end of one
        elif length == UNDEFINED or content.startswith(_ITEM, at):
            if len(inside) > DEEPEST:
                return True
            within = IMPLICIT if vr == b"UN" else here  # PS3.5 section 6.2.2
            inside.append(_Open(math.inf if length == UNDEFINED else at + length, within))
        else:
            at += length
    return False
