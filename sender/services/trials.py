"""The right to try a destination that does not work: of all who want it at a time, one gets it."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from sender.models import BatchState, Destination, Hold, HoldKind, SendBatch, SendState
from sender.negotiation import retry
from sender.services.delays import base_delays

IDLE_PROBES = timedelta(days=1)
"""A blocked destination for which nothing waits is asked for so long; the next send finds out."""
PROBE_SECONDS = 30.0
"""Beside the destination's own timeouts, how long one who tries keeps others from trying."""


def take_probe(hold: Hold, *, seconds: float) -> bool:
    """Take the right to try a destination; of all who want it at a time, one gets it.

    Args:
        seconds: how long nobody else may try, if this one says no more.
    """
    until = timezone.now() + timedelta(seconds=seconds)
    mine = Hold.objects.filter(pk=hold.pk, ended_at=None, probe_at=hold.probe_at)
    return mine.update(probe_at=until) == 1


def take_breaker(hold: Hold) -> bool:
    """Take the right to try, once the delay is over, with a batch."""
    return take_probe(hold, seconds=PROBE_SECONDS + patience(hold.destination))


def give_back(hold: Hold) -> None:
    """Give the right to try back, unused."""
    Hold.objects.filter(pk=hold.pk, ended_at=None).update(probe_at=timezone.now())


def let_others_try(destinations: Iterable[int]) -> None:
    """Give back what a worker that is gone may have held: the right to try these destinations."""
    now = timezone.now()
    breakers = Hold.objects.active().filter(kind=HoldKind.BREAKER, probe_at__gt=now)
    breakers.filter(destination_id__in=list(destinations)).update(probe_at=now)


def take_blocked(hold_id: int) -> Hold | None:
    """Take the right to negotiate with a blocked destination; None: it is not time, or taken."""
    hold = due_probes(timezone.now()).select_related("destination").filter(pk=hold_id).first()
    if hold is None or not take_probe(hold, seconds=base_delays(retry.PROBE_UNITS).total_seconds()):
        return None
    return hold


def due_probes(now: datetime) -> QuerySet[Hold]:
    """Return the blocked destinations that it is time to ask."""
    return Hold.objects.active().filter(kind=HoldKind.BLOCKED, probe_at__lte=now)


def is_worth_asking(hold: Hold, now: datetime) -> bool:
    """Tell whether something waits for a blocked destination, or it was blocked lately."""
    assert hold.destination_id is not None
    return now < hold.started_at + IDLE_PROBES or waiting_batches(hold.destination_id).exists()


def waiting_batches(destination_id: int) -> QuerySet[SendBatch]:
    """Return the batches that would be sent in the background if the destination worked."""
    return SendBatch.objects.filter(
        destination_id=destination_id,
        state=BatchState.READY,
        send__state__in=(SendState.QUEUED, SendState.RUNNING),
        send__inline=False,
    )


def patience(destination: Destination | None) -> float:
    """Return how long opening an association may take, in seconds."""
    if destination is None:
        return 0.0
    seconds: float = destination.connect_timeout + destination.acse_timeout
    return seconds + (destination.tls_timeout if destination.tls else 0.0)
