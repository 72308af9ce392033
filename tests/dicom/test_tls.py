"""TLS changes the wire alone; what does not hold is told, and nothing travels without it."""

import contextlib
import socket
import ssl
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
import trustme

from sender.dicom.evidence import Evidence
from sender.dicom.exchange import Ending, Exchange
from sender.dicom.pacers import LimitPacer
from sender.dicom.requestor import NetworkAssociation, NetworkRequestor, StoreRequest
from sender.dicom.trust import TlsFailed
from sender.dicom.wire import ConnectionLost, Wire
from sender.negotiation.buckets import Limits
from sender.negotiation.outcomes import AssociationKind, Ended, InstanceOutcome, Phase
from sender.negotiation.peers import Peer, Timeouts, TlsSettings
from sender.negotiation.stalls import Whose
from tests.acceptance import user_information
from tests.dicom.test_requestor import (
    ALL,
    CT,
    DATA,
    PROPOSAL,
    QUICK,
    hang_up,
    noise,
    reset,
    say_abort,
    say_nothing,
    well_behaved,
)  # fmt: skip
from tests.scripted_acceptor import Conversation, Script, abort, acceptor

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
    assert not found.detail.endswith("..")
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


TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def leave(conversation: Conversation) -> None:
    conversation.read_pdu()


def break_off(conversation: Conversation) -> None:
    conversation.read_pdu()
    conversation.reset()


def begin_an_answer(conversation: Conversation) -> None:
    conversation.read_pdu()
    conversation.send(b"\x02\x00")


def abort_at_once(conversation: Conversation) -> None:
    conversation.read_pdu()
    conversation.send(abort(2, 2))


@pytest.mark.parametrize(
    ("script", "version", "with_ours", "is_told"),
    [
        (leave, TLS_1_3, False, True),
        (break_off, TLS_1_3, False, True),
        (leave, TLS_1_2, False, False),
        (leave, TLS_1_3, True, False),
        (begin_an_answer, TLS_1_3, False, False),
        (abort_at_once, TLS_1_3, False, False),
    ],
)
def test_a_peer_that_leaves_without_an_answer_may_miss_our_certificate(
    script: Script,
    version: ssl.TLSVersion,
    with_ours: bool,
    is_told: bool,
    ca_file: str,
    tmp_path: Path,
) -> None:
    context = server()
    context.minimum_version = context.maximum_version = version
    ours = tmp_path / "ours.pem"
    AUTHORITY.issue_cert("sender.example").private_key_and_cert_chain_pem.write_to_path(str(ours))
    settings = TlsSettings(ca_file, str(ours) if with_ours else "")
    with acceptor(script, tls=context) as peer:
        found = associate(peer.port, settings).outcome()
    assert found.kind in (AssociationKind.CONNECTION_LOST, AssociationKind.ABORTED_BY_PEER)
    assert ("may ask for a client certificate" in found.detail) is is_told


def test_a_peer_that_asks_for_our_certificate_is_told_so_in_any_case(ca_file: str) -> None:
    """Whether its alert or the end of the connection comes first is a matter of luck."""
    context = server()
    context.minimum_version = context.maximum_version = TLS_1_3
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    with acceptor(accept, tls=context) as peer:
        found = associate(peer.port, TlsSettings(ca_file)).outcome()
    assert found.kind in (AssociationKind.TLS_FAILED, AssociationKind.CONNECTION_LOST)
    assert "client certificate" in found.detail or "certificate required" in found.detail


CLIENTS = trustme.CA()


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (OTHER.issue_cert("sender.example"), "does not trust who issued our certificate"),
        (
            CLIENTS.issue_cert("sender.example", not_after=datetime(2020, 1, 1, tzinfo=UTC)),
            "our certificate has expired",
        ),
        (None, "certificate of ours"),
    ],
    ids=["of an unknown authority", "expired", "none"],
)
def test_what_a_peer_has_against_our_certificate_is_told_as_what_it_is(
    ours: trustme.LeafCert | None,
    said: str,
    version: ssl.TLSVersion,
    ca_file: str,
    tmp_path: Path,
) -> None:
    context = server()
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    CLIENTS.configure_trust(context)
    path = tmp_path / "ours.pem"
    if ours is not None:
        ours.private_key_and_cert_chain_pem.write_to_path(str(path))
    with acceptor(accept, tls=context) as peer:
        found = associate(peer.port, TlsSettings(ca_file, str(path) if ours else "")).outcome()
    assert found.kind is AssociationKind.TLS_FAILED
    assert said in found.detail


def garble(conversation: Conversation) -> None:
    """Answer the proposal with a TLS record that holds noise."""
    conversation.read_pdu()
    with socket.socket(fileno=conversation.connection.detach()) as plain:
        plain.sendall(bytes.fromhex("17 03 03 0040") + bytes(64))
        plain.settimeout(2)
        while plain.recv(4096):
            pass


