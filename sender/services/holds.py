"""Holds: people pause a destination or all sending; the engine holds what does not work.

A hold of the engine is never for good. A breaker lets one worker try when its delay is over; a
blocked destination is asked again and again by one prober. Any association that the peer answers
ends both, whoever opened it.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from sender.models import (
    Association,
    BatchState,
    Destination,
    Hold,
    HoldKind,
    Installation,
    SendBatch,
)
from sender.negotiation import retry
from sender.negotiation.outcomes import NEGOTIATED_KINDS
from sender.negotiation.retry import RetryDecision
from sender.services import gate, tickets, trials
from sender.services.audit import write_entry
from sender.services.delays import base_delays, due_at, new_jitter
from sender.services.locks import lock_batches, lock_destination_row

SYSTEM = "system"
LONGEST_REASON = 400
LONGEST_PAUSE = timedelta(days=366)
_OF_ENGINE = (HoldKind.BLOCKED, HoldKind.BREAKER)


class InvalidHold(ValueError):
    """Sending can't be paused, or a hold can't be ended, like that; the message says why."""


# What people do


def pause(
    destination: Destination | None, *, reason: str, until: datetime | None, actor: str
) -> Hold:
    """Pause sending to a destination, or all sending (None), until a time or until resumed.

    What is being sent gets 5 s; nothing is lost, and no attempt is counted.

    Raises:
        InvalidHold: no reason is given, the end is not in the coming year, or it is paused already.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise InvalidHold("Say why sending is paused: everybody will read it.")
    now = timezone.now()
    if until is not None and not now < until <= now + LONGEST_PAUSE:
        raise InvalidHold("A pause ends in the future, within a year.")
    with transaction.atomic():
        _lock(destination)
        earlier = Hold.objects.active().filter(destination=destination, kind=HoldKind.PAUSE).first()
        if earlier is not None:
            raise InvalidHold(f"It is paused already, by {earlier.set_by}: {earlier.reason}")
        hold = Hold.objects.create(
            destination=destination,
            kind=HoldKind.PAUSE,
            reason=reason[:LONGEST_REASON],
            set_by=actor,
            until=until,
        )
        _write(hold, "pause", actor)
    return hold


def resume(hold: Hold, actor: str) -> None:
    """End a hold of any kind at once; what waits goes on.

    Raises:
        InvalidHold: it has ended already.
    """
    with transaction.atomic():
        if not _end(hold, actor, timezone.now()):
            raise InvalidHold("This hold has ended already.")


def end_expired(now: datetime) -> None:
    """End pauses whose time is over, and blocks for which nothing waits any more."""
    for hold in Hold.objects.filter(ended_at=None, until__lte=now).select_related("destination"):
        with transaction.atomic():
            _end(hold, SYSTEM, hold.until or now)
    for hold in trials.due_probes(now).select_related("destination"):
        if not trials.is_worth_asking(hold, now):
            with transaction.atomic():
                _end(hold, SYSTEM, now)


# What the engine does


def open_breaker(
    destination: Destination,
    decision: RetryDecision,
    detail: str,
    attempt: UUID | None,
    decided_at: datetime,
) -> datetime:
    """Keep others from calling a destination that can't be reached; return when one may try.

    Args:
        decided_at: when whoever failed found that it may be called: what was under way before the
            breaker was opened changes nothing any more.
    """
    with transaction.atomic():
        _lock(destination)
        hold = _of_engine(destination.pk)
        if hold is None:
            hold = Hold(destination=destination, kind=HoldKind.BREAKER, set_by=SYSTEM)
        elif hold.kind == HoldKind.BLOCKED or decided_at < hold.started_at:
            return hold.probe_at or timezone.now()
        hold.failures += 1
        due = _unless_changed(destination, due_at(decision, hold.failures, new_jitter()))
        _put_off(hold, decision, detail, attempt, due)
    return due


def note_failure(
    destination: Destination,
    decision: RetryDecision,
    detail: str,
    attempt: UUID | None,
    decided_at: datetime,
    *,
    due: datetime,
) -> None:
    """Have an open breaker wait no longer than whoever was let through, and failed otherwise.

    Args:
        decided_at: as `open_breaker` has it.
        due: when that may try again.
    """
    with transaction.atomic():
        _lock(destination)
        hold = _of_engine(destination.pk)
        if hold is None or hold.kind == HoldKind.BLOCKED or decided_at < hold.started_at:
            return
        _put_off(hold, decision, detail, attempt, due)


def block(
    destination: Destination, decision: RetryDecision, detail: str, attempt: UUID | None
) -> Hold:
    """Hold a destination until a negotiation succeeds; a breaker over it is ended.

    A block that a person ended to see it tried goes on, as old as it was, if that was in vain.
    """
    with transaction.atomic():
        _lock(destination)
        hold = _of_engine(destination.pk)
        if hold is not None and hold.kind == HoldKind.BREAKER:
            Hold.objects.filter(pk=hold.pk).update(ended_at=timezone.now(), ended_by=SYSTEM)
            hold = None
        is_new = hold is None
        hold = hold or _tried_in_vain(destination.pk)
        if hold is None:
            hold = Hold(destination=destination, kind=HoldKind.BLOCKED, set_by=SYSTEM)
        hold.failures += 1
        usual = timezone.now() + base_delays(retry.PROBE_UNITS)
        probe_at = _unless_changed(destination, usual)
        _put_off(hold, decision, detail, attempt, probe_at)
        if is_new:
            _write(hold, "block", SYSTEM)
    return hold


