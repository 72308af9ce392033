"""Sends, read: progress, what failed and why, and the account of every row."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import (
    BooleanField,
    Count,
    ExpressionWrapper,
    F,
    Max,
    Min,
    OuterRef,
    Q,
    Subquery,
    Sum,
)
from django.utils import timezone

from sender.models import (
    Association,
    AssociationAttempt,
    BatchState,
    InstanceAttempt,
    ItemCopy,
    Send,
    SendItem,
    SendState,
    StudyPart,
)
from sender.models.sources import relative_path
from sender.negotiation import retry
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.stalls import Whose

EXPORT_COLUMNS = ("iuid", "outcome", "status", "attempts", "reason")
_NOT_DELIVERED = (
    InstanceOutcome.WARNING,
    InstanceOutcome.FAILED,
    InstanceOutcome.UNSENDABLE,
    InstanceOutcome.UNKNOWN,
    InstanceOutcome.CANCELLED,
)


def seconds_to_last_outcome(send: Send) -> float:
    """Return how long an ended send took from being picked up to its last outcome (CONTRACT.md).

    What comes after it is left out: the release, and the association's record.
    """
    if send.started_at is None or send.finished_at is None:
        return 0.0
    last = send.batches.aggregate(at=Max("last_outcome_at"))["at"]
    is_told = last is not None and send.state != SendState.CANCELLED
    return ((last if is_told else send.finished_at) - send.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class SendProgress:
    """How far a send is.

    Attributes:
        counts: rows per outcome.
    """

    counts: Mapping[InstanceOutcome, int]
    total: int

    @property
    def done(self) -> int:
        return self.total - self.counts[InstanceOutcome.PENDING]

    @property
    def delivered(self) -> int:
        return self.counts[InstanceOutcome.SENT] + self.counts[InstanceOutcome.WARNING]

    @property
    def fraction(self) -> float:
        return self.done / self.total if self.total else 0.0


def progress(send: Send) -> SendProgress:
    """Return how far a send is, from the counts of its parts."""
    found = StudyPart.objects.filter(send=send).aggregate(
        **{f"n_{outcome.value}": Sum(outcome.value, default=0) for outcome in InstanceOutcome}
    )
    counts = {outcome: found[f"n_{outcome.value}"] for outcome in InstanceOutcome}
    return SendProgress(counts=counts, total=sum(counts.values()))


def counts_of(sends: Iterable[Send]) -> dict[int, dict[InstanceOutcome, int]]:
    """Return what became of the rows of some sends, by their numbers; nothing that is 0."""
    found: dict[int, dict[InstanceOutcome, int]] = {send.pk: {} for send in sends}
    sums = {f"n_{outcome.value}": Sum(outcome.value) for outcome in InstanceOutcome}
    parts = StudyPart.objects.filter(send__in=found).order_by()
    rows: Iterable[Any] = parts.values("send_id").annotate(**sums)
    for row in rows:
        counts = {outcome: row[f"n_{outcome.value}"] for outcome in InstanceOutcome}
        found[row["send_id"]] = {outcome: n for outcome, n in counts.items() if n}
    return found


NO_INSTANCE = "files that hold no sendable instance"


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Rows of a send that ended alike.

    Attributes:
        rule: the retry rule by which they ended so, "" for none.
        retriable: how many of them can be tried again by hand.
        attempts: the most that one of them was tried by itself.
    """

    outcome: str
    reason: str
    status: int | None
    instances: int
    rule: str = ""
    retriable: int = 0
    attempts: int = 0

    @property
    def meaning(self) -> str:
        """What the rule says beyond the reason."""
        if self.rule == retry.NO_CONTEXT.rule:
            return "Nothing changes until the peer or the template does."
        said = retry.meaning(self.rule)
        return "" if said in self.reason else said


def failure_groups(send: Send) -> list[FailureGroup]:
    """Return why rows are not sent, the commonest reasons first."""
    rows = (
        SendItem.objects.filter(send=send, outcome__in=_NOT_DELIVERED)
        .exclude(part__kind__sop_class_uid="")
        .order_by()
        .values("outcome", "reason", "status", "rule")
        .annotate(instances=Count("id"), retriable=Count("batch_id"), attempts=Max("attempts"))
        .order_by("-instances", "outcome", "reason")
    )
    groups = [_group(send, **row) for row in rows[:50]]
    unreadable = StudyPart.objects.filter(send=send, kind__sop_class_uid="").aggregate(
        n=Sum("unsendable", default=0)
    )["n"]
    if unreadable:
        groups.append(FailureGroup(InstanceOutcome.UNSENDABLE, NO_INSTANCE, None, unreadable))
    return groups


def _group(send: Send, *, outcome: str, retriable: int, **facts: Any) -> FailureGroup:
    is_lost = outcome == InstanceOutcome.CANCELLED and not send.is_wholly_planned
    final = is_lost or outcome == InstanceOutcome.WARNING
    return FailureGroup(outcome=outcome, retriable=0 if final else retriable, **facts)


