"""The chain that a peer presents is kept, held or not; what expires soon is told."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sender.models import Association, CertificateRole, Destination, DestinationCertificate
from sender.services import certificates, probing
from sender.services.destinations import DestinationFacts, change_destination
from sender.services.enquiries import request_echo
from tests import factories
from tests.scripted_acceptor import Conversation, acceptor

pytestmark = pytest.mark.usefixtures("live_db")
AUTHORITY = trustme.CA(organization_name="Old authority")
OTHER = trustme.CA(organization_name="Another authority")
ONE_EXTENSION, OTHER_EXTENSION = x509.ObjectIdentifier("1.2.3.4"), x509.ObjectIdentifier("1.2.3.5")


def server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return context


def hang_up(conversation: Conversation) -> None:
    conversation.read_pdu()


def at(port: int, folder: Path, *authorities: trustme.CA) -> Destination:
    """Add a destination that trusts some authorities, side by side in one file."""
    path = folder / "authorities.pem"
    path.write_bytes(b"".join(authority.cert_pem.bytes() for authority in authorities))
    return factories.destination(port=port, tls=True, tls_ca_file=str(path), tls_timeout=5)


def echo(to: Destination) -> Association:
    probing.answer_enquiry(request_echo(to, requested_by="test").pk)
    return Association.objects.latest("id")


def test_a_chain_that_does_not_hold_is_kept_and_told(tmp_path: Path) -> None:
    with acceptor(hang_up, tls=server()) as peer:
        to = at(peer.port, tmp_path, OTHER)
        row = echo(to)
    assert row.outcome == "tls_failed"
    found = list(to.certificates.filter(role=CertificateRole.THEIRS))
    assert found
    assert not any(one.holds for one in found)
    assert "Old authority" in found[0].issuer
    assert found[0].names == "127.0.0.1"
    assert (found[0].association_uid, found[0].position) == (row.uid, 1)


def test_an_old_and_a_new_authority_are_trusted_side_by_side(tmp_path: Path) -> None:
    with acceptor(hang_up, tls=server()) as peer:
        to = at(peer.port, tmp_path, OTHER, AUTHORITY)
        row = echo(to)
    assert row.outcome != "tls_failed"
    assert all(one.holds for one in to.certificates.all())


def test_a_new_chain_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    to = at(1, tmp_path, AUTHORITY)
    first, second = (AUTHORITY.issue_cert("127.0.0.1").cert_chain_pems[0].bytes() for _ in range(2))
    for pem in (first, second, second):
        encoded = ssl.PEM_cert_to_DER_cert(pem.decode())
        certificates.note_chain(to.pk, (encoded,), holds=True, association=factories.SOME_UID)
    (only,) = to.certificates.all()
    assert only.sha256 == certificates.facts_of(ssl.PEM_cert_to_DER_cert(second.decode())).sha256


def test_what_is_no_certificate_is_kept_with_the_reason() -> None:
    assert "can't be decoded" in certificates.facts_of(b"noise").problem


def certificate(*names: x509.GeneralName, subject: str = "peer") -> bytes:
    """Return a certificate in DER, as strange as its issuer liked it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.UnrecognizedExtension(ONE_EXTENSION, b"\5\0"), critical=False)
        .add_extension(x509.UnrecognizedExtension(OTHER_EXTENSION, b"\5\0"), critical=False)
    )
    return made.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_what_no_database_takes_in_a_name_is_written_out(tmp_path: Path) -> None:
    encoded = certificate(x509.DNSName("pacs\0.evil\r\n"), subject="a\0b")
    to = at(1, tmp_path, AUTHORITY)
    certificates.note_chain(to.pk, (encoded,), holds=False, association=factories.SOME_UID)
    kept = to.certificates.get()
    assert kept.names == r"pacs\x00.evil\x0d\x0a"
    assert "\0" not in kept.subject + kept.issuer


def test_a_certificate_whose_names_can_not_be_read_is_shown_without() -> None:
    good = certificate(x509.DNSName("pacs"))
    at_name = good.index(b"\x82\x04pacs")
    of_no_type = good[:at_name] + b"\xa3" + good[at_name + 1 :]  # x400Address
    doubled = good.replace(b"\x2a\x03\x05", b"\x2a\x03\x04")
    for encoded in (of_no_type, doubled):
        assert encoded != good
        facts = certificates.facts_of(encoded)
        assert (facts.subject, facts.names, facts.problem) == ("CN=peer", "", "")


def test_our_files_are_read_now_and_then(tmp_path: Path) -> None:
    to = at(1, tmp_path, OTHER, AUTHORITY)
    now = datetime.now(UTC)
    certificates.look_after_files(now)
    subjects = set(to.certificates.values_list("subject", flat=True))
    assert any("Old authority" in subject for subject in subjects)
    (tmp_path / "authorities.pem").unlink()
    certificates.look_after_files(now + timedelta(hours=1))
    assert to.certificates.count() == 2, "not yet"
    certificates.look_after_files(now + timedelta(hours=7))
    (only,) = to.certificates.all()
    assert "can't be read" in only.problem
    assert certificates.expiring() == [only]


def test_a_file_that_had_expired_or_was_gone_is_read_again_soon(tmp_path: Path) -> None:
    """Whoever replaced it must not be told for hours that it has expired."""
    to, now = at(1, tmp_path, AUTHORITY), datetime.now(UTC)
    certificates.look_after_files(now)
    to.certificates.update(not_after=now - timedelta(days=1))
    certificates.look_after_files(now + timedelta(minutes=2))
    assert certificates.expiring() == []
    to.certificates.update(problem="it was gone", not_after=None)
    certificates.look_after_files(now + timedelta(minutes=2))
    assert certificates.expiring() == []


def test_another_file_is_read_at_once(tmp_path: Path) -> None:
    to, now = at(1, tmp_path, AUTHORITY), datetime.now(UTC)
    certificates.look_after_files(now)
    new = tmp_path / "new.pem"
    OTHER.cert_pem.write_to_path(str(new))
    names = DestinationFacts.__dataclass_fields__
    facts = DestinationFacts(**{name: getattr(to, name) for name in names})
    change_destination(to, replace(facts, tls_ca_file=str(new)), actor="anna")
    certificates.look_after_files(now + timedelta(seconds=5))
    assert "Another authority" in to.certificates.get().subject


@pytest.mark.parametrize(("days", "is_told"), [(-1, True), (29, True), (40, False)])
def test_what_expires_within_30_days_is_told(days: int, is_told: bool, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    certificate = AUTHORITY.issue_cert(
        "127.0.0.1", not_before=now - timedelta(days=90), not_after=now + timedelta(days=days)
    )
    encoded = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    to = at(1, tmp_path, AUTHORITY)
    certificates.note_chain(to.pk, (encoded,), holds=True, association=factories.SOME_UID)
    assert bool(certificates.expiring()) is is_told


def test_of_several_authorities_the_last_to_expire_counts(tmp_path: Path) -> None:
    to = at(1, tmp_path, AUTHORITY, OTHER)
    certificates.look_after_files(datetime.now(UTC))
    old = to.certificates.order_by("position")[0]
    DestinationCertificate.objects.filter(pk=old.pk).update(
        not_after=datetime.now(UTC) + timedelta(days=3)
    )
    assert certificates.expiring() == []
    to.certificates.update(not_after=datetime.now(UTC) + timedelta(days=3))
    assert len(certificates.expiring()) == 1
