"""The engine: who works when. Claims batches, waits for due ones, expires leases, ticks.

What happens inside one association is transfer.py; what decides on retries is negotiation/retry.
"""

import math
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Q
from django.utils import timezone

from sender.models import (
    AssociationAttempt,
    BatchState,
    Destination,
    EngineTick,
    Enquiry,
    InstanceAttempt,
    Send,
    SendBatch,
    SendState,
)
from sender.services import clock, recording, recovery, sending, tickets, transfer
from sender.services.leases import (
    BatchLease,
    SlotLease,
    await_slot,
    claim_batch,
    claim_follower,
    claim_slot,
    extend_slot,
    owner_name,
)
from sender.services.patience import is_stopping
from sender.services.vigil import ENDED

LONGEST_WAIT_SECONDS = 20
"""A worker waits this long for a batch that is due soon, rather than coming back for it."""
LONGEST_WORK_SECONDS = 600
SLOT_WAIT_SECONDS = 10
"""How long work that a person waits for waits for a slot (CONTRACT.md)."""
LEASE_PENALTY_SECONDS = 2
"""Pause after a worker vanished without having sent anything; doubled each time."""
LONGEST_ENQUIRY_SECONDS = 600


def work(destination_id: int) -> None:
    """Send due batches of a destination, one after another, while it has any and a slot is free.

    Returns at once if all its slots are held: whoever holds one finds the next batch.
    """
    destination = Destination.objects.get(pk=destination_id)
    owner = owner_name()
    if is_stopping():
        return
    slot = claim_slot(destination, owner)
    if slot is None:
        return
    try:
        _work_in_slot(destination, slot, owner)
    finally:
        recovery.give_back(owner)


def _work_in_slot(destination: Destination, slot: SlotLease, owner: str) -> None:
    deadline = time.monotonic() + LONGEST_WORK_SECONDS
    while not is_stopping() and extend_slot(slot):
        lease = claim_batch(destination.pk, owner)
        if lease is not None:
            transfer.run_batches(
                lease, slot, is_stopping=is_stopping, next_batch=_follower(owner, deadline)
            )
        elif not _await_due(destination.pk):
            return
        if time.monotonic() >= deadline:
            tickets.issue_work(destination.pk)
            return


def _follower(owner: str, deadline: float = math.inf) -> transfer.NextBatch:
    """Return what claims a batch that may follow another in its association."""

    def claim(batch: SendBatch) -> BatchLease | None:
        if time.monotonic() >= deadline or is_stopping():
            return None
        return claim_follower(batch, owner)

    return claim


def run_inline(send: Send, *, is_stopping: Callable[[], bool] = lambda: False) -> None:
    """Send a planned send in this process, with its retries, until nothing is left to try."""
    threads = [
        threading.Thread(target=_inline_worker, args=(send, is_stopping), daemon=True)
        for _ in range(_parallel(send) - 1)
    ]
    for thread in threads:
        thread.start()
    _run_batches(send, is_stopping)
    for thread in threads:
        thread.join()
    sending.finish_if_done(send.pk)


def _parallel(send: Send) -> int:
    batches = SendBatch.objects.filter(send=send, state=BatchState.READY).count()
    return min(send.destination.max_associations, batches)


def _inline_worker(send: Send, is_stopping: Callable[[], bool]) -> None:
    try:
        _run_batches(send, is_stopping)
    finally:
        connection.close()


def _run_batches(send: Send, is_stopping: Callable[[], bool]) -> None:
    """Work on the batches of one send; a slot that is not free for 10 s is a local refusal."""
    owner = owner_name()
    while _await_due_of_send(send.pk, is_stopping):
        slot = await_slot(send.destination, owner, seconds=SLOT_WAIT_SECONDS)
        lease = claim_batch(send.destination_id, owner, send_id=send.pk)
        try:
            if lease is not None and slot is not None:
                transfer.run_batches(
                    lease, slot, is_stopping=is_stopping, next_batch=_follower(owner)
                )
            elif lease is not None:
                transfer.refuse_batch(lease)
        finally:
            recovery.give_back(owner)


def _await_due_of_send(send_id: int, is_stopping: Callable[[], bool]) -> bool:
    """Wait until a batch of the send is due; False if none is left to wait for."""
    while not is_stopping():
        due = _next_due(Q(send_id=send_id))
        if due is None:
            return False
        seconds = (due - timezone.now()).total_seconds()
        if seconds <= 0:
            return True
        time.sleep(min(seconds, 0.5))
    return False


