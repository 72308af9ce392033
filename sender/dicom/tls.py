"""TLS for associations (PS3.15 annex B.9): verified, TLS 1.2 or newer, never a fall-back to plain.

TLS changes the wire alone: negotiation, sending and the truth rule are those of a plain connection.
The library encrypts in memory; the bytes travel through the same socket code as plain ones.
"""

import contextlib
import hashlib
import selectors
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sender.dicom.stalls import read_figures
from sender.dicom.trust import TlsFailed, is_alert, make_context, say_cause
from sender.dicom.wire import (
    Buffer,
    ConnectionLost,
    NoProgress,
    Patience,
    Wire,
    await_ready,
    broken,
)
from sender.negotiation.peers import TlsSettings
from sender.negotiation.stalls import Awaited

PIECE = 1 << 16
"""Bytes that are encrypted at once."""
RECORD = 1 << 14
"""Bytes that one TLS record holds (RFC 8446 section 5.1)."""
READ_SIZE = 1 << 16


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a handshake agreed, and which certificates the peer presented.

    Attributes:
        chain: the certificates as presented, DER, the peer's own first.
    """

    version: str = ""
    cipher: str = ""
    certificate_sha256: str = ""
    expires_at: datetime | None = None
    chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """A TLS session in memory: what came goes into `incoming`, what is to go is in `outgoing`."""

    library: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO


def secure(
    connection: socket.socket, settings: TlsSettings, *, address: str, seconds: float
) -> Session:
    """Shake hands within `seconds`; the peer's certificate must hold for its name.

    Raises:
        TlsFailed: no agreement, or the certificate does not hold; with the chain presented.
        NoProgress: the peer did not finish in time.
        ConnectionLost: it closed the connection.
    """
    context = make_context(settings)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        library = context.wrap_bio(
            incoming, outgoing, server_hostname=settings.server_name or address
        )
    except (ValueError, UnicodeError) as error:
        raise TlsFailed(f"The name of the peer can't be used: {error}.") from error
    session = Session(library, incoming, outgoing)
    connection.setblocking(False)
    patience = Patience(Awaited.HANDSHAKE, seconds)
    while not _take_step(session, connection):
        _exchange(session, connection, patience)
    _flush(session, connection, patience)
    return session


def _take_step(session: Session, connection: socket.socket) -> bool:
    """Go on with the handshake; tell whether it is done."""
    try:
        session.library.do_handshake()
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLCertVerificationError as error:
        _say_farewell(session, connection)
        said = error.verify_message.removesuffix(".")
        message = f"The peer's certificate does not hold: {said}."
        raise TlsFailed(message, chain=presented_chain(session.library)) from error
    except ssl.SSLEOFError as error:
        raise ConnectionLost("The peer closed the connection.") from error
    except ssl.SSLError as error:
        _say_farewell(session, connection)
        message = f"The TLS handshake failed: {say_cause(error)}."
        raise TlsFailed(message, chain=presented_chain(session.library)) from error
    return True


def _exchange(session: Session, connection: socket.socket, patience: Patience) -> None:
    """Send what the handshake has to say, and take in the answer."""
    _flush(session, connection, patience)
    _await(connection, patience, is_reading=True)
    try:
        data = connection.recv(READ_SIZE)
    except BlockingIOError:
        return
    except OSError as error:
        raise broken(error) from error
    if data:
        session.incoming.write(data)
    else:
        session.incoming.write_eof()


def _flush(session: Session, connection: socket.socket, patience: Patience) -> None:
    waiting = memoryview(session.outgoing.read())
    while waiting:
        try:
            waiting = waiting[connection.send(waiting) :]
        except BlockingIOError:
            _await(connection, patience, is_reading=False)
        except OSError as error:
            raise broken(error) from error


def _await(connection: socket.socket, patience: Patience, *, is_reading: bool) -> None:
    if not await_ready(connection, max(0.0, patience.left), is_reading=is_reading):
        raise NoProgress(patience.explain(read_figures(connection)))


def _say_farewell(session: Session, connection: socket.socket) -> None:
    """Send the alert or close_notify that the library has ready, if the system takes it."""
    with contextlib.suppress(OSError):
        connection.send(session.outgoing.read(), getattr(socket, "MSG_DONTWAIT", 0))


def presented_chain(library: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the certificates that the peer presented, DER, its own first.

    After a failed verification too: OpenSSL 3 keeps them from before it verifies (1.1.1 has
    none then). Python 3.13 has a public name for this; older versions have a private one.
    """
    public = getattr(library, "get_unverified_chain", None)
    if public is not None:
        return tuple(public() or ())
    private = getattr(library, _PRIVATE, None)
    if hasattr(private, "get_unverified_chain"):
        return tuple(certificate.public_bytes(_DER) for certificate in _chain(private))
    with contextlib.suppress(ValueError):  # the handshake did not come so far
        return tuple(filter(None, (library.getpeercert(binary_form=True),)))
    return ()


