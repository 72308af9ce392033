"""Whether a destination or a send may work now, and if not, why and until when. Reads only.

Asked before a batch is claimed and, while one is at work, each second: pauses, disabled
destinations and closed windows end what runs; a destination that does not work (blocked, breaker)
only keeps new associations from being opened, since one that is open shows that it does work.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from sender.models import (
    AssociationAttempt,
    BatchState,
    Destination,
    DestinationSlot,
    Hold,
    HoldKind,
    Send,
    SendBatch,
    SendState,
)
from sender.models.sends import URGENT
from sender.negotiation.windows import Windows, parse_windows
from sender.services.installation import site_zone
from sender.services.sight import SIGHT
from sender.services.vigil import ENDED


class By(StrEnum):
    """What keeps sending back."""

    CANCEL = "cancel"
    PAUSED_SEND = "paused_send"
    DISABLED = "disabled"
    PAUSE = "pause"
    WINDOW = "window"
    BLOCKED = "blocked"
    BREAKER = "breaker"
    ALONE = "alone"


ACCEPTED = b"\x02"
"""The type of an A-ASSOCIATE-AC, PS3.8 table 9-17."""
ALONE_PATIENCE = timedelta(minutes=5)
"""So long after it is due, an instance that is to be tried alone lets others go first."""
NO_ATTEMPT = UUID(int=0)
OF_PEOPLE = frozenset({By.CANCEL, By.PAUSED_SEND, By.DISABLED, By.PAUSE, By.WINDOW})
"""What people decided; the rest is the engine's, and an inline send may try nevertheless."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing may be sent now.

    Attributes:
        reason: one sentence for people.
        until: when this ends by itself; None: nobody can tell.
        hold: the hold behind it, if one is.
    """

    by: By
    reason: str
    until: datetime | None = None
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """How a destination stands at an instant.

    Attributes:
        closed: nothing may be begun there.
        probe: the breaker whose delay is over: whoever takes it (trials.py) may try.
        shut: sends that are outside their own windows, or whose files this host does not see.
        is_busy: batches are at work, so that none that must be alone may begin.
        awaited: why none but urgent sends may begin before one that must be alone.
    """

    closed: Closed | None = None
    probe: Hold | None = None
    shut: frozenset[int] = frozenset()
    is_busy: bool = False
    awaited: Closed | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A send at work as it stands now: its rows, why it must stop, and how many work beside it.

    Attributes:
        seconds_left: until its windows close, its own or the destination's.
    """

    send: Send
    closed: Closed | None
    in_use: int
    seconds_left: float


def look(destination_id: int) -> Gate:
    """Return how a destination stands, for work that is to be begun."""
    now = timezone.now()
    destination = Destination.objects.get(pk=destination_id)
    holds = _holds(destination_id)
    closed = _decided(destination, holds, now)
    closed = closed or next((_of_hold(h) for h in holds if h.kind == HoldKind.BLOCKED), None)
    breaker = next((hold for hold in holds if hold.kind == HoldKind.BREAKER), None)
    if closed is None and breaker is not None and not _is_over(breaker, now):
        closed = _of_hold(breaker)
    running = list(at_work(destination_id).values_list("is_isolated", flat=True))
    if closed is None and any(running):
        closed = Closed(By.ALONE, "One instance is tried alone.")
    shut = shut_sends(destination_id, now) | SIGHT.left_sends()
    awaited = _AWAITED if closed is None and is_awaited(destination_id, shut, now) else None
    return Gate(closed, breaker, shut, bool(running), awaited)


def is_awaited(destination_id: int, shut: frozenset[int], now: datetime) -> bool:
    """Tell whether an instance that must be alone has waited for long, and could go by itself.

    Args:
        shut: sends that are outside their own windows.
    """
    alone = ready(destination_id).filter(
        is_isolated=True, next_attempt_at__lte=now - ALONE_PATIENCE
    )
    return alone.exclude(send_id__in=shut).exists()


