"""What of a batch is due, what results make of its rows, and how those are written."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from django.db.models import Case, F, IntegerField, Q, Value, When
from django.utils import timezone

from sender.models import InstanceAttempt, Send, SendItem, SourceFolder, StudyPart
from sender.models.sources import LOSSY_CODES, real_path
from sender.negotiation import retry
from sender.negotiation.instances import DataKind, ScannedInstance
from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.negotiation.retry import RetryDecision
from sender.services import tallies
from sender.services.delays import due_at
from sender.services.doubts import is_in_doubt
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
    "file__folder_id",
    "file__name",
    "file__size",
    "file__mtime_ns",
    "file__ctime_ns",
    "file__dataset_offset",
    "file__sop_instance_uid",
)
_PART = (
    "id",
    "study_instance_uid",
    "kind__sop_class_uid",
    "kind__transfer_syntax_uid",
    "kind__lossy_code",
)
_Row = tuple[int, int, int, str, int, str, int, int, int, int, str]


class DueItem(NamedTuple):
    """A row that may be tried now, with what sending it needs."""

    item_id: int
    part_id: int
    attempts: int
    rule: str
    instance: ScannedInstance


class ItemChange(NamedTuple):
    """What a result makes of an item; items with equal changes are written by one UPDATE."""

    outcome: InstanceOutcome
    reason: str
    status: int | None = None
    rule: str = ""
    retry_at: datetime | None = None
    sent_as: str = ""
    conversion: str = ""
    tried: bool = True


class Change(NamedTuple):
    """A change of one pending item."""

    item_id: int
    part_id: int
    change: ItemChange


def due_items(batch_id: int) -> Iterator[DueItem]:
    """Yield what of a batch may be tried now; what was tried most comes last: poison waits."""
    due = Q(retry_at__isnull=True) | Q(retry_at__lte=timezone.now())
    items = SendItem.objects.filter(due, batch_id=batch_id, outcome__is_now=InstanceOutcome.PENDING)
    ids = list(items.order_by("attempts", "position").values_list("id", flat=True))
    known = _Known()
    for start in range(0, len(ids), PAGE):
        chunk = ids[start : start + PAGE]
        found = SendItem.objects.filter(pk__among=set(chunk))
        pending = found.filter(outcome__is_now=InstanceOutcome.PENDING)
        rows: dict[int, _Row] = {row[0]: row for row in pending.order_by().values_list(*_COLUMNS)}
        known.learn(rows.values())
        yield from (known.due(rows[item_id]) for item_id in chunk if item_id in rows)


@dataclass(slots=True)
class _Known:
    """What the rows of a batch have in common, read once.

    Attributes:
        parts: study and kind of data by the id of the part.
        folders: real paths, with a slash at the end.
    """

    parts: dict[int, tuple[str, DataKind]] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)

    def learn(self, rows: Iterable[_Row]) -> None:
        """Read what is not known of these rows yet."""
        parts, folders = {row[1] for row in rows}, {row[4] for row in rows}
        new = StudyPart.objects.filter(pk__in=parts - self.parts.keys())
        for part_id, study, sop_class, syntax, lossy in new.values_list(*_PART):
            self.parts[part_id] = study, DataKind(sop_class, syntax, _LOSSY[lossy])
        missing = SourceFolder.objects.filter(pk__in=folders - self.folders.keys())
        for folder_id, path in missing.values_list("id", "path"):
            self.folders[folder_id] = f"{real_path(path).rstrip('/')}/"

    def due(self, row: _Row) -> DueItem:
        """Return a row with what sending it needs."""
        item_id, part_id, attempts, rule, folder, name = row[:6]
        size, mtime_ns, ctime_ns, offset, uid = row[6:]
        study, kind = self.parts[part_id]
        path = self.folders[folder] + real_path(name)
        instance = ScannedInstance(
            path, name, size, mtime_ns, kind, uid, offset, study, ctime_ns=ctime_ns
        )
        return DueItem(item_id, part_id, attempts, rule, instance)


class Tried(NamedTuple):
    """How an item was tried before.

    Attributes:
        attempts: how often.
        rule: what was decided after the last time.
    """

    attempts: int
    rule: str = ""


def change_of(
    send: Send,
    before: Tried,
    result: InstanceResult,
    *,
    jitter: float,
    parallel: int = 1,
) -> ItemChange:
    """Decide what a result makes of an item: final, or pending until its next attempt.

    Args:
        jitter: as `retry.delay` has it; one for all instances of a batch in an association, so that
            they are due together.
        parallel: associations that were open to the destination, this one included.
    """
    outcome = result.outcome
    if outcome.outcome is InstanceOutcome.SENT and outcome.status == 0x0000:
        return _sent(result.sent_as, result.conversion)
    unanswered = 1 + _UNANSWERED.get(before.rule, 0)
    decision = retry.after_store(outcome, unanswered=unanswered, parallel=parallel)
    tried = _tried_by_rule(decision, result.item_id, before)
    again = decision.retry and (
        before.attempts < send.allowed_retries and tried < decision.attempts_allowed
    )
    change = ItemChange(
        outcome=InstanceOutcome.PENDING if again else outcome.outcome,
        reason=_reason(outcome)[:600],
        status=outcome.status,
        rule=decision.rule,
        retry_at=due_at(decision, tried + 1, jitter) if again else None,
        sent_as=result.sent_as,
        conversion=result.conversion,
    )
    if outcome.status is None:
        return untried(result.item_id, before, change)
    if decision is retry.DUPLICATE_INSTANCE and is_in_doubt(
        result.item_id, attempts=before.attempts, rule=before.rule
    ):
        return change._replace(outcome=InstanceOutcome.UNKNOWN, reason=_MAY_BE_THERE)
    return change


def _tried_by_rule(decision: RetryDecision, item_id: int, before: Tried) -> int:
    """Return how many of an item's attempts ended by a rule: each rule allows its own number."""
    if not (before.attempts and decision.retry):
        return 0
    past = InstanceAttempt.objects.filter(item_id=item_id).order_by("-attempt__started_at")
    ended = past.values_list("outcome", "status")[: before.attempts]
    return sum(retry.ends_so(decision, InstanceOutcome(word), status) for word, status in ended)


