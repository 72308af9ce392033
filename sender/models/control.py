"""What holds sending back, and for how long: people's pauses, and destinations that don't work."""

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from sender.models.destinations import Destination


class HoldKind(models.TextChoices):
    """Why sending is held."""

    PAUSE = "pause", "Paused"
    BLOCKED = "blocked", "Blocked"
    BREAKER = "breaker", "Waiting"


class HoldQuerySet(models.QuerySet["Hold"]):
    """Questions about holds."""

    def active(self) -> "HoldQuerySet":
        """Return holds that are in force now."""
        return self.filter(Q(until__isnull=True) | Q(until__gt=timezone.now()), ended_at=None)

    def over(self, destination_id: int) -> "HoldQuerySet":
        """Return holds in force that concern a destination, those on all sending included."""
        return self.active().filter(Q(destination_id=destination_id) | Q(destination=None))


class Hold(models.Model):
    """Sending is held: by a person (pause), or by the engine until a probe succeeds.

    Attributes:
        destination: None: all sending.
        kind: pause: a person's; blocked: a permanent failure of associations, probed again and
            again; breaker: the peer can't be reached or is busy, tried again at `probe_at`.
        until: when it ends by itself; None: when somebody or a probe ends it.
        rule: the retry rule behind it, "" for a person's.
        failures: probes in a row that failed.
    """

    destination = models.ForeignKey(
        Destination, on_delete=models.CASCADE, null=True, related_name="holds"
    )
    kind = models.CharField(max_length=8, choices=HoldKind.choices)
    reason = models.CharField(max_length=400)
    rule = models.CharField(max_length=64, blank=True)
    set_by = models.CharField(max_length=150)
    started_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(null=True)
    probe_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    association_uid = models.UUIDField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=150, blank=True)

    objects = HoldQuerySet.as_manager()

    class Meta:
        ordering = ("-started_at", "-id")
        indexes = (
            models.Index(
                name="hold_in_force", fields=("destination",), condition=Q(ended_at__isnull=True)
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.reason}"


class DestinationPace(models.Model):
    """How fast a destination is being sent to at the moment: the state of negotiation/pacing.py."""

    destination = models.OneToOneField(
        Destination, on_delete=models.CASCADE, primary_key=True, related_name="pace"
    )
    state: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    detail = models.CharField(max_length=400, blank=True)
    fence = models.PositiveBigIntegerField(default=0)
    changed_at = models.DateTimeField(auto_now=True)


class ParkedPair(models.Model):
    """Data of a destination that no accepted context could carry, waiting for the fix.

    Attributes:
        offered_at: when a later negotiation accepted the pair; `association_uid` is that one.
    """

    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="parked")
    sop_class_uid = models.CharField(max_length=64)
    transfer_syntax_uid = models.CharField(max_length=64)
    parked_at = models.DateTimeField(default=timezone.now)
    offered_at = models.DateTimeField(null=True)
    association_uid = models.UUIDField(null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="parked_pair_once",
                fields=("destination", "sop_class_uid", "transfer_syntax_uid"),
            ),
        )
