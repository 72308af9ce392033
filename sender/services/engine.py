"""The engine: who works when. Claims batches, waits for due ones, expires leases, ticks.

What happens inside one association is transfer.py; what decides on retries is negotiation/retry.
"""

import math
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.db import connection, transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q
from django.utils import timezone

from sender.models import (
    AssociationAttempt,
    BatchState,
    Destination,
    EngineTick,
    Hold,
    InstanceAttempt,
    Send,
    SendBatch,
    SendState,
)
from sender.models.sends import OPEN_BATCHES
from sender.services import (
    certificates,
    clock,
    enquiries,
    fairness,
    forgetting,
    gate,
    holds,
    limits,
    recording,
    recovery,
    reopening,
    schedule_runs,
    sending,
    tickets,
    transfer,
    trials,
)
from sender.services.leases import (
    SLOT_WAIT_SECONDS,
    BatchLease,
    SlotLease,
    await_slot,
    claim_batch,
    claim_follower,
    claim_slot,
    extend_slot,
)
from sender.services.mishaps import MISHAPS
from sender.services.owners import owner_name
from sender.services.patience import OUTAGES, is_stopping
from sender.services.vigil import ENDED

LONGEST_WAIT_SECONDS = 5
"""A worker waits so long for a batch that is due soon; for later ones the tick sends somebody."""
LONGEST_WORK_SECONDS = 600
LEASE_PENALTY_SECONDS = 2
"""Pause after a worker vanished without having sent anything; doubled each time."""
POLL_SECONDS = 0.5
SETTLE_SECONDS = 2.0
"""How much of a tick goes to what was cancelled, and to what is taken up again; the sender's signs
of life wait so long."""


def work(destination_id: int) -> None:
    """Send due batches of a destination, one after another, while it has any and a slot is free.

    Returns at once if all its slots are held: whoever holds one finds the next batch. Urgent sends
    to other destinations take the worker away at the border of a batch.
    """
    going: int | None = destination_id
    while going is not None and not is_stopping():
        going = _work_for(going)


def _work_for(destination_id: int) -> int | None:
    """Work for a destination; return another one if that is more urgent by then."""
    if not gate.may_have_work(destination_id):
        return None
    destination = Destination.objects.get(pk=destination_id)
    owner = owner_name()
    slot = _take_slot(destination, owner)
    if slot is None:
        return None
    try:
        return _work_in_slot(destination, slot, owner)
    except OUTAGES:
        recovery.hand_back_batches(owner)
        raise
    finally:
        recovery.give_back(owner)


def _take_slot(destination: Destination, owner: str) -> SlotLease | None:
    """Take a slot; where the destination may not work, one worker at a time decides on that."""
    if fairness.is_proven(destination.pk):
        return claim_slot(destination, owner)
    with transaction.atomic():
        fairness.queue_up()
        return None if fairness.must_wait(destination.pk) else claim_slot(destination, owner)


def _work_in_slot(destination: Destination, slot: SlotLease, owner: str) -> int | None:
    deadline = time.monotonic() + LONGEST_WORK_SECONDS
    is_new = True
    while not is_stopping() and (is_new or _may_keep(slot, destination)):
        is_new = False
        urgent = fairness.more_urgent_than(destination.pk)
        lease = claim_batch(destination.pk, owner) if urgent is None else None
        if lease is None:
            if urgent is not None:
                tickets.issue_work(destination.pk)
            if urgent is not None or not _await_due(destination.pk):
                return urgent
            continue
        is_answered = transfer.run_batches(
            lease, slot, is_stopping=is_stopping, next_batch=_follower(owner, deadline)
        )
        if not is_answered or time.monotonic() >= deadline:
            # Others have their turn first.
            tickets.issue_work(destination.pk)
            return None
    return None


def _may_keep(slot: SlotLease, destination: Destination) -> bool:
    """Hold the slot longer, if it is ours and as many associations may still be open."""
    allowed = limits.associations_now(destination.pk, timezone.now())
    return slot.number <= allowed and extend_slot(slot)


def _follower(owner: str, deadline: float = math.inf) -> transfer.NextBatch:
    """Return what claims a batch that may follow another in its association."""

    def claim(batch: SendBatch) -> BatchLease | None:
        if time.monotonic() >= deadline or is_stopping():
            return None
        if not batch.send.inline and fairness.more_urgent_than(batch.destination_id) is not None:
            return None
        return claim_follower(batch, owner)

    return claim


def run_inline(send: Send, *, is_stopping: Callable[[], bool] = lambda: False) -> None:
    """Send a planned send in this process, with its retries, until nothing is left to try.

    Somebody waits for it: what people hold is refused, and what the engine holds is tried.
    """
    threads = [
        threading.Thread(target=_inline_worker, args=(send, is_stopping), daemon=True)
        for _ in range(_parallel(send) - 1)
    ]
    for thread in threads:
        thread.start()
    _run_batches(send, is_stopping, waits=SLOT_WAIT_SECONDS)
    for thread in threads:
        thread.join()
    sending.finish_if_done(send.pk, seconds=math.inf)


