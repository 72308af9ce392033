"""Schedules: what is sent again and again, and one row per time at which it ran or should have."""

from typing import Any

from django.db import models
from django.utils import timezone

from sender.models.destinations import Destination, validate_name
from sender.models.sends import StudyOrder
from sender.models.sources import Listing
from sender.models.templates import ContextTemplate


class RecurrenceKind(models.TextChoices):
    """How a schedule's times are told."""

    ONCE = "once", "Once"
    INTERVAL = "interval", "Every so often"
    CRON = "cron", "Cron"


class CatchUp(models.TextChoices):
    """What follows when the sender was away at an intended time."""

    SKIP = "skip", "Skip what was missed"
    LATEST = "latest", "Run once for all that was missed"


class Overlap(models.TextChoices):
    """What follows when the last run is not over yet."""

    SKIP = "skip", "Skip the run"
    QUEUE = "queue", "Run after it"


class Schedule(models.Model):
    """Sources that are sent to destinations at certain times.

    Attributes:
        expression: as services/recurrence.py reads it: a local time, an interval, a cron line.
        zone: IANA time zone in which expression and windows are meant.
        anchor: the first run of an interval; others: null.
        sources: absolute paths as they were written; resolved anew for each run.
        rules: what is taken of the sources (negotiation/selection.py).
        next_run_at: the next intended time; null: never again, or disabled.
        settled_until: every time of the schedule up to here was dealt with; later than now only
            where the clock was set back.
        finish_within_seconds: from the intended time, when a run should be through.
    """

    name = models.CharField(max_length=80, unique=True, validators=[validate_name])
    enabled = models.BooleanField(default=True)
    kind = models.CharField(max_length=16, choices=RecurrenceKind.choices)
    expression = models.CharField(max_length=200)
    zone = models.CharField(max_length=64)
    anchor = models.DateTimeField(null=True)
    windows = models.CharField(max_length=400, blank=True)
    catch_up = models.CharField(max_length=8, choices=CatchUp.choices, default=CatchUp.LATEST)
    overlap = models.CharField(max_length=8, choices=Overlap.choices, default=Overlap.SKIP)
    sources: "models.JSONField[list[str], list[str]]" = models.JSONField(default=list)
    rules: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    only_new = models.BooleanField(default=True)
    study_order = models.CharField(
        max_length=8, choices=StudyOrder.choices, default=StudyOrder.LISTED
    )
    retries = models.PositiveSmallIntegerField(null=True)
    priority = models.SmallIntegerField(default=0)
    finish_within_seconds = models.PositiveIntegerField(null=True)
    note = models.TextField(blank=True, max_length=2000)
    next_run_at = models.DateTimeField(null=True, db_index=True)
    settled_until = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class ScheduleTarget(models.Model):
    """A destination of a schedule, and the template whose newest version each run takes."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="targets")
    destination = models.ForeignKey(
        Destination, on_delete=models.PROTECT, related_name="schedule_targets"
    )
    template = models.ForeignKey(ContextTemplate, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                name="schedule_target_once", fields=("schedule", "destination")
            ),
        )


class RunState(models.TextChoices):
    """What became of an intended time; how a started run goes on, its sends say."""

    DUE = "due", "Starting"
    QUEUED = "queued", "Waiting for the last run"
    STARTED = "started", "Started"
    CHECKED = "checked", "Checked"
    SKIPPED = "skipped", "Skipped"
    FAILED = "failed", "Failed"


class RunTrigger(models.TextChoices):
    """Why there is a run."""

    TIME = "time", "On time"
    CATCH_UP = "catch-up", "Caught up"
    NOW = "now", "Run now"
    CHECK = "check", "Check"


BY_CLOCK = (RunTrigger.TIME, RunTrigger.CATCH_UP)
"""Runs that nobody asked for in person."""


class ScheduleRun(models.Model):
    """One intended time of a schedule: the unique key makes it happen exactly once.

    Attributes:
        intended_at: the time of the schedule, a whole second; for "run now" and checks the moment
            they were asked for, never a whole second.
        detail: why it was skipped or failed, or what else is to be said of it.
        warning: what the check before the run found, "" if nothing.
        requested_by: who asked for it; "": the schedule itself.
        listing: what was found at the sources; its sends are those of the run.
        lease_until: until then somebody is expected to start it; then it is called out again.
        attempts: how often somebody began to.
    """

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="runs")
    intended_at = models.DateTimeField()
    trigger = models.CharField(max_length=16, choices=RunTrigger.choices)
    state = models.CharField(max_length=16, choices=RunState.choices)
    detail = models.CharField(max_length=400, blank=True)
    warning = models.CharField(max_length=400, blank=True)
    requested_by = models.CharField(max_length=150, blank=True)
    listing = models.ForeignKey(Listing, on_delete=models.SET_NULL, null=True, related_name="runs")
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-intended_at", "-id")
        constraints = (
            models.UniqueConstraint(name="schedule_run_once", fields=("schedule", "intended_at")),
        )
        indexes = (
            models.Index(
                name="schedule_run_to_start",
                fields=("state",),
                condition=models.Q(state__in=("due", "queued")),
            ),
        )

    def __str__(self) -> str:
        return f"{self.schedule} at {self.intended_at.isoformat()}"