def _chain(private: Any) -> list[Any]:
    return private.get_unverified_chain() or []


_PRIVATE = "_sslobj"
_DER = 2
"""ENCODING_DER of Python's private module _ssl."""


def facts_of(library: ssl.SSLObject) -> TlsFacts:
    """Return what is on record of a secured connection."""
    cipher = library.cipher()
    encoded = library.getpeercert(binary_form=True) or b""
    expires = (library.getpeercert() or {}).get("notAfter")
    return TlsFacts(
        version=library.version() or "",
        cipher=cipher[0] if cipher else "",
        certificate_sha256=hashlib.sha256(encoded).hexdigest() if encoded else "",
        expires_at=datetime.fromtimestamp(ssl.cert_time_to_seconds(str(expires)), UTC)
        if expires
        else None,
        chain=presented_chain(library),
    )


class TlsWire(Wire):
    """A wire through TLS."""

    def __init__(self, connection: socket.socket, session: Session) -> None:
        super().__init__(connection)
        self._session = session
        self._has_ended = False
        with contextlib.suppress(OSError):  # what came with the end of the handshake
            self._received += self._decrypt()

    def send(self, buffers: list[Buffer], *, stall: float) -> None:
        write = self._session.library.write
        for piece in _pieces(buffers):
            left = memoryview(piece)
            try:
                while left:
                    left = left[write(left[:RECORD]) :]
            except ssl.SSLError as error:
                raise self._ending(error) from error
            super().send([self._session.outgoing.read()], stall=stall)

    def _read(self, flags: int) -> bytes:
        if self._has_ended:
            return b""
        encrypted = super()._read(flags)
        if encrypted:
            self._session.incoming.write(encrypted)
        else:
            self._session.incoming.write_eof()
        return self._decrypt()

    def _decrypt(self) -> bytes:
        """Return all that can be read; b"" if the peer has said that there will be no more.

        Raises:
            BlockingIOError: nothing can be read yet.
        """
        parts: list[bytes] = []
        try:
            while part := self._session.library.read(READ_SIZE):
                parts.append(part)
            self._has_ended = True
        except ssl.SSLWantReadError:
            if not parts:
                raise BlockingIOError from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._has_ended = True
        return b"".join(parts)

    def _select(self, seconds: float) -> int:
        return selectors.EVENT_READ if self._has_ended else super()._select(seconds)

    def _ending(self, error: OSError | None) -> OSError:
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return super()._ending(None)
        if isinstance(error, ssl.SSLError) and not self._interrupted:
            what = "The peer ended the connection" if is_alert(error) else "TLS was broken"
            return TlsFailed(f"{what}: {say_cause(error)}.")
        return super()._ending(error)

    def close(self) -> None:
        """End the session in order if the system takes it at once, and give the socket back."""
        if not self._interrupted:
            with contextlib.suppress(OSError, ValueError):
                self._session.library.unwrap()
            with contextlib.suppress(ValueError):
                _say_farewell(self._session, self._socket)
        super().close()


def _pieces(buffers: Sequence[Buffer]) -> Iterator[bytes]:
    """Yield the buffers joined to pieces: each small one would be a TLS record of its own."""
    joined: list[Buffer] = []
    length = 0
    for buffer in buffers:
        joined.append(buffer)
        length += len(buffer)
        if length >= PIECE:
            yield b"".join(joined)
            joined, length = [], 0
    if length:
        yield b"".join(joined)
