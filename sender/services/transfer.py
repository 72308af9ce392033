"""One batch in one association: match, convert, send, and account for every instance once."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import random
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Min, Q, QuerySet
from django.utils import timezone

from sender.dicom import encoding, files
from sender.dicom.requestor import FileRange, Requestor, StoreRequest
from sender.models import BatchState, Send, SendBatch, SendItem, SendState, Trigger
from sender.models.reading import proposal_of
from sender.negotiation import retry
from sender.negotiation.instances import DataKind, ScannedInstance
from sender.negotiation.matching import Choice, Conversion, Refusal, choose
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    InstanceOutcome,
    StoreOutcome,
)
from sender.negotiation.retry import RetryDecision
from sender.services import recording, sending
from sender.services.associating import Errand, RecordedAssociation, associate, record_refusal
from sender.services.interning import transfer_syntax_id
from sender.services.journal import Journal
from sender.services.leases import BatchLease, SlotLease, extend_batch, extend_slot
from sender.services.sources import real_path

logger = logging.getLogger(__name__)

GROUP_INSTANCES = 500
GROUP_SECONDS = 0.5
GRACE_SECONDS = 5
"""How long the C-STORE in flight may take once a send is stopped, paused or cancelled."""
BEAT_SECONDS = 1
EXTEND_SECONDS = 10


class LeaseLost(RuntimeError):
    """Somebody else works on the batch now; what this worker does no longer counts."""


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


@dataclass(slots=True)
class Run:
    """A batch at work: what has come of it since the last group was written, and when to stop."""

    batch: SendBatch
    send: Send
    lease: BatchLease
    slot: SlotLease
    opened: RecordedAssociation
    journal: Journal
    number: int = 0
    acknowledged: int = 0
    results: list[recording.InstanceResult] = field(default_factory=list)
    changes: list[tuple[int, ItemChange]] = field(default_factory=list)
    written_at: float = field(default_factory=time.monotonic)
    stopping: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    lost: bool = False


def run_batch(
    lease: BatchLease,
    slot: SlotLease,
    *,
    is_stopping: Callable[[], bool],
    requestor: Requestor | None = None,
) -> None:
    """Send what is due of a claimed batch, and leave it done, ready for later, or cancelled."""
    batch = _batch(lease)
    sending.move_send(batch.send_id, SendState.RUNNING, before=(SendState.QUEUED,))
    items = list(_due_items(batch))
    outcome: AssociationOutcome | None = None
    acknowledged = 0
    if items:
        run = _open(batch, lease, slot, requestor)
        try:
            _send_items(run, items, is_stopping)
        except LeaseLost:
            run.journal.remove()
            return
        except DatabaseError:
            run.journal.leave()
            raise
        run.journal.remove()
        outcome = run.opened.association.outcome()
        acknowledged = run.acknowledged
    _settle(batch, lease, outcome, acknowledged=acknowledged)
    sending.finish_if_done(batch.send_id)


def refuse_batch(lease: BatchLease) -> None:
    """Record that no slot of the destination became free for a claimed batch."""
    batch = _batch(lease)
    row = record_refusal(
        _errand(batch, lease),
        proposal_of(batch.definition_list),
        "All associations that this destination allows are in use.",
    )
    decision = retry.after_kind(AssociationKind(row.outcome))
    _fail_association(batch, lease, decision, row.detail)
    sending.finish_if_done(batch.send_id)


def _batch(lease: BatchLease) -> SendBatch:
    return SendBatch.objects.select_related(
        "send__destination", "send__template_version__template", "definition_list"
    ).get(pk=lease.batch_id)


def _errand(batch: SendBatch, lease: BatchLease) -> Errand:
    return Errand(
        destination=batch.send.destination,
        template_version=batch.send.template_version,
        trigger=Trigger.SEND,
        requested_by=batch.send.requested_by,
        owner=f"batch {lease.batch_id}, claim {lease.fence}",
        send=batch.send,
        batch_id=batch.pk,
    )


def _due_items(batch: SendBatch) -> Iterator[SendItem]:
    """Yield what may be tried now; what was tried most comes last, so that poison waits."""
    due = Q(retry_at__isnull=True) | Q(retry_at__lte=timezone.now())
    items = SendItem.objects.filter(due, batch=batch, outcome=InstanceOutcome.PENDING)
    return items.order_by("attempts", "position").iterator(chunk_size=2000)


def _open(batch: SendBatch, lease: BatchLease, slot: SlotLease, requestor: Requestor | None) -> Run:
    opened = associate(
        _errand(batch, lease), proposal_of(batch.definition_list), requestor=requestor
    )
    journal = Journal(batch_id=batch.pk, fence=lease.fence, attempt=opened.attempt.uid)
    return Run(batch=batch, send=batch.send, lease=lease, slot=slot, opened=opened, journal=journal)


def _send_items(run: Run, items: list[SendItem], is_stopping: Callable[[], bool]) -> None:
    """Send the items in the open association; every result is committed when this returns."""
    keeper = threading.Thread(target=_keep_alive, args=(run, is_stopping), daemon=True)
    keeper.start()
    try:
        with run.opened:
            if run.opened.association.is_open:
                _store(run, items)
            elif run.opened.association.contexts and _was_negotiated(run):
                _refuse_all(run, items)
            _write_group(run)
    finally:
        run.ended.set()
        keeper.join()


def _was_negotiated(run: Run) -> bool:
    return any(context.negotiated for context in run.opened.association.contexts)


def _store(run: Run, items: list[SendItem]) -> None:
    waiting: dict[str, tuple[SendItem, Choice]] = {}
    association = run.opened.association
    for request, outcome in association.store_many(_requests(run, items, waiting)):
        item, choice = waiting.pop(request.sop_instance)
        _take_result(run, item, choice, outcome)
        if _is_group_full(run):
            _write_group(run)


def _requests(
    run: Run, items: list[SendItem], waiting: dict[str, tuple[SendItem, Choice]]
) -> Iterator[StoreRequest]:
    """Yield a request per item that an accepted context can carry; settle the others here."""
    options = run.send.template_version.spec.options
    contexts = run.opened.association.contexts
    for item in items:
        if run.stopping.is_set():
            return
        kind = DataKind(item.sop_class_uid, item.transfer_syntax_uid, item.lossy)
        choice = choose(kind, contexts, options)
        if isinstance(choice, Refusal):
            _refuse(run, item, choice.reason)
            continue
        request = _request(run, item, kind, choice)
        if request is not None:
            waiting[item.sop_instance_uid] = (item, choice)
            yield request


def _request(run: Run, item: SendItem, kind: DataKind, choice: Choice) -> StoreRequest | None:
    """Return the request for an item, converted if need be; None if it can't be made."""
    scanned = _scanned(item, kind)
    source: FileRange | bytes = FileRange.of(scanned)
    if choice.conversion is not Conversion.NONE:
        if not files.is_unchanged(scanned):
            _fail_unsent(run, item, "the file changed after it was listed")
            return None
        try:
            # The choice was made by policy, so data compressed with loss may be decompressed.
            source = encoding.convert(scanned, choice.transfer_syntax, lossy_allowed=True).content
        except encoding.ConversionFailed as error:
            _refuse(run, item, str(error))
            return None
    return StoreRequest(
        sop_class=kind.sop_class,
        sop_instance=item.sop_instance_uid,
        context_id=choice.context_id,
        source=source,
    )


