"""From sources to a listing: every file found once, scanned or remembered, rules applied.

It runs in the background in slices, says how far it is, and goes on where another process left
it. What is found is shared by all sends of the listing; what each of them sends is planner.py.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from django.db import transaction
from django.db.models import Case, Count, F, Min, Value, When
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from sender.dicom import files
from sender.models import Listing, ListingEntry, ListingState, ListingStudy
from sender.models.sources import COPY
from sender.negotiation.selection import (
    InvalidSelection,
    Selection,
    parse_selection,
)
from sender.services import copies, expectations, path_lists
from sender.services.inserting import insert_rows
from sender.services.keeping import kept
from sender.services.owners import lease_end, take_over
from sender.services.sight import SIGHT
from sender.services.sources import InvalidSource
from sender.services.taking import (
    TOO_YOUNG,
    WINDOW,
    Lost,
    Scan,
    Unwanted,
    store,
    take_window,
)
from sender.services.walking import LINES, Found, OutOfSight, Place, Walk

__all__ = ["TOO_YOUNG", "ScanEnd", "holds_files", "scan_listing"]
SLICE_SECONDS = 45.0
"""Bulk work must not wait long behind a scan (design README, decision 17)."""
MOST_TRIES = 5
"""So often a scan, or a plan, is begun without getting on before it is given up."""
VANISHED = (
    f"The files could not be listed: {MOST_TRIES} times in a row the worker that tried it vanished,"
    " maybe for want of memory. Nothing of them was sent; the log of the sender may say more."
)
logger = logging.getLogger(__name__)
UNWANTED = "The sends were cancelled while their files were being listed."


class ScanEnd(Enum):
    """Why a scan came back."""

    THROUGH = "through"
    BEFORE = "was through before"
    SLICE_OVER = "the slice is over"
    TAKEN = "another process is at it"
    LEFT = "this host does not see the sources"


def holds_files(paths: Sequence[str]) -> bool:
    """Tell whether there is anything at all to list at these paths."""
    return any(True for path in paths for _ in files.list_files(path))


def scan_listing(listing_id: int, owner: str, *, in_slices: bool) -> ScanEnd:
    """Scan a listing that waits for it, or go on with one.

    Args:
        in_slices: come back after 45 s; who calls has it go on later.
    """
    listing = _claim(listing_id, owner)
    if listing is None:
        ended = Listing.objects.filter(
            pk=listing_id,
            state__in=(ListingState.DONE, ListingState.FAILED, ListingState.ERRORED),
        )
        return ScanEnd.BEFORE if ended.exists() else ScanEnd.TAKEN
    if listing.tries > MOST_TRIES:
        end(listing, ListingState.ERRORED, VANISHED)
        return ScanEnd.THROUGH
    with kept(lambda: _extend(listing_id, owner)):
        return _scan_safely(listing, owner, in_slices=in_slices)


def _claim(listing_id: int, owner: str) -> Listing | None:
    """Take a listing, and count the try, so that one whose worker is killed counts too."""
    now = timezone.now()
    waiting = Listing.objects.filter(
        pk=listing_id, state__in=(ListingState.WAITING, ListingState.SCANNING)
    )
    if not take_over(
        waiting,
        state=ListingState.SCANNING,
        owner=owner,
        lease_until=lease_end(),
        tries=F("tries") + 1,
        started_at=Coalesce("started_at", now),
    ):
        return None
    return Listing.objects.get(pk=listing_id)


def _extend(listing_id: int, owner: str) -> None:
    Listing.objects.filter(pk=listing_id, owner=owner).update(lease_until=lease_end())


def _scan_safely(listing: Listing, owner: str, *, in_slices: bool) -> ScanEnd:
    try:
        scan = _begin(listing, owner, in_slices=in_slices)
        is_through = _scan(scan) and _settle(scan)
    except Lost:
        return ScanEnd.TAKEN
    except (InvalidSource, InvalidSelection, OSError) as error:
        if in_slices and not isinstance(error, InvalidSelection) and _leave(listing, error):
            return ScanEnd.LEFT
        end(listing, ListingState.FAILED, str(error))
        return ScanEnd.THROUGH
    except Unwanted:
        end(listing, ListingState.FAILED, UNWANTED)
        return ScanEnd.THROUGH
    if is_through:
        end(listing, ListingState.DONE, "")
        return ScanEnd.THROUGH
    give_back(listing)
    return ScanEnd.SLICE_OVER


def _leave(listing: Listing, error: Exception) -> bool:
    """Leave a listing to hosts that may see its sources, if there are such; that is no try."""
    is_left = isinstance(error, OutOfSight) or SIGHT.leaves(Listing, listing.pk)
    if not is_left:
        return False
    logger.warning("Listing %s is left to other hosts: %s", listing.pk, error)
    mine = Listing.objects.filter(pk=listing.pk, owner=listing.owner)
    # None is counted once a part of it was taken.
    mine.update(owner="", lease_until=None, tries=Greatest(F("tries"), 1) - 1)
    return True


def _begin(listing: Listing, owner: str, *, in_slices: bool) -> Scan:
    """Raises: InvalidSelection: a rule can't be used."""
    selection = parse_selection(listing.rules)
    roots = None if listing.roots is None else [Path(root) for root in listing.roots]
    reached = Place.of_cursor(listing.cursor)  # by others, if not by us
    walk = Walk(
        sources=listing.sources,
        lines=lambda number: path_lists.lines_behind(listing, number, LINES),
        roots=roots,
        empty=set(listing.cursor.get("empty", ())),
        leaves=lambda: in_slices and SIGHT.leaves(Listing, listing.pk, reached),
        goes_ahead=bool(listing.cursor.get("ahead")),
    )
    return Scan(
        listing=listing,
        owner=owner,
        selection=selection,
        wanted=tags_of(selection),
        deadline=time.monotonic() + SLICE_SECONDS if in_slices else None,
        walk=walk,
        kinds=_kinds_of(listing),
        excluded=Counter(listing.excluded),
        repeated=int(listing.cursor.get("repeated", 0)),
    )


