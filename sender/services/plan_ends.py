"""How the planning of a send ends: it goes on to be sent, or fails, or was given up."""

from django.db import transaction
from django.utils import timezone

from sender.models import BatchState, Listing, Send, SendBatch, SendState
from sender.services import (
    cancelling,
    control,
    expectations,
    fairness,
    run_checks,
    sending,
)

NOT_PLANNED = "the plan of the send could not be finished"
_UNPLANNED = (SendState.DRAFT, SendState.PLANNING)


def give_up(send_id: int, owner: str) -> None:
    """Leave a send that is no longer ours, or close one that was cancelled meanwhile."""
    send = Send.objects.select_related("listing").get(pk=send_id)
    if send.owner == owner:
        close(send)


def fail(send: Send, detail: str, state: SendState = SendState.FAILED) -> None:
    """End a send that can't be planned; what is planned of it already is cancelled.

    Args:
        state: failed; or errored, where that is our fault.
    """
    unplannable = Send.objects.filter(pk=send.pk, owner=send.owner, state__in=_UNPLANNED)
    if unplannable.exists():  # in chunks: else nobody could write to SQLite for as long
        cancelling.cancel_rows(send.pk, reason=NOT_PLANNED)
    with transaction.atomic():
        mine = Send.objects.filter(pk=send.pk, owner=send.owner)
        now = timezone.now()
        if not mine.update(planned_at=now, owner="", lease_until=None, detail=detail[:400]):
            return
        if sending.move_send(send.pk, state, before=_UNPLANNED):
            Send.objects.filter(pk=send.pk).update(finished_at=now)
            SendBatch.objects.filter(send=send, state=BatchState.READY).update(
                state=BatchState.CANCELLED
            )
            if state == SendState.FAILED:
                run_checks.note_failure(send, detail)
    sending.finish_if_done(send.pk)  # it may have been cancelled


def close(send: Send) -> None:
    """Mark a send as planned and let it go on, unless it was cancelled meanwhile."""
    with transaction.atomic():
        mine = Send.objects.filter(pk=send.pk, owner=send.owner)
        if not mine.update(
            plan=send.plan,
            detail=_detail(send),
            planned_at=timezone.now(),
            owner="",
            lease_until=None,
        ):
            return
        run_checks.note_plan(send)
        if Send.objects.exclude(priority=send.priority).filter(pk=send.pk).exists():
            control.spread_priority(send.pk)  # it was changed while batches were written
        is_queued = sending.move_send(send.pk, SendState.QUEUED, before=(SendState.PLANNING,))
        if is_queued and not send.inline:
            fairness.call_workers(send, here=1)  # who planned it goes on (tasks.py)
    sending.finish_if_done(send.pk)


def _detail(send: Send) -> str:
    """Say what a person should know of a plan besides its rows."""
    if send.listing is None or send.state == SendState.CANCELLING:
        return send.detail
    said = []
    excluded, there = send.listing.excluded_files, send.plan.get("already_there", 0)
    if excluded and not send.listing.files:
        said.append(f"Rules left out all {excluded} files: {_say_excluded(send.listing)}.")
    if there and not send.items.exists():
        said.append(f"{send.destination} has all {there} instances already.")
    short = expectations.say(send.listing)
    if short:
        said.append(f"{short[:1].upper()}{short[1:]}.")
    return " ".join(said)[:400] or send.detail


def _say_excluded(found: Listing) -> str:
    """Say how many files each rule left out."""
    rules = sorted(found.excluded.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{number} by {rule}" for rule, number in rules)