@lru_cache(maxsize=256)
def _sent(sent_as: str, conversion: str) -> ItemChange:
    """Return what nearly all results make of their items."""
    return ItemChange(
        InstanceOutcome.SENT,
        "",
        status=0x0000,
        rule=retry.after_status(0x0000).rule,
        sent_as=sent_as,
        conversion=conversion,
    )


def untried(item_id: int, before: Tried, change: ItemChange) -> ItemChange:
    """Return what becomes of an item that we could not send; what may be stored stays unknown.

    Args:
        change: what becomes of it if the peer can't hold it.
    """
    if change.outcome is InstanceOutcome.PENDING:
        is_kept = before.rule in retry.UNANSWERED and change.rule not in retry.UNANSWERED
        return change._replace(rule=before.rule) if is_kept else change
    if change.outcome not in (InstanceOutcome.FAILED, InstanceOutcome.UNSENDABLE):
        return change
    if not is_in_doubt(item_id, attempts=before.attempts, rule=before.rule):
        return change
    reason = f"{_MAY_BE_STORED}: {change.reason}"[:600]
    return change._replace(outcome=InstanceOutcome.UNKNOWN, reason=reason)


_MAY_BE_STORED = (
    "no trusted answer came before, so the peer may have stored it, and it could not be tried again"
)
_MAY_BE_THERE = (
    "no trusted answer came before, and now the peer has an instance with this UID already (0111), "
    "which may be this one"
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


def is_pending(item_id: int) -> bool:
    """Tell whether an item still waits."""
    return SendItem.objects.filter(pk=item_id, outcome=InstanceOutcome.PENDING).exists()


def _sent_as(members: Sequence[Change]) -> Case | Value:
    """Return in which transfer syntax each of some items was sent, as the database understands."""
    items: defaultdict[str, list[int]] = defaultdict(list)
    for one in members:
        items[one.change.sent_as].append(one.item_id)
    ids = {uid: Value(transfer_syntax_id(uid) if uid else None) for uid in items}
    first, *others = items
    if not others:
        return ids[first]
    cases = (When(pk__among=items[uid], then=ids[uid]) for uid in others)
    return Case(*cases, default=ids[first], output_field=IntegerField())


def write_changes(
    changes: Iterable[Change],
    attempt: UUID,
    *,
    before: InstanceOutcome = InstanceOutcome.PENDING,
) -> None:
    """Write what results make of items, counts included.

    Changes that are equal but for what was sent are written by one UPDATE.

    Args:
        before: the outcome that all of them had.
    """
    alike: defaultdict[ItemChange, list[Change]] = defaultdict(list)
    for one in changes:
        alike[one.change._replace(sent_as="")].append(one)
    moves: Counter[Move] = Counter()
    for change, members in alike.items():
        SendItem.objects.filter(pk__among={one.item_id for one in members}).update(
            outcome=change.outcome,
            reason=change.reason,
            status=change.status,
            rule=change.rule,
            retry_at=change.retry_at,
            sent_as=_sent_as(members),
            conversion=change.conversion,
            attempts=F("attempts") + int(change.tried),
            last_attempt=attempt,
        )
        for part_id, number in Counter(one.part_id for one in members).items():
            move = Move(part_id, before, change.outcome, change.conversion)
            moves[move] += number
    tallies.move(moves)
