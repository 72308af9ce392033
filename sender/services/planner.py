"""From a listing to a planned send: proposals, studies in their order, batches, rows.

It goes study by study and page by page; how far it came is committed with each page, so that
another process goes on there, and millions of rows need no more memory than a page.
"""

import logging
import time
from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from sender.models import (
    Listing,
    ListingState,
    Send,
    SendState,
    SourceKind,
)
from sender.negotiation.planning import plan
from sender.services import listing, plan_ends, plan_words, tickets
from sender.services.interning import definition_list_id
from sender.services.keeping import kept
from sender.services.listing import ScanEnd
from sender.services.owners import lease_end, owner_name, take_over
from sender.services.patience import OUTAGES, persist
from sender.services.plan_pages import Lost, PagedPlan
from sender.services.plan_rows import Progress, pages

VANISHED = (
    f"The plan could not be made: {listing.MOST_TRIES} times in a row the worker that tried it"
    " vanished, maybe for want of memory. Nothing was sent; the log of the sender may say more."
)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Planner:
    """A send being planned.

    Attributes:
        deadline: when to come back, in seconds of the monotonic clock; None: never.
    """

    send: Send
    pages: PagedPlan
    deadline: float | None
    progress: Progress

    @property
    def is_over(self) -> bool:
        """Whether the slice is over."""
        return self.deadline is not None and time.monotonic() > self.deadline


def plan_send(send_id: int, *, in_slices: bool = True) -> None:
    """List and plan a send that waits for it; whoever finds it claimed or planned returns at once.

    What goes wrong by an error of ours is tried a few times, and then ends the send.

    Args:
        in_slices: come back for the rest after 45 s, so that others get their turn; else somebody
            waits, and nothing is tried again.

    Raises:
        OperationalError, InterfaceError: the database was away. It is awaited first, so that the
            send can be given back; that is no failed try.
    """
    owner = owner_name()
    send = _claim(send_id, owner)
    if send is None:
        return
    try:
        with kept(lambda: _extend(send_id, owner)):
            _plan(send, owner, in_slices=in_slices)
    except Lost:
        plan_ends.give_up(send_id, owner)
    except OUTAGES:
        persist(lambda: _let_go(send))
        raise
    except Exception as error:  # whatever it is, it must not come again for ever
        logger.exception("Send %s could not be planned.", send_id)
        _stumble(send, error, is_last=not in_slices)


def _claim(send_id: int, owner: str) -> Send | None:
    now = timezone.now()
    waiting = Send.objects.filter(
        pk=send_id,
        planned_at__isnull=True,
        state__in=(SendState.DRAFT, SendState.PLANNING, SendState.CANCELLING),
    )
    if not take_over(
        waiting, owner=owner, lease_until=lease_end(), started_at=Coalesce("started_at", now)
    ):
        return None
    return Send.objects.select_related("template_version", "destination", "listing").get(pk=send_id)


def _let_go(send: Send) -> None:
    """Give a send back, and its listing, as if they had not been tried."""
    Listing.objects.filter(pk=send.listing_id or 0, owner=send.owner).update(
        tries=0, owner="", lease_until=None
    )
    Send.objects.filter(pk=send.pk, owner=send.owner).update(
        plan_tries=0, owner="", lease_until=None
    )


def _stumble(send: Send, error: Exception, *, is_last: bool) -> None:
    """Give a send back that an error of ours interrupted, or end it if it was tried often enough.

    The tick has it tried again. An error while its files were listed ends all sends of the listing.
    """
    scanned = Listing.objects.filter(pk=send.listing_id or 0, owner=send.owner).first()
    tries = scanned.tries if scanned else Send.objects.get(pk=send.pk).plan_tries
    if not is_last and tries < listing.MOST_TRIES:
        if scanned:
            listing.give_back(scanned)
        _come_back(send, at_once=False)
        return
    failed = "The files could not be listed" if scanned else "The plan could not be made"
    detail = (
        f"{failed}: an error of this program ({type(error).__name__})."
        " Nothing was sent; the log of the sender says more."
    )
    if scanned:
        listing.end(scanned, ListingState.ERRORED, detail)
        _wake_others(send)
    plan_ends.fail(send, detail, SendState.ERRORED)