_AWAITED = Closed(
    By.ALONE, "One instance has waited for long to be tried alone: nothing else is begun before."
)


def shut_sends(destination_id: int, now: datetime) -> frozenset[int]:
    """Return the sends to a destination that are outside their own windows."""
    bound = Send.objects.filter(
        destination_id=destination_id, state__in=(SendState.QUEUED, SendState.RUNNING)
    ).exclude(windows="")
    return frozenset(send.pk for send in bound if _outside(send, now) is not None)


def look_at_work(send_id: int) -> View:
    """Return how a send that is at work stands, by one query (two where something is held)."""
    now = timezone.now()
    pauses = Hold.objects.active().filter(kind=HoldKind.PAUSE)
    mine = Q(destination_id=OuterRef("destination_id")) | Q(destination=None)
    slots = (
        DestinationSlot.objects.filter(
            destination_id=OuterRef("destination_id"), lease_until__gt=ENDED
        )
        .order_by()
        .values("destination_id")
        .annotate(n=Count("id"))
        .values("n")
    )
    rows: QuerySet[Send] = Send.objects.select_related("destination__pace")
    send = rows.annotate(
        is_held=Exists(pauses.filter(mine)),
        in_use=Coalesce(Subquery(slots, output_field=IntegerField()), Value(0)),
    ).get(pk=send_id)
    holds = _holds(send.destination_id) if send.is_held else []
    closed = _asked(send) or _decided(send.destination, holds, now) or _outside(send, now)
    left = min(
        _seconds_left(send.destination, site_zone(), now),
        _seconds_left(send, zone_of_send(send), now),
    )
    return View(send, closed, max(1, send.in_use), left)


def why_closed(send: Send) -> Closed | None:
    """Return why nothing of a send is being sent, for people; None: nothing keeps it back."""
    now = timezone.now()
    holds = _holds(send.destination_id)
    decided = _asked(send) or _decided(send.destination, holds, now) or _outside(send, now)
    return decided or next((_of_hold(hold) for hold in holds if hold.kind != HoldKind.PAUSE), None)


def of_people(destination: Destination) -> Closed | None:
    """Return what people decided that keeps a destination from being called at all."""
    return _decided(destination, _holds(destination.pk), timezone.now())


def works_beside(destination_id: int, attempt: UUID | None) -> bool:
    """Tell whether another association that the destination accepted is open now."""
    others = AssociationAttempt.objects.filter(
        destination_id=destination_id,
        closed_at__isnull=True,
        lease_until__gt=ENDED,
        answer__isnull=False,
    )
    answers = others.exclude(pk=attempt or NO_ATTEMPT).values_list("answer", flat=True)
    return any(bytes(answer)[:1] == ACCEPTED for answer in answers if answer)


def may_have_work(destination_id: int) -> bool:
    """Tell whether any batch waits for the destination, whether it may begin now or not."""
    return ready(destination_id).filter(send__inline=False).exists()


def ready(destination_id: int) -> QuerySet[SendBatch]:
    """Return the batches for a destination that wait, due or not, and that nobody has stopped."""
    return SendBatch.objects.filter(
        destination_id=destination_id,
        state=BatchState.READY,
        send__state__in=(SendState.QUEUED, SendState.RUNNING),
        send__control="",
    )


def at_work(destination_id: int) -> QuerySet[SendBatch]:
    """Return the batches for a destination that somebody works on."""
    return SendBatch.objects.filter(destination_id=destination_id, state=BatchState.RUNNING)


def may_begin(destination_id: int, gate: Gate) -> QuerySet[SendBatch]:
    """Return the batches that may be begun once they are due; the gate must be open."""
    found = ready(destination_id).filter(send__inline=False)
    if gate.shut:
        found = found.exclude(send_id__in=gate.shut)
    if gate.awaited is not None:
        found = found.filter(Q(is_isolated=True) | Q(priority__gte=URGENT))
    return found.filter(is_isolated=False) if gate.is_busy else found