def test_what_can_not_be_decrypted_is_no_word_of_the_peer(ca_file: str) -> None:
    with acceptor(garble, tls=server()) as peer:
        found = associate(peer.port, TlsSettings(ca_file)).outcome()
    assert found.kind is AssociationKind.TLS_FAILED
    assert "decryption failed" in found.detail
    assert "The peer ended" not in found.detail


def answer_as_of_old(conversation: Conversation) -> None:
    """Choose TLS 1.1 in a Server Hello, as who has never heard of newer versions does."""
    conversation.connection.recv(4096)
    hello = bytes.fromhex("0302") + bytes(range(32)) + b"\0" + bytes.fromhex("c014 00")
    shake = b"\x02" + len(hello).to_bytes(3, "big") + hello
    conversation.send(bytes.fromhex("16 0302") + len(shake).to_bytes(2, "big") + shake)
    conversation.connection.recv(4096)


def say_something_else(conversation: Conversation) -> None:
    conversation.connection.recv(4096)
    conversation.send(abort(2, 1))
    conversation.connection.recv(4096)


@pytest.mark.parametrize(
    ("script", "said"), [(answer_as_of_old, "from 1.2 on"), (say_something_else, "no TLS")]
)
def test_a_peer_that_is_too_old_or_plain_is_told_as_such(
    script: Script, said: str, ca_file: str
) -> None:
    with acceptor(script) as peer:
        found = associate(peer.port, TlsSettings(ca_file)).outcome()
    assert found.kind is AssociationKind.TLS_FAILED
    assert said in found.detail


def test_old_versions_of_tls_are_refused(ca_file: str) -> None:
    import warnings

    context = server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    with acceptor(accept, tls=context) as peer:
        found = associate(peer.port, TlsSettings(ca_file)).outcome()
    assert found.kind is AssociationKind.TLS_FAILED
    assert "no version of TLS from 1.2 on" in found.detail


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


# Whom we trust, and what was presented


def write_pem(path: Path, *authorities: trustme.CA) -> str:
    path.write_bytes(b"".join(authority.cert_pem.bytes() for authority in authorities))
    return str(path)


def der(blob: trustme.Blob) -> bytes:
    return ssl.PEM_cert_to_DER_cert(blob.bytes().decode("ascii"))


@pytest.mark.parametrize("issuer", [AUTHORITY, OTHER], ids=["old", "new"])
@pytest.mark.parametrize("files", [1, 2], ids=["in one file", "in a file each"])
def test_an_old_and_a_new_authority_are_trusted_side_by_side(
    issuer: trustme.CA, files: int, tmp_path: Path
) -> None:
    if files == 1:
        settings = TlsSettings(write_pem(tmp_path / "both.pem", AUTHORITY, OTHER))
    else:
        old = write_pem(tmp_path / "old.pem", AUTHORITY)
        settings = TlsSettings(old, ca_files=(write_pem(tmp_path / "new.pem", OTHER),))
    with acceptor(accept, tls=server(authority=issuer)) as peer:
        assert store(associate(peer.port, settings)) == [InstanceOutcome.SENT] * 3


