"""What is left when processes die: their leases end at once, their results are read back."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from sender.models import (
    AssociationAttempt,
    BatchState,
    DestinationSlot,
    InstanceAttempt,
    Listing,
    ListingState,
    Send,
    SendBatch,
    SendItem,
)
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import inline_sends, journal, recording, sending, tallies, trials
from sender.services.delays import new_jitter
from sender.services.journal import Remains
from sender.services.locks import locked_items
from sender.services.mishaps import MISHAPS
from sender.services.owners import is_dead
from sender.services.patience import OUTAGES, persist
from sender.services.recording import InstanceResult
from sender.services.results import Change, Tried, change_of, write_changes
from sender.services.vigil import ENDED, WATCH

GIVEN_UP = (
    InstanceOutcome.CANCELLED,
    InstanceOutcome.FAILED,
    InstanceOutcome.UNKNOWN,
    InstanceOutcome.UNSENDABLE,
)
logger = logging.getLogger(__name__)


def end_leases() -> None:
    """End the leases of those who are gone, so that others may go on with their work.

    Processes of this system are seen to be gone; of others, their leases stand still.
    """
    _bury_dead()
    for held in _held():
        _end_overdue(held)
    inline_sends.let_go_of_abandoned()


def _end_overdue(held: "QuerySet[Any, Any]") -> None:
    """End leases that stand still."""
    name = held.model._meta.verbose_name
    leases = dict(held.values_list("pk", "lease_until"))
    for key in WATCH.over(f"every {name}", leases.items()):
        if _end(held.filter(pk=key, lease_until=leases[key])):
            logger.warning("The lease of %s %s stood still; it is ended.", name, key)


def give_back(owner: str) -> None:
    """End all leases of a worker that stops working, however that came about.

    Where an error of ours stopped it, its journals are read before, for the same reason as those of
    the dead; one that can't be read keeps nothing from others.
    """

    def let_go() -> None:
        _read_journals_of(owner)
        _end_leases_of(owner)

    persist(let_go)


def hand_back_batches(owner: str) -> None:
    """Hand back the batches of a worker that an outage of the database stopped; its journals first.

    They are due as they were: it was no fault of theirs, and the worker has not vanished.
    """

    def hand_back() -> None:
        _read_journals_of(owner)
        _batches().filter(owner=owner).update(
            state=BatchState.READY,
            owner="",
            lease_until=None,
            fence=F("fence") + 1,
            attempt=F("attempt") - 1,
        )

    persist(hand_back)


@contextmanager
def reading_back(owner: str) -> Iterator[None]:
    """Put what the journals of a worker hold on record if an error of ours leaves the block.

    So the association that ends by it is recorded with all that the peer acknowledged.
    """
    is_through = False
    try:
        yield
        is_through = True
    finally:
        if not is_through:
            with suppress(*OUTAGES):  # then it is read when the leases are given back
                _read_journals_of(owner)


def _bury_dead() -> None:
    """End the leases of processes of this system that are gone, once their journals are read.

    In this order: whoever ticks on another host gives their batches to others, or cancels them.
    """
    for owner in {owner for held in _held() for owner in held.values_list("owner", flat=True)}:
        if is_dead(owner):
            logger.warning("The worker %s is gone; its work is taken up.", owner)
            called = set(_slots().filter(owner=owner).values_list("destination_id", flat=True))
            _read_journals_of(owner)
            _end_leases_of(owner)
            trials.let_others_try(called)


def _read_journals_of(owner: str) -> None:
    """Record what the journals of a worker's batches hold; it works on them no more."""
    MISHAPS.contain(f"Reading the journals of {owner}", partial(_replay_of, owner), otherwise=None)


def _replay_of(owner: str) -> None:
    for number in _batches().filter(owner=owner).values_list("pk", flat=True):
        for left in journal.remains(batch_id=number):
            _take_in(left, of=owner)


def _end_leases_of(owner: str) -> None:
    for held in _held():
        _end(held.filter(owner=owner))


def _end(held: "QuerySet[Any, Any]") -> int:
    """End leases: those of batches and attempts need further care, the others are free."""
    if held.model in (SendBatch, AssociationAttempt):
        return held.update(lease_until=ENDED)
    return held.update(lease_until=None, owner="")


def _held() -> "Iterator[QuerySet[Any]]":
    """Yield everything that somebody holds."""
    yield from (_slots(), _batches(), _attempts())
    yield Send.objects.filter(planned_at__isnull=True).exclude(owner="")
    yield Listing.objects.filter(state=ListingState.SCANNING).exclude(owner="")


def _slots() -> QuerySet[DestinationSlot]:
    return DestinationSlot.objects.exclude(owner="")