def _scanned(item: SendItem, kind: DataKind) -> ScannedInstance:
    return ScannedInstance(
        path=real_path(item.path),
        relative_path=item.relative_path,
        size=item.size,
        mtime_ns=item.mtime_ns,
        kind=kind,
        sop_instance=item.sop_instance_uid,
        dataset_offset=item.dataset_offset,
        study_instance=item.study_instance_uid,
        series_instance=item.series_instance_uid,
    )


def _refuse(run: Run, item: SendItem, reason: str) -> None:
    change = ItemChange(InstanceOutcome.UNSENDABLE, reason[:600], tried=False)
    run.changes.append((item.pk, change))


def _refuse_all(run: Run, items: list[SendItem]) -> None:
    """No context was accepted: say for each item why not."""
    options = run.send.template_version.spec.options
    for item in items:
        kind = DataKind(item.sop_class_uid, item.transfer_syntax_uid, item.lossy)
        choice = choose(kind, run.opened.association.contexts, options)
        if isinstance(choice, Refusal):
            _refuse(run, item, choice.reason)


def _fail_unsent(run: Run, item: SendItem, reason: str) -> None:
    run.changes.append((item.pk, ItemChange(InstanceOutcome.FAILED, reason)))


def _take_result(run: Run, item: SendItem, choice: Choice, outcome: StoreOutcome) -> None:
    run.number += 1
    run.acknowledged += outcome.status is not None
    result = recording.InstanceResult(
        number=run.number,
        item_id=item.pk,
        sop_instance=item.sop_instance_uid,
        study_instance=item.study_instance_uid,
        sent_as=choice.transfer_syntax,
        conversion=choice.conversion.value,
        outcome=outcome,
    )
    run.results.append(result)
    run.changes.append((item.pk, change_of(run.send, item, result)))
    try:
        run.journal.note(result)
    except OSError as error:
        logger.error("The journal can't be written (%s); results go to the database.", error)
        run.written_at = 0.0