def _extend(send_id: int, owner: str) -> None:
    Send.objects.filter(pk=send_id, owner=owner).update(lease_until=lease_end())


def _plan(send: Send, owner: str, *, in_slices: bool) -> None:
    if send.state == SendState.CANCELLING or send.listing is None:
        plan_ends.close(send)
        return
    ended = listing.scan_listing(send.listing.pk, owner, in_slices=in_slices)
    if ended is ScanEnd.THROUGH:
        _wake_others(send)
    if ended in (ScanEnd.THROUGH, ScanEnd.BEFORE):
        send.listing.refresh_from_db()
        _plan_rows(send, in_slices=in_slices)
    else:
        _come_back(send, at_once=ended is ScanEnd.SLICE_OVER)


def _wake_others(send: Send) -> None:
    """Have the other sends of a listing planned, now that it is there."""
    others = Send.objects.filter(
        listing=send.listing,
        planned_at__isnull=True,
        lease_until__isnull=True,
        inline=False,
        state__in=(SendState.DRAFT, SendState.PLANNING),
    ).exclude(pk=send.pk)
    for other in others.values_list("id", flat=True):
        tickets.issue_plan(other)


def _come_back(send: Send, *, at_once: bool) -> None:
    """Give the send back; have it planned further, unless another process will say when."""
    with transaction.atomic():
        mine = Send.objects.filter(pk=send.pk, owner=send.owner)
        if mine.update(owner="", lease_until=None) and at_once:
            tickets.issue_plan(send.pk)


def _plan_rows(send: Send, *, in_slices: bool) -> None:
    assert send.listing is not None
    _count_try(send)
    if send.listing.state == ListingState.ERRORED:
        plan_ends.fail(send, send.listing.detail, SendState.ERRORED)
    elif send.plan_tries > listing.MOST_TRIES:
        plan_ends.fail(send, VANISHED, SendState.ERRORED)
    elif send.listing.state == ListingState.FAILED:
        plan_ends.fail(send, send.listing.detail)
    elif not send.listing.found_files:
        plan_ends.fail(send, _nothing_found(send.listing))
    else:
        planner = _planner(send, in_slices=in_slices)
        if _write_all(planner):
            send.plan = plan_words.describe(send, planner.pages.planned)
            plan_ends.close(send)
        else:
            _come_back(send, at_once=True)


def _count_try(send: Send) -> None:
    """Count a try before it begins, so that one whose worker is killed counts too."""
    send.plan_tries += 1
    Send.objects.filter(pk=send.pk, owner=send.owner).update(plan_tries=send.plan_tries)


def _nothing_found(found: Listing) -> str:
    if len(found.sources) == 1 and not found.paths.exists():
        return f"{found.sources[0]} holds no files."
    return "The sources hold no files."


def _planner(send: Send, *, in_slices: bool) -> Planner:
    assert send.listing is not None
    if not send.listing.cursor.get("ready"):
        listing.make_ready(send.listing)
    rows = SourceKind.objects.filter(pk__in=send.listing.cursor["kinds"])
    kinds = {row.pk: row.kind for row in rows.exclude(sop_class_uid="")}
    planned = plan(set(kinds.values()), send.template_version.spec)
    lists = [definition_list_id(proposal) for proposal in planned.proposals]
    cursor = send.plan_cursor
    return Planner(
        send=send,
        pages=PagedPlan(send, kinds, planned, lists),
        deadline=time.monotonic() + listing.SLICE_SECONDS if in_slices else None,
        progress=Progress(*cursor.get("progress", ())),
    )


def _write_all(planner: Planner) -> bool:
    """Write the rows of all studies that are left; False if the slice was over before."""
    for study, rows in pages(planner.send, planner.progress):
        if rows:
            planner.pages.add(study, rows)
            last = rows[-1]
            planner.progress = planner.progress._replace(
                series_id=last.series_id, number=last.number
            )
            if planner.pages.is_full or planner.is_over:
                planner.pages.write(planner.progress)
                if planner.is_over:
                    return False
        else:
            planner.progress = Progress(planner.progress.studies + 1)
    planner.pages.write(planner.progress)
    return True
