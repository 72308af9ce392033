"""Sends: what shall go where, cut into batches of instances, and the states they pass."""

from typing import Any

from django.db import models

from sender.models.destinations import Destination
from sender.models.history import PresentationContextDefinitionList, TransferSyntax
from sender.models.sources import Listing, SourceFile, SourceKind, relative_path
from sender.models.templates import TemplateVersion
from sender.negotiation.outcomes import InstanceOutcome


class SendState(models.TextChoices):
    """The life of a send."""

    DRAFT = "draft", "Draft"
    PLANNING = "planning", "Planning"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    CANCELLING = "cancelling", "Cancelling"
    SUCCEEDED = "succeeded", "Succeeded"
    PARTIAL = "partial", "Partly sent"
    FAILED = "failed", "Failed"
    ERRORED = "errored", "Errored"
    CANCELLED = "cancelled", "Cancelled"


ENDED_STATES = frozenset(
    {
        SendState.SUCCEEDED,
        SendState.PARTIAL,
        SendState.FAILED,
        SendState.ERRORED,
        SendState.CANCELLED,
    }
)


class BatchState(models.TextChoices):
    """The life of a batch."""

    READY = "ready", "Ready"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    CANCELLED = "cancelled", "Cancelled"


OPEN_BATCHES = (BatchState.READY, BatchState.RUNNING)
"""States of batches of which something may still be sent."""

SEND_TRANSITIONS: dict[SendState, frozenset[SendState]] = {
    SendState.DRAFT: frozenset(
        {SendState.PLANNING, SendState.CANCELLING, SendState.FAILED, SendState.ERRORED}
    ),
    SendState.PLANNING: frozenset(
        {SendState.QUEUED, SendState.CANCELLING, SendState.FAILED, SendState.ERRORED}
    )
    | ENDED_STATES,
    SendState.QUEUED: frozenset({SendState.RUNNING, SendState.PAUSED, SendState.CANCELLING})
    | ENDED_STATES,
    SendState.RUNNING: frozenset({SendState.PAUSED, SendState.CANCELLING, SendState.QUEUED})
    | ENDED_STATES,
    SendState.PAUSED: frozenset({SendState.QUEUED, SendState.CANCELLING}) | ENDED_STATES,
    SendState.CANCELLING: frozenset({SendState.CANCELLED, SendState.ERRORED}),
    SendState.SUCCEEDED: frozenset(),
    SendState.PARTIAL: frozenset({SendState.QUEUED}),
    SendState.FAILED: frozenset({SendState.QUEUED}),
    SendState.ERRORED: frozenset({SendState.QUEUED}),
    SendState.CANCELLED: frozenset({SendState.QUEUED}),
}

BATCH_TRANSITIONS: dict[BatchState, frozenset[BatchState]] = {
    BatchState.READY: frozenset({BatchState.RUNNING, BatchState.CANCELLED, BatchState.DONE}),
    BatchState.RUNNING: frozenset({BatchState.READY, BatchState.DONE, BatchState.CANCELLED}),
    BatchState.DONE: frozenset({BatchState.READY}),
    BatchState.CANCELLED: frozenset({BatchState.READY}),
}


def send_states_before(target: SendState) -> list[SendState]:
    """Return the states from which a send may pass to `target`."""
    return [state for state, following in SEND_TRANSITIONS.items() if target in following]


def batch_states_before(target: BatchState) -> list[BatchState]:
    """Return the states from which a batch may pass to `target`."""
    return [state for state, following in BATCH_TRANSITIONS.items() if target in following]


class StudyOrder(models.TextChoices):
    """In which order the studies of a send travel."""

    LISTED = "listed", "As listed"
    NEWEST = "newest", "Newest first"
    OLDEST = "oldest", "Oldest first"


URGENT = 100
"""The priority of urgent sends; others have 0 unless somebody says otherwise."""


