"""One TCP connection with a deadline on everything: nothing a peer does can block for ever."""

import contextlib
import ipaddress
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from sender.dicom.upper_layer import HEADER_LENGTH, P_DATA

MOST_BUFFERS = 1000
"""Buffers in one sendmsg; the system's limit is 1024."""
SEND_BUFFER = 4 << 20
READ_SIZE = 1 << 16
MOST_UNREAD = 1 << 20
"""Bytes that a peer may say while we are sending."""
Buffer = bytes | memoryview


class NameNotResolved(OSError):
    """The host name can't be resolved; `is_passing` if the name server may answer soon."""

    def __init__(self, message: str, *, is_passing: bool) -> None:
        super().__init__(message)
        self.is_passing = is_passing


class ConnectFailed(OSError):
    """No connection: refused, unreachable, or no answer in time."""


class ConnectionLost(OSError):
    """The peer closed or reset the connection, or it broke."""


class NoProgress(OSError):
    """Nothing moved within the time allowed."""


class Interrupted(OSError):
    """Another thread of ours ended the connection."""


class Oversized(OSError):
    """A PDU claims to be longer than it may be, or more came than we asked for."""


class Spoken(OSError):
    """While we were sending, the peer said something that ends an association; it can be read."""


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
    cause, is_passing = f"no answer within {seconds:g} s", True
    if failures:
        cause = str(getattr(failures[0], "strerror", "") or failures[0])
        is_passing = getattr(failures[0], "errno", None) == socket.EAI_AGAIN
    raise NameNotResolved(
        f"The host name {address} can't be resolved: {cause}.", is_passing=is_passing
    )


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
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            connection.connect(target)
        except TimeoutError:
            connection.close()
            cause = f"no answer within {seconds:g} s"
        except OSError as error:
            connection.close()
            cause = (error.strerror or str(error)).lower()
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
    raise ConnectFailed(f"The connection failed: {cause}.")


def addresses_of(connection: socket.socket) -> tuple[tuple[str, int], tuple[str, int]]:
    """Return local and peer address with their ports; empty if the connection is gone."""
    try:
        return connection.getsockname()[:2], connection.getpeername()[:2]
    except OSError:
        return ("", 0), ("", 0)


class Wire:
    """Writes buffers and reads PDUs, each within its time. One thread uses it; any may interrupt.

    Attributes:
        moved: bytes written and read so far: progress, for a watchdog.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._received = bytearray()
        self._interrupted = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)
        self.moved = 0

    def _write(self, pending: list[memoryview]) -> int:
        """Hand over as much as the system takes; return how many bytes that were."""
        return self._socket.sendmsg(pending[:MOST_BUFFERS])

    def _read(self) -> bytes:
        """Return what has come; b"" if the peer has closed.

        Raises:
            BlockingIOError: nothing has.
        """
        return self._socket.recv(READ_SIZE)

    def send(self, buffers: Sequence[Buffer], *, stall: float) -> None:
        """Write all buffers; `stall`: the seconds in which at least one byte must leave.

        Raises:
            ConnectionLost, NoProgress, Interrupted, Oversized, Spoken.
        """
        pending = [memoryview(buffer) for buffer in buffers if len(buffer)]
        while pending:
            try:
                sent = self._write(pending)
            except BlockingIOError:
                self._await_room(stall)
            except OSError as error:
                raise self._ending(error) from error
            else:
                self.moved += sent
                _drop(pending, sent)

    def _await_room(self, stall: float) -> None:
        """Wait until the socket takes more; what the peer says meanwhile is kept for reading."""
        deadline = time.monotonic() + stall
        self._selector.modify(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        try:
            while True:
                ready = self._select(deadline, f"The peer took no data for {stall:g} s.")
                if ready & selectors.EVENT_READ:
                    self._receive()
                    self._heed()
                if ready & selectors.EVENT_WRITE:
                    return
        finally:
            self._selector.modify(self._socket, selectors.EVENT_READ)

    def _heed(self) -> None:
        """Go on sending only if what the peer said meanwhile may be an early answer."""
        if self._received and self._received[0] != P_DATA:
            raise Spoken("The peer ended the association while we were sending.")
        if len(self._received) > MOST_UNREAD:
            raise Oversized("The peer sent more than an answer while we were sending.")

    def read_pdu(self, *, seconds: float, longest: int) -> bytes:
        """Read one whole PDU, header included, within `seconds` altogether.

        Raises:
            ConnectionLost, NoProgress, Interrupted.
            Oversized: its header claims more than `longest` bytes.
        """
        deadline = time.monotonic() + seconds
        reason = "The peer did not answer in time."
        while (length := self._pdu_length()) is None or len(self._received) < length:
            if length is not None and length > longest:
                raise Oversized(f"The peer announced a PDU of {length} bytes.")
            self._arm_quick_acknowledgement()
            self._select(deadline, reason)
            self._receive()
        if length > longest:
            raise Oversized(f"The peer announced a PDU of {length} bytes.")
        pdu = bytes(self._received[:length])
        del self._received[:length]
        return pdu

    def _pdu_length(self) -> int | None:
        if len(self._received) < HEADER_LENGTH:
            return None
        return HEADER_LENGTH + int.from_bytes(self._received[2:6], "big")

    def pending(self) -> bytes:
        """Return what was received but not read as a PDU yet."""
        return bytes(self._received)

    def has_input(self) -> bool:
        """Tell whether the peer has said something, or has closed, without waiting."""
        try:
            if not self._received and self._is_readable(0):
                self._receive()
        except (OSError, ValueError):
            return True
        return bool(self._received)

    def _is_readable(self, seconds: float) -> bool:
        return bool(self._selector.select(seconds))

    def _arm_quick_acknowledgement(self) -> None:
        """Have the system acknowledge at once: peers with Nagle on wait for it in mid-answer."""
        option = getattr(socket, "TCP_QUICKACK", None)
        if option is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, option, 1)
            except OSError as error:
                raise self._ending(error) from error

    def _select(self, deadline: float, reason: str) -> int:
        remaining = deadline - time.monotonic()
        ready = self._selector.select(remaining) if remaining > 0 else []
        if self._interrupted:
            raise Interrupted("We ended the connection.")
        if not ready:
            raise NoProgress(reason)
        return ready[0][1]

    def _receive(self) -> None:
        try:
            data = self._read()
        except BlockingIOError:
            return
        except OSError as error:
            raise self._ending(error) from error
        if not data:
            raise self._ending(None)
        self.moved += len(data)
        self._received += data

    def _ending(self, error: OSError | None) -> OSError:
        if self._interrupted:
            return Interrupted("We ended the connection.")
        if error is None:
            return ConnectionLost("The peer closed the connection.")
        cause = (error.strerror or str(error)).lower()
        return ConnectionLost(f"The connection broke: {cause}.")

    def interrupt(self) -> None:
        """End the connection from another thread; whoever is blocked in it is woken."""
        self._interrupted = True
        with contextlib.suppress(OSError):  # it may be gone already, which is what was wanted
            # Not SSLSocket.shutdown, which would drop the encryption and keep the socket.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back. Safe to call twice."""
        self._selector.close()
        self._socket.close()


def _drop(pending: list[memoryview], sent: int) -> None:
    """Take `sent` bytes off the front."""
    done = 0
    while done < len(pending) and sent >= len(pending[done]):
        sent -= len(pending[done])
        done += 1
    del pending[:done]
    if sent:
        pending[0] = pending[0][sent:]
