"""Batches in an association: match, convert, send, and account for every instance once.

An association serves one batch after another of a send while its contexts fit.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction

from sender.dicom import encoding, files
from sender.dicom.requestor import FileRange, Requestor, StoreRequest
from sender.models import Send, SendBatch, SendState, Trigger
from sender.models.reading import proposal_of
from sender.negotiation import retry
from sender.negotiation.matching import Choice, Conversion, Refusal, choose
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    InstanceOutcome,
    StoreOutcome,
)
from sender.services import recording, sending
from sender.services.associating import Errand, RecordedAssociation, associate, record_refusal
from sender.services.journal import Journal
from sender.services.leases import BatchLease, SlotLease, extend_batch
from sender.services.patience import persist
from sender.services.results import (
    Change,
    DueItem,
    ItemChange,
    change_of,
    due_items,
    is_pending,
    write_changes,
)
from sender.services.settling import fail_association, settle_batch
from sender.services.tenure import Tenure

logger = logging.getLogger(__name__)

GROUP_INSTANCES = 500
GROUP_SECONDS = 0.5
GRACE_SECONDS = 5
"""How long the C-STORE in flight may take once a send is stopped, paused or cancelled."""

NextBatch = Callable[[SendBatch], BatchLease | None]


class LeaseLost(RuntimeError):
    """Somebody else works on the batch now; what this worker does no longer counts."""


@dataclass(slots=True)
class Run:
    """A batch at work: what has come of it since the last group was written."""

    batch: SendBatch
    send: Send
    lease: BatchLease
    journal: Journal
    acknowledged: int = 0
    results: list[recording.InstanceResult] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    written_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Passage:
    """An association at work for one batch after another, and when to stop."""

    opened: RecordedAssociation
    tenure: Tenure
    is_stopping: Callable[[], bool]
    number: int = 0
    run: Run | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    stopped_at: float | None = None


def run_batches(
    lease: BatchLease,
    slot: SlotLease,
    *,
    is_stopping: Callable[[], bool],
    next_batch: NextBatch = lambda _batch: None,
    requestor: Requestor | None = None,
) -> None:
    """Send what is due of a claimed batch, and of further ones that fit the same association.

    Each batch is left done, ready for later, or cancelled.

    Args:
        next_batch: claims a batch that may follow another in its association.
    """
    batch = _batch(lease)
    sending.move_send(batch.send_id, SendState.RUNNING, before=(SendState.QUEUED,))
    items = due_items(batch.pk)
    first = next(items, None)
    if first is None:
        settle_batch(batch, lease, None, acknowledged=0)
    else:
        with Tenure(slot, lease) as tenure:
            opened = associate(
                _errand(batch),
                proposal_of(batch.definition_list),
                requestor=requestor,
                begun=tenure.hold_attempt,
            )
            passage = Passage(opened, tenure, is_stopping)
            _work(passage, batch, lease, _chain(first, items), next_batch)
    persist(lambda: sending.finish_if_done(batch.send_id))


def _chain(first: DueItem, rest: Iterator[DueItem]) -> Iterator[DueItem]:
    yield first
    yield from rest


def refuse_batch(lease: BatchLease) -> None:
    """Record that no slot of the destination became free for a claimed batch."""
    batch = _batch(lease)
    row = record_refusal(
        _errand(batch),
        proposal_of(batch.definition_list),
        "All associations that this destination allows are in use.",
    )
    decision = retry.after_kind(AssociationKind(row.outcome))
    fail_association(batch, lease, decision, row.detail)
    sending.finish_if_done(batch.send_id)


def _batch(lease: BatchLease) -> SendBatch:
    return SendBatch.objects.select_related(
        "send__destination", "send__template_version__template", "definition_list"
    ).get(pk=lease.batch_id)


def _errand(batch: SendBatch) -> Errand:
    return Errand(
        destination=batch.send.destination,
        template_version=batch.send.template_version,
        trigger=Trigger.SEND,
        requested_by=batch.send.requested_by,
        owner=batch.owner,
        send=batch.send,
        batch_id=batch.pk,
    )


def _work(
    passage: Passage,
    batch: SendBatch,
    lease: BatchLease,
    items: Iterator[DueItem],
    next_batch: NextBatch,
) -> None:
    """Serve batches in the open association; every result is committed when this returns."""
    run = _begin(passage, batch, lease)
    passage.tenure.companion = lambda: _look_after(passage)
    try:
        with passage.opened:
            _let_go_if_due(passage)
            while _serve(passage, run, items):
                following = next_batch(run.batch)
                if following is None:
                    break
                # In this order, so that nobody takes a batch that is settled for one that is lost.
                passage.tenure.batch = following
                _settle(run, None)
                run = _begin(passage, _batch(following), following)
                items = due_items(run.batch.pk)
    except LeaseLost:
        logger.warning("Batch %s was taken over by another worker.", run.batch.pk)
        return
    finally:
        # What is in it and in the database not yet is for whoever takes the batch over.
        run.journal.leave()
        passage.tenure.end()
    _settle(run, passage.opened.association.outcome())


def _begin(passage: Passage, batch: SendBatch, lease: BatchLease) -> Run:
    uid = passage.opened.attempt.uid
    journal = Journal(batch_id=batch.pk, fence=lease.fence, attempt=uid)
    passage.run = Run(batch=batch, send=batch.send, lease=lease, journal=journal)
    return passage.run


def _settle(run: Run, outcome: AssociationOutcome | None) -> None:
    """Say what follows for a batch whose results are all committed, if it is still ours."""

    def settle() -> None:
        if extend_batch(run.lease):
            settle_batch(run.batch, run.lease, outcome, acknowledged=run.acknowledged)
        else:
            logger.warning("Batch %s was taken over by another worker.", run.batch.pk)

    run.journal.remove()
    persist(settle)


def _serve(passage: Passage, run: Run, items: Iterator[DueItem]) -> bool:
    """Send the items of a batch; tell whether the association can carry another batch."""
    association = passage.opened.association
    if association.is_open:
        _store(passage, run, items)
    elif any(context.negotiated for context in association.contexts):
        _refuse_all(passage, run, items)
    _write_group(passage, run)
    return association.is_open and not passage.stopping.is_set()


def _store(passage: Passage, run: Run, items: Iterator[DueItem]) -> None:
    waiting: dict[str, tuple[DueItem, Choice]] = {}
    association = passage.opened.association
    for request, outcome in association.store_many(_requests(passage, run, items, waiting)):
        item, choice = waiting.pop(request.sop_instance)
        _take_result(passage, run, item, choice, outcome)
        if _is_group_full(run):
            _write_group(passage, run)


def _requests(
    passage: Passage,
    run: Run,
    items: Iterable[DueItem],
    waiting: dict[str, tuple[DueItem, Choice]],
) -> Iterator[StoreRequest]:
    """Yield a request per item that an accepted context can carry; settle the others here."""
    options = run.send.template_version.spec.options
    contexts = passage.opened.association.contexts
    choices: dict[object, Choice | Refusal] = {}
    for item in items:
        if passage.stopping.is_set():
            return
        kind = item.instance.kind
        if kind not in choices:
            choices[kind] = choose(kind, contexts, options)
        choice = choices[kind]
        if isinstance(choice, Refusal):
            _refuse(run, item, choice.reason, rule=retry.NO_CONTEXT.rule)
            continue
        request = _request(run, item, choice)
        if request is not None:
            waiting[item.instance.sop_instance] = (item, choice)
            yield request


def _request(run: Run, item: DueItem, choice: Choice) -> StoreRequest | None:
    """Return the request for an item, converted if need be; None if it can't be made."""
    scanned = item.instance
    source: FileRange | bytes = FileRange.of(scanned)
    if choice.conversion is not Conversion.NONE:
        if not files.is_unchanged(scanned):
            change = ItemChange(InstanceOutcome.FAILED, "the file changed after it was listed")
            run.changes.append(Change(item.item_id, item.part_id, change))
            return None
        try:
            source = encoding.convert(scanned, choice.transfer_syntax).content
        except encoding.ConversionFailed as error:
            _refuse(run, item, str(error), rule="conversion_failed")
            return None
    return StoreRequest(
        sop_class=scanned.kind.sop_class,
        sop_instance=scanned.sop_instance,
        context_id=choice.context_id,
        source=source,
    )