class Send(models.Model):
    """Instances of a listing to one destination with one template version.

    Attributes:
        listing: what was found at its sources; several sends may share one.
        control: what a person asked of a send that may be running: "", "pause" or "cancel".
        retries: automatic attempts per instance after the first; None: as the destination says.
        inline: it is sent by the process `runner`, which says so until `runner_until`; False: in
            the background.
        windows: when it may run (negotiation/windows.py) in `zone`; "": at any time.
        window_override_until: until then it may run outside its windows.
        finish_by: when it should be through.
        only_new: leave out what this destination has already.
        already_there: how many instances that were.
        again_of, again_reason: the send that is repeated on purpose, and why.
        plan: the plan in figures, for people: kinds, proposals, reasons.
        plan_cursor: how far the planner came; `planned_at` is set once it is through. Then, what is
            still to be taken up of what a person wants tried again (services/reopening.py).
        plan_tries: how often planning was begun since it last got on.
    """

    name = models.CharField(max_length=120, blank=True)
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="sends")
    template_version = models.ForeignKey(
        TemplateVersion, on_delete=models.PROTECT, related_name="sends"
    )
    listing = models.ForeignKey(Listing, on_delete=models.PROTECT, null=True, related_name="sends")
    state = models.CharField(
        max_length=16, choices=SendState.choices, default=SendState.DRAFT, db_index=True
    )
    control = models.CharField(max_length=16, blank=True)
    priority = models.SmallIntegerField(default=0)
    requested_by = models.CharField(max_length=150)
    retries = models.PositiveSmallIntegerField(null=True)
    inline = models.BooleanField(default=False)
    runner = models.CharField(max_length=128, blank=True)
    runner_until = models.DateTimeField(null=True)
    study_order = models.CharField(
        max_length=8, choices=StudyOrder.choices, default=StudyOrder.LISTED
    )
    windows = models.CharField(max_length=400, blank=True)
    zone = models.CharField(max_length=64, blank=True)
    window_override_until = models.DateTimeField(null=True)
    finish_by = models.DateTimeField(null=True)
    only_new = models.BooleanField(default=False)
    already_there = models.PositiveIntegerField(default=0)
    again_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, related_name="repeated_by"
    )
    again_reason = models.CharField(max_length=400, blank=True)
    plan: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    plan_cursor: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    plan_tries = models.PositiveSmallIntegerField(default=0)
    detail = models.CharField(max_length=400, blank=True)
    owner = models.CharField(max_length=128, blank=True)
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    planned_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name or f"Send {self.pk}"

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED_STATES

    @property
    def is_wholly_planned(self) -> bool:
        """Whether all its rows were written: only then its plan is described."""
        return self.planned_at is not None and bool(self.plan)

    @property
    def allowed_retries(self) -> int:
        """Automatic attempts per instance after the first."""
        return self.destination.retries if self.retries is None else self.retries

    @property
    def sources(self) -> list[str]:
        """The absolute paths listed."""
        return self.listing.sources if self.listing else []

    @property
    def listed(self) -> int:
        """Files found so far."""
        return self.listing.files if self.listing else 0


class SendBatch(models.Model):
    """Instances of a send that travel in one association, cut at study borders.

    Attributes:
        definition_list: the proposal of that association.
        instances: how many were put into it.
        attempt: how often it was claimed, counted before connecting.
        fence: grows with each claim; whoever holds an older one has lost the batch.
        failures: associations in a row that carried nothing of it.
        is_isolated: it holds one instance that is tried alone.
        rule: the retry rule by which it waits or was given up, "" for none.
        last_outcome_at: when outcomes of its instances were committed last.
    """

    send = models.ForeignKey(Send, on_delete=models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    destination = models.ForeignKey(
        Destination, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    definition_list = models.ForeignKey(
        PresentationContextDefinitionList, on_delete=models.PROTECT, related_name="+"
    )
    state = models.CharField(max_length=16, choices=BatchState.choices, default=BatchState.READY)
    priority = models.SmallIntegerField(default=0)
    instances = models.PositiveIntegerField(default=0)
    is_isolated = models.BooleanField(default=False)
    attempt = models.PositiveSmallIntegerField(default=0)
    failures = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    owner = models.CharField(max_length=128, blank=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveBigIntegerField(default=0)
    rule = models.CharField(max_length=64, blank=True)
    detail = models.CharField(max_length=400, blank=True)
    last_outcome_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("send", "number")
        constraints = (models.UniqueConstraint(name="send_batch_once", fields=("send", "number")),)
        indexes = (
            models.Index(name="batch_to_claim", fields=("destination", "state", "next_attempt_at")),
            models.Index(
                name="batch_leased",
                fields=("lease_until",),
                condition=models.Q(state=BatchState.RUNNING.value),
            ),
        )

    def __str__(self) -> str:
        return f"{self.send_id}/{self.number}"


class StudyPart(models.Model):
    """The rows of a send that belong to one study and are of one kind, counted by outcome.

    The counts are moved in the transaction that changes the rows (services/tallies.py), so that
    progress, studies and kinds are sums over a few rows however many instances there are.

    Attributes:
        study_instance_uid: "" for files that are no instance or name no study.
        converted, decompressed: of those sent or stored with a warning.
        bytes: of all files.
    """

    send = models.ForeignKey(Send, on_delete=models.CASCADE, related_name="parts", db_index=False)
    study_instance_uid = models.CharField(max_length=64, blank=True, db_index=True)
    kind = models.ForeignKey(SourceKind, on_delete=models.PROTECT, related_name="+", db_index=False)
    sent = models.PositiveIntegerField(default=0)
    warning = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    unsendable = models.PositiveIntegerField(default=0)
    unknown = models.PositiveIntegerField(default=0)
    pending = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)
    converted = models.PositiveIntegerField(default=0)
    decompressed = models.PositiveIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="study_part_once", fields=("send", "study_instance_uid", "kind")
            ),
        )

    def __str__(self) -> str:
        return f"{self.study_instance_uid or 'no study'} in send {self.send_id}"


