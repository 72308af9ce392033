"""TLS from the command line to a real peer: DCMTK's storescp with a certificate."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from sender.models import Association, Destination
from sender.services.records import verify_record
from tests import peers
from tests.commands.conftest import Run


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """An authority whose certificate stands in ca.pem."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


@pytest.fixture
def storescp(tmp_path: Path, authority: trustme.CA) -> Iterator[peers.RunningPeer]:
    """A storescp that speaks TLS and asks for no certificate of ours."""
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    folder = tmp_path / "peer"
    folder.mkdir()
    options = ("+tls", str(tmp_path / "key.pem"), str(tmp_path / "cert.pem"), "-ic")
    with peers.storescp(folder, *options) as running:
        yield running


BASE = ("destination", "add", "pacs", "--ae-title", "STORESCP", "--address", "127.0.0.1")


def add(run: Run, port: int, *tls: str) -> int:
    return run(*BASE, "--port", str(port), "--retries", "0", "--tls", *tls).code


@pytest.mark.peers
def test_a_send_through_tls_is_on_record_with_its_session(
    run: Run, live_db: None, storescp: peers.RunningPeer, folder: Path, tmp_path: Path
) -> None:
    (folder / "notes.txt").unlink()
    assert add(run, storescp.port, "--tls-ca", str(tmp_path / "ca.pem")) == 0
    assert run("send", str(folder), "--to", "pacs", "--inline", "--json").code == 0
    assert len(list(storescp.stored.iterdir())) == 3
    row = Association.objects.get()
    assert row.tls_session is not None
    assert row.tls_session.version.startswith("TLSv1.")
    assert row.tls_session.peer_certificate_expires_at is not None
    assert row.tls_us is not None
    assert verify_record(row)


@pytest.mark.peers
def test_an_authority_that_did_not_issue_it_sends_nothing(
    run: Run, live_db: None, storescp: peers.RunningPeer, folder: Path, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    assert add(run, storescp.port, "--tls-ca", str(tmp_path / "other.pem")) == 0
    done = run("send", str(folder), "--to", "pacs", "--inline", "--json")
    assert done.code == 1
    assert done.document["instances"]["sent"] == 0
    assert not list(storescp.stored.iterdir())
    assert run("history", "--json").document[0]["outcome"] == "tls_failed"


@pytest.mark.django_db
def test_files_that_can_not_be_used_are_refused(
    run: Run, tmp_path: Path, authority: trustme.CA
) -> None:
    (tmp_path / "no.pem").write_text("hello")
    for options in (
        ("--tls-ca", str(tmp_path / "gone.pem")),
        ("--tls-ca", str(tmp_path / "no.pem")),
        ("--tls-cert", str(tmp_path / "ca.pem"), "--tls-key", str(tmp_path / "no.pem")),
        ("--tls-key", str(tmp_path / "ca.pem")),
    ):
        assert add(run, 104, *options) == 2
    assert not Destination.objects.exists()
    assert add(run, 104, "--tls-ca", str(tmp_path / "ca.pem")) == 0
    pacs = Destination.objects.get()
    assert pacs.tls
    assert pacs.revisions.get().tls


@pytest.mark.django_db
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_passphrase(
    run: Run, tmp_path: Path, authority: trustme.CA
) -> None:
    issued = authority.issue_cert("sender.example")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked, cert = tmp_path / "locked.pem", tmp_path / "cert.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    issued.cert_chain_pems[0].write_to_path(str(cert))
    done = run(*BASE, "--port", "104", "--tls", "--tls-cert", str(cert), "--tls-key", str(locked))
    assert done.code == 2
    assert "The key is encrypted;" in done.said
    assert not Destination.objects.exists()