def _refuse(run: Run, item: DueItem, reason: str, *, rule: str) -> None:
    change = ItemChange(InstanceOutcome.UNSENDABLE, reason[:600], rule=rule, tried=False)
    run.changes.append(Change(item.item_id, item.part_id, change))


def _refuse_all(passage: Passage, run: Run, items: Iterable[DueItem]) -> None:
    """No context was accepted: say for each item why not."""
    options = run.send.template_version.spec.options
    contexts = passage.opened.association.contexts
    for item in items:
        choice = choose(item.instance.kind, contexts, options)
        if isinstance(choice, Refusal):
            _refuse(run, item, choice.reason, rule=retry.NO_CONTEXT.rule)


def _take_result(
    passage: Passage, run: Run, item: DueItem, choice: Choice, outcome: StoreOutcome
) -> None:
    passage.number += 1
    run.acknowledged += outcome.status is not None
    result = recording.InstanceResult(
        number=passage.number,
        item_id=item.item_id,
        sop_instance=item.instance.sop_instance,
        study_instance=item.instance.study_instance,
        sent_as=choice.transfer_syntax,
        conversion=choice.conversion.value,
        outcome=outcome,
    )
    run.results.append(result)
    change = change_of(run.send, item.attempts, result)
    run.changes.append(Change(item.item_id, item.part_id, change))
    if not run.journal.note(result):
        run.written_at = 0.0


