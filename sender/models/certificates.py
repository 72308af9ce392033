"""Certificates of destinations with TLS: as their peers presented them, and our own."""

from datetime import datetime, timedelta

from django.db import models
from django.utils import timezone

from sender.models.destinations import Destination

WARNING_DAYS = 30


class CertificateRole(models.TextChoices):
    """Whose a certificate is."""

    THEIRS = "theirs", "Presented by the peer"
    OURS = "ours", "Ours"
    AUTHORITY = "authority", "Trusted authority"


class DestinationCertificate(models.Model):
    """One certificate of a destination: the newest chain, the newest files; older rows go.

    Attributes:
        position: in its chain or file, the peer's own certificate first.
        holds: whether the handshake in which it came accepted the chain.
        association_uid: that handshake's association; null for what stands in our files.
        problem: why it can't be read, "" if it can.
    """

    destination = models.ForeignKey(
        Destination, on_delete=models.CASCADE, related_name="certificates"
    )
    role = models.CharField(max_length=16, choices=CertificateRole.choices)
    position = models.PositiveSmallIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)
    subject = models.CharField(max_length=400, blank=True)
    issuer = models.CharField(max_length=400, blank=True)
    names = models.CharField(max_length=400, blank=True)
    not_before = models.DateTimeField(null=True)
    not_after = models.DateTimeField(null=True)
    holds = models.BooleanField(default=True)
    problem = models.CharField(max_length=400, blank=True)
    association_uid = models.UUIDField(null=True)
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ("destination", "role", "position")
        constraints = (
            models.UniqueConstraint(
                name="destination_certificate_once", fields=("destination", "role", "position")
            ),
        )

    def __str__(self) -> str:
        return self.subject or self.problem

    @property
    def days_left(self) -> int | None:
        """Whole days until it expires, negative once it has; None: not known."""
        if self.not_after is None:
            return None
        return (self.not_after - timezone.now()) // timedelta(days=1)

    @property
    def is_expiring(self) -> bool:
        left = self.days_left
        return left is not None and left < WARNING_DAYS


def expiring_before() -> datetime:
    """Return until when certificates are told as expiring."""
    return timezone.now() + timedelta(days=WARNING_DAYS)
