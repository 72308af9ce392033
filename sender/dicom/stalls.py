"""What the system knows of a connection: what of our data the peer's system has not got yet."""

import contextlib
import socket
import struct

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl

_SIOCOUTQ = 0x5411
"""Linux: bytes handed to the system that the peer has not acknowledged, sent or not."""


def undelivered(connection: socket.socket) -> int | None:
    """Return how many bytes the peer has not acknowledged; None where the system can't tell."""
    try:
        answer = fcntl.ioctl(connection, _SIOCOUTQ, bytes(4))
    except (OSError, NameError, ValueError):
        return None
    return int(struct.unpack("i", answer)[0])
