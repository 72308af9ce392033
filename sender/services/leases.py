"""Leases with fencing: who may use a destination's slot, and who works on a batch.

Everything is a conditional UPDATE whose row count is checked, so that the same statement decides
on SQLite and PostgreSQL, for threads, processes and hosts alike. Whether a lease is over is told by
vigil.py; batches and attempts are taken back by the tick alone.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from sender.models import (
    AssociationScope,
    BatchState,
    Destination,
    DestinationSlot,
    SendBatch,
)
from sender.models.sends import URGENT
from sender.services import clock, gate, limits, trials
from sender.services.locks import lock_destination_row
from sender.services.owners import LEASE_SECONDS, lease_end
from sender.services.vigil import ENDED, STILL_SECONDS, WATCH

SLOT_WAIT_SECONDS = 10
"""How long work that a person waits for waits for a slot (CONTRACT.md)."""


@dataclass(frozen=True, slots=True)
class SlotLease:
    """The right to hold one association to a destination."""

    slot_id: int
    fence: int
    number: int = 1


@dataclass(frozen=True, slots=True)
class BatchLease:
    """The right to work on a batch.

    Attributes:
        decided_at: when it was found that the destination may be called; of a batch that follows
            another in its association, when that was found for the first.
    """

    batch_id: int
    fence: int
    decided_at: datetime = field(default_factory=timezone.now, compare=False)


def claim_slot(
    destination: Destination, owner: str, *, in_a_hurry: bool = False
) -> SlotLease | None:
    """Take a free slot of the destination; None if all that may be used now are held.

    Args:
        in_a_hurry: take slots too whose lease is over by the clock that hosts share, if their
            holder gave no sign of life for a while: for those who can't wait for the tick.
    """
    allowed = limits.associations_now(destination.pk, timezone.now())
    candidates = DestinationSlot.objects.filter(destination=destination, number__lte=allowed)
    slots = list(candidates.order_by("number").values_list("id", "fence", "lease_until", "number"))
    watched = [(slot_id, until) for slot_id, _, until, _ in slots]
    over = _over(destination, watched, in_a_hurry=in_a_hurry)
    for slot_id, fence, until, number in slots:
        if slot_id not in over:
            continue
        free = DestinationSlot.objects.filter(id=slot_id, fence=fence, lease_until=until)
        if free.update(owner=owner, fence=fence + 1, lease_until=_slot_end()):
            return SlotLease(slot_id, fence + 1, number)
    return None


def _over(
    destination: Destination,
    watched: list[tuple[int, datetime | None]],
    *,
    in_a_hurry: bool,
) -> set[int]:
    """Return the slots whose lease is over."""
    over = WATCH.over(f"slots of {destination.pk}", watched)
    if in_a_hurry:
        now = clock.shared_now()
        late = [(slot_id, until) for slot_id, until in watched if until is None or until < now]
        over |= WATCH.over(f"late slots of {destination.pk}", late, after=STILL_SECONDS)
    return over


def await_slot(destination: Destination, owner: str, *, seconds: float) -> SlotLease | None:
    """Take a slot, waiting at most `seconds` for one to become free."""
    deadline = time.monotonic() + seconds
    while True:
        slot = claim_slot(destination, owner, in_a_hurry=True)
        if slot is not None or time.monotonic() >= deadline:
            return slot
        time.sleep(0.1)


def extend_slot(slot: SlotLease) -> bool:
    """Hold the slot longer; False if somebody else has it now."""
    held = DestinationSlot.objects.filter(id=slot.slot_id, fence=slot.fence, lease_until__gt=ENDED)
    return held.update(lease_until=_slot_end()) == 1


def _slot_end() -> datetime:
    """Return until when a slot is held that is taken or extended now, for those in a hurry."""
    return clock.shared_now() + timedelta(seconds=LEASE_SECONDS)


def claim_batch(
    destination_id: int, owner: str, *, send_id: int | None = None
) -> BatchLease | None:
    """Take the most urgent batch that is due, if the destination's gate lets it; else None.

    Its attempt is counted before anything is tried.

    Args:
        send_id: of an inline send, whose process waits for it; it looks at the gate itself.
    """
    if send_id is not None:
        return _claim(_due(destination_id).filter(send_id=send_id), owner)
    now = timezone.now()
    way = gate.look(destination_id)
    if way.closed is not None:
        return None
    due = gate.may_begin(destination_id, way).filter(next_attempt_at__lte=now)
    if way.probe is None:
        return _claim(due, owner, decided_at=now)
    if not due.exists() or not trials.take_breaker(way.probe):
        return None
    # The batch that tried before tries again, so that the others keep their attempts.
    lease = _claim(due, owner, order=("-priority", "-failures", "next_attempt_at", "id"))
    if lease is None:
        trials.give_back(way.probe)
    return lease


def claim_follower(batch: SendBatch, owner: str) -> BatchLease | None:
    """Take a batch that may follow another in the same association; None if there is none.

    It must be of the same send and need the same contexts, the destination must allow many studies
    in an association, and nothing more urgent may wait.
    """
    destination = batch.send.destination
    if (
        destination.association_scope != AssociationScope.STUDIES
        or destination.instances_per_association
        or batch.is_isolated
        or is_overtaken(batch)
    ):
        return None
    following = _due(batch.destination_id).filter(
        send_id=batch.send_id, definition_list_id=batch.definition_list_id, is_isolated=False
    )
    return _claim(following, owner)


def is_overtaken(batch: SendBatch) -> bool:
    """Tell whether something more urgent waits for the destination and may run now.

    Or what has waited for long to be tried alone: only urgent and inline sends go before that.
    """
    due = _due(batch.destination_id)
    urgent = Q(send__inline=False, priority__gt=batch.priority)
    if not due.filter(urgent | Q(is_isolated=True)).exists():
        return False
    now = timezone.now()
    shut = gate.shut_sends(batch.destination_id, now)
    gives_way = batch.priority < URGENT and not batch.send.inline
    if gives_way and gate.is_awaited(batch.destination_id, shut, now):
        return True
    waiting = due.filter(urgent).exclude(send_id__in=shut)
    if _has_others(batch):  # what must be alone could not begin yet
        waiting = waiting.filter(is_isolated=False)
    return waiting.exists()


def _has_others(batch: SendBatch) -> bool:
    return gate.at_work(batch.destination_id).exclude(pk=batch.pk).exists()


def _due(destination_id: int) -> QuerySet[SendBatch]:
    return gate.ready(destination_id).filter(next_attempt_at__lte=timezone.now())


_USUAL_ORDER = ("-priority", "next_attempt_at", "id")


def _claim(
    due: QuerySet[SendBatch],
    owner: str,
    *,
    order: tuple[str, ...] = _USUAL_ORDER,
    decided_at: datetime | None = None,
) -> BatchLease | None:
    decided_at = decided_at or timezone.now()
    candidates = due.order_by(*order).values_list("id", "fence", "is_isolated", "destination_id")
    for batch_id, fence, is_isolated, destination_id in candidates[:8]:
        claim = BatchLease(batch_id, fence + 1, decided_at)
        if is_isolated:
            if _claim_alone(claim, owner, destination_id):
                return claim
        elif _take(claim, owner):
            return claim
    return None


def _claim_alone(claim: BatchLease, owner: str, destination_id: int) -> bool:
    """Claim a batch that may only run while no other does."""
    with transaction.atomic():
        lock_destination_row(destination_id)
        return not gate.at_work(destination_id).exists() and _take(claim, owner)


def _take(claim: BatchLease, owner: str) -> bool:
    waiting = SendBatch.objects.filter(
        id=claim.batch_id, fence=claim.fence - 1, state=BatchState.READY
    )
    taken = waiting.update(
        state=BatchState.RUNNING,
        owner=owner,
        fence=claim.fence,
        attempt=F("attempt") + 1,
        lease_until=lease_end(),
    )
    return taken == 1


def extend_batch(lease: BatchLease, **facts: object) -> bool:
    """Hold the batch longer, and write facts of it; False if somebody else has it now."""
    held = SendBatch.objects.filter(
        id=lease.batch_id, fence=lease.fence, state=BatchState.RUNNING, lease_until__gt=ENDED
    )
    return held.update(lease_until=lease_end(), **facts) == 1
