"""A-ASSOCIATE-AC PDUs made by hand, right ones and wrong ones (PS3.8 section 9.3.3)."""

import struct
from collections.abc import Sequence


def item(kind: int, content: bytes) -> bytes:
    """Return one item or sub-item."""
    return struct.pack(">BBH", kind, 0, len(content)) + content


def context_item(context_id: int, result: int, transfer_syntax: str | None) -> bytes:
    """Return one presentation context item of an answer."""
    syntax = b"" if transfer_syntax is None else item(0x40, transfer_syntax.encode("ascii"))
    return item(0x21, bytes((context_id, 0, result, 0)) + syntax)


def user_information(maximum_length: int | None = 16384, *extra: bytes) -> bytes:
    """Return the user information item."""
    content = b"" if maximum_length is None else item(0x51, struct.pack(">I", maximum_length))
    return item(0x50, content + b"".join(extra))


def acceptance_pdu(
    contexts: Sequence[tuple[int, int, str | None]], *, information: bytes | None = None
) -> bytes:
    """Return a whole A-ASSOCIATE-AC."""
    body = struct.pack(">HH16s16s32x", 1, 0, b"CALLED".ljust(16), b"CALLING".ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    body += b"".join(context_item(*context) for context in contexts)
    body += user_information() if information is None else information
    return struct.pack(">BBI", 2, 0, len(body)) + body
