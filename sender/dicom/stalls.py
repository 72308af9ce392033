"""What the system knows of a connection, read while another thread waits in it.

Linux tells all of it (SIOCOUTQ and TCP_INFO, tcp(7)); elsewhere there is nothing to tell.
"""

import contextlib
import socket
import struct
import sys

from sender.negotiation.stalls import TransportFigures

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl

_SIOCOUTQ = 0x5411
_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_LONGEST_INFO = 512
_COUNTERS = 2
"""Offset of the bytes tcpi_retransmits and tcpi_probes in struct tcp_info of linux/tcp.h."""
_UNACKNOWLEDGED, _LAST_ACK_RECEIVED, _TOTAL_RETRANSMITTED, _SEND_WINDOW = 24, 56, 100, 228
"""Offsets of tcpi_unacked, tcpi_last_ack_recv, tcpi_total_retrans and tcpi_snd_wnd (Linux 5.4)."""


def read_figures(connection: socket.socket) -> TransportFigures | None:
    """Return what the system knows of a connection; None if it tells nothing.

    Any thread may ask at any time, of a connection that is gone too.
    """
    if _TCP_INFO is None:
        return None
    try:
        queued = fcntl.ioctl(connection, _SIOCOUTQ, bytes(4))
        info = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LONGEST_INFO)
    except (OSError, NameError, ValueError):
        return None
    return decode_figures(struct.unpack("i", queued)[0], info)


def undelivered(connection: socket.socket) -> int:
    """Return how many bytes the peer's system has not acknowledged; 0 where ours can't tell."""
    if _TCP_INFO is None:
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, _SIOCOUTQ, bytes(4)))[0])
    except (OSError, NameError, ValueError):
        return 0


def decode_figures(undelivered: int, info: bytes) -> TransportFigures | None:
    """Read a struct tcp_info; older systems give a shorter one.

    Args:
        undelivered: bytes that are not acknowledged, which it does not hold.
    """
    if len(info) < _TOTAL_RETRANSMITTED + 4:
        return None

    def number(offset: int) -> int:
        return int(struct.unpack_from("=I", info, offset)[0])

    return TransportFigures(
        undelivered=undelivered,
        segments_unacknowledged=number(_UNACKNOWLEDGED),
        retransmissions=info[_COUNTERS],
        retransmitted=number(_TOTAL_RETRANSMITTED),
        probes=info[_COUNTERS + 1],
        window=number(_SEND_WINDOW) if len(info) >= _SEND_WINDOW + 4 else None,
        heard_seconds=number(_LAST_ACK_RECEIVED) / 1000,
    )


def keep_alive(connection: socket.socket, *, seconds: int) -> None:
    """Have the system probe a connection that is quiet, so that a dead network shows.

    It also keeps firewalls from forgetting the connection. The probes never end it before our
    own timeouts do.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", seconds),
        ("TCP_KEEPINTVL", seconds),
        ("TCP_KEEPCNT", _MOST_PROBES),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


_MOST_PROBES = 127
