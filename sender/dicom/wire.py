"""One TCP connection with a deadline on everything: nothing a peer does can block for ever."""

import contextlib
import re
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable

from sender.dicom.stalls import read_figures, undelivered
from sender.dicom.upper_layer import HEADER_LENGTH, P_DATA
from sender.negotiation.stalls import Awaited, Stall, TransportFigures, explain_stall

MOST_BUFFERS = 1000
"""Buffers in one sendmsg; the system's limit is 1024."""
READ_SIZE = 1 << 16
MOST_UNREAD = 1 << 20
"""Bytes that a peer may say while we are sending."""
LOOK_SECONDS = 0.25
"""How often a wait looks whether what was sent is still arriving."""
Buffer = bytes | memoryview


class ConnectionLost(OSError):
    """The peer closed or reset the connection, or it broke."""


class NoProgress(OSError):
    """Nothing moved within the time allowed; `stall` says whose that is."""

    def __init__(self, stall: Stall) -> None:
        super().__init__(stall.detail)
        self.stall = stall


class Interrupted(OSError):
    """Another thread of ours ended the connection."""


class Oversized(OSError):
    """A PDU claims to be longer than it may be, or more came than we asked for."""


class NotDicom(Oversized):
    """What came is text, as of HTTP or SSH: no PDU begins like that."""


class Spoken(OSError):
    """While we were sending, the peer said something that ends an association; it can be read."""


def say_cause(error: OSError) -> str:
    """Say in a clause what the system answered about a connection."""
    return (error.strerror or str(error)).lower()


def broken(error: OSError) -> ConnectionLost:
    """Return what the system's error means, if it came while a connection was used."""
    return ConnectionLost(f"The connection broke: {say_cause(error)}.")


def await_ready(connection: socket.socket, seconds: float, *, is_reading: bool) -> bool:
    """Wait until something came or, not `is_reading`, the system takes more; tell if it did."""
    event = selectors.EVENT_READ if is_reading else selectors.EVENT_WRITE
    with selectors.DefaultSelector() as selector:
        selector.register(connection, event)
        return bool(selector.select(seconds))


class Patience:
    """How long a wait may take, counted from the last sign that our data are arriving.

    What was handed to the system may be on its way for minutes; until then nobody can answer.
    """

    __slots__ = ("_asked", "_undelivered", "_window", "awaited", "moved_at", "seconds")

    def __init__(self, awaited: Awaited, seconds: float) -> None:
        self._asked = awaited
        self.seconds = seconds
        self.begin()

    def begin(self) -> "Patience":
        """Begin a wait; one object may serve many, one after another."""
        self.awaited = self._asked
        self.moved_at = time.monotonic()
        self._undelivered: int | None = None
        self._window = 0
        return self

    @property
    def spent(self) -> float:
        """Seconds since anything moved."""
        return time.monotonic() - self.moved_at

    @property
    def left(self) -> float:
        """Seconds; zero or less when it has run out."""
        return self.seconds - self.spent

    def look(self, figures: TransportFigures | None) -> None:
        """Count anew if the peer has taken more than ever before in this wait.

        Its system takes data (less is undelivered), or it reads them (the window grows).
        """
        if figures is None:
            return
        window = figures.window or 0
        if self._undelivered is None:
            self._undelivered, self._window = figures.undelivered, window
        elif figures.undelivered < self._undelivered or window > self._window:
            self.moved_at = time.monotonic()
            self._undelivered = min(figures.undelivered, self._undelivered)
            self._window = max(window, self._window)

    def excuse(self, work: Callable[[], None]) -> None:
        """Do something of ours, for which nobody else loses time."""
        began = time.monotonic()
        work()
        self.moved_at += time.monotonic() - began

    def explain(self, figures: TransportFigures | None) -> Stall:
        """Say whose it is that nothing moves."""
        return explain_stall(self.awaited, self.spent, figures)