def _parallel(send: Send) -> int:
    batches = SendBatch.objects.filter(send=send, state=BatchState.READY).count()
    return min(send.destination.max_associations, batches)


def _inline_worker(send: Send, is_stopping: Callable[[], bool]) -> None:
    try:
        _run_batches(send, is_stopping, waits=0)
    finally:
        connection.close()


def _run_batches(send: Send, is_stopping: Callable[[], bool], *, waits: float) -> None:
    """Work on the batches of one send.

    Args:
        waits: seconds to wait for a slot. If none becomes free, and none of the send's own threads
            has one, that is a local refusal.
    """
    owner = owner_name()
    while _await_due_of_send(send.pk, is_stopping):
        closed = gate.why_closed(Send.objects.select_related("destination").get(pk=send.pk))
        refusal = closed.reason if closed and closed.by in gate.OF_PEOPLE else ""
        slot = None if refusal else await_slot(send.destination, owner, seconds=waits)
        if slot is None and not refusal and (not waits or _is_at_work(send)):
            time.sleep(POLL_SECONDS)
            continue
        try:
            _run_one(send, slot, refusal, owner, is_stopping)
        finally:
            recovery.give_back(owner)


def _run_one(
    send: Send,
    slot: SlotLease | None,
    refusal: str,
    owner: str,
    is_stopping: Callable[[], bool],
) -> None:
    """Claim a batch and send it, with those that follow in its association, or refuse it."""
    lease = claim_batch(send.destination_id, owner, send_id=send.pk)
    if lease is None:
        time.sleep(POLL_SECONDS / 5)  # another thread was faster, or one must be alone
    elif refusal:
        transfer.refuse_held(lease, refusal)
    elif slot is None:
        transfer.refuse_batch(lease)
    else:
        transfer.run_batches(lease, slot, is_stopping=is_stopping, next_batch=_follower(owner))


def _is_at_work(send: Send) -> bool:
    return SendBatch.objects.filter(send=send, state=BatchState.RUNNING).exists()


def _await_due_of_send(send_id: int, is_stopping: Callable[[], bool]) -> bool:
    """Wait until a batch of the send is due; False if none is left to wait for."""
    return _await(partial(_next_due_of_send, send_id), is_stopping, longest=math.inf)


def _await_due(destination_id: int) -> bool:
    """Wait for a batch of the destination that may be begun soon; False if there is none."""
    return _await(partial(gate.next_due, destination_id), is_stopping, longest=LONGEST_WAIT_SECONDS)


def _await(
    next_due: Callable[[], datetime | None], is_stopping: Callable[[], bool], *, longest: float
) -> bool:
    """Wait for what is due next; False if that is nothing, or we are stopping.

    Args:
        next_due: asked again and again.
        longest: seconds; what is due only later is not waited for.
    """
    deadline = time.monotonic() + longest
    while not is_stopping():
        due = next_due()
        if due is None:
            return False
        seconds = (due - timezone.now()).total_seconds()
        if seconds <= 0:
            return True
        if time.monotonic() + seconds > deadline:
            return False
        time.sleep(min(seconds, POLL_SECONDS))
    return False


def _next_due_of_send(send_id: int) -> datetime | None:
    return (
        SendBatch.objects.filter(
            send_id=send_id,
            state=BatchState.READY,
            send__state__in=(SendState.QUEUED, SendState.RUNNING),
            send__control="",
        )
        .order_by("next_attempt_at")
        .values_list("next_attempt_at", flat=True)
        .first()
    )


def tick(owner: str) -> None:
    """Look after everything that nobody else may be looking after; doing it twice is harmless.

    A mistake of ours in one step keeps no other from being done.

    Raises:
        OperationalError, InterfaceError: the database can't be used.
    """
    now = timezone.now()
    EngineTick.objects.update_or_create(pk=1, defaults={"ticked_at": now, "owner": owner})
    steps: dict[str, Callable[[], object]] = {
        "following steps of the clock": clock.follow_steps,
        "comparing clocks": clock.COMPARISON.look,
        "ending leases": recovery.end_leases,
        "reading journals": recovery.replay_journals,
        "giving back batches": partial(_expire_batches, now),
        "recording interrupted associations": recording.sweep_attempts,
        "ending holds": partial(holds.end_expired, now),
        "probing": partial(_issue_probes, now),
        "looking after enquiries": partial(enquiries.look_after, now),
        "looking after schedules": lambda: schedule_runs.tick(clock.shared_now()),
        "looking after certificates": partial(certificates.look_after_files, now),
        "having sends planned": _reissue_plans,
        "taking up what is tried again": _reopen_batches,
        "having batches sent": partial(_reissue_work, now),
        "finishing sends": _finish_sends,
        "forgetting listings": forgetting.forget_entries,
    }
    for name, step in steps.items():
        MISHAPS.contain(f"The tick: {name}", step, otherwise=None)