def _batches() -> QuerySet[SendBatch]:
    return SendBatch.objects.filter(state=BatchState.RUNNING, lease_until__gt=ENDED)


def _attempts() -> QuerySet[AssociationAttempt]:
    return AssociationAttempt.objects.filter(closed_at__isnull=True, lease_until__gt=ENDED)


def replay_journals() -> int:
    """Record what abandoned journals of this host hold; return how many results that were.

    A journal whose batch somebody works on is left for later: who works on it has read what is
    pending, and counts it. Those whose worker is gone were read before its leases ended.
    """
    return sum(map(_take_in, journal.remains()))


def _take_in(remains: Remains, *, of: str = "") -> int:
    """Record what a journal holds, if it is time, and remove it; return how many results.

    Args:
        of: a worker that works on its batches no more, though it holds them still.
    """

    def replay() -> int:
        count = _replay(remains, of)
        if count is not None:
            remains.remove()
        return count or 0

    return MISHAPS.contain(f"Reading the journal {remains.path}", replay, otherwise=0)


def _replay(remains: Remains, of: str) -> int | None:
    """Record what is not in the database yet, in one transaction; None: it is not time."""
    with transaction.atomic():
        # Nobody can claim the batch before this transaction ends.
        found = SendBatch.objects.select_for_update(of=("self",)).filter(pk=remains.batch_id)
        batch = found.select_related("send__destination").first()
        is_left = batch is not None and (batch.owner, batch.fence) == (of, remains.fence)
        if batch is not None and not is_left and _is_at_work(batch):
            return None
        attempt = (
            AssociationAttempt.objects.select_for_update(no_key=True)  # it may be recorded just now
            .filter(pk=remains.attempt)
            .first()
        )
        if batch is None or attempt is None:
            return 0
        count = _record(remains, batch, is_open=attempt.closed_at is None)
    if count:
        logger.warning("%s results were read back from a journal.", count)
    return count


def _is_at_work(batch: SendBatch) -> bool:
    return (
        batch.state == BatchState.RUNNING
        and batch.lease_until is not None
        and batch.lease_until > ENDED
        and not is_dead(batch.owner)
    )


def _record(remains: Remains, batch: SendBatch, *, is_open: bool) -> int:
    """Record the results of a journal that are new; return how many those were.

    Args:
        is_open: the association is not on record yet. Once it is, it is never changed: what the
            peer answered still counts for the send, but stands in no association.
    """
    results = {result.number: result for result in remains.results()}
    known = InstanceAttempt.objects.filter(attempt_id=remains.attempt)
    for number in known.values_list("number", flat=True):
        results.pop(number, None)
    due = SendItem.objects.filter(
        pk__among={result.item_id for result in results.values()},
        batch=batch,
        outcome__is_now=InstanceOutcome.PENDING,
    )
    pending = {
        item_id: (part_id, Tried(attempts, rule))
        for item_id, part_id, attempts, rule in locked_items(due).values_list(
            "id", "part_id", "attempts", "rule"
        )
    }
    jitter = new_jitter()
    changes = [
        Change(
            result.item_id,
            pending[result.item_id][0],
            change_of(batch.send, pending[result.item_id][1], result, jitter=jitter),
        )
        for result in results.values()
        if result.item_id in pending
    ]
    if is_open:
        recording.record_instances(remains.attempt, list(results.values()))
    write_changes(changes, remains.attempt)
    _correct(batch.send, results, remains.attempt)
    if changes:
        SendBatch.objects.filter(pk=batch.pk).update(last_outcome_at=timezone.now())
    return len(results)


def _correct(send: Send, results: Mapping[int, InstanceResult], attempt: UUID) -> None:
    """Call sent what the peer acknowledged, though it was given up while nobody knew of that.

    So a journal may say that comes late: of a host that was away meanwhile.
    """
    delivered = {r.item_id: r for r in results.values() if r.outcome.outcome in tallies.DELIVERED}
    given_up = SendItem.objects.filter(pk__among=set(delivered), send=send, outcome__in=GIVEN_UP)
    found: defaultdict[InstanceOutcome, list[Change]] = defaultdict(list)
    for item in locked_items(given_up):
        before = Tried(item.attempts, item.rule)
        change = change_of(send, before, delivered[item.pk], jitter=0)
        found[InstanceOutcome(item.outcome)].append(Change(item.pk, item.part_id, change))
    for outcome, changes in found.items():
        write_changes(changes, attempt, before=outcome)
        logger.warning("Send %s: %s %s rows were sent after all.", send.pk, len(changes), outcome)
    if found:
        sending.judge_anew(send.pk)
