"""Sends as people command them: create, start, cancel; and how they end. Rows and tickets only.

What opens files (listing) and associations (engine) is elsewhere, so that web pages can import
this module. Pauses and priorities are control.py; retries and repetitions again.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import transaction
from django.db.models import F, Sum
from django.utils import timezone

from sender.models import (
    Destination,
    Listing,
    Send,
    SendBatch,
    SendState,
    StudyOrder,
    StudyPart,
)
from sender.models.sends import ENDED_STATES, OPEN_BATCHES, send_states_before
from sender.models.templates import TemplateVersion
from sender.negotiation.local_time import zone_named
from sender.negotiation.selection import EVERYTHING, Selection, to_document
from sender.negotiation.windows import parse_windows
from sender.services import (
    cancelling,
    expectations,
    fairness,
    inline_sends,
    path_lists,
    reopening,
    sources,
    tickets,
    uploads,
)
from sender.services.audit import write_entry
from sender.services.expectations import Expectation
from sender.services.path_lists import PathList
from sender.services.sources import InvalidSource

__all__ = ["InvalidSource", "SendOrder", "WrongState", "create_send", "source_roots"]


class WrongState(ValueError):
    """The send isn't in a state for that; the message says so in the user's words."""


@dataclass(frozen=True, slots=True)
class SendOrder:
    """What a person wants sent.

    Attributes:
        sources: paths of folders or files; may be empty where there is a list of paths.
        path_list: a list of further paths; lines that can't be used are told, and hold up nothing.
        retries: automatic attempts per instance after the first; None: as the destination says.
        roots: folders that may be read; None: whatever the process may read (command line only).
        selection: what is taken of the sources.
        expected: entries of a list of UIDs, to be told what of them is missing.
        windows, zone, finish_by, only_new, priority, again_of, again_reason: as `Send` has them.
    """

    destination: Destination
    template_version: TemplateVersion
    sources: Sequence[str]
    requested_by: str
    name: str = ""
    retries: int | None = None
    inline: bool = False
    roots: Sequence[Path] | None = ()
    path_list: PathList | None = None
    selection: Selection = EVERYTHING
    expected: Sequence[Expectation] = ()
    study_order: StudyOrder = StudyOrder.LISTED
    windows: str = ""
    zone: str = ""
    finish_by: datetime | None = None
    only_new: bool = False
    priority: int = 0
    again_of: Send | None = None
    again_reason: str = ""


def source_roots() -> list[Path]:
    """Return the folders that sends from the browser may read."""
    return sources.web_roots()


def create_send(order: SendOrder, *, start: bool) -> Send:
    """Write a send and have it planned; a draft (start=False) waits for `start_send` after that.

    Raises:
        InvalidSource: a source is missing, unreadable or outside the allowed roots.
        InvalidSelection: a rule names an attribute that does not exist.
        InvalidWindows, UnknownZone: the windows can't be used.
        WrongState: the destination is disabled.
    """
    return create_sends(order, [(order.destination, order.template_version)], start=start)[0]


def create_sends(
    order: SendOrder, targets: Sequence[tuple[Destination, TemplateVersion]], *, start: bool
) -> list[Send]:
    """Write one send per target; all share one listing, so that the sources are read once.

    Raises: as `create_send`; then nothing is written.
    """
    for destination, _ in targets:
        if not destination.enabled:
            raise WrongState(f"The destination {destination.name} is disabled.")
    if not order.sources and not order.path_list:
        raise InvalidSource("Name at least one folder or file to send.")
    _check_order(order)
    roots = source_roots() if order.roots == () else order.roots
    known = sources.Roots(roots)
    resolved = [known.resolve(path) for path in order.sources]
    with transaction.atomic():
        try:
            uploads.hold(resolved)
        except uploads.Refused as refusal:
            raise InvalidSource(str(refusal)) from None
        listing = Listing.objects.create(
            sources=list(dict.fromkeys(resolved)),
            roots=None if roots is None else [str(root) for root in roots],
            rules=to_document(order.selection),
            expected=expectations.to_rows(order.expected),
            inline=order.inline,
        )
        if order.path_list:
            path_lists.keep(listing, order.path_list)
        return [
            _create(order, listing, destination, version, start=start)
            for destination, version in targets
        ]


def _check_order(order: SendOrder) -> None:
    """Raises: InvalidSelection, InvalidWindows, UnknownZone."""
    parse_windows(order.windows)
    if order.zone:
        zone_named(order.zone)
    check_attributes(order.selection)


def check_attributes(selection: Selection) -> None:
    """Make sure that rules on attributes name some that there are.

    Raises:
        InvalidSelection: there is no such attribute, or one is named in two ways.
    """
    if selection.tags:
        from sender.services.listing import tags_of  # noqa: PLC0415 - loads the DICOM dictionary

        tags_of(selection)


def _create(
    order: SendOrder,
    listing: Listing,
    destination: Destination,
    version: TemplateVersion,
    *,
    start: bool,
) -> Send:
    send = Send.objects.create(
        name=order.name,
        destination=destination,
        template_version=version,
        listing=listing,
        state=SendState.PLANNING if start else SendState.DRAFT,
        requested_by=order.requested_by,
        retries=order.retries,
        **(inline_sends.of_this_process() if order.inline else {}),
        study_order=order.study_order,
        windows=order.windows,
        zone=order.zone,
        finish_by=order.finish_by,
        only_new=order.only_new,
        priority=order.priority,
        again_of=order.again_of,
        again_reason=order.again_reason,
    )
    facts: dict[str, object] = {
        "destination": destination.name,
        "template": str(version),
        "started": start,
    }
    if order.again_of is not None:
        facts |= {"again_of": order.again_of.pk, "reason": order.again_reason}
    write_entry(actor=order.requested_by, action="send.create", subject=str(send.pk), facts=facts)
    if not order.inline:
        tickets.issue_plan(send.pk)
    return send


def start_send(send: Send, actor: str) -> None:
    """Release a draft for sending.

    Raises:
        WrongState: it is no draft any more, or its plan is not ready.
    """
    with transaction.atomic():
        send.refresh_from_db()
        if send.state != SendState.DRAFT:
            raise WrongState(f"Send {send.pk} is no draft any more.")
        if send.planned_at is None:
            raise WrongState(f"The plan of send {send.pk} is not ready yet.")
        if not move_send(send.pk, SendState.QUEUED, before=(SendState.DRAFT,)):
            raise WrongState(f"Send {send.pk} was started already.")
        write_entry(actor=actor, action="send.start", subject=str(send.pk), facts={})
        fairness.call_workers(send)
    finish_if_done(send.pk)
    send.refresh_from_db()


def cancel_send(send: Send, actor: str) -> None:
    """Have a send stopped: nothing new is begun, and what is pending becomes cancelled.

    The wish stands at once. What is at work gets 5 s; rows are settled here while that takes no
    time, and else by the tick (cancelling.py).

    Raises:
        WrongState: it has ended, or is being cancelled.
    """
    with transaction.atomic():
        # A draft that nobody plans just now is planned no further.
        unplanned = Send.objects.filter(
            pk=send.pk, state=SendState.DRAFT, planned_at__isnull=True, owner=""
        )
        unplanned.update(planned_at=timezone.now())
        if not move_send(send.pk, SendState.CANCELLING):
            send.refresh_from_db()
            found = "has ended" if send.is_ended else "is being cancelled"
            raise WrongState(f"Send {send.pk} {found} already.")
        Send.objects.filter(pk=send.pk).update(control="cancel")
        reopening.forget(send.pk)
        write_entry(actor=actor, action="send.cancel", subject=str(send.pk), facts={})
    finish_if_done(send.pk, seconds=cancelling.MOMENT_SECONDS)
    send.refresh_from_db()


def move_send(
    send_id: int, target: SendState, *, before: Sequence[SendState] | None = None
) -> bool:
    """Move a send to `target` if it is in a state that allows it; tell whether it was."""
    allowed = send_states_before(target) if before is None else before
    return Send.objects.filter(pk=send_id, state__in=allowed).update(state=target) == 1


def destination_of_started(send_id: int) -> int | None:
    """Return to whom a planned send may go now; None if it is not planned, or waits for a start."""
    started = Send.objects.filter(
        pk=send_id, planned_at__isnull=False, state=SendState.QUEUED, inline=False
    )
    return started.values_list("destination_id", flat=True).first()


def finish_if_done(send_id: int, *, seconds: float = cancelling.MOMENT_SECONDS) -> SendState | None:
    """End a planned send that has no open batch; return its final state if this call ended it.

    Args:
        seconds: how long rows of one that is being cancelled may be settled before.
    """
    if not cancelling.settle(send_id, seconds=seconds):
        return None
    with transaction.atomic():
        # Locked: of two who find that nothing is left, one ends the send.
        planned = Send.objects.select_for_update(no_key=True)
        send = planned.filter(pk=send_id, planned_at__isnull=False).first()
        if send is None or send.state in ENDED_STATES or send.state == SendState.DRAFT:
            return None
        if send.control == "pause" and send.state == SendState.QUEUED:
            move_send(send_id, SendState.PAUSED, before=(SendState.QUEUED,))
        open_batches = SendBatch.objects.filter(send_id=send_id, state__in=OPEN_BATCHES)
        if open_batches.exists() or reopening.wishes_of(send):
            return None
        if send.state != SendState.CANCELLING:
            return _end(send, _final_state(send), timezone.now())
        if cancelling.is_left(send_id):  # it was cancelled just now
            return None
        return _end(send, SendState.CANCELLED, timezone.now())


def judge_anew(send_id: int) -> None:
    """Correct how a send ended, because rows of it turned out to be sent; in a transaction.

    One that was cancelled stays so, and one that goes on ends later.
    """
    judged = (SendState.FAILED, SendState.PARTIAL)
    send = Send.objects.filter(pk=send_id, state__in=judged).first()
    if send is not None:
        Send.objects.filter(pk=send_id, state=send.state).update(state=_final_state(send))


def _end(send: Send, target: SendState, now: datetime) -> SendState | None:
    if not move_send(send.pk, target):
        return None
    Send.objects.filter(pk=send.pk).update(finished_at=now, control="")
    return target


def _final_state(send: Send) -> SendState:
    """Succeeded: every row sent or warning; failed: none; partial: some (CONTRACT.md, Words).

    A send whose list of UIDs has entries that were not found, or not whole, is partial at best.
    """
    rows = StudyPart.objects.filter(send=send)
    counts = rows.aggregate(
        delivered=Sum(F("sent") + F("warning"), default=0),
        others=Sum(
            F("failed") + F("unsendable") + F("unknown") + F("pending") + F("cancelled"), default=0
        ),
    )
    delivered, others = counts["delivered"], counts["others"]
    short = bool(send.listing and expectations.shortfalls(send.listing))
    if not delivered and (others or short):
        return SendState.FAILED
    return SendState.PARTIAL if others or short else SendState.SUCCEEDED