def _expire_batches(now: datetime) -> None:
    """Give back batches whose worker vanished: later each time, unless it had got on.

    Then the peer worked, and what failed before is over, as if the association had ended in order.
    """
    expired = SendBatch.objects.filter(state=BatchState.RUNNING, lease_until__lte=ENDED)
    for batch_id, fence, attempt, owner in expired.values_list("id", "fence", "attempt", "owner"):
        if _got_on(owner):
            changes: dict[str, object] = {"next_attempt_at": now, "failures": 0}
        else:
            pause = min(LEASE_PENALTY_SECONDS * 2**attempt, 900)
            changes = {"next_attempt_at": now + timedelta(seconds=pause)}
        SendBatch.objects.filter(id=batch_id, fence=fence, state=BatchState.RUNNING).update(
            state=BatchState.READY,
            fence=F("fence") + 1,
            owner="",
            detail="The worker vanished.",
            **changes,
        )


def _got_on(owner: str) -> bool:
    """Tell whether the peer answered anything in the association of a worker that vanished.

    If not, the batch that it began with may be what ended it.
    """
    left = AssociationAttempt.objects.filter(closed_at__isnull=True, owner=owner)
    answered = InstanceAttempt.objects.filter(attempt_id=OuterRef("pk"), status__isnull=False)
    return left.filter(Exists(answered)).exists()


def _reissue_plans() -> None:
    waiting = Send.objects.filter(
        lease_until__isnull=True,
        planned_at__isnull=True,
        inline=False,
        state__in=(SendState.DRAFT, SendState.PLANNING, SendState.CANCELLING),
    )
    # Who lists their files calls those that wait for them.
    waiting = waiting.exclude(
        listing__lease_until__isnull=False, state__in=(SendState.DRAFT, SendState.PLANNING)
    )
    if tickets.waiting() < tickets.MOST_WAITING:
        for send_id in waiting.order_by("id").values_list("id", flat=True)[:8]:
            tickets.issue_plan(send_id)


def _issue_probes(now: datetime) -> None:
    """Have blocked destinations asked whose time has come, unless people hold them back."""
    for hold in trials.due_probes(now).select_related("destination"):
        MISHAPS.contain(f"Probing by hold {hold.pk}", partial(_issue_probe, hold), otherwise=None)


def _issue_probe(hold: Hold) -> None:
    assert hold.destination is not None
    if gate.of_people(hold.destination) is None:
        tickets.issue_probe(hold.pk)


def _reopen_batches() -> None:
    """Take up what is to be tried again for SETTLE_SECONDS; the rest comes next time."""
    deadline = time.monotonic() + SETTLE_SECONDS
    for send_id in list(reopening.wished().order_by("id").values_list("id", flat=True)):
        left = max(0.0, deadline - time.monotonic())
        MISHAPS.contain(
            f"Taking up send {send_id} again",
            partial(reopening.settle, send_id, seconds=left),
            otherwise=None,
        )


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
        .values("destination_id")
        .annotate(batches=Count("id"), most_urgent=Max("priority"))
        .order_by("-most_urgent", "destination_id")
    )
    for row in due:
        number, most = row["destination_id"], min(row["batches"], room)
        room -= MISHAPS.contain(
            f"Having batches sent to destination {number}",
            partial(_issue_work, number, most, now),
            otherwise=0,
        )


def _issue_work(destination_id: int, most: int, now: datetime) -> int:
    """Issue tickets for a destination, for the slots that are free; return how many."""
    wanted = min(most, fairness.free_slots(destination_id))
    if wanted <= 0 or not _is_due_soon(destination_id, now):
        return 0
    for _ in range(wanted):
        tickets.issue_work(destination_id)
    return wanted


def _is_due_soon(destination_id: int, now: datetime) -> bool:
    due = gate.next_due(destination_id)
    return due is not None and due <= now + timedelta(seconds=LONGEST_WAIT_SECONDS)


def _finish_sends() -> None:
    """End sends of which nothing is open any more, and pause those that were asked to.

    Both are decided under a lock of the send (sending.py), so only those are asked that may be due.
    Rows of sends that are being cancelled are settled for SETTLE_SECONDS; the rest comes next time.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    is_open = SendBatch.objects.filter(send_id=OuterRef("pk"), state__in=OPEN_BATCHES)
    unfinished = Send.objects.filter(
        ~Exists(is_open)
        | Q(control="pause", state=SendState.QUEUED)
        | Q(state=SendState.CANCELLING),
        planned_at__isnull=False,
        state__in=(
            SendState.QUEUED,
            SendState.RUNNING,
            SendState.PAUSED,
            SendState.CANCELLING,
        ),
    )
    for send_id in unfinished.order_by("id").values_list("id", flat=True):
        left = max(0.0, deadline - time.monotonic())
        MISHAPS.contain(
            f"Finishing send {send_id}",
            partial(sending.finish_if_done, send_id, seconds=left),
            otherwise=None,
        )
