"""Batches in an association: match, convert, send, and account for every instance once.

An association serves one batch after another of a send while its contexts fit.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from sender.dicom.requestor import Requestor
from sender.models import SendBatch, SendState, Trigger
from sender.models.reading import proposal_of
from sender.negotiation import retry
from sender.negotiation.matching import Choice
from sender.negotiation.outcomes import AssociationKind, InstanceOutcome, StoreOutcome
from sender.negotiation.retry import RetryDecision
from sender.services import (
    fairness,
    outgoing,
    parked,
    passages,
    recording,
    recovery,
    sending,
    sight,
)
from sender.services.associating import ALL_SLOTS_HELD, Errand, associate, record_refusal
from sender.services.conversions import Conversions, prepare
from sender.services.journal import Journal
from sender.services.leases import BatchLease, SlotLease, extend_batch
from sender.services.outgoing import Outgoing
from sender.services.passages import Passage, Run
from sender.services.patience import persist
from sender.services.results import (
    Change,
    DueItem,
    Tried,
    change_of,
    change_of_interrupted,
    due_items,
    is_pending,
    write_changes,
)
from sender.services.settling import (
    Failure,
    fail_association,
    interrupt_batch,
    refuse_send,
    settle_batch,
)
from sender.services.tenure import Tenure

logger = logging.getLogger(__name__)

GROUP_INSTANCES = 500
GROUP_SECONDS = 0.5

NextBatch = Callable[[SendBatch], BatchLease | None]


class LeaseLost(RuntimeError):
    """Somebody else works on the batch now; what this worker does no longer counts."""


def run_batches(
    lease: BatchLease,
    slot: SlotLease,
    *,
    is_stopping: Callable[[], bool],
    next_batch: NextBatch = lambda _batch: None,
    requestor: Requestor | None = None,
) -> bool:
    """Send what is due of a claimed batch, and of further ones that fit the same association.

    Each batch is left done, ready for later, or cancelled. Tells whether the peer answered the
    proposal, or needed none.

    Args:
        next_batch: claims a batch that may follow another in its association.
    """
    begun_at = time.monotonic()
    batch = _batch(lease)
    sending.move_send(batch.send_id, SendState.RUNNING, before=(SendState.QUEUED,))
    items = due_items(batch.pk)
    first = next(items, None)
    is_answered = True
    if first is None:
        settle_batch(batch, lease, None, acknowledged=0)
    elif sight.leaves_peer(batch.send) or sight.leaves_file(batch.send, first.instance.path):
        interrupt_batch(batch, lease, acknowledged=0)
    else:
        proposal = proposal_of(batch.definition_list)
        options = batch.send.template_version.spec.options
        with Tenure(slot, lease) as tenure, Conversions() as conversions:
            items = prepare(conversions, _chain(first, items), proposal, options)
            opened = associate(_errand(batch), proposal, requestor=requestor, tenure=tenure)
            is_answered = opened.association.outcome().is_negotiated
            passage = Passage(opened, tenure, is_stopping, conversions)
            _work(passage, batch, lease, items, next_batch)
    persist(lambda: sending.finish_if_done(batch.send_id))
    if batch.is_isolated:
        took = time.monotonic() - begun_at
        persist(lambda: fairness.give_others_a_turn(batch.destination_id, took))
    return is_answered


def _chain(first: DueItem, rest: Iterator[DueItem]) -> Iterator[DueItem]:
    yield first
    yield from rest


def refuse_batch(lease: BatchLease) -> None:
    """Record that no slot of the destination became free for a claimed batch."""
    batch = _batch(lease)
    decision = retry.after_kind(AssociationKind.REFUSED_LOCALLY)
    failure = _refuse(batch, lease, decision, ALL_SLOTS_HELD)
    fail_association(batch, lease, failure)
    sending.finish_if_done(batch.send_id)


def refuse_held(lease: BatchLease, reason: str) -> None:
    """Record that an inline send may not work now, and give up all that is left of it."""
    batch = _batch(lease)
    refuse_send(batch, lease, _refuse(batch, lease, retry.HELD, reason))
    sending.finish_if_done(batch.send_id)


def _refuse(batch: SendBatch, lease: BatchLease, decision: RetryDecision, reason: str) -> Failure:
    """Record an association that we did not open."""
    row = record_refusal(_errand(batch), proposal_of(batch.definition_list), reason)
    return Failure(decision, row.detail, row.uid)


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
    run, keeper = _begin(passage, batch, lease), passages.Keeper(passage)
    try:
        with passage.opened, recovery.reading_back(batch.owner):
            _begin_transfer(passage)
            passage.tenure.companion = keeper.beat
            while _serve(passage, run, items):
                following = next_batch(run.batch)
                if following is None:
                    break
                following = replace(following, decided_at=lease.decided_at)
                # In this order, so that nobody takes a batch that is settled for one that is lost.
                passage.tenure.batch = following
                _settle(run)
                run = _begin(passage, _batch(following), following)
                items = due_items(run.batch.pk)
    except LeaseLost:
        logger.warning("Batch %s was taken over by another worker.", run.batch.pk)
        return
    finally:
        # What is in it and in the database not yet is for whoever takes the batch over.
        run.journal.leave()
        passage.tenure.end()
        keeper.take_in_last()
    _settle_last(passage, run)


def _begin(passage: Passage, batch: SendBatch, lease: BatchLease) -> Run:
    uid = passage.opened.attempt.uid
    journal = Journal(batch_id=batch.pk, fence=lease.fence, attempt=uid)
    passage.run = Run(batch=batch, send=batch.send, lease=lease, journal=journal)
    return passage.run


def _begin_transfer(passage: Passage) -> None:
    """Look at gate and limits before the first instance, if there can be one."""
    passages.let_go_if_due(passage)
    if passage.opened.association.is_open:
        _persist(passage, lambda: passages.begin(passage))


def _persist(passage: Passage, work: Callable[[], None]) -> None:
    """Write or read something, however long the database takes; the peer is not kept waiting."""
    persist(work, meanwhile=lambda: passages.let_go_if_due(passage), gives_up=passage.is_stopping)


def _settle(run: Run) -> None:
    """Say what follows for a batch whose association goes on."""
    _close(run, lambda: settle_batch(run.batch, run.lease, None, acknowledged=run.acknowledged))


def _settle_last(passage: Passage, run: Run) -> None:
    """Say what follows for the batch with which the association ended."""
    outcome = passage.opened.association.outcome()

    def settle() -> None:
        if passage.stopping.is_set() and outcome.is_established:
            interrupt_batch(run.batch, run.lease, acknowledged=run.acknowledged)
            return
        settle_batch(
            run.batch,
            run.lease,
            outcome,
            acknowledged=run.acknowledged,
            attempt=passage.opened.attempt.uid,
        )

    _close(run, settle)


def _close(run: Run, settle: Callable[[], None]) -> None:
    """Settle a batch whose results are all committed, if it is still ours."""

    def close() -> None:
        if extend_batch(run.lease):
            settle()
        else:
            logger.warning("Batch %s was taken over by another worker.", run.batch.pk)

    run.journal.remove()
    persist(close)


def _serve(passage: Passage, run: Run, items: Iterator[DueItem]) -> bool:
    """Send the items of a batch; tell whether the association can carry another batch."""
    association = passage.opened.association
    if association.is_open:
        _store(passage, run, items)
    elif any(context.negotiated for context in association.contexts):
        outgoing.refuse_all(passage, run, items)
    _write_group(passage, run)
    return association.is_open and not passage.stopping.is_set()


def _store(passage: Passage, run: Run, items: Iterator[DueItem]) -> None:
    waiting: dict[str, Outgoing] = {}
    association = passage.opened.association
    requests = outgoing.requests(passage, run, items, waiting)
    stored = association.store_many(
        requests,
        pacer=passage.pacer,
        meanwhile=lambda: _write_while_waiting(passage, run),
        may_begin=passage.may_begin,
    )
    for request, outcome in stored:
        sent = waiting.pop(request.sop_instance)
        sent.discard()
        _take_result(passage, run, sent.item, sent.choice, outcome)
        if _is_group_full(run):
            _write_group(passage, run)
    for drawn in waiting.values():  # but not begun
        drawn.discard()
    outgoing.settle_left_out(run)


def _take_result(
    passage: Passage, run: Run, item: DueItem, choice: Choice, outcome: StoreOutcome
) -> None:
    passage.number += 1
    run.acknowledged += outcome.status is not None
    instance = item.instance
    result = recording.InstanceResult(
        passage.number,
        item.item_id,
        instance.sop_instance,
        instance.study_instance,
        choice.transfer_syntax,
        choice.conversion.value,
        outcome,
    )
    run.results.append(result)
    passage.answers.append(outcome)
    if passage.is_interrupted and outcome.outcome is InstanceOutcome.UNKNOWN:
        change = change_of_interrupted(result)
    elif outgoing.must_leave(passage, run, item, outcome):
        change = outgoing.left_to_others(item, outcome.detail)
    else:
        before = Tried(item.attempts, item.rule)
        change = change_of(run.send, before, result, jitter=run.jitter, parallel=passage.in_use)
    run.changes.append(Change(item.item_id, item.part_id, change))
    outgoing.learn(passage, run, item, change)
    if not run.journal.note(result):
        run.written_at = 0.0


def _is_group_full(run: Run) -> bool:
    if len(run.changes) >= GROUP_INSTANCES:
        return True
    return time.monotonic() - run.written_at >= GROUP_SECONDS


def _write_while_waiting(passage: Passage, run: Run) -> None:
    """Commit results that are due though no further answer comes, so that pages tell of them."""
    if _is_group_full(run):
        _write_group(passage, run, is_waiting=True)


def _write_group(passage: Passage, run: Run, *, is_waiting: bool = False) -> None:
    """Commit the results since the last group, if this worker still holds the batch.

    Args:
        is_waiting: the association is waited in, so that it can't be ended from here.

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

    if is_waiting:
        persist(commit, gives_up=passage.is_stopping)
    else:
        _persist(passage, commit)
    run.journal.empty()
    run.results.clear()
    run.changes.clear()
    run.parked.clear()
    run.written_at = time.monotonic()


def _commit(passage: Passage, run: Run, *, was_tried: bool) -> None:
    """Write results and what they make of the rows, in one transaction.

    Args:
        was_tried: it failed before, and may have been committed nevertheless.
    """
    uid, destination_id = passage.opened.attempt.uid, run.send.destination_id
    is_answered = any(result.outcome.status is not None for result in run.results)
    with transaction.atomic():
        # Both rows are locked now: nobody takes the batch or closes the association meanwhile.
        is_held = extend_batch(run.lease, last_outcome_at=timezone.now())
        if not (is_held and recording.extend_lease(uid)):
            raise LeaseLost
        if was_tried and _is_committed(uid, run):
            return
        is_news = is_answered and not (passage.is_proof or fairness.is_proven(destination_id))
        recording.record_instances(uid, run.results)
        write_changes(run.changes, uid)
        parked.park(destination_id, run.parked)
        if is_news:
            fairness.call_for_waiting(destination_id)
    passage.is_proof |= is_answered


def _is_committed(uid: UUID, run: Run) -> bool:
    if run.results:
        return recording.is_recorded(uid, run.results[0].number)
    return not is_pending(run.changes[0].item_id)
