"""What results make of the rows of a send, and how they are committed: in groups, guarded."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import random
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from sender.models import Send, SendItem
from sender.models.sources import LOSSY_CODES, real_path
from sender.negotiation import retry
from sender.negotiation.instances import DataKind, ScannedInstance
from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.negotiation.retry import RetryDecision
from sender.services import tallies
from sender.services.interning import transfer_syntax_id
from sender.services.recording import InstanceResult
from sender.services.tallies import Move

PAGE = 1000
_LOSSY = {code: lossy for lossy, code in LOSSY_CODES.items()}
_COLUMNS = (
    "id",
    "part_id",
    "attempts",
    "rule",
    "part__study_instance_uid",
    "part__kind__sop_class_uid",
    "part__kind__transfer_syntax_uid",
    "part__kind__lossy_code",
    "file__folder__path",
    "file__name",
    "file__size",
    "file__mtime_ns",
    "file__dataset_offset",
    "file__sop_instance_uid",
)


@dataclass(frozen=True, slots=True)
class DueItem:
    """A row that may be tried now, with what sending it needs."""

    item_id: int
    part_id: int
    attempts: int
    rule: str
    instance: ScannedInstance


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What a result makes of an item; items with equal changes are written by one UPDATE."""

    outcome: InstanceOutcome
    reason: str
    status: int | None = None
    rule: str = ""
    retry_at: datetime | None = None
    sent_as: str = ""
    conversion: str = ""
    tried: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one pending item."""

    item_id: int
    part_id: int
    change: ItemChange


def due_items(batch_id: int) -> Iterator[DueItem]:
    """Yield what of a batch may be tried now; what was tried most comes last: poison waits."""
    due = Q(retry_at__isnull=True) | Q(retry_at__lte=timezone.now())
    items = SendItem.objects.filter(due, batch_id=batch_id, outcome=InstanceOutcome.PENDING)
    ids = list(items.order_by("attempts", "position").values_list("id", flat=True))
    for start in range(0, len(ids), PAGE):
        chunk = ids[start : start + PAGE]
        rows = SendItem.objects.filter(pk__in=chunk, outcome=InstanceOutcome.PENDING)
        found = {row[0]: row for row in rows.order_by().values_list(*_COLUMNS)}
        yield from (_due(found[item_id]) for item_id in chunk if item_id in found)


def _due(row: Sequence[object]) -> DueItem:
    item_id, part_id, attempts, rule, study, sop_class, syntax, lossy, folder, name = row[:10]
    size, mtime_ns, offset, sop_instance = row[10:]
    path = f"{real_path(str(folder)).rstrip('/')}/{real_path(str(name))}"
    return DueItem(
        int(item_id),  # type: ignore[call-overload]
        int(part_id),  # type: ignore[call-overload]
        int(attempts),  # type: ignore[call-overload]
        str(rule),
        ScannedInstance(
            path=path,
            relative_path=str(name),
            size=int(size),  # type: ignore[call-overload]
            mtime_ns=int(mtime_ns),  # type: ignore[call-overload]
            kind=DataKind(str(sop_class), str(syntax), _LOSSY[int(lossy)]),  # type: ignore[call-overload]
            sop_instance=str(sop_instance),
            dataset_offset=int(offset),  # type: ignore[call-overload]
            study_instance=str(study),
        ),
    )


@dataclass(frozen=True, slots=True)
class Tried:
    """How an item was tried before.

    Attributes:
        attempts: how often.
        rule: what was decided after the last time.
    """

    attempts: int
    rule: str = ""


def change_of(
    send: Send, before: Tried, result: InstanceResult, *, parallel: int = 1
) -> ItemChange:
    """Decide what a result makes of an item: final, or pending until its next attempt.

    Args:
        parallel: associations that were open to the destination, this one included.
    """
    outcome = result.outcome
    unanswered = 1 + _UNANSWERED.get(before.rule, 0)
    decision = retry.after_store(outcome, unanswered=unanswered, parallel=parallel)
    allowed = min(send.allowed_retries, decision.attempts_allowed)
    again = decision.retry and before.attempts < allowed
    change = ItemChange(
        outcome=InstanceOutcome.PENDING if again else outcome.outcome,
        reason=_reason(outcome)[:600],
        status=outcome.status,
        rule=decision.rule,
        retry_at=due_at(decision, before.attempts + 1) if again else None,
        sent_as=result.sent_as,
        conversion=result.conversion,
    )
    return change if outcome.status is not None else untried(before.rule, change)


def untried(rule: str, change: ItemChange) -> ItemChange:
    """Return what becomes of an item that we could not send; what may be stored stays unknown.

    Args:
        rule: what was decided after the attempt before.
        change: what becomes of it if the peer can't hold it.
    """
    if rule not in retry.UNANSWERED:
        return change
    if change.outcome is InstanceOutcome.PENDING:
        kept = change.rule if change.rule in retry.UNANSWERED else rule
        return replace(change, rule=kept)
    if change.outcome not in (InstanceOutcome.FAILED, InstanceOutcome.UNSENDABLE):
        return change
    reason = f"{_MAY_BE_STORED}: {change.reason}"[:600]
    return replace(change, outcome=InstanceOutcome.UNKNOWN, reason=reason)


_MAY_BE_STORED = (
    "no trusted answer came before, so the peer may have stored it, and it could not be tried again"
)
_UNANSWERED = {retry.UNKNOWN.rule: 1, retry.UNKNOWN_TWICE.rule: 2}


def change_of_interrupted(result: InstanceResult) -> ItemChange:
    """Return what becomes of an item that we ourselves cut off: due again, nothing counted."""
    return ItemChange(
        outcome=InstanceOutcome.PENDING,
        reason=_reason(result.outcome)[:600],
        rule=retry.INTERRUPTED.rule,
        sent_as=result.sent_as,
        conversion=result.conversion,
        tried=False,
    )


def _reason(outcome: StoreOutcome) -> str:
    return "" if outcome.outcome is InstanceOutcome.SENT else outcome.detail


def due_at(decision: RetryDecision, attempt: int) -> datetime:
    """Return when an automatic attempt, counted from 1, is due."""
    seconds = retry.delay(
        decision,
        attempt,
        base_seconds=settings.RETRY_BASE_SECONDS,
        jitter=random(),  # noqa: S311 - spreads load, guards nothing
    )
    return timezone.now() + timedelta(seconds=seconds)


def is_pending(item_id: int) -> bool:
    """Tell whether an item still waits."""
    return SendItem.objects.filter(pk=item_id, outcome=InstanceOutcome.PENDING).exists()


def write_changes(changes: Iterable[Change], attempt: UUID) -> None:
    """Write what results make of pending items, counts included; equal changes by one UPDATE."""
    alike: defaultdict[ItemChange, list[Change]] = defaultdict(list)
    for one in changes:
        alike[one.change].append(one)
    moves: list[Move] = []
    for change, members in alike.items():
        SendItem.objects.filter(pk__in=[one.item_id for one in members]).update(
            outcome=change.outcome,
            reason=change.reason,
            status=change.status,
            rule=change.rule,
            retry_at=change.retry_at,
            sent_as_id=transfer_syntax_id(change.sent_as) if change.sent_as else None,
            conversion=change.conversion,
            attempts=F("attempts") + int(change.tried),
            last_attempt=attempt,
        )
        moves += [
            Move(one.part_id, InstanceOutcome.PENDING, change.outcome, change.conversion)
            for one in members
        ]
    tallies.move(moves)
