"""From a host name to a TCP connection, within its time."""

import ipaddress
import socket
import threading
import time
from typing import Any

from sender.dicom.stalls import keep_alive
from sender.dicom.wire import broken, say_cause

PROBE_SECONDS = 5
"""A connection that is quiet for so long is probed by the system."""


class NameNotResolved(OSError):
    """The host name can't be resolved; `is_passing` if the name server may answer soon."""

    def __init__(self, message: str, *, is_passing: bool) -> None:
        super().__init__(message)
        self.is_passing = is_passing


class ConnectFailed(OSError):
    """No connection: refused, unreachable, or no answer in time."""


def resolve(address: str, port: int, *, seconds: float) -> list[Any]:
    """Return the addresses of a host, as getaddrinfo does, within `seconds`.

    The system's resolver can't be told to hurry, so a thread asks it and may be left behind.

    Raises:
        NameNotResolved: there is no such name, or no answer in time.
    """
    if _is_literal(address):
        return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    found: list[Any] = []
    failures: list[OSError | UnicodeError] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            failures.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if found:
        return found
    cause, is_passing = _no_answer(seconds), True
    if failures:
        cause = str(getattr(failures[0], "strerror", "") or failures[0])
        is_passing = getattr(failures[0], "errno", None) == socket.EAI_AGAIN
    raise NameNotResolved(
        f"The host name {address} can't be resolved: {cause}.", is_passing=is_passing
    )


def _no_answer(seconds: float) -> str:
    """Say how long was waited, as people count time."""
    return f"no answer within {round(seconds, 1):g} s"


def _is_literal(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def connect(addresses: list[Any], *, seconds: float) -> socket.socket:
    """Connect to the first address that answers; all share `seconds`.

    Raises:
        ConnectFailed: none does; the message gives the last cause.
        ConnectionLost: one did, and broke the connection at once.
    """
    deadline = time.monotonic() + seconds
    cause = "no address"
    for family, kind, protocol, _name, target in addresses:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(remaining)
            connection.connect(target)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(connection, seconds=PROBE_SECONDS)
        except ConnectionResetError as error:
            connection.close()
            raise broken(error) from error
        except TimeoutError:
            connection.close()
            cause = _no_answer(seconds)
        except OSError as error:
            connection.close()
            cause = say_cause(error)
        else:
            return connection
    raise ConnectFailed(f"The connection failed: {cause}.")


def addresses_of(connection: socket.socket) -> tuple[tuple[str, int], tuple[str, int]]:
    """Return local and peer address with their ports; empty if the connection is gone."""
    try:
        return connection.getsockname()[:2], connection.getpeername()[:2]
    except OSError:
        return ("", 0), ("", 0)
