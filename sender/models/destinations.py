"""Destinations: the acceptors that administrators keep, their revisions and their slots."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from sender.negotiation.ae_titles import InvalidAETitle, parse_ae_title
from sender.negotiation.peers import (
    DEFAULT_CALLING_AE_TITLE,
    DEFAULT_MAXIMUM_LENGTH,
    Peer,
    Timeouts,
    TlsSettings,
)

LONGEST_TIMEOUT_SECONDS = 3600
MOST_ASSOCIATIONS = 16


def validate_ae_title(text: str) -> None:
    """Refuse what is no AE title (PS3.5 table 6.2-1) as Django's validators do."""
    try:
        parse_ae_title(text)
    except InvalidAETitle as error:
        raise ValidationError(str(error)) from error


def validate_name(text: str) -> None:
    """Refuse names that can't be printed in one line."""
    if not text.strip() or not text.isprintable():
        raise ValidationError("A name is one line of printable text.")


def _seconds(default: float) -> "models.FloatField[float, float]":
    return models.FloatField(
        default=default,
        validators=[MinValueValidator(0.1), MaxValueValidator(LONGEST_TIMEOUT_SECONDS)],
    )


class AssociationScope(models.TextChoices):
    """What travels in one association to a destination."""

    STUDIES = "studies", "Many studies"
    STUDY = "study", "One study"
    SERIES = "series", "One series"


class Destination(models.Model):
    """An application entity that we send to. Timeouts are seconds.

    Certificates and the private key stay in files that the deployment looks after: the database
    holds their paths, and no secret.
    """

    name = models.CharField(max_length=80, unique=True, validators=[validate_name])
    ae_title = models.CharField("AE title", max_length=16, validators=[validate_ae_title])
    address = models.CharField(max_length=253)
    port = models.PositiveIntegerField(validators=[MinValueValidator(1), MaxValueValidator(65535)])
    calling_ae_title = models.CharField(
        "calling AE title",
        max_length=16,
        default=DEFAULT_CALLING_AE_TITLE,
        validators=[validate_ae_title],
    )
    connect_timeout = _seconds(10)
    tls_timeout = _seconds(15)
    acse_timeout = _seconds(30)
    progress_timeout = _seconds(60)
    answer_timeout = _seconds(60)
    maximum_length = models.PositiveIntegerField(
        "maximum length received",
        default=DEFAULT_MAXIMUM_LENGTH,
        validators=[MinValueValidator(1024), MaxValueValidator(1 << 20)],
    )
    max_associations = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(MOST_ASSOCIATIONS)]
    )
    retries = models.PositiveSmallIntegerField(default=3, validators=[MaxValueValidator(20)])
    association_scope = models.CharField(
        "one association carries",
        max_length=8,
        choices=AssociationScope.choices,
        default=AssociationScope.STUDIES,
    )
    instances_per_association = models.PositiveIntegerField(null=True, blank=True)
    bytes_per_second = models.PositiveBigIntegerField(null=True, blank=True)
    instances_per_second = models.PositiveIntegerField(null=True, blank=True)
    profile = models.TextField("limits by time of day", blank=True, max_length=2000)
    windows = models.CharField("when sending is allowed", max_length=400, blank=True)
    window_override_until = models.DateTimeField(null=True, blank=True, editable=False)
    sends_parked = models.BooleanField(default=False)
    tls = models.BooleanField("TLS", default=False)
    tls_ca_file = models.CharField("authorities (PEM file)", max_length=400, blank=True)
    tls_cert_file = models.CharField("our certificate (PEM file)", max_length=400, blank=True)
    tls_key_file = models.CharField("its private key (PEM file)", max_length=400, blank=True)
    tls_server_name = models.CharField("name in their certificate", max_length=253, blank=True)
    enabled = models.BooleanField(default=True)
    notes = models.TextField(blank=True, max_length=2000)
    confirmed_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                name="destination_port", condition=models.Q(port__gte=1, port__lte=65535)
            ),
            models.CheckConstraint(
                name="destination_associations", condition=models.Q(max_associations__gte=1)
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def peer(self) -> Peer:
        """This destination as the requestor needs it."""
        return Peer(
            address=self.address,
            port=self.port,
            called_ae_title=self.ae_title,
            calling_ae_title=self.calling_ae_title,
            timeouts=Timeouts(
                connect=self.connect_timeout,
                tls=self.tls_timeout,
                acse=self.acse_timeout,
                progress=self.progress_timeout,
                answer=self.answer_timeout,
            ),
            maximum_length=self.maximum_length,
            tls=TlsSettings(
                self.tls_ca_file, self.tls_cert_file, self.tls_key_file, self.tls_server_name
            )
            if self.tls
            else None,
        )


class DestinationRevision(models.Model):
    """How a destination was configured at a time: insert-only, found again by its digest."""

    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="revisions")
    digest = models.BinaryField(max_length=32)
    name = models.CharField(max_length=80)
    called_ae_title = models.CharField(max_length=16)
    calling_ae_title = models.CharField(max_length=16)
    address = models.CharField(max_length=253)
    port = models.PositiveIntegerField()
    tls = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="destination_revision_once", fields=("destination", "digest")
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.called_ae_title} at {self.address}:{self.port})"


class DestinationSlot(models.Model):
    """The right to hold one association to a destination: the limit across workers and hosts."""

    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="slots")
    number = models.PositiveSmallIntegerField()
    owner = models.CharField(max_length=128, blank=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = (
            models.UniqueConstraint(name="destination_slot_once", fields=("destination", "number")),
        )

    def __str__(self) -> str:
        return f"{self.destination}, slot {self.number}"
