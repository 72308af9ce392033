"""Whose turn a worker is: urgent sends come first, and what hangs gets few workers.

Workers of a host are few, and one that waits for a silent peer does nothing else. So destinations
that failed lately, or hang, may together hold a quarter of them (design README, decision 19); and
all that have not shown lately that they work leave one free for those that have, since a peer that
hangs at the first try can't be told from a good one before a time-out has passed.
"""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from sender.models import (
    Association,
    AssociationAttempt,
    BatchState,
    DestinationSlot,
    Send,
    SendBatch,
    SendState,
    Trigger,
    WorkerHeartbeat,
)
from sender.models.sends import URGENT
from sender.negotiation.outcomes import Ended
from sender.services import gate, limits, tickets
from sender.services.locks import lock_batches
from sender.services.vigil import ENDED

LATELY = timedelta(minutes=10)
HANGS = timedelta(seconds=3)
"""An association that carried nothing for so long may well go on like that."""
MOST_LOOKED_AT = 8
TURN_SECONDS = 60.0
"""So long others may begin, at least, before the next instance that waited for long goes alone."""


def more_urgent_than(destination_id: int) -> int | None:
    """Return another destination for which an urgent send could go now; None: stay here."""
    urgent = Send.objects.filter(
        priority__gte=URGENT,
        state__in=(SendState.QUEUED, SendState.RUNNING),
        control="",
        inline=False,
        planned_at__isnull=False,
    )
    numbers = list(urgent.order_by("id").values_list("destination_id", flat=True)[:MOST_LOOKED_AT])
    if destination_id in numbers:
        return None
    return next((number for number in dict.fromkeys(numbers) if _could_go(number)), None)


def _could_go(destination_id: int) -> bool:
    now = timezone.now()
    way = gate.look(destination_id)
    if way.closed is not None or not free_slots(destination_id):
        return False
    due = gate.may_begin(destination_id, way).filter(priority__gte=URGENT, next_attempt_at__lte=now)
    return due.exists()


def free_slots(destination_id: int) -> int:
    """Return how many further associations a destination may have now."""
    now = timezone.now()
    slots = DestinationSlot.objects.filter(
        destination_id=destination_id,
        number__lte=limits.associations_now(destination_id, now),
    )
    return slots.count() - slots.filter(lease_until__gt=ENDED).count()


def call_workers(send: Send, *, here: int = 0) -> None:
    """Have workers come for a send that may go now: as many as associations may be open at once.

    Args:
        here: how many are with it already.
    """
    wanted = 1
    if send.destination.max_associations > 1:
        batches = send.batches.filter(state=BatchState.READY).count()
        wanted = max(1, min(batches, free_slots(send.destination_id)))
    for _ in range(wanted - here):
        tickets.issue_work(send.destination_id)


def call_for_waiting(destination_id: int) -> None:
    """Have workers come for what waits for a destination that shows just now that it works.

    Those that came before were sent away (`must_wait`), and would come again with the next tick.
    """
    waiting = gate.ready(destination_id).filter(send__inline=False)
    waiting = waiting.filter(next_attempt_at__lte=timezone.now())
    for _ in range(waiting[: free_slots(destination_id)].count()):
        tickets.issue_work(destination_id)


def give_others_a_turn(destination_id: int, seconds: float) -> None:
    """Let others begin before the next instance is tried alone that has waited for long.

    Else many of them would go one after another, and nothing between them. While nothing else
    waits, they do so nevertheless.

    Args:
        seconds: how long the one took that was tried alone; the turn lasts no shorter.
    """
    patience_over_at = timezone.now() + timedelta(seconds=max(seconds, TURN_SECONDS))
    due = patience_over_at - gate.ALONE_PATIENCE
    waiting = gate.ready(destination_id).filter(is_isolated=True, next_attempt_at__lt=due)
    with transaction.atomic():
        lock_batches(waiting)
        waiting.update(next_attempt_at=due)


def must_wait(destination_id: int) -> bool:
    """Tell whether enough workers of this host are with destinations that may not work."""
    if is_proven(destination_id):
        return False
    at_work = _with_workers()
    most = settings.WORKERS - 1
    if most and sum(not is_proven(number) for number in at_work) >= most:
        return True
    others = [number for number in at_work if number != destination_id]
    is_enough = sum(map(is_doubtful, others)) >= max(1, settings.WORKERS // 4)
    return is_enough and is_doubtful(destination_id)


def _with_workers() -> list[int]:
    """Return the destinations that workers of this host are with, once for each worker.

    Processes that send inline or ask a peer something hold slots too, but no worker.
    """
    slots = DestinationSlot.objects.filter(
        lease_until__gt=ENDED, owner__startswith=f"{settings.SENDER_HOST}:"
    )
    held = list(slots.values_list("destination_id", "owner"))
    inline = SendBatch.objects.filter(
        destination_id__in={number for number, _ in held},
        state=BatchState.RUNNING,
        send__inline=True,
    )
    asking = AssociationAttempt.objects.filter(
        trigger__in=(Trigger.ECHO, Trigger.NEGOTIATE), closed_at__isnull=True
    )
    others = {owner for rows in (inline, asking) for owner in rows.values_list("owner", flat=True)}
    return [number for number, owner in held if owner not in others]


def queue_up() -> None:
    """Wait until no other worker of this host decides whether it must wait; in a transaction."""
    senders = WorkerHeartbeat.objects.filter(kind="sender", host=settings.SENDER_HOST)
    list(senders.order_by("pk").select_for_update(no_key=True))


def is_proven(destination_id: int) -> bool:
    """Tell whether a destination has shown lately that it works, or is showing it now."""
    since = timezone.now() - LATELY
    lately = Association.objects.filter(
        destination_id=destination_id, started_at__gte=since, ended=Ended.RELEASED
    )
    return lately.order_by().exists() or _is_taking_instances(destination_id)


def _is_taking_instances(destination_id: int) -> bool:
    return AssociationAttempt.objects.filter(
        destination_id=destination_id, closed_at__isnull=True, instances__status__isnull=False
    ).exists()


def is_doubtful(destination_id: int) -> bool:
    """Tell whether a destination failed lately, or hangs, and had no success since."""
    since = timezone.now() - LATELY
    lately = Association.objects.filter(
        destination_id=destination_id, started_at__gte=since
    ).order_by()
    if lately.filter(ended=Ended.RELEASED).exists():
        return False
    hanging = AssociationAttempt.objects.filter(
        destination_id=destination_id,
        closed_at__isnull=True,
        started_at__lte=timezone.now() - HANGS,
        instances__isnull=True,
    )
    return lately.exists() or hanging.exists()