def test_one_of_several_files_that_is_gone_is_named(ca_file: str, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.pem")
    with acceptor(accept, tls=server()) as peer:
        found = associate(peer.port, TlsSettings(ca_file, ca_files=(gone,))).outcome()
    assert found.kind is AssociationKind.TLS_FAILED
    assert "gone.pem" in found.detail


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("is_trusted", [True, False], ids=["trusted", "not trusted"])
def test_the_chain_is_on_record_whether_it_holds_or_not(
    version: ssl.TLSVersion, is_trusted: bool, tmp_path: Path
) -> None:
    intermediate = AUTHORITY.create_child_ca()
    issued = intermediate.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    issued.configure_cert(context)
    trusted = write_pem(tmp_path / "ca.pem", AUTHORITY if is_trusted else OTHER)
    with acceptor(accept, tls=context) as peer:
        association = associate(peer.port, TlsSettings(trusted))
        assert association.is_open is is_trusted
        association.release()
    found = association.outcome()
    assert found.connection.peer_chain == tuple(der(pem) for pem in issued.cert_chain_pems)
    assert len(found.connection.peer_chain) == 2
    if not is_trusted:
        assert found.kind is AssociationKind.TLS_FAILED
        assert all(conversation.received == [] for conversation in peer.conversations)
        assert len(peer.conversations) == 1, "one handshake tells it all"


def test_the_chain_of_another_name_is_on_record(ca_file: str) -> None:
    with acceptor(accept, tls=server("pacs.example")) as peer:
        found = associate(peer.port, TlsSettings(ca_file)).outcome()
    assert found.kind is AssociationKind.TLS_FAILED
    assert len(found.connection.peer_chain) == 1


def test_the_peers_own_certificate_may_be_all_that_is_trusted(tmp_path: Path) -> None:
    issued = OTHER.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    pinned = tmp_path / "peer.pem"
    issued.cert_chain_pems[0].write_to_path(str(pinned))
    with acceptor(accept, tls=context) as peer:
        assert store(associate(peer.port, TlsSettings(str(pinned)))) == [InstanceOutcome.SENT] * 3
    with acceptor(accept, tls=server(authority=OTHER)) as another:
        found = associate(another.port, TlsSettings(str(pinned))).outcome()
    assert found.kind is AssociationKind.TLS_FAILED, "another certificate of that authority"


def test_a_private_key_with_a_passphrase_is_told_and_asks_nobody(
    ca_file: str, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    mine = AUTHORITY.issue_cert("sender.example")
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    cert = tmp_path / "cert.pem"
    mine.cert_chain_pems[0].write_to_path(str(cert))
    with acceptor(accept, tls=server()) as peer:
        found = associate(peer.port, TlsSettings(ca_file, str(cert), str(locked))).outcome()
    assert found.kind is AssociationKind.TLS_FAILED
    assert "passphrase" in found.detail


# The same engine


def test_small_pdus_and_a_limit_travel_through_tls(ca_file: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL, information=user_information(128))
        well_behaved(conversation)

    with acceptor(script, tls=server()) as peer:
        association = associate(peer.port, TlsSettings(ca_file), Timeouts())
        requests = (StoreRequest(CT, f"1.2.3.{n}", 1, bytes(50_001)) for n in range(3))
        pacer = LimitPacer(Limits(bytes_per_second=1_000_000))
        stored = [o.outcome for _, o in association.store_many(requests, pacer=pacer)]
        association.release()
    assert stored == [InstanceOutcome.SENT] * 3
    assert association.outcome().ended is Ended.RELEASED


@pytest.mark.parametrize(
    ("ending", "ended"),
    [
        (hang_up, Ended.CONNECTION_LOST),
        (reset, Ended.CONNECTION_LOST),
        (say_abort, Ended.ABORTED_BY_PEER),
        (say_nothing, Ended.TIMED_OUT),
        (noise, Ended.ABORTED_BY_US),
    ],
)
def test_what_a_peer_does_wrong_is_the_same_through_tls(
    ending: Script, ended: Ended, ca_file: str
) -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.answer(conversation.read_request())
        ending(conversation)

    with acceptor(script, tls=server()) as peer:
        association = associate(peer.port, TlsSettings(ca_file))
        stored = store(association)
    assert stored == [InstanceOutcome.SENT, InstanceOutcome.UNKNOWN]
    assert association.outcome().ended is ended


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose it is")
def test_a_stall_through_tls_says_whose_it_is(ca_file: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.stay_silent()

    with acceptor(script, tls=server()) as peer:
        association = associate(peer.port, TlsSettings(ca_file))
        assert store(association, size=64 << 20, count=1) == [InstanceOutcome.UNKNOWN]
    stall = association.outcome().stall
    assert stall is not None
    assert stall.whose is Whose.PEER_NOT_READING


def test_the_session_is_ended_in_order(ca_file: str) -> None:
    """A peer that sees the connection end without close_notify may call that an attack."""
    ends: list[bytes] = []

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.finish()
        secured = conversation.connection
        assert isinstance(secured, ssl.SSLSocket)
        secured.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        ends.append(secured.recv(100))

    with acceptor(script, tls=server()) as peer:
        associate(peer.port, TlsSettings(ca_file)).release()
    assert ends == [b""]


def test_a_peer_that_ends_the_session_but_not_the_connection_is_gone(ca_file: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_request()
        secured = conversation.connection
        assert isinstance(secured, ssl.SSLSocket)
        secured.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            secured.unwrap()
        conversation.stay_silent()

    with acceptor(script, tls=server()) as peer:
        association = associate(peer.port, TlsSettings(ca_file), Timeouts(answer=20))
        began = time.monotonic()
        assert store(association, count=1) == [InstanceOutcome.UNKNOWN]
        assert time.monotonic() - began < 10
    assert association.outcome().ended is Ended.CONNECTION_LOST


class _Broken:
    """A connection that breaks while the proposal is sent; an alert had come before that."""

    def send(self, *_: object, **__: object) -> None:
        raise ConnectionLost("connection reset by peer")

    def collect(self) -> OSError:
        return TlsFailed("tlsv13 alert certificate required")

    def pending(self) -> bytes:
        return b""


def test_an_alert_says_more_than_the_broken_send_that_it_came_with() -> None:
    evidence = Evidence(Peer("127.0.0.1", 11112, "PEER"), PROPOSAL, None)
    exchange = Exchange(cast(Wire, _Broken()), evidence, QUICK)
    for say in (exchange.read_answer, lambda *_: exchange.release(1.0)):
        with pytest.raises(Ending, match="certificate required") as caught:
            say(b"", 1.0)
        assert caught.value.kind is AssociationKind.TLS_FAILED
