"""Leases with fencing: who may use a destination's slot, and who works on a batch.

Everything is a conditional UPDATE whose row count is checked, so that the same statement decides
on SQLite and PostgreSQL, for threads, processes and hosts alike. Whether a lease is over is told by
vigil.py; batches and attempts are taken back by the tick alone.
"""

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db.models import F, QuerySet
from django.utils import timezone

from sender.models import (
    AssociationScope,
    BatchState,
    Destination,
    DestinationSlot,
    SendBatch,
    SendState,
)
from sender.services.vigil import ENDED, LEASE_SECONDS, STILL_SECONDS, WATCH

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES = Path("/proc/self/ns/pid")
_STARTED = format(int(time.time() * 1000), "x")


def owner_name() -> str:
    """Name this thread so that no other process, thread or host has the same."""
    thread = f"{threading.get_ident():x}"
    return f"{settings.SENDER_HOST}:{os.getpid()}:{_STARTED}:{_system()}:{thread}"


@cache
def _system() -> str:
    """Mark the running system within which a process number means one process.

    Two containers may bear the same host name, and do not see each other's processes.
    """
    marks = ""
    for read in (_BOOT.read_text, _PROCESSES.readlink):
        try:
            marks += str(read())
        except OSError:  # not Linux: the host name has to do
            continue
    return hashlib.sha256(marks.encode()).hexdigest()[:8]


def is_dead(owner: str) -> bool:
    """Tell whether an owner was a process of this system that is gone; no answer for others."""
    host, number, _, system, *_ = [*owner.split(":"), "", "", ""]
    if (host, system) != (settings.SENDER_HOST, _system()) or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


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


def claim_slot(
    destination: Destination, owner: str, *, in_a_hurry: bool = False
) -> SlotLease | None:
    """Take a free slot of the destination; None if all are held.

    Args:
        in_a_hurry: take slots too whose lease is over by the clock, if their holder gave no sign
            of life for a while: for those who can't wait for the tick.
    """
    candidates = DestinationSlot.objects.filter(
        destination=destination, number__lte=destination.max_associations
    ).order_by("number")
    slots = list(candidates.values_list("id", "fence", "lease_until"))
    over = _over(destination, slots, in_a_hurry=in_a_hurry)
    for slot_id, fence, until in slots:
        if slot_id not in over:
            continue
        free = DestinationSlot.objects.filter(id=slot_id, fence=fence, lease_until=until)
        if free.update(owner=owner, fence=fence + 1, lease_until=_lease_end()):
            return SlotLease(slot_id, fence + 1)
    return None


def _over(
    destination: Destination,
    slots: list[tuple[int, int, datetime | None]],
    *,
    in_a_hurry: bool,
) -> set[int]:
    """Return the slots whose lease is over."""
    watched = [(slot_id, until) for slot_id, _, until in slots]
    over = WATCH.over(f"slots of {destination.pk}", watched)
    if in_a_hurry:
        now = timezone.now()
        late = [(slot_id, until) for slot_id, until in watched if until is None or until < now]
        over |= WATCH.over(f"late slots of {destination.pk}", late, after=STILL_SECONDS)
    return over


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=LEASE_SECONDS)


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
    return held.update(lease_until=_lease_end()) == 1


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
    candidates = due.order_by("-priority", "next_attempt_at", "id")
    for batch_id, fence in candidates.values_list("id", "fence")[:8]:
        taken = SendBatch.objects.filter(id=batch_id, fence=fence, state=BatchState.READY).update(
            state=BatchState.RUNNING,
            owner=owner,
            fence=fence + 1,
            attempt=F("attempt") + 1,
            lease_until=_lease_end(),
        )
        if taken:
            return BatchLease(batch_id, fence + 1)
    return None


def extend_batch(lease: BatchLease) -> bool:
    """Hold the batch longer; False if somebody else has it now."""
    held = SendBatch.objects.filter(
        id=lease.batch_id, fence=lease.fence, state=BatchState.RUNNING, lease_until__gt=ENDED
    )
    return held.update(lease_until=_lease_end()) == 1
