"""Sends, read: progress, what failed and why, and the account of every row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Sum
from django.utils import timezone

from sender.models import Association, Send, SendItem
from sender.negotiation.outcomes import InstanceOutcome

EXPORT_COLUMNS = ("iuid", "outcome", "status", "attempts", "reason")
SETTLED = (
    InstanceOutcome.SENT,
    InstanceOutcome.WARNING,
    InstanceOutcome.FAILED,
    InstanceOutcome.UNKNOWN,
)


@dataclass(frozen=True, slots=True)
class SendProgress:
    """How far a send is.

    Attributes:
        counts: rows per outcome.
        per_second: instances settled per second since the send began; None: nothing to tell yet.
        seconds_left: at that pace; None: not known, or nothing is left.
    """

    counts: Mapping[InstanceOutcome, int]
    total: int
    per_second: float | None
    seconds_left: float | None

    @property
    def done(self) -> int:
        return self.total - self.counts[InstanceOutcome.PENDING]

    @property
    def fraction(self) -> float:
        return self.done / self.total if self.total else 0.0


def progress(send: Send) -> SendProgress:
    """Return how far a send is, from one query."""
    rows = (
        SendItem.objects.filter(send=send).order_by().values_list("outcome").annotate(n=Count("id"))
    )
    found = dict(rows)
    counts = {outcome: found.get(outcome.value, 0) for outcome in InstanceOutcome}
    settled = sum(counts[outcome] for outcome in SETTLED)
    pace = None
    if send.planned_at and settled:
        seconds = ((send.finished_at or timezone.now()) - send.planned_at).total_seconds()
        pace = settled / seconds if seconds > 0 else None
    pending = counts[InstanceOutcome.PENDING]
    return SendProgress(
        counts=counts,
        total=sum(counts.values()),
        per_second=pace,
        seconds_left=pending / pace if pace and pending and not send.is_ended else None,
    )


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Rows of a send that ended alike."""

    outcome: str
    reason: str
    status: int | None
    instances: int


def failure_groups(send: Send) -> list[FailureGroup]:
    """Return why rows are not sent, the commonest reasons first."""
    rows = (
        SendItem.objects.filter(send=send)
        .exclude(outcome__in=(InstanceOutcome.SENT, InstanceOutcome.PENDING))
        .exclude(sop_class_uid="", outcome=InstanceOutcome.UNSENDABLE)
        .order_by()
        .values("outcome", "reason", "status")
        .annotate(instances=Count("id"))
        .order_by("-instances", "outcome", "reason")
    )
    groups = [FailureGroup(**row) for row in rows[:50]]
    unreadable = SendItem.objects.filter(
        send=send, sop_class_uid="", outcome=InstanceOutcome.UNSENDABLE
    ).count()
    if unreadable:
        reason = "files that hold no sendable instance"
        groups.append(FailureGroup(InstanceOutcome.UNSENDABLE, reason, None, unreadable))
    return groups


def kinds(send: Send) -> list[dict[str, Any]]:
    """Return what was sent as what: rows by SOP class, stored and sent syntax, and outcome."""
    rows = (
        SendItem.objects.filter(send=send)
        .exclude(sop_class_uid="")
        .order_by()
        .values("sop_class_uid", "transfer_syntax_uid", "sent_as__uid", "conversion", "outcome")
        .annotate(instances=Count("id"), bytes=Sum("size"))
        .order_by("sop_class_uid", "transfer_syntax_uid", "outcome")
    )
    return [dict(row) for row in rows]


def associations_of(send: Send) -> list[Association]:
    """Return the newest associations of a send."""
    return list(
        Association.objects.filter(send_number=send.pk)
        .select_related("result_list")
        .order_by("-started_at", "-id")[:50]
    )


def export_rows(send: Send, *, with_identifiers: bool = True) -> Iterator[tuple[str, ...]]:
    """Yield the account of a send: a head, then one row per instance or file that was listed.

    Args:
        with_identifiers: with instance UIDs and reasons that name files.
    """
    yield EXPORT_COLUMNS
    rows = SendItem.objects.filter(send=send).order_by("position")
    for item in rows.iterator(chunk_size=2000):
        is_file = not item.sop_class_uid
        reason = item.reason if with_identifiers or not is_file else "not a sendable instance"
        yield (
            item.sop_instance_uid if with_identifiers else "",
            item.outcome,
            "" if item.status is None else f"{item.status:04X}",
            str(item.attempts),
            reason,
        )


def names_a_file(group: FailureGroup) -> bool:
    """Tell whether a group's reason may name a file or an instance."""
    return group.outcome == InstanceOutcome.UNSENDABLE and "/" in group.reason