MOST_REASONS = 20
MOST_BATCHES = 100
"""In so many batches it is looked which instances wait, so that a page stays cheap."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Batches, or else instances, of a send that wait for another attempt for one reason.

    Attributes:
        rule: the retry rule by which they wait.
        due_at: when the first of them is due.
        is_part: there may be more instances than were counted.
    """

    rule: str
    detail: str
    due_at: datetime
    batches: int = 0
    instances: int = 0
    is_part: bool = False

    @property
    def is_due(self) -> bool:
        return self.due_at <= timezone.now()


def waiting(send: Send) -> list[Waiting]:
    """Return why batches and instances of a send wait for another attempt, soonest first."""
    if send.is_ended:
        return []
    return sorted([*_waiting_batches(send), *_waiting_instances(send)], key=lambda w: w.due_at)


def _waiting_batches(send: Send) -> list[Waiting]:
    """Return batches whose association failed, and instances that are tried alone."""
    rows: Iterable[Any] = (
        send.batches.filter(state=BatchState.READY)
        .exclude(rule="")
        .order_by()
        .values("rule", "detail")
        .annotate(batches=Count("id"), due_at=Min("next_attempt_at"))
        .order_by("due_at")[:MOST_REASONS]
    )
    return [Waiting(**row) for row in rows]


def _waiting_instances(send: Send) -> list[Waiting]:
    """Return instances that wait in batches whose association did not fail.

    Only batches that were begun, and of them only those that are due first, are looked through: of
    the untried rows of a send, which may be millions, none is read.
    """
    unfailed = Q(state=BatchState.READY, rule="") | Q(state=BatchState.RUNNING)
    begun = send.batches.filter(unfailed, fence__gt=0)
    soonest = begun.order_by("next_attempt_at", "number").values_list("pk", flat=True)
    batches = list(soonest[: MOST_BATCHES + 1])
    rows: Iterable[Any] = (
        SendItem.objects.filter(
            batch__in=batches[:MOST_BATCHES],
            outcome=InstanceOutcome.PENDING,
            retry_at__isnull=False,
        )
        .order_by()
        .values("rule", detail=F("reason"))
        .annotate(instances=Count("id"), due_at=Min("retry_at"))
        .order_by("due_at")[:MOST_REASONS]
    )
    is_part = len(batches) > MOST_BATCHES
    return [Waiting(is_part=is_part, **row) for row in rows]


def kinds(send: Send) -> list[dict[str, Any]]:
    """Return what there is of each kind of data, and what became of it."""
    rows: Iterable[Any] = (
        StudyPart.objects.filter(send=send)
        .exclude(kind__sop_class_uid="")
        .order_by()
        .values("kind__sop_class_uid", "kind__transfer_syntax_uid")
        .annotate(
            studies=Count("study_instance_uid", distinct=True),
            size=Sum("bytes"),
            as_converted=Sum("converted"),
            as_decompressed=Sum("decompressed"),
            **{f"n_{outcome.value}": Sum(outcome.value) for outcome in InstanceOutcome},
        )
        .order_by("kind__sop_class_uid", "kind__transfer_syntax_uid")
    )
    return [
        {
            "sop_class_uid": row["kind__sop_class_uid"],
            "transfer_syntax_uid": row["kind__transfer_syntax_uid"],
            "counts": {
                outcome: row[f"n_{outcome.value}"]
                for outcome in InstanceOutcome
                if row[f"n_{outcome.value}"]
            },
            "instances": sum(row[f"n_{outcome.value}"] for outcome in InstanceOutcome),
            "studies": row["studies"],
            "bytes": row["size"],
            "converted": row["as_converted"],
            "decompressed": row["as_decompressed"],
        }
        for row in rows
    ]


def associations_of(send: Send) -> list[Association]:
    """Return the newest associations of a send."""
    return list(
        Association.objects.filter(send_number=send.pk)
        .select_related("result_list")
        .order_by("-started_at", "-id")[:50]
    )


LONG_OPENING_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class AtWork:
    """An association of a send that is open now; it gets its number at its end.

    Attributes:
        is_proposed: the proposal has been sent.
        is_answered: the peer has answered it.
        instances: whose outcome is recorded, in this association.
        stall: who keeps it waiting; None: it moves.
    """

    since: datetime
    host: str
    is_proposed: bool
    is_answered: bool
    instances: int
    stall: Whose | None
    stalled_since: datetime | None

    @property
    def opening_seconds(self) -> float | None:
        """For how long it has been waited to be opened; None: it is open, or has just begun."""
        seconds = (timezone.now() - self.since).total_seconds()
        return None if self.is_answered or seconds < LONG_OPENING_SECONDS else seconds

    @property
    def stalled_seconds(self) -> float | None:
        """For how long nothing has moved."""
        if self.stalled_since is None:
            return None
        return (timezone.now() - self.stalled_since).total_seconds()

    @property
    def moves(self) -> bool:
        """Instances travel in it, or will at once."""
        return self.stall is None and self.opening_seconds is None