def _is_group_full(run: Run) -> bool:
    if len(run.changes) >= GROUP_INSTANCES:
        return True
    return time.monotonic() - run.written_at >= GROUP_SECONDS


def _write_group(passage: Passage, run: Run) -> None:
    """Commit the results since the last group, if this worker still holds the batch.

    Raises:
        LeaseLost: it does not.
    """
    if not run.changes:
        return
    is_again = False

    def commit() -> None:
        nonlocal is_again
        was_tried, is_again = is_again, True
        _commit(passage, run, was_tried=was_tried)

    persist(commit, meanwhile=lambda: _let_go_if_due(passage), gives_up=passage.is_stopping)
    run.journal.empty()
    run.results.clear()
    run.changes.clear()
    run.written_at = time.monotonic()


def _commit(passage: Passage, run: Run, *, was_tried: bool) -> None:
    """Write results and what they make of the rows, in one transaction.

    Args:
        was_tried: it failed before, and may have been committed nevertheless.
    """
    uid = passage.opened.attempt.uid
    with transaction.atomic():
        # Both rows are locked now: nobody takes the batch or closes the association meanwhile.
        if not (extend_batch(run.lease) and recording.extend_lease(uid)):
            raise LeaseLost
        if was_tried and _is_committed(uid, run):
            return
        recording.record_instances(uid, run.results)
        write_changes(run.changes, uid)


def _is_committed(uid: UUID, run: Run) -> bool:
    if run.results:
        return recording.is_recorded(uid, run.results[0].number)
    return not is_pending(run.changes[0].item_id)


def _let_go_if_due(passage: Passage) -> None:
    """End the association once others may hold our leases; from the thread that uses it."""
    if passage.tenure.must_let_go:
        passage.stopping.set()
        passage.opened.association.abort()


def _look_after(passage: Passage) -> None:
    """End work that somebody wants ended; each second, in another thread."""
    if passage.tenure.must_let_go:
        passage.stopping.set()
        passage.opened.association.interrupt()
        return
    if passage.stopped_at is None and _should_stop(passage):
        passage.stopping.set()
        passage.stopped_at = time.monotonic()
    if passage.stopped_at is not None and time.monotonic() - passage.stopped_at >= GRACE_SECONDS:
        passage.opened.association.interrupt()


def _should_stop(passage: Passage) -> bool:
    run = passage.run
    assert run is not None
    if passage.is_stopping():
        return True
    return Send.objects.filter(pk=run.send.pk).exclude(control="").exists()
