"""Sends under way as people steer them: pause, resume, priority, windows overridden."""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from sender.models import Destination, Send, SendBatch, SendState
from sender.models.sends import OPEN_BATCHES
from sender.services import sending, tickets
from sender.services.audit import write_entry
from sender.services.locks import lock_batches
from sender.services.sending import WrongState

PAUSABLE = (SendState.QUEUED, SendState.RUNNING, SendState.PLANNING)
LOWEST_PRIORITY, HIGHEST_PRIORITY = -1000, 1000
LONGEST_OVERRIDE = timedelta(days=7)
_STEERED = (*PAUSABLE, SendState.PAUSED, SendState.DRAFT)


def pause_send(send: Send, actor: str, reason: str = "") -> None:
    """Begin nothing more of a send; what is in flight gets 5 s. Planning goes on.

    Raises:
        WrongState: it is paused already, is a draft, or has ended.
    """
    said = f"Paused by {actor}" + (f": {' '.join(reason.split())}" if reason.strip() else ".")
    with transaction.atomic():
        pausable = Send.objects.filter(pk=send.pk, state__in=PAUSABLE, control="")
        if not pausable.update(control="pause", detail=said[:400]):
            send.refresh_from_db()
            raise WrongState(f"Send {send.pk} {_standing(send)}: it can't be paused.")
        sending.move_send(send.pk, SendState.PAUSED, before=(SendState.QUEUED, SendState.RUNNING))
        _write(send, actor, "pause", {"reason": reason} if reason.strip() else {})
    sending.finish_if_done(send.pk)
    send.refresh_from_db()


def resume_send(send: Send, actor: str) -> None:
    """Let a paused send go on; one that a process sent inline goes on in the background.

    Raises:
        WrongState: it is not paused.
    """
    with transaction.atomic():
        paused = Send.objects.filter(pk=send.pk, control="pause")
        if not paused.update(control="", detail="", inline=False):
            send.refresh_from_db()
            raise WrongState(f"Send {send.pk} {_standing(send)}, and is not paused.")
        sending.move_send(send.pk, SendState.QUEUED, before=(SendState.PAUSED,))
        _write(send, actor, "resume", {})
        tickets.issue_work(send.destination_id)
    sending.finish_if_done(send.pk)
    send.refresh_from_db()


def set_priority(send: Send, actor: str, priority: int) -> None:
    """Give a send another priority; higher ones overtake it at the borders of batches.

    Raises:
        WrongState: it has ended, or the priority is out of range.
    """
    if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise WrongState(f"A priority is from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}.")
    with transaction.atomic():
        if not Send.objects.filter(pk=send.pk, state__in=_STEERED).update(priority=priority):
            raise WrongState(f"Send {send.pk} has ended.")
        spread_priority(send.pk)
        _write(send, actor, "priority", {"priority": priority})
        tickets.issue_work(send.destination_id)
    send.refresh_from_db()


def spread_priority(send_id: int) -> None:
    """Give the open batches of a send its priority; those that are tried alone come last."""
    priority = Send.objects.values_list("priority", flat=True).get(pk=send_id)
    unfinished = SendBatch.objects.filter(send_id=send_id, state__in=OPEN_BATCHES)
    lock_batches(unfinished)
    for is_isolated, wanted in ((False, priority), (True, priority - 1)):
        unfinished.filter(is_isolated=is_isolated).exclude(priority=wanted).update(priority=wanted)


def override_window(target: Send | Destination, actor: str, until: datetime) -> None:
    """Let a send or a destination work outside its windows until a time.

    Raises:
        WrongState: it has no windows, or the time is more than a week away.
    """
    now = timezone.now()
    if not target.windows:
        raise WrongState("It has no windows: it may be sent to at any time.")
    if until > now + LONGEST_OVERRIDE:
        raise WrongState("Windows can be overridden for a week at most.")
    with transaction.atomic():
        type(target).objects.filter(pk=target.pk).update(window_override_until=until)
        _write_of(target, actor, "override_window", {"until": until.isoformat()})
        tickets.issue_work(target.destination_id if isinstance(target, Send) else target.pk)
    target.refresh_from_db()


def end_override(target: Send | Destination, actor: str) -> None:
    """Let the windows of a send or a destination count again; what runs outside them is stopped.

    Raises:
        WrongState: they are not overridden.
    """
    overridden = type(target).objects.filter(pk=target.pk, window_override_until__gt=timezone.now())
    with transaction.atomic():
        if not overridden.update(window_override_until=None):
            raise WrongState("Its windows are not overridden any more.")
        _write_of(target, actor, "end_override", {})
    target.refresh_from_db()


def is_overridden(target: Send | Destination) -> bool:
    """Tell whether windows of a send or a destination do not count now."""
    until = target.window_override_until
    return bool(target.windows) and until is not None and until > timezone.now()


def _standing(send: Send) -> str:
    """Say of a send what it is in now, for the middle of a sentence."""
    if send.is_ended:
        return f"has ended ({send.get_state_display().lower()})"
    if send.control == "cancel":
        return "is being cancelled"
    state = "paused" if send.control == "pause" else send.get_state_display().lower()
    return "is a draft" if send.state == SendState.DRAFT else f"is {state}"


def _write_of(target: Send | Destination, actor: str, verb: str, facts: dict[str, object]) -> None:
    if isinstance(target, Send):
        _write(target, actor, verb, facts)
    else:
        write_entry(actor=actor, action=f"destination.{verb}", subject=target.name, facts=facts)


def _write(send: Send, actor: str, verb: str, facts: dict[str, object]) -> None:
    write_entry(actor=actor, action=f"send.{verb}", subject=str(send.pk), facts=facts)