class Wire:
    """Writes buffers and reads PDUs, each within its time.

    One thread uses it; any other may interrupt it or ask whose a stall is.

    Attributes:
        moved: bytes written and read so far: progress, for a watchdog.
        meanwhile: called again and again while a wait lasts, by the thread that waits; its time is
            not the peer's.
    """

    def __init__(self, connection: socket.socket) -> None:
        _wait_in_calls(connection)
        self._socket = connection
        self._received = bytearray()
        self._interrupted = False
        self._waiting: Patience | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)
        self.moved = 0
        self.meanwhile: Callable[[], None] | None = None

    def send(self, buffers: list[Buffer], *, stall: float) -> None:
        """Write all buffers, which may be taken apart; something must move within `stall` seconds.

        Raises:
            ConnectionLost, NoProgress, Interrupted, Oversized, Spoken.
        """
        left = sum(map(len, buffers))
        while left:
            try:
                sent = self._socket.sendmsg(buffers[:MOST_BUFFERS])
            except BlockingIOError:
                self._await_room(stall)
            except OSError as error:
                raise self._ending(error) from error
            else:
                self.moved += sent
                left -= sent
                if left:
                    _drop(buffers, sent)
                    self._hear()

    def _await_room(self, stall: float) -> None:
        """Wait until the socket takes more; what the peer says meanwhile is kept for reading."""
        patience = Patience(Awaited.ROOM, stall)
        self._selector.modify(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        try:
            while not self._await(patience) & selectors.EVENT_WRITE:
                with contextlib.suppress(BlockingIOError):
                    self._received += self._receive()
                self._heed()
        finally:
            self._selector.modify(self._socket, selectors.EVENT_READ)

    def _hear(self) -> None:
        """Take in what the peer says while we are sending, without waiting for it."""
        if self._selector.select(0):
            with contextlib.suppress(BlockingIOError):
                self._received += self._receive()
            self._heed()

    def _heed(self) -> None:
        """Go on sending only if what the peer said meanwhile may be an early answer."""
        if self._received and self._received[0] != P_DATA:
            raise Spoken("The peer ended the association while we were sending.")
        if len(self._received) > MOST_UNREAD:
            raise Oversized("The peer sent more than an answer while we were sending.")

    def queue_at_most(self, unsent: int) -> None:
        """Have the system take no more while so many bytes can't be sent yet; 0: as it likes.

        A peer on this host takes large data up to a fifth faster then, for they are still in the
        processor's cache (docs/performance.md). What is under way in a network is not limited.
        """
        if _MOST_UNSENT is not None:
            with contextlib.suppress(OSError):  # a broken connection shows with the next call
                self._socket.setsockopt(socket.IPPROTO_TCP, _MOST_UNSENT, unsent)

    @property
    def is_arriving(self) -> bool:
        """Whether what was sent is still on its way: an answer now can't be to all of it."""
        return undelivered(self._socket) > 0

    @property
    def has_unread(self) -> bool:
        """Whether something was received that nobody has read yet."""
        return bool(self._received)

    def _await(self, patience: Patience) -> int:
        """Wait until the socket is ready; return for what.

        Raises:
            NoProgress, Interrupted.
        """
        self._waiting = patience
        try:
            while not (ready := self._select(min(patience.left, LOOK_SECONDS))):
                figures = read_figures(self._socket)
                patience.look(figures)
                if patience.left <= 0:
                    raise NoProgress(patience.explain(figures))
                if self.meanwhile is not None:
                    patience.excuse(self.meanwhile)
            return ready
        finally:
            self._waiting = None

    def _select(self, seconds: float) -> int:
        """Wait for the socket; return what it is ready for, 0 if nothing."""
        ready = self._selector.select(seconds) if seconds > 0 else []
        if self._interrupted:
            raise Interrupted("We ended the connection.")
        return ready[0][1] if ready else 0

    def stall(self, *, after: float) -> Stall | None:
        """Return whose it is that nothing has moved for `after` seconds; None if things move.

        Any thread may ask.
        """
        patience = self._waiting
        if patience is None or patience.spent < after:
            return None
        return patience.explain(read_figures(self._socket))

    def read_pdu(self, patience: Patience, *, longest: int) -> bytes:
        """Read one whole PDU, header included, while the patience lasts.

        Raises:
            ConnectionLost, NoProgress, Interrupted.
            Oversized: its header claims more than `longest` bytes.
            NotDicom: it has no header, but text.
        """
        received = self._received
        if not received:
            data = self._take(patience)
            if len(data) == _pdu_length(data) <= longest:
                return data  # as nearly always
            received += data
        asked = patience.awaited
        while (length := _pdu_length(received)) > len(received):
            if length > longest:
                break
            patience.awaited = Awaited.REST
            if patience.left <= 0:  # whatever it says, it does not come to an end
                raise NoProgress(patience.explain(read_figures(self._socket)))
            self._acknowledge()
            received += self._take(patience)
        if length > longest:
            raise _oversized(received, length)
        patience.awaited = asked
        pdu = bytes(received[:length])
        del received[:length]
        return pdu

    def _take(self, patience: Patience) -> bytes:
        """Return what has come, or comes while the patience lasts."""
        while patience.left > 0:
            try:
                return self._receive()
            except BlockingIOError:
                self._await(patience)
        raise NoProgress(patience.explain(read_figures(self._socket)))

    def pending(self) -> bytes:
        """Return what was received but not read as a PDU yet."""
        return bytes(self._received)

    def has_input(self) -> bool:
        """Tell whether the peer has said something, or has closed, without waiting."""
        if self._received:
            return True
        try:
            if self._selector.select(0):
                self._received += self._receive()
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True
        return bool(self._received)

    def collect(self) -> OSError | None:
        """Take in what a peer said before it broke the connection; return how that ended."""
        try:
            while len(self._received) < READ_SIZE:
                self._received += self._receive(_AT_ONCE)
        except BlockingIOError:
            return None
        except OSError as error:
            return error
        return None

    def _acknowledge(self) -> None:
        """Have the system acknowledge half an answer at once.

        A peer with Nagle's algorithm on keeps the other half until then: for 40 ms, otherwise.
        """
        if _QUICK_ACKNOWLEDGEMENT is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGEMENT, 1)
            except OSError as error:
                raise self._ending(error) from error

    def _receive(self, flags: int = 0) -> bytes:
        """Return what has come, at least a byte.

        Raises:
            BlockingIOError: nothing has.
            ConnectionLost, Interrupted: nothing will any more.
        """
        try:
            data = self._read(flags)
        except BlockingIOError:
            raise
        except OSError as error:
            raise self._ending(error) from error
        if not data:
            raise self._ending(None)
        return data

    def _read(self, flags: int) -> bytes:
        """Return what has come; b"" if the peer has closed."""
        data = self._socket.recv(READ_SIZE, flags)
        self.moved += len(data)
        return data

    def _ending(self, error: OSError | None) -> OSError:
        if self._interrupted:
            return Interrupted("We ended the connection.")
        if error is None:
            return ConnectionLost("The peer closed the connection.")
        return broken(error)

    def interrupt(self) -> None:
        """End the connection from another thread; whoever is blocked in it is woken."""
        self._interrupted = True
        with contextlib.suppress(OSError):  # it may be gone already, which is what was wanted
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back. Safe to call twice."""
        self._selector.close()
        self._socket.close()


_QUICK_ACKNOWLEDGEMENT = getattr(socket, "TCP_QUICKACK", None)
_MOST_UNSENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_AT_ONCE = getattr(socket, "MSG_DONTWAIT", 0)


def _wait_in_calls(connection: socket.socket) -> None:
    """Have calls wait for a moment where the system can; elsewhere they don't wait at all.

    Then most waits need no call of their own. Whatever takes longer is waited for by selecting.
    """
    if sys.platform != "linux" or struct.calcsize("l") != _LONG:
        connection.setblocking(False)
        return
    connection.setblocking(True)
    moment = struct.pack("ll", 0, int(LOOK_SECONDS * 1_000_000))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, moment)


_LONG = 8
"""The fields of struct timeval on all 64-bit systems."""


def _pdu_length(received: bytes | bytearray) -> int:
    """Return how long the PDU is that begins here, or the length of a header if there is less."""
    if len(received) < HEADER_LENGTH:
        return HEADER_LENGTH
    return HEADER_LENGTH + int.from_bytes(received[2:6], "big")


def _oversized(received: bytes | bytearray, length: int) -> Oversized:
    """Say what came instead of a PDU that may be read."""
    text = _TEXT.match(received)
    if text is None:
        return Oversized(f"The peer announced a PDU of {length} bytes.")
    said = text[0].decode("ascii").strip()
    return NotDicom(f'The peer does not speak DICOM: what came begins with "{said}".')


_TEXT = re.compile(rb"[ -~]{6,40}")


def _drop(pending: list[Buffer], sent: int) -> None:
    """Take `sent` bytes off the front."""
    done = 0
    while sent >= len(pending[done]):
        sent -= len(pending[done])
        done += 1
    del pending[:done]
    pending[0] = memoryview(pending[0])[sent:]