def change_of(send: Send, item: SendItem, result: recording.InstanceResult) -> ItemChange:
    """Decide what a result makes of an item: final, or pending until its next attempt."""
    outcome = result.outcome
    decision = retry.after_store(outcome)
    again = decision.retry and item.attempts < min(send.allowed_retries, decision.attempts_allowed)
    return ItemChange(
        outcome=InstanceOutcome.PENDING if again else outcome.outcome,
        reason=_reason(outcome)[:600],
        status=outcome.status,
        rule=decision.rule,
        retry_at=_due_at(decision, item.attempts + 1) if again else None,
        sent_as=result.sent_as,
        conversion=result.conversion,
    )


def _reason(outcome: StoreOutcome) -> str:
    return "" if outcome.outcome is InstanceOutcome.SENT else outcome.detail


def _due_at(decision: RetryDecision, attempt: int) -> datetime:
    seconds = retry.delay(
        decision,
        attempt,
        base_seconds=settings.RETRY_BASE_SECONDS,
        jitter=random(),  # noqa: S311 - spreads load, guards nothing
    )
    return timezone.now() + timedelta(seconds=seconds)


def _is_group_full(run: Run) -> bool:
    if len(run.changes) >= GROUP_INSTANCES:
        return True
    return time.monotonic() - run.written_at >= GROUP_SECONDS


def _write_group(run: Run) -> None:
    """Commit the results since the last group, if this worker still holds the batch.

    Raises:
        LeaseLost: it does not.
    """
    if not run.changes:
        return
    with transaction.atomic():
        if run.lost or not extend_batch(run.lease):
            raise LeaseLost
        recording.record_instances(run.opened.attempt.uid, run.results)
        write_changes(run.changes, run.opened.attempt.uid)
    run.journal.empty()
    run.results.clear()
    run.changes.clear()
    run.written_at = time.monotonic()


