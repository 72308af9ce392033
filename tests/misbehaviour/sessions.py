"""TLS that is wrong: certificates, versions, handshakes (PS3.15 annex B)."""

import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import trustme

from sender.negotiation.outcomes import AssociationKind, Ended, Phase
from tests.misbehaviour.catalogue import (
    DELIVERED,
    NEGOTIATING,
    SENT,
    UNKNOWN,
    Act,
    Group,
    Misbehaviour,
    broken,
)
from tests.misbehaviour.dialogue import Dialogue

GOOD = "good"
ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Authority:
    """Certificates for acceptors, and the authority that a requestor trusts."""

    folder: Path

    @cached_property
    def ca(self) -> trustme.CA:
        return trustme.CA()

    @cached_property
    def ca_file(self) -> str:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(path))
        return str(path)

    @cached_property
    def contexts(self) -> dict[str, ssl.SSLContext]:
        """The acceptors' sides by name."""
        past, soon = datetime.now(UTC) - timedelta(days=9), datetime.now(UTC) - timedelta(days=1)
        ahead = datetime.now(UTC) + timedelta(days=9)
        issue = self.ca.issue_cert
        asking = _server(issue(ADDRESS))
        asking.verify_mode = ssl.CERT_REQUIRED
        self.ca.configure_trust(asking)
        return {
            GOOD: _server(issue(ADDRESS)),
            "TLS 1.2": _server(issue(ADDRESS), only=ssl.TLSVersion.TLSv1_2),
            "another authority": _server(trustme.CA().issue_cert(ADDRESS)),
            "another name": _server(issue("pacs.example")),
            "expired": _server(issue(ADDRESS, not_before=past, not_after=soon)),
            "not valid yet": _server(issue(ADDRESS, not_before=ahead, not_after=ahead + _DAY)),
            "TLS 1.1": _old_server(issue(ADDRESS)),
            "a certificate of ours": asking,
            "no common cipher": _server(issue(ADDRESS), ciphers="NULL-SHA256:@SECLEVEL=0"),
        }


_DAY = timedelta(days=1)


def _server(
    certificate: trustme.LeafCert, *, only: ssl.TLSVersion | None = None, ciphers: str = ""
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if ciphers:
        only = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
    if only:
        context.minimum_version = context.maximum_version = only
    return context


def _old_server(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = _server(certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


FAILED = replace(NEGOTIATING, kind=AssociationKind.TLS_FAILED, phase=Phase.TLS)


def sessions() -> Iterator[Misbehaviour]:
    """Yield peers whose TLS is wrong, and those that speak none where we do, or the reverse."""
    serve = _accept_and_serve
    for name in (GOOD, "TLS 1.2"):
        yield _through(name, serve, DELIVERED, tls=name)
    for name, says in (
        ("another authority", "certificate"),
        ("another name", "certificate"),
        ("expired", "certificate has expired"),
        ("not valid yet", "not yet valid"),
        ("TLS 1.1", "handshake"),
        ("no common cipher", "handshake"),
    ):
        yield _through(name, serve, replace(FAILED, says=says), tls=name)
    lost = replace(FAILED, kind=AssociationKind.CONNECTION_LOST)
    for name, act, expected in (
        ("no TLS, a DICOM answer", _answering(b"\x07\0\0\0\0\x04\0\0\2\2"), FAILED),
        ("no TLS, HTTP", _answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), FAILED),
        ("an alert", _answering(b"\x15\x03\x03\0\x02\x02\x28"), FAILED),
        ("noise", _answering(b"\xff" * 64), FAILED),
        ("closed in the handshake", _close_in_handshake, lost),
        ("reset in the handshake", _reset_in_handshake, lost),
    ):
        yield _through(name, act, expected)
    silent = replace(FAILED, kind=AssociationKind.TIMED_OUT)
    yield replace(_through("silence", Dialogue.stay_silent, silent), hangs=True)
    half = _answering(b"\x16\x03\x03\0\x7a\x02\0")
    yield replace(_through("half a record", half, silent), hangs=True)
    # In TLS 1.3 we have finished when the peer looks for our certificate.
    refused = replace(NEGOTIATING, kind=AssociationKind.CONNECTION_LOST)
    told = replace(refused, kind=AssociationKind.TLS_FAILED)
    name = "a certificate of ours"
    yield _through(f"{name} is wanted", serve, replace(told, or_else=refused), tls=name)
    yield _through(
        "plain bytes in the middle", _speak_plain, broken(Ended.CONNECTION_LOST, UNKNOWN), tls=GOOD
    )
    yield _through(
        "TLS ended in order in the middle", _close_session,
        broken(Ended.CONNECTION_LOST, SENT, UNKNOWN), tls=GOOD,
    )  # fmt: skip


def _through(name: str, act: Act, expected: object, *, tls: str = "") -> Misbehaviour:
    return Misbehaviour(name, Group.TLS, act, expected, tls=tls, asks_tls=True)  # type: ignore[arg-type]


def _accept_and_serve(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.serve()


def _answering(content: bytes) -> Act:
    def act(dialogue: Dialogue) -> None:
        dialogue.connection.recv(1 << 16)
        dialogue.send(content)
        dialogue.drain()

    return act


def _close_in_handshake(dialogue: Dialogue) -> None:
    dialogue.connection.recv(1 << 16)
    dialogue.hang_up()


def _reset_in_handshake(dialogue: Dialogue) -> None:
    dialogue.connection.recv(1 << 16)
    dialogue.reset()


def _speak_plain(dialogue: Dialogue) -> None:
    """Let something between us and the peer put bytes of its own into the stream."""
    import os

    dialogue.accept_all()
    dialogue.read_request()
    os.write(dialogue.connection.fileno(), b"\x04\0\0\0\0\x10" + bytes(16))
    dialogue.stay_silent()


def _close_session(dialogue: Dialogue) -> None:
    """Say close_notify after the second request, and close."""
    dialogue.accept_all()
    dialogue.serve(1)
    dialogue.read_request()
    assert isinstance(dialogue.connection, ssl.SSLSocket)
    dialogue.connection.settimeout(1)
    dialogue.connection.unwrap().close()
