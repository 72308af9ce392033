"""TLS changes the wire alone; what does not hold is told, and nothing travels without it."""

import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from sender.dicom.requestor import NetworkAssociation, NetworkRequestor, StoreRequest
from sender.negotiation.outcomes import AssociationKind, Ended, InstanceOutcome, Phase
from sender.negotiation.peers import Peer, Timeouts, TlsSettings
from tests.dicom.test_requestor import ALL, CT, DATA, PROPOSAL, QUICK, well_behaved
from tests.scripted_acceptor import Conversation, acceptor

AUTHORITY = trustme.CA()
OTHER = trustme.CA()


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The authority that issued the peer's certificate."""
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def server(name: str = "127.0.0.1", *, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def associate(port: int, settings: TlsSettings, timeouts: Timeouts = QUICK) -> NetworkAssociation:
    peer = Peer("127.0.0.1", port, "PEER", timeouts=timeouts, tls=settings)
    return NetworkRequestor().associate(peer, PROPOSAL)


def accept(conversation: Conversation) -> None:
    conversation.accept(ALL)
    well_behaved(conversation)


def store(
    association: NetworkAssociation, size: int = len(DATA), count: int = 3
) -> list[InstanceOutcome]:
    data = (DATA * (size // len(DATA) + 1))[:size]
    requests = (StoreRequest(CT, f"1.2.3.{n}", 1, data) for n in range(count))
    stored = [outcome.outcome for _, outcome in association.store_many(requests)]
    association.release()
    return stored


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_instances_travel_and_the_session_is_on_record(
    version: ssl.TLSVersion, ca_file: str
) -> None:
    context = server()
    context.minimum_version = context.maximum_version = version
    with acceptor(accept, tls=context) as peer:
        association = associate(peer.port, TlsSettings(ca_file))
        assert store(association) == [InstanceOutcome.SENT] * 3
    found = association.outcome()
    assert (found.kind, found.ended) == (AssociationKind.ESTABLISHED, Ended.RELEASED)
    assert found.connection.tls_version == version.name.replace("_", ".")
    assert found.connection.tls_cipher
    assert len(found.connection.peer_certificate_sha256) == 64
    assert found.connection.peer_certificate_expires_at is not None
    assert Phase.TLS in found.seconds


def test_large_data_travel_whole(ca_file: str) -> None:
    received: list[int] = []

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        asked = conversation.read_request()
        received.append(len(asked.data))
        conversation.answer(asked)
        conversation.finish()

    with acceptor(script, tls=server()) as peer:
        association = associate(peer.port, TlsSettings(ca_file), Timeouts())
        stored = store(association, size=9_000_001, count=1)
    assert (stored, received) == ([InstanceOutcome.SENT], [9_000_001])


@pytest.mark.parametrize(
    ("name", "authority", "server_name", "said"),
    [
        ("127.0.0.1", OTHER, "", "unable to get local issuer certificate"),
        ("pacs.example", AUTHORITY, "", "127.0.0.1"),
        ("pacs.example", AUTHORITY, "other.example", "other.example"),
    ],
    ids=["unknown authority", "another name", "not the expected name"],
)
def test_a_certificate_that_does_not_hold_ends_it_before_anything_is_said(
    name: str, authority: trustme.CA, server_name: str, said: str, ca_file: str
) -> None:
    with acceptor(accept, tls=server(name, authority=authority)) as peer:
        found = associate(peer.port, TlsSettings(ca_file, server_name=server_name)).outcome()
        assert all(conversation.received == [] for conversation in peer.conversations)
    assert (found.kind, found.phase, found.ended) == (
        AssociationKind.TLS_FAILED,
        Phase.TLS,
        None,
    )
    assert said in found.detail
    assert found.pdus == ()


def test_the_expected_name_may_differ_from_the_address(ca_file: str) -> None:
    with acceptor(accept, tls=server("pacs.example")) as peer:
        association = associate(peer.port, TlsSettings(ca_file, server_name="pacs.example"))
        assert store(association) == [InstanceOutcome.SENT] * 3


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_shown_where_it_is_asked_for(
    version: ssl.TLSVersion, ca_file: str, tmp_path: Path
) -> None:
    context = server()
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    mine = AUTHORITY.issue_cert("sender.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    mine.cert_chain_pems[0].write_to_path(str(cert))
    mine.private_key_pem.write_to_path(str(key))
    with acceptor(accept, tls=context) as peer:
        without = associate(peer.port, TlsSettings(ca_file)).outcome()
        with_it = associate(peer.port, TlsSettings(ca_file, str(cert), str(key)))
        assert store(with_it) == [InstanceOutcome.SENT] * 3
    assert without.kind in (AssociationKind.TLS_FAILED, AssociationKind.CONNECTION_LOST)


def test_old_versions_of_tls_are_refused(ca_file: str) -> None:
    import warnings

    context = server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    with acceptor(accept, tls=context) as peer:
        assert associate(peer.port, TlsSettings(ca_file)).outcome().kind is (
            AssociationKind.TLS_FAILED
        )


def test_a_handshake_that_is_never_answered_ends_in_time(ca_file: str) -> None:
    with acceptor(lambda conversation: conversation.stay_silent()) as peer:
        began = time.monotonic()
        found = associate(peer.port, TlsSettings(ca_file)).outcome()
        assert time.monotonic() - began < 2
    assert (found.kind, found.phase) == (AssociationKind.TIMED_OUT, Phase.TLS)


def test_a_peer_without_tls_is_never_spoken_to_in_plain(ca_file: str) -> None:
    with acceptor(accept) as peer:
        found = associate(peer.port, TlsSettings(ca_file)).outcome()
        heard = b"".join(b"".join(c.received) for c in peer.conversations)
    assert found.kind in (
        AssociationKind.TLS_FAILED,
        AssociationKind.CONNECTION_LOST,
        AssociationKind.TIMED_OUT,
    )
    assert b"1.2.840.10008" not in heard


def test_an_interruption_says_nothing_more_in_plain(ca_file: str) -> None:
    """SSLSocket.shutdown would drop the encryption: whatever followed would travel in plain."""
    import threading

    asked = threading.Event()
    raw: list[bytes] = []

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_request()
        asked.set()
        plain = conversation.connection.detach()  # what comes now is read without TLS
        with socket.socket(fileno=plain) as connection:
            connection.settimeout(2)
            while part := connection.recv(65536):
                raw.append(part)

    with acceptor(script, tls=server()) as peer:
        association = associate(peer.port, TlsSettings(ca_file))

        def interrupt() -> None:
            asked.wait(5)
            association.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        request = StoreRequest(CT, "1.2.3.1", 1, DATA)
        (stored,) = [outcome for _, outcome in association.store_many(iter([request]))]
        association.release()
        thread.join()
    assert stored.outcome is InstanceOutcome.UNKNOWN
    assert not b"".join(raw).startswith(b"\x07")


@pytest.mark.parametrize("wrong", ["ca_file", "cert_file"])
def test_files_that_are_gone_are_told(wrong: str, ca_file: str, tmp_path: Path) -> None:
    settings = replace(TlsSettings(ca_file), **{wrong: str(tmp_path / "gone.pem")})  # type: ignore[arg-type]
    with acceptor(accept, tls=server()) as peer:
        found = associate(peer.port, settings).outcome()
    assert found.kind is AssociationKind.TLS_FAILED
    assert "gone.pem" in found.detail