class SendItem(models.Model):
    """One row of a send: an instance, or a file that is none, with what became of it.

    Small on purpose: what is known of the file stands in `file`, study and kind in `part`.

    Attributes:
        position: order of sending.
        last_attempt: uid of the association in which it was last tried.
    """

    send = models.ForeignKey(Send, on_delete=models.CASCADE, related_name="items", db_index=False)
    batch = models.ForeignKey(
        SendBatch, on_delete=models.SET_NULL, null=True, related_name="items", db_index=False
    )
    part = models.ForeignKey(
        StudyPart, on_delete=models.CASCADE, related_name="items", db_index=False
    )
    file = models.ForeignKey(SourceFile, on_delete=models.PROTECT, related_name="items")
    position = models.PositiveIntegerField()
    outcome = models.CharField(
        max_length=16,
        choices=[(o, o) for o in InstanceOutcome],
        default=InstanceOutcome.PENDING.value,
    )
    status = models.PositiveIntegerField(null=True)
    reason = models.CharField(max_length=600, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    rule = models.CharField(max_length=64, blank=True)
    sent_as = models.ForeignKey(
        TransferSyntax, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    conversion = models.CharField(max_length=16, blank=True)
    last_attempt = models.UUIDField(null=True)

    class Meta:
        ordering = ("send", "position")
        constraints = (
            models.UniqueConstraint(name="send_item_position", fields=("send", "position")),
        )
        indexes = (
            models.Index(name="send_item_by_batch", fields=("batch", "position")),
            models.Index(name="send_item_by_outcome", fields=("send", "outcome")),
            models.Index(name="send_item_by_part", fields=("part",)),
        )

    def __str__(self) -> str:
        return str(self.file)

    @property
    def relative_path(self) -> str:
        """The file's path below the source that was named, for people."""
        return relative_path(self.file.path, self.send.sources)


class ItemCopy(models.Model):
    """A further file with the very same instance as an item's; it is not sent."""

    item = models.ForeignKey(SendItem, on_delete=models.CASCADE, related_name="copies")
    file = models.ForeignKey(SourceFile, on_delete=models.PROTECT, related_name="+", db_index=False)


class WorkerHeartbeat(models.Model):
    """A sign of life of a sender process.

    Attributes:
        name: host, pid and start, so that a reused pid is another worker.
        kind: "sender" (the main process of a cluster) or "work" (a task at work).
    """

    name = models.CharField(max_length=128, unique=True)
    kind = models.CharField(max_length=16)
    host = models.CharField(max_length=253)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    batch_id = models.PositiveBigIntegerField(null=True)


class EngineTick(models.Model):
    """When the engine last looked after leases, tickets and ends: one row, id 1."""

    ticked_at = models.DateTimeField()
    owner = models.CharField(max_length=128)