def _await_due(destination_id: int) -> bool:
    """Wait for a batch of the destination that is due soon; False if there is none."""
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while not is_stopping():
        due = _next_due(Q(destination_id=destination_id, send__inline=False))
        if due is None:
            return False
        seconds = (due - timezone.now()).total_seconds()
        if seconds <= 0:
            return True
        if time.monotonic() + seconds > deadline:
            return False
        time.sleep(min(seconds, 0.5))
    return False


def _next_due(which: Q) -> datetime | None:
    return (
        SendBatch.objects.filter(
            which,
            state=BatchState.READY,
            send__state__in=(SendState.QUEUED, SendState.RUNNING),
            send__control="",
        )
        .order_by("next_attempt_at")
        .values_list("next_attempt_at", flat=True)
        .first()
    )


def tick(owner: str) -> None:
    """Look after everything that nobody else may be looking after; doing it twice is harmless."""
    now = timezone.now()
    EngineTick.objects.update_or_create(pk=1, defaults={"ticked_at": now, "owner": owner})
    clock.follow_steps()
    recovery.end_leases()
    recovery.replay_journals()
    _expire_batches(now)
    recording.sweep_attempts()
    _end_enquiries(now)
    _reissue_plans(now)
    _reissue_work(now)
    _finish_sends()


def _expire_batches(now: datetime) -> None:
    """Give back batches whose worker vanished, later each time."""
    expired = SendBatch.objects.filter(state=BatchState.RUNNING, lease_until__lte=ENDED)
    for batch_id, fence, attempt, owner in expired.values_list("id", "fence", "attempt", "owner"):
        pause = 0 if _got_on(owner) else min(LEASE_PENALTY_SECONDS * 2**attempt, 900)
        SendBatch.objects.filter(id=batch_id, fence=fence, state=BatchState.RUNNING).update(
            state=BatchState.READY,
            fence=F("fence") + 1,
            owner="",
            next_attempt_at=now + timedelta(seconds=pause),
            detail="The worker vanished.",
        )
    cancelled = SendBatch.objects.filter(state=BatchState.READY, send__state=SendState.CANCELLING)
    cancelled.update(state=BatchState.CANCELLED)


def _got_on(owner: str) -> bool:
    """Tell whether the association of a worker that vanished moved anything.

    If not, the batch that it began with may be what ended it.
    """
    left = AssociationAttempt.objects.filter(closed_at__isnull=True, owner=owner)
    return left.filter(Exists(InstanceAttempt.objects.filter(attempt_id=OuterRef("pk")))).exists()


def _end_enquiries(now: datetime) -> None:
    """Tell who waits for an echo or a negotiation that nobody answers any more."""
    Enquiry.objects.filter(
        finished_at__isnull=True, started_at__lt=now - timedelta(seconds=LONGEST_ENQUIRY_SECONDS)
    ).update(finished_at=now, detail="The sender vanished before it had an answer.")


def _reissue_plans(now: datetime) -> None:
    waiting = Send.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=now),
        planned_at__isnull=True,
        inline=False,
        state__in=(SendState.DRAFT, SendState.PLANNING, SendState.CANCELLING),
    )
    if tickets.waiting() < tickets.MOST_WAITING:
        for send_id in waiting.values_list("id", flat=True)[:8]:
            tickets.issue_plan(send_id)


def _reissue_work(now: datetime) -> None:
    """Issue tickets for destinations with due batches, as many as free slots can use."""
    room = tickets.MOST_WAITING - tickets.waiting()
    due = (
        SendBatch.objects.filter(
            state=BatchState.READY,
            next_attempt_at__lte=now + timedelta(seconds=LONGEST_WAIT_SECONDS),
            send__inline=False,
            send__state__in=(SendState.QUEUED, SendState.RUNNING),
            send__control="",
        )
        .values("destination_id", "destination__max_associations")
        .annotate(batches=Count("id"))
    )
    for row in due:
        free = _free_slots(row["destination_id"], now)
        for _ in range(min(free, row["batches"], room)):
            tickets.issue_work(row["destination_id"])
            room -= 1


def _free_slots(destination_id: int, now: datetime) -> int:
    destination = Destination.objects.get(pk=destination_id)
    return destination.slots.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=now),
        number__lte=destination.max_associations,
    ).count()


def _finish_sends() -> None:
    unfinished = Send.objects.filter(
        planned_at__isnull=False,
        state__in=(SendState.QUEUED, SendState.RUNNING, SendState.CANCELLING),
    )
    for send_id in unfinished.values_list("id", flat=True):
        sending.finish_if_done(send_id)