def _tried_in_vain(destination_id: int) -> Hold | None:
    """Return the last block, going on, if a person ended it and nothing was answered since."""
    blocks = Hold.objects.filter(destination_id=destination_id, kind=HoldKind.BLOCKED)
    last = blocks.order_by("-ended_at", "-id").first()
    if last is None or last.ended_at is None or last.ended_by == SYSTEM:
        return None
    since = Association.objects.filter(
        destination_id=destination_id, started_at__gte=last.ended_at, outcome__in=NEGOTIATED_KINDS
    )
    if since.order_by().exists() or gate.works_beside(destination_id, None):
        return None
    last.ended_at, last.ended_by = None, ""
    return last


def answered(destination_id: int, attempt: UUID) -> None:
    """Note that a destination answered a proposal: whatever the engine held there goes on."""
    hold = _of_engine(destination_id)
    if hold is None:
        return
    with transaction.atomic():
        Hold.objects.filter(pk=hold.pk).update(association_uid=attempt)
        _end(hold, SYSTEM, timezone.now())


def end_idle(destination: Destination) -> None:
    """End a breaker for which nothing waits any more: the next send finds out for itself.

    A block of the demo's receiver ends as well, for it refuses us on purpose.
    """
    if trials.waiting_batches(destination.pk).exists():
        return
    kinds = _OF_ENGINE if _is_demo(destination) else (HoldKind.BREAKER,)
    Hold.objects.filter(destination=destination, kind__in=kinds, ended_at=None).update(
        ended_at=timezone.now(), ended_by=SYSTEM
    )


def _is_demo(destination: Destination) -> bool:
    return (destination.address, destination.port) == ("127.0.0.1", settings.DEMO_PORT)


def try_now(destination_id: int) -> None:
    """Have what the engine holds tried at once, since a person wants to see it tried."""
    now = timezone.now()
    Hold.objects.filter(
        destination_id=destination_id, kind__in=_OF_ENGINE, ended_at=None, probe_at__gt=now
    ).update(probe_at=now)


def try_changed(destination_id: int) -> None:
    """Have a destination tried at once that is another now, with what was put off beside it."""
    hold = _of_engine(destination_id)
    if hold is None:
        return
    try_now(destination_id)
    _bring_forward(hold, timezone.now())
    _wake(destination_id)


def _of_engine(destination_id: int) -> Hold | None:
    held = Hold.objects.filter(destination_id=destination_id, kind__in=_OF_ENGINE, ended_at=None)
    return held.select_related("destination").first()


def _unless_changed(tried: Destination, due: datetime) -> datetime:
    """Return when a destination may be tried again: at once if it is another than was tried.

    Whoever changed it while it was tried had nothing put off brought forward: it came only now.
    """
    is_as_tried = Destination.objects.get(pk=tried.pk).peer == tried.peer
    return due if is_as_tried else timezone.now()


def _lock(destination: Destination | None) -> None:
    """Keep others from setting a hold of the destination (of any, for all) in this transaction."""
    if destination is None:
        Installation.objects.select_for_update(no_key=True).get()
    else:
        lock_destination_row(destination.pk)


def _put_off(
    hold: Hold, decision: RetryDecision, detail: str, attempt: UUID | None, probe_at: datetime
) -> None:
    hold.rule = decision.rule
    hold.reason = f"{decision.reason} {detail}".strip()[:LONGEST_REASON]
    hold.association_uid = attempt
    hold.probe_at = probe_at
    hold.save()


def _end(hold: Hold, actor: str, at: datetime) -> bool:
    ended = Hold.objects.filter(pk=hold.pk, ended_at=None).update(ended_at=at, ended_by=actor)
    if not ended:
        return False
    if hold.kind != HoldKind.BREAKER or actor != SYSTEM:
        _write(hold, "resume", actor)
    if hold.destination_id is not None and hold.kind in _OF_ENGINE:
        _bring_forward(hold, at)
    _wake(hold.destination_id)
    return True


def _bring_forward(hold: Hold, at: datetime) -> None:
    """Have what failed as the destination did tried from an instant on."""
    assert hold.destination_id is not None
    put_off = SendBatch.objects.filter(
        destination_id=hold.destination_id,
        state=BatchState.READY,
        rule=hold.rule,
        next_attempt_at__gt=at,
    )
    with transaction.atomic():
        lock_batches(put_off)
        put_off.update(next_attempt_at=at)


def _wake(destination_id: int | None) -> None:
    """Have what waits go on without waiting for the next tick."""
    ready = SendBatch.objects.filter(state=BatchState.READY, next_attempt_at__lte=timezone.now())
    concerned = Q() if destination_id is None else Q(destination_id=destination_id)
    found: Iterable[int] = (
        ready.filter(concerned).order_by().values_list("destination_id", flat=True).distinct()
    )
    for number in list(found)[: tickets.MOST_WAITING]:
        tickets.issue_work(number)


def _write(hold: Hold, verb: str, actor: str) -> None:
    """Put what happened to a hold on record."""
    subject = "sending" if hold.destination is None else "destination"
    facts = {
        "kind": hold.kind,
        "reason": hold.reason,
        "rule": hold.rule,
        "until": hold.until.isoformat() if hold.until else None,
    }
    write_entry(
        actor=actor,
        action=f"{subject}.{verb}",
        subject=str(hold.destination or "all sending"),
        facts={name: value for name, value in facts.items() if value},
    )