def _kinds_of(listing: Listing) -> set[int]:
    """Return the kinds of data found so far; older listings did not keep them."""
    known = listing.cursor.get("kinds")
    if known is None and listing.files:
        entries = ListingEntry.objects.filter(listing=listing).order_by()
        return set(entries.values_list("file__kind_id", flat=True).distinct())
    return set(known or ())


def tags_of(selection: Selection) -> dict[int, str]:
    """Return the tags that rules look at, each with its keyword.

    Raises:
        InvalidSelection: there is no such attribute, or one is named in two ways.
    """
    found: dict[int, str] = {}
    for keyword in selection.tags:
        try:
            tag = files.tag_of(keyword)
        except ValueError as error:
            raise InvalidSelection(str(error)) from None
        if tag in found:
            raise InvalidSelection(f"{found[tag]} and {keyword} are one attribute: name it alike.")
        found[tag] = keyword
    return found


def _scan(scan: Scan) -> bool:
    """Take all chunks that are left; False if the slice was over before."""
    cursor = scan.listing.cursor
    if "settling" in cursor:
        return True
    waiting = scan.walk(Place.of_cursor(cursor))
    while window := _next_window(waiting):
        if window.found and (not take_window(scan, window.found) or scan.is_over):
            return False
        if window.left:
            raise window.left
    return True


class _Window(NamedTuple):
    """What is taken together, and why nothing behind it is to be taken here."""

    found: list[Found]
    left: OutOfSight | None = None


def _next_window(waiting: Iterator[Found]) -> _Window | None:
    """Return what comes next; None if nothing does."""
    found: list[Found] = []
    try:
        for one in islice(waiting, WINDOW):
            found.append(one)
    except OutOfSight as unseen:
        return _Window(found, unseen)
    return _Window(found) if found else None


def _settle(scan: Scan) -> bool:
    """Settle copies, expectations and studies; False if the slice was over before."""
    listing = scan.listing
    if "settling" not in listing.cursor:
        if len(listing.sources) > 1 or listing.paths.exists():
            scan.repeated += copies.drop_repeats(listing)
        listing.cursor = scan.cursor | {"settling": ""}
        store(scan, cursor=listing.cursor)
    last = copies.mark_copies(
        listing, str(listing.cursor["settling"]), is_over=lambda: scan.is_over
    )
    if last is not None:
        listing.cursor["settling"] = last
        store(scan, cursor=listing.cursor)
        return False
    empty = [listing.sources[index] for index in sorted(scan.walk.empty)]
    expectations.settle(listing, empty if listing.files or scan.excluded else ())
    make_ready(listing, scan.kinds)
    return True


def make_ready(listing: Listing, kinds: set[int] | None = None) -> None:
    """Write what planners go by: studies in the order found, kinds, whether there are copies.

    Args:
        kinds: of the data that were found; None: look for them.
    """
    entries = ListingEntry.objects.filter(listing=listing)
    _write_studies(listing)
    listing.cursor |= {
        "kinds": sorted(_kinds_of(listing) if kinds is None else kinds),
        "copies": entries.filter(standing=COPY).exists(),
        "ready": True,
    }
    Listing.objects.filter(pk=listing.pk).update(cursor=listing.cursor)


def _write_studies(listing: Listing) -> None:
    rows = (
        ListingEntry.objects.filter(listing=listing)
        .exclude(standing=COPY)
        .order_by()
        .values_list("study_id")
        .annotate(first=Min("number"), n=Count("number"))
    )
    dated = Case(When(study=None, then=Value("")), default="study__study_date")
    found = rows.annotate(date=Min(dated)).values_list("first", "study_id", "date", "n")
    with transaction.atomic():
        ListingStudy.objects.filter(listing=listing).delete()
        insert_rows(
            ListingStudy,
            ("listing_id", "first", "study_id", "study_date", "files"),
            [(listing.pk, first, study, date or "", n) for first, study, date, n in found],
        )


def give_back(listing: Listing) -> None:
    """Let others go on with a listing, if its owner still is who it was when it was read."""
    Listing.objects.filter(pk=listing.pk, owner=listing.owner).update(owner="", lease_until=None)


def end(listing: Listing, state: ListingState, detail: str) -> None:
    """End a listing, if its owner still is who it was when it was read."""
    Listing.objects.filter(pk=listing.pk, owner=listing.owner).update(
        state=state, detail=detail[:400], owner="", lease_until=None, finished_at=timezone.now()
    )
