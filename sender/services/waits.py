"""Why a send that may go now does not, or goes slowly; for people. Reads only.

What closes its way (a pause, a window, a breaker) is gate.py's to say.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Min, Sum
from django.utils import timezone

from sender.models import BatchState, Destination, Send, SendBatch, SendState, StudyPart
from sender.models.sends import URGENT
from sender.services import fairness, gate, limits, owners, reopening
from sender.services.heartbeat import sender_state

MOST_NAMED = 5
_NO_SENDER = "No background sender is running: what is left is settled once one is."
_NOBODY_TAKES_UP = "No background sender is running: the rest is made ready once one is."
_FOLLOWS = "Nobody works on it now. The background sender takes it up, if one is running."


@dataclass(frozen=True, slots=True)
class Wait:
    """What a send waits for, in a sentence, and until when; None: nobody can tell."""

    reason: str
    until: datetime | None = None


def waits_for(send: Send) -> Wait | None:
    """Return what a send waits for; None: something of it is being done, or nothing is left."""
    if send.inline:
        return None
    if send.state == SendState.PLANNING:
        return _for_plan(send)
    if send.state in (SendState.QUEUED, SendState.RUNNING):
        return _for_batch(send)
    return None


def _for_plan(send: Send) -> Wait | None:
    is_listed = send.listing is not None and send.listing.owner
    if send.owner or is_listed:
        return None
    return Wait("No worker has begun to list and plan it yet.")


def _for_batch(send: Send) -> Wait | None:
    if send.batches.filter(state=BatchState.RUNNING).exists():
        return None
    due = send.batches.filter(state=BatchState.READY).aggregate(at=Min("next_attempt_at"))["at"]
    if due is None:
        return None
    if due > timezone.now():
        return Wait("Its next attempt is not due yet.", due)
    return _for_others(send) or _for_turn(send)


def _for_others(send: Send) -> Wait | None:
    """Say what keeps all that is due of a send back at its destination; None: nothing does."""
    way = gate.look(send.destination_id)
    if way.closed is not None:
        return Wait(way.closed.reason, way.closed.until)
    due = send.batches.filter(state=BatchState.READY, next_attempt_at__lte=timezone.now())
    beside = due.filter(is_isolated=False)
    if way.is_busy and not beside.exists():
        return Wait(f"It is tried alone, once nothing else is at work at {send.destination}.")
    if way.awaited is not None and not beside.filter(priority__gte=URGENT).exists():
        return Wait(way.awaited.reason)
    return None


def _for_turn(send: Send) -> Wait | None:
    """Say why a batch that may go is not begun; None: one was begun meanwhile."""
    destination = send.destination
    if not fairness.free_slots(destination.pk):
        users = _slot_users(destination)
        return None if send.pk in users else Wait(_say_slots(destination, users))
    urgent = fairness.more_urgent_than(destination.pk)
    if urgent is not None:
        return Wait(f"An urgent send to {Destination.objects.get(pk=urgent)} goes first.")
    if fairness.must_wait(destination.pk):
        return Wait(
            f"{destination} has not shown lately that it works, and as many workers as such "
            "destinations may have together are with others like it."
        )
    return Wait("No worker has taken it up yet.")


def _slot_users(destination: Destination) -> list[int]:
    """Return the sends that are at work at a destination."""
    at_work = SendBatch.objects.filter(destination=destination, state=BatchState.RUNNING)
    return list(at_work.order_by("send_id").values_list("send_id", flat=True).distinct())


def _say_slots(destination: Destination, sends: list[int]) -> str:
    """Say who has the associations that a destination may have now."""
    most = limits.associations_now(destination.pk, timezone.now())
    taken = "The one association" if most == 1 else f"Each of the {most} associations"
    said = f"{taken} that {destination} may have now is in use"
    if not sends:
        return f"{said}."
    named = ", ".join(str(number) for number in sends[:MOST_NAMED])
    more = f" and {len(sends) - MOST_NAMED} more" if len(sends) > MOST_NAMED else ""
    return f"{said}, by send {named}{more}."


def what_is_left_to_cancel(send: Send) -> str:
    """Say what a send that is being cancelled has still to settle, and who does; "" of others."""
    if send.state != SendState.CANCELLING:
        return ""
    follows = "" if sender_state().is_live else f" {_NO_SENDER}"
    if send.planned_at is None:
        return f"It is settled once its planning has stopped.{follows}"
    if send.batches.filter(state=BatchState.RUNNING).exists():
        return f"What is at work is stopped first; that takes some seconds.{follows}"
    rows = StudyPart.objects.filter(send=send).aggregate(n=Sum("pending", default=0))["n"]
    word = "1 row is" if rows == 1 else f"{rows:,} rows are"
    return f"Nothing is begun any more; {word} still to be settled as cancelled.{follows}"


def what_is_left_to_take_up(send: Send) -> str:
    """Say how far a send is that is being made ready to be tried again; "" of others."""
    wishes = reopening.wishes_of(send)
    if not wishes or send.is_ended:
        return ""
    ready, rows = (sum(wish[name] for wish in wishes) for name in ("ready", "rows"))
    follows = "" if sender_state().is_live else f" {_NOBODY_TAKES_UP}"
    return f"{ready:,} of {rows:,} rows are ready so far; what is ready may go already.{follows}"


def run_by(send: Send) -> str:
    """Say whose an inline send is, and whether that still works on it; "" of all others."""
    if not send.inline or send.is_ended:
        return ""
    named = f" ({owners.describe(send.runner)})" if send.runner else ""
    command = f"The command that runs it{named}"
    if owners.is_dead(send.runner):
        return f"{command} has ended. {_FOLLOWS}"
    if send.runner_until is None or send.runner_until < timezone.now():
        return f"{command} gives no sign of life. {_FOLLOWS}"
    return f"{command} works on it; if that ends before, the background sender goes on."


def slowed_by(send: Send) -> str:
    """Say why a destination is sent to with pauses between instances; "" if it is not."""
    if not limits.pace_of(send.destination, timezone.now()).delay_seconds:
        return ""
    return str(send.destination.pace.detail)