def write_changes(changes: Iterable[tuple[int, ItemChange]], attempt: UUID) -> None:
    """Write what results make of items; equal changes by one UPDATE."""
    alike: defaultdict[ItemChange, list[int]] = defaultdict(list)
    for item_id, change in changes:
        alike[change].append(item_id)
    for change, item_ids in alike.items():
        SendItem.objects.filter(pk__in=item_ids).update(
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


def _keep_alive(run: Run, is_stopping: Callable[[], bool]) -> None:
    """Hold the leases while the batch is at work, and end it when somebody wants it ended."""
    extended_at = time.monotonic()
    stopped_at: float | None = None
    try:
        while not run.ended.wait(BEAT_SECONDS):
            if stopped_at is None and (run.lost or is_stopping() or _is_controlled(run.send)):
                run.stopping.set()
                stopped_at = time.monotonic()
            if stopped_at is not None and time.monotonic() - stopped_at >= GRACE_SECONDS:
                run.opened.association.interrupt()
            if time.monotonic() - extended_at >= EXTEND_SECONDS:
                extended_at = time.monotonic()
                run.lost = not _extend_leases(run)
    finally:
        connection.close()


def _is_controlled(send: Send) -> bool:
    return Send.objects.filter(pk=send.pk).exclude(control="").exists()


def _extend_leases(run: Run) -> bool:
    recording.extend_lease(run.opened.attempt.uid, EXTEND_SECONDS * 6)
    return extend_batch(run.lease) and extend_slot(run.slot)


def _settle(
    batch: SendBatch,
    lease: BatchLease,
    outcome: AssociationOutcome | None,
    *,
    acknowledged: int,
) -> None:
    """Say what follows for a batch whose association has ended (None: nothing was due)."""
    if outcome is None or outcome.kind in retry.HEALTHY_KINDS:
        _close_batch(batch, lease, pause=timedelta(), failures=0)
        return
    decision = retry.after_association(outcome)
    if acknowledged:
        _close_batch(batch, lease, pause=timedelta(), failures=0)
    else:
        _fail_association(batch, lease, decision, outcome.detail)


def _fail_association(
    batch: SendBatch, lease: BatchLease, decision: RetryDecision, detail: str
) -> None:
    """Put the batch off after an association that carried nothing, or give its items up."""
    failures = batch.failures + 1
    allowed = min(batch.send.allowed_retries, decision.attempts_allowed)
    if decision.retry and failures <= allowed:
        pause = _due_at(decision, failures) - timezone.now()
        _close_batch(batch, lease, pause=pause, failures=failures, detail=detail)
        return
    SendItem.objects.filter(batch=batch, outcome=InstanceOutcome.PENDING).update(
        outcome=InstanceOutcome.FAILED,
        reason=f"not sent: {detail}"[:600],
        rule=decision.rule,
        retry_at=None,
    )
    _close_batch(batch, lease, pause=timedelta(), failures=failures, detail=detail)


def _close_batch(
    batch: SendBatch,
    lease: BatchLease,
    *,
    pause: timedelta,
    failures: int,
    detail: str = "",
) -> None:
    """Give the batch back: done if nothing is pending, cancelled if so asked, else for later."""
    pending = SendItem.objects.filter(batch=batch, outcome=InstanceOutcome.PENDING)
    now = timezone.now()
    changes: dict[str, object] = {"state": BatchState.DONE, "next_attempt_at": now}
    if pending.exists():
        changes = {
            "state": BatchState.READY,
            "next_attempt_at": _next_attempt(pending, now + pause),
        }
        if Send.objects.filter(pk=batch.send_id, state=SendState.CANCELLING).exists():
            changes = {"state": BatchState.CANCELLED}
    SendBatch.objects.filter(pk=batch.pk, fence=lease.fence, state=BatchState.RUNNING).update(
        owner="", lease_until=None, failures=failures, detail=detail[:400], **changes
    )


def _next_attempt(pending: QuerySet[SendItem], earliest: datetime) -> datetime:
    """Return when something of the batch is due: now for untried items, else the first retry."""
    if pending.filter(retry_at__isnull=True).exists():
        return earliest
    first: datetime = pending.aggregate(first=Min("retry_at"))["first"]
    return max(earliest, first)