def next_due(destination_id: int) -> datetime | None:
    """Return when a batch of the destination may be begun next; None: nothing to wait for."""
    gate = look(destination_id)
    if gate.closed is not None and gate.closed.until is None:
        return None
    due = (
        may_begin(destination_id, gate)
        .order_by("next_attempt_at")
        .values_list("next_attempt_at", flat=True)
        .first()
    )
    if due is None or gate.closed is None or gate.closed.until is None:
        return due
    return max(due, gate.closed.until)


@lru_cache(maxsize=256)
def windows_of(text: str) -> Windows:
    """Return windows that were checked when they were saved."""
    return parse_windows(text)


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone that was checked when it was saved."""
    return ZoneInfo(name)


def zone_of_send(send: Send) -> tzinfo:
    """Return the zone in which a send's windows are meant: its own, or the site's."""
    return zone_of(send.zone) if send.zone else site_zone()


def _holds(destination_id: int) -> list[Hold]:
    return list(Hold.objects.over(destination_id).select_related("destination"))


def _is_over(breaker: Hold, now: datetime) -> bool:
    return breaker.probe_at is None or breaker.probe_at <= now


def _asked(send: Send) -> Closed | None:
    if send.control == "cancel":
        return Closed(By.CANCEL, "The send is being cancelled.")
    if send.control == "pause":
        return Closed(By.PAUSED_SEND, send.detail or "The send is paused.")
    return None


def _decided(destination: Destination, holds: Sequence[Hold], now: datetime) -> Closed | None:
    """Return what people decided of a destination."""
    if not destination.enabled:
        return Closed(By.DISABLED, f"{destination} is disabled.")
    paused = next((hold for hold in holds if hold.kind == HoldKind.PAUSE), None)
    if paused is not None:
        return _of_hold(paused)
    return _closed_windows(
        destination.windows,
        site_zone(),
        destination.window_override_until,
        now,
        f"It is outside the times at which {destination} may be sent to",
    )


def _outside(send: Send, now: datetime) -> Closed | None:
    return _closed_windows(
        send.windows,
        zone_of_send(send),
        send.window_override_until,
        now,
        "It is outside the times at which this send may run",
    )


def _closed_windows(
    text: str, zone: tzinfo, override_until: datetime | None, now: datetime, words: str
) -> Closed | None:
    if not text or (override_until is not None and now < override_until):
        return None
    windows = windows_of(text)
    if windows.is_open(now, zone):
        return None
    return Closed(By.WINDOW, f"{words} ({windows}, {zone}).", windows.opens_at(now, zone))


def _seconds_left(of: Destination | Send, zone: tzinfo, now: datetime) -> float:
    """Return for how long windows stay open, or what overrides them lasts; for ever if none."""
    since = max(now, of.window_override_until or now)
    closes_at = windows_of(of.windows).closes_at(since, zone) if of.windows else None
    return (closes_at - now).total_seconds() if closes_at else math.inf


def _of_hold(hold: Hold) -> Closed:
    until = hold.probe_at if hold.kind == HoldKind.BREAKER else hold.until
    return Closed(By(hold.kind), describe(hold), until, hold)


def describe(hold: Hold) -> str:
    """Say in a sentence or two what is held and why."""
    if hold.destination is None:
        return f"All sending is paused by {hold.set_by}: {hold.reason}"
    if hold.kind == HoldKind.PAUSE:
        return f"Sending to {hold.destination} is paused by {hold.set_by}: {hold.reason}"
    if hold.kind == HoldKind.BLOCKED:
        return f"Sending to {hold.destination} waits until this is mended: {hold.reason}"
    return f"{hold.destination} will be tried again: {hold.reason}"


def holds_in_force(destinations: Iterable[int] | None = None) -> QuerySet[Hold]:
    """Return the holds in force for pages, those on all sending first."""
    found = Hold.objects.active().select_related("destination")
    if destinations is not None:
        found = found.filter(Q(destination_id__in=list(destinations)) | Q(destination=None))
    return found.order_by(F("destination_id").asc(nulls_first=True), "started_at", "id")
