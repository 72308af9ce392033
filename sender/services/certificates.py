"""Certificates: the chain that a peer presented, held or not, and when theirs and ours expire."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone

from sender.models import CertificateRole, Destination, DestinationCertificate
from sender.models.certificates import expiring_before
from sender.negotiation.texts import printable

SEEN_EVERY = timedelta(hours=1)
"""A chain that stays the same is noted that often."""
LOOK_EVERY = timedelta(hours=6)
"""Our own files are read that often."""
LOOK_SOON = timedelta(minutes=1)
"""So often while one of them has expired or can't be read: it may have been replaced."""
MOST_IN_CHAIN = 16
MOST_AUTHORITIES = 200
LONGEST_TEXT = 400
_NO_NAMES = (
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    ValueError,
)
"""What is raised for a certificate without names, or with names that can't be read."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is shown of a certificate, or why it can't be read."""

    sha256: str = ""
    subject: str = ""
    issuer: str = ""
    names: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    problem: str = ""


def facts_of(encoded: bytes) -> Facts:
    """Return what is shown of a certificate in DER."""
    try:
        return _facts(x509.load_der_x509_certificate(encoded))
    except ValueError as error:
        return Facts(problem=_text(f"It can't be decoded: {error}"))


def _facts(certificate: x509.Certificate) -> Facts:
    return Facts(
        sha256=certificate.fingerprint(SHA256()).hex(),
        subject=_text(certificate.subject.rfc4514_string()),
        issuer=_text(certificate.issuer.rfc4514_string()),
        names=_text(_names(certificate)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _names(certificate: x509.Certificate) -> str:
    """Return the host names and addresses for which a certificate holds."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except _NO_NAMES:
        return ""
    names = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return ", ".join([*names, *map(str, addresses)])


def _text(value: str) -> str:
    return printable(value)[:LONGEST_TEXT]


def note_chain(
    destination_id: int, chain: tuple[bytes, ...], *, holds: bool, association: UUID
) -> None:
    """Keep the chain that a peer presented in a handshake, whether it held or not."""
    if not chain:
        return
    facts = [facts_of(encoded) for encoded in chain[:MOST_IN_CHAIN]]
    rows = DestinationCertificate.objects.filter(
        destination_id=destination_id, role=CertificateRole.THEIRS
    )
    known = list(rows.values_list("sha256", "holds", "seen_at"))
    is_same = [(sha, held) for sha, held, _ in known] == [(one.sha256, holds) for one in facts]
    if is_same and timezone.now() - known[0][2] < SEEN_EVERY:
        return
    _replace(destination_id, CertificateRole.THEIRS, facts, holds=holds, association=association)


def look_after_files(now: datetime) -> None:
    """Read our own certificates and the authorities of destinations, now and then."""
    for destination in Destination.objects.filter(tls=True, enabled=True):
        files = destination.certificates.exclude(role=CertificateRole.THEIRS)
        seen = files.aggregate(at=Max("seen_at"))["at"]
        is_bad = files.filter(~Q(problem="") | Q(not_after__lt=now)).exists()
        every = LOOK_SOON if is_bad else LOOK_EVERY
        if seen is not None and timedelta() <= now - seen < every:
            continue
        for role, path in (
            (CertificateRole.OURS, destination.tls_cert_file),
            (CertificateRole.AUTHORITY, destination.tls_ca_file),
        ):
            _replace(destination.pk, role, _read(path) if path else [])


def forget_files(destination_id: int) -> None:
    """Have the files of a destination read soon, since they are others now."""
    rows = DestinationCertificate.objects.filter(destination_id=destination_id)
    rows.exclude(role=CertificateRole.THEIRS).delete()


def _read(path: str) -> list[Facts]:
    """Return the certificates in a PEM file, or why it has none."""
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it holds no certificate"
        return [Facts(problem=_text(f"{path} can't be read: {cause}"))]
    return [facts_of(one.public_bytes(Encoding.DER)) for one in found[:MOST_AUTHORITIES]]


def _replace(
    destination_id: int,
    role: CertificateRole,
    facts: Iterable[Facts],
    *,
    holds: bool = True,
    association: UUID | None = None,
) -> None:
    with transaction.atomic():
        Destination.objects.select_for_update().get(pk=destination_id)
        DestinationCertificate.objects.filter(destination_id=destination_id, role=role).delete()
        DestinationCertificate.objects.bulk_create(
            [
                DestinationCertificate(
                    destination_id=destination_id,
                    role=role,
                    position=position,
                    sha256=one.sha256,
                    subject=one.subject,
                    issuer=one.issuer,
                    names=one.names,
                    not_before=one.not_before,
                    not_after=one.not_after,
                    problem=one.problem,
                    holds=holds,
                    association_uid=association,
                    seen_at=timezone.now(),
                )
                for position, one in enumerate(facts, start=1)
            ]
        )


def expiring() -> list[DestinationCertificate]:
    """Return certificates of enabled destinations that expire within 30 days or can't be read.

    Of several authorities side by side only the last to expire counts: the old one may go.
    """
    rows = DestinationCertificate.objects.filter(
        destination__enabled=True, destination__tls=True
    ).select_related("destination")
    found: list[DestinationCertificate] = []
    authorities: dict[int, DestinationCertificate] = {}
    border = expiring_before()
    for row in rows:
        if row.role != CertificateRole.AUTHORITY or row.not_after is None:
            if row.problem or (row.not_after is not None and row.not_after < border):
                found.append(row)
            continue
        last = authorities.get(row.destination_id)
        if last is None or last.not_after is None or row.not_after > last.not_after:
            authorities[row.destination_id] = row
    found += [row for row in authorities.values() if row.not_after and row.not_after < border]
    return sorted(found, key=lambda row: (row.not_after is not None, row.not_after))
