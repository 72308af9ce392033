"""Leases with fencing: who may use a destination's slot, and who works on a batch.

Everything is a conditional UPDATE whose row count is checked, so that the same statement decides
on SQLite and PostgreSQL, for threads, processes and hosts alike.
"""

import time
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from sender.models import (
    AssociationScope,
    BatchState,
    Destination,
    DestinationSlot,
    SendBatch,
    SendState,
)
from sender.services.associating import LEASE_SECONDS
from sender.services.owners import is_dead, owner_name

__all__ = ["BatchLease", "SlotLease", "is_dead", "owner_name"]


@dataclass(frozen=True, slots=True)
class SlotLease:
    """The right to hold one association to a destination."""

    slot_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class BatchLease:
    """The right to work on a batch."""

    batch_id: int
    fence: int


def claim_slot(destination: Destination, owner: str) -> SlotLease | None:
    """Take a free slot of the destination; None if all are held."""
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    candidates = DestinationSlot.objects.filter(
        free, destination=destination, number__lte=destination.max_associations
    ).order_by("number")
    for slot_id, fence in candidates.values_list("id", "fence"):
        taken = DestinationSlot.objects.filter(free, id=slot_id, fence=fence).update(
            owner=owner, fence=fence + 1, lease_until=now + timedelta(seconds=LEASE_SECONDS)
        )
        if taken:
            return SlotLease(slot_id, fence + 1)
    return None


def await_slot(destination: Destination, owner: str, *, seconds: float) -> SlotLease | None:
    """Take a slot, waiting at most `seconds` for one to become free."""
    deadline = time.monotonic() + seconds
    while True:
        slot = claim_slot(destination, owner)
        if slot is not None or time.monotonic() >= deadline:
            return slot
        time.sleep(0.1)


def extend_slot(slot: SlotLease) -> bool:
    """Hold the slot longer; False if somebody else has it now."""
    until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    held = DestinationSlot.objects.filter(id=slot.slot_id, fence=slot.fence)
    return held.update(lease_until=until) == 1


def free_slot(slot: SlotLease) -> None:
    """Give the slot back."""
    DestinationSlot.objects.filter(id=slot.slot_id, fence=slot.fence).update(
        owner="", lease_until=None
    )


def claim_batch(
    destination_id: int, owner: str, *, send_id: int | None = None
) -> BatchLease | None:
    """Take the most urgent batch that is due; its attempt is counted before anything is tried."""
    due = _due(destination_id)
    due = due.filter(send_id=send_id) if send_id else due.filter(send__inline=False)
    return _claim(due, owner)


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
    ):
        return None
    due = _due(batch.destination_id)
    if due.filter(send__inline=False, priority__gt=batch.priority).exists():
        return None
    return _claim(
        due.filter(
            send_id=batch.send_id, definition_list_id=batch.definition_list_id, is_isolated=False
        ),
        owner,
    )


def _due(destination_id: int) -> QuerySet[SendBatch]:
    return SendBatch.objects.filter(
        destination_id=destination_id,
        state=BatchState.READY,
        next_attempt_at__lte=timezone.now(),
        send__state__in=(SendState.QUEUED, SendState.RUNNING),
        send__control="",
    )


def _claim(due: QuerySet[SendBatch], owner: str) -> BatchLease | None:
    now = timezone.now()
    candidates = due.order_by("-priority", "next_attempt_at", "id")
    for batch_id, fence in candidates.values_list("id", "fence")[:8]:
        taken = SendBatch.objects.filter(id=batch_id, fence=fence, state=BatchState.READY).update(
            state=BatchState.RUNNING,
            owner=owner,
            fence=fence + 1,
            attempt=F("attempt") + 1,
            lease_until=now + timedelta(seconds=LEASE_SECONDS),
        )
        if taken:
            return BatchLease(batch_id, fence + 1)
    return None


def extend_batch(lease: BatchLease) -> bool:
    """Hold the batch longer; False if somebody else has it now."""
    until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    held = SendBatch.objects.filter(id=lease.batch_id, fence=lease.fence, state=BatchState.RUNNING)
    return held.update(lease_until=until) == 1