def at_work(send: Send) -> list[AtWork]:
    """Return the associations of a send that are open now, the oldest first."""
    open_now = AssociationAttempt.objects.filter(send=send, closed_at__isnull=True)
    open_now = open_now.order_by("started_at", "uid")
    of_it = InstanceAttempt.objects.filter(attempt=OuterRef("pk")).order_by("-number")
    rows = open_now.annotate(
        last=Subquery(of_it.values("number")[:1]),
        is_proposed=ExpressionWrapper(Q(request__isnull=False), output_field=BooleanField()),
        is_answered=ExpressionWrapper(Q(answer__isnull=False), output_field=BooleanField()),
    ).values_list(
        "started_at", "sender_host", "is_proposed", "is_answered", "last", "stall", "stalled_since"
    )
    return [
        AtWork(since, host, proposed, answered, last or 0, Whose(stall) if stall else None, stalled)
        for since, host, proposed, answered, last, stall, stalled in rows
    ]


def may_move(send: Send, at_work: list[AtWork]) -> bool:
    """Tell whether something of a send that nothing holds back travels now.

    Between two associations of a send in the background none is open for a moment.
    """
    return any(row.moves for row in at_work) if at_work or send.inline else True


def export_rows(send: Send, *, with_identifiers: bool = True) -> Iterator[tuple[str, ...]]:
    """Yield the account of a send: a head, then one row per instance or file that was listed.

    Args:
        with_identifiers: with instance UIDs and reasons that name files.
    """
    yield EXPORT_COLUMNS
    for page in _pages(send):
        statuses = {row.item_id: row.status for row in page}
        further = remarks(send, statuses) if with_identifiers else {}
        for row in page:
            said = row.reason if with_identifiers or row.sop_class else "not a sendable instance"
            yield (
                row.sop_instance if with_identifiers else "",
                row.outcome,
                "" if row.status is None else f"{row.status:04X}",
                str(row.attempts),
                "; ".join(filter(None, [said, *further.get(row.item_id, ())])),
            )


class _ExportRow(NamedTuple):
    position: int
    item_id: int
    sop_instance: str
    outcome: str
    status: int | None
    attempts: int
    reason: str
    sop_class: str


_EXPORTED = (
    "position",
    "id",
    "file__sop_instance_uid",
    "outcome",
    "status",
    "attempts",
    "reason",
    "part__kind__sop_class_uid",
)
_PAGE = 2000


def _pages(send: Send) -> Iterator[list[_ExportRow]]:
    """Yield the rows of a send, page by page, in the order of sending.

    Each is a range of positions, which leave no gaps: where a page is so many rows from one on,
    PostgreSQL may read all that follow for each of them, until it has counted a new send.
    """
    last = SendItem.objects.filter(send=send).aggregate(n=Max("position"))["n"]
    for start in range(0, -1 if last is None else last + 1, _PAGE):
        rows = SendItem.objects.filter(send=send, position__range=(start, start + _PAGE - 1))
        found = rows.order_by("position").values_list(*_EXPORTED)
        yield [_ExportRow(*row) for row in found]


def remarks(send: Send, statuses: Mapping[int, int | None]) -> dict[int, list[str]]:
    """Return what is to be said of rows beside their reasons, to those who may see identifiers.

    Args:
        statuses: what the peer answered, by item.
    """
    found: dict[int, list[str]] = {}
    for item_id, text in _comments([key for key, status in statuses.items() if status]).items():
        found.setdefault(item_id, []).append(f"Error Comment: {text}")
    for item_id, paths in _copies(send, list(statuses)).items():
        found.setdefault(item_id, []).append(f"also at {', '.join(paths)}")
    return found


def _comments(told: list[int]) -> dict[int, str]:
    """Return what the peer itself said of rows that it refused or warned about, by item."""
    attempts = InstanceAttempt.objects.filter(item_id__in=told, error_comment__isnull=False)
    newest = attempts.order_by("attempt__started_at", "number")
    return dict(newest.values_list("item_id", "error_comment__text"))


def _copies(send: Send, item_ids: list[int]) -> dict[int, list[str]]:
    """Return the relative paths of further files with the same instances, by item."""
    found: dict[int, list[str]] = {}
    rows = ItemCopy.objects.filter(item_id__in=item_ids)
    for copy in rows.select_related("file__folder").order_by("id").iterator():
        found.setdefault(copy.item_id, []).append(relative_path(copy.file.path, send.sources))
    return found


def names_a_file(group: FailureGroup) -> bool:
    """Tell whether a group's reason may name a file or an instance."""
    return group.outcome == InstanceOutcome.UNSENDABLE and "/" in group.reason
