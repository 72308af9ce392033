"""TLS for associations (PS3.15 annex B.9): verified, TLS 1.2 or newer, never a fall-back to plain.

TLS changes the wire alone: negotiation, sending and the truth rule are those of a plain connection.
"""

import hashlib
import selectors
import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from sender.dicom.wire import ConnectionLost, NoProgress, Wire
from sender.negotiation.peers import TlsSettings

LARGEST_RECORDS = 1 << 20
"""Bytes handed to the TLS library at once."""


class TlsFailed(OSError):
    """The handshake failed, or the peer ended the connection by a TLS alert."""


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a handshake agreed, and which certificate the peer presented."""

    version: str = ""
    cipher: str = ""
    certificate_sha256: str = ""
    expires_at: datetime | None = None


def make_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the context of a destination.

    Raises:
        TlsFailed: a file is missing or is no certificate or key; the message says which.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise TlsFailed(f"The authorities in {settings.ca_file}: {_cause(error)}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
        except (OSError, ssl.SSLError) as error:
            raise TlsFailed(
                f"Our certificate {settings.cert_file} and its key: {_cause(error)}."
            ) from error
    return context


def secure(
    connection: socket.socket, settings: TlsSettings, *, address: str, seconds: float
) -> ssl.SSLSocket:
    """Shake hands within `seconds`; the peer's certificate must hold for its name.

    Raises:
        TlsFailed: no agreement, or the certificate does not hold.
        NoProgress: the peer did not finish in time.
        ConnectionLost: it closed the connection.
    """
    context = make_context(settings)
    name = settings.server_name or address
    connection.setblocking(False)
    secured = context.wrap_socket(connection, server_hostname=name, do_handshake_on_connect=False)
    try:
        _shake_hands(secured, time.monotonic() + seconds)
    except BaseException:
        secured.close()
        raise
    return secured


def _shake_hands(secured: ssl.SSLSocket, deadline: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(secured, selectors.EVENT_READ)
        while wanted := _take_step(secured):
            selector.modify(secured, wanted)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise NoProgress("The peer did not finish the TLS handshake in time.")


def _take_step(secured: ssl.SSLSocket) -> int:
    """Go on with the handshake; return what it waits for, 0 once it is done."""
    try:
        secured.do_handshake()
    except ssl.SSLWantReadError:
        return selectors.EVENT_READ
    except ssl.SSLWantWriteError:
        return selectors.EVENT_WRITE
    except ssl.SSLCertVerificationError as error:
        raise TlsFailed(f"The peer's certificate does not hold: {error.verify_message}.") from error
    except ssl.SSLEOFError as error:
        raise ConnectionLost("The peer closed the connection.") from error
    except ssl.SSLError as error:
        raise TlsFailed(f"The TLS handshake failed: {_cause(error)}.") from error
    except OSError as error:
        raise ConnectionLost(f"The connection broke: {_cause(error)}.") from error
    return 0


def facts_of(secured: ssl.SSLSocket) -> TlsFacts:
    """Return what is on record of a secured connection."""
    cipher = secured.cipher()
    encoded = secured.getpeercert(binary_form=True) or b""
    expires = (secured.getpeercert() or {}).get("notAfter")
    return TlsFacts(
        version=secured.version() or "",
        cipher=cipher[0] if cipher else "",
        certificate_sha256=hashlib.sha256(encoded).hexdigest() if encoded else "",
        expires_at=datetime.fromtimestamp(ssl.cert_time_to_seconds(str(expires)), UTC)
        if expires
        else None,
    )


class TlsWire(Wire):
    """A wire through TLS."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        super().__init__(connection)
        self._secured = connection

    def _write(self, pending: list[memoryview]) -> int:
        # The library may want the same bytes again, so they are joined from the front each time.
        joined, length = [], 0
        for buffer in pending:
            joined.append(buffer[: LARGEST_RECORDS - length])
            length += len(joined[-1])
            if length >= LARGEST_RECORDS:
                break
        try:
            return self._secured.send(joined[0] if len(joined) == 1 else b"".join(joined))
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError) as error:
            raise BlockingIOError from error

    def _read(self) -> bytes:
        try:
            return self._secured.recv(LARGEST_RECORDS)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLEOFError:
            return b""

    def _is_readable(self, seconds: float) -> bool:
        return self._secured.pending() > 0 or super()._is_readable(seconds)

    def _select(self, deadline: float, reason: str) -> int:
        if self._secured.pending():
            return selectors.EVENT_READ
        return super()._select(deadline, reason)

    def _ending(self, error: OSError | None) -> OSError:
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return super()._ending(None)
        if isinstance(error, ssl.SSLError) and not self._interrupted:
            return TlsFailed(f"The peer ended the connection: {_cause(error)}.")
        return super()._ending(error)


def _cause(error: OSError) -> str:
    """Say what went wrong, without the library's line numbers."""
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return str(reason).replace("_", " ").lower()
