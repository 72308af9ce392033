"""From sources to a listing: every file found once, scanned or remembered, rules applied.

It runs in the background in slices, says how far it is, and goes on where another process left
it. What is found is shared by all sends of the listing; what each of them sends is planner.py.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import islice
from pathlib import Path

from django.db import transaction
from django.db.models import Case, Count, Min, Q, Value, When
from django.utils import timezone

from sender.dicom import files, scanning
from sender.dicom.files import Entry
from sender.models import Listing, ListingEntry, ListingState, ListingStudy, Send
from sender.models.sends import ENDED_STATES
from sender.negotiation.instances import ScannedInstance, Unreadable
from sender.negotiation.selection import (
    InvalidSelection,
    Selection,
    excluded_by,
    excluded_by_identity,
    parse_selection,
    takes_name,
)
from sender.services import copies, expectations, path_lists
from sender.services.associating import LEASE_SECONDS
from sender.services.catalogue import Catalogue, Remembered
from sender.services.inserting import insert_rows
from sender.services.keeping import kept
from sender.services.leases import is_dead
from sender.services.sources import InvalidSource
from sender.services.walking import LINES, Found, Place, Walk

CHUNK = 1000
FORGET_ROWS = 10_000
SLICE_SECONDS = 45.0
"""Bulk work must not wait long behind a scan (design README, decision 17)."""
BY_NAME = "file name"
TOO_YOUNG = "younger than the least age"
UNWANTED = "The sends were cancelled while their files were being listed."


class ScanEnd(Enum):
    """Why a scan came back."""

    THROUGH = "through"
    BEFORE = "was through before"
    SLICE_OVER = "the slice is over"
    TAKEN = "another process is at it"


class Lost(RuntimeError):
    """Somebody else scans the listing now."""


class Unwanted(RuntimeError):
    """All sends of the listing were cancelled."""


@dataclass(slots=True)
class Scan:
    """A listing at work.

    Attributes:
        wanted: keywords of tags that rules look at, by tag.
        deadline: when to come back, in seconds of the monotonic clock; None: never.
        kinds: rows of the kinds of data that were taken.
    """

    listing: Listing
    owner: str
    selection: Selection
    wanted: dict[int, str]
    deadline: float | None
    walk: Walk
    kinds: set[int]
    catalogue: Catalogue = field(default_factory=Catalogue)
    excluded: Counter[str] = field(default_factory=Counter)

    @property
    def is_over(self) -> bool:
        """Whether the slice is over."""
        return self.deadline is not None and time.monotonic() > self.deadline

    @property
    def cursor(self) -> dict[str, object]:
        """What is stored beside the place of a scan."""
        return {"kinds": sorted(self.kinds), "empty": sorted(self.walk.empty)}


@dataclass(slots=True)
class Taken:
    """What is taken of a chunk."""

    rows: list[Remembered] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)


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
            pk=listing_id, state__in=(ListingState.DONE, ListingState.FAILED)
        )
        return ScanEnd.BEFORE if ended.exists() else ScanEnd.TAKEN
    with kept(lambda: _extend(listing_id, owner)):
        return _scan_safely(listing, owner, in_slices=in_slices)


def _claim(listing_id: int, owner: str) -> Listing | None:
    now = timezone.now()
    waiting = Listing.objects.filter(
        pk=listing_id, state__in=(ListingState.WAITING, ListingState.SCANNING)
    )
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    holder = waiting.values_list("owner", flat=True).first()
    if holder and is_dead(holder):
        free |= Q(owner=holder)
    taken = waiting.filter(free).update(
        state=ListingState.SCANNING, owner=owner, lease_until=_lease()
    )
    if not taken:
        return None
    Listing.objects.filter(pk=listing_id, started_at__isnull=True).update(started_at=now)
    return Listing.objects.get(pk=listing_id)


def _extend(listing_id: int, owner: str) -> None:
    Listing.objects.filter(pk=listing_id, owner=owner).update(lease_until=_lease())


def _lease() -> object:
    return timezone.now() + timedelta(seconds=LEASE_SECONDS)


def _scan_safely(listing: Listing, owner: str, *, in_slices: bool) -> ScanEnd:
    try:
        scan = _begin(listing, owner, in_slices=in_slices)
        is_through = _scan(scan) and _settle(scan)
    except Lost:
        return ScanEnd.TAKEN
    except (InvalidSource, InvalidSelection, OSError) as error:
        _end(listing, owner, ListingState.FAILED, str(error))
        return ScanEnd.THROUGH
    except Unwanted:
        _end(listing, owner, ListingState.FAILED, UNWANTED)
        return ScanEnd.THROUGH
    if is_through:
        _end(listing, owner, ListingState.DONE, "")
        return ScanEnd.THROUGH
    Listing.objects.filter(pk=listing.pk, owner=owner).update(owner="", lease_until=None)
    return ScanEnd.SLICE_OVER


def _begin(listing: Listing, owner: str, *, in_slices: bool) -> Scan:
    """Raises: InvalidSelection: a rule can't be used."""
    selection = parse_selection(listing.rules)
    roots = None if listing.roots is None else [Path(root) for root in listing.roots]
    walk = Walk(
        sources=listing.sources,
        lines=lambda number: path_lists.lines_behind(listing, number, LINES),
        roots=roots,
        empty=set(listing.cursor.get("empty", ())),
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
        InvalidSelection: there is no such attribute.
    """
    try:
        return {files.tag_of(keyword): keyword for keyword in selection.tags}
    except ValueError as error:
        raise InvalidSelection(str(error)) from None


def _scan(scan: Scan) -> bool:
    """Take all chunks that are left; False if the slice was over before."""
    cursor = scan.listing.cursor
    if "settling" in cursor:
        return True
    waiting = scan.walk(Place.of_cursor(cursor))
    while chunk := list(islice(waiting, CHUNK)):
        _take(scan, chunk)
        if scan.is_over:
            return False
    return True


def _take(scan: Scan, chunk: Sequence[Found]) -> None:
    """Look the files of a chunk up or scan them, apply the rules, write the entries."""
    taken = Taken(problems=[(found.line, found.problem) for found in chunk if found.problem])
    entries = _left_by_name(scan, chunk, taken)
    regular = [e for e in entries.values() if isinstance(e, Entry)]
    known = scan.catalogue.known(regular)
    fresh = [e for e in regular if _must_be_read(scan, known.get(e.path))]
    scanned = list(scanning.scan_many(fresh, wanted=frozenset(scan.wanted)))
    taken.opened = len(fresh)
    others = [e for e in entries.values() if isinstance(e, Unreadable)]
    scan.catalogue.learn([*scanned, *others])
    tags = {one.path: _tags(scan, one) for one in scanned if isinstance(one, ScannedInstance)}
    with transaction.atomic():
        rows = dict(known)
        new = [*scanned, *others]
        rows |= zip((one.path for one in new), scan.catalogue.remember(new), strict=True)
        if scan.selection.looks_into_data:
            for path in entries:
                _decide(scan, rows[path], tags.get(path, {}), taken)
        else:
            taken.rows = [rows[path] for path in entries]
        _write(scan, chunk[-1].place, taken)


def _left_by_name(
    scan: Scan, chunk: Sequence[Found], taken: Taken
) -> dict[str, Entry | Unreadable]:
    """Return the entries by path, without those that their name or age leaves out."""
    selection, left = scan.selection, {}
    if not selection.patterns and not selection.least_age_seconds:
        return {found.entry.path: found.entry for found in chunk}
    for found in chunk:
        entry = found.entry
        rule = "" if found.problem else _left_out_by(selection, entry)
        if rule:
            taken.excluded[rule] += 1
        else:
            left[entry.path] = entry
    return left


def _left_out_by(selection: Selection, entry: Entry | Unreadable) -> str:
    if selection.patterns and not takes_name(os.path.basename(entry.path), selection.patterns):
        return BY_NAME
    if isinstance(entry, Entry) and selection.least_age_seconds:
        youngest = time.time() - selection.least_age_seconds
        if entry.mtime_ns / 1e9 > youngest:
            return TOO_YOUNG
    return ""


def _must_be_read(scan: Scan, row: Remembered | None) -> bool:
    """Tell whether a file has to be opened: nobody remembers it, or rules ask for its tags."""
    if row is None:
        return True
    candidate = scan.catalogue.candidate(row) if scan.wanted else None
    return candidate is not None and not excluded_by_identity(candidate, scan.selection)


def _tags(scan: Scan, one: ScannedInstance) -> dict[str, str]:
    return {keyword: one.values.get(tag, "") for tag, keyword in scan.wanted.items()}


def _decide(scan: Scan, row: Remembered, tags: dict[str, str], taken: Taken) -> None:
    """Take a file, or count it for the rule that leaves it out."""
    candidate = scan.catalogue.candidate(row, tags)
    rule = excluded_by(candidate, scan.selection) if candidate else ""
    if rule:
        taken.excluded[rule] += 1
    else:
        taken.rows.append(row)


def _write(scan: Scan, place: Place, taken: Taken) -> None:
    """Write entries and how far the scan is, if the listing is still ours and wanted.

    Raises:
        Lost, Unwanted: it is not; nothing is written.
    """
    listing = scan.listing
    if not _is_wanted(listing):
        raise Unwanted
    catalogue = scan.catalogue
    insert_rows(
        ListingEntry,
        ("listing_id", "number", "file_id", "study_id", "standing"),
        [
            (listing.pk, number, row.file_id, catalogue.study_id(row), "")
            for number, row in enumerate(taken.rows, start=listing.files + 1)
        ],
    )
    path_lists.tell_problems(listing, taken.problems)
    scan.excluded += taken.excluded
    scan.kinds |= {row.kind_id for row in taken.rows}
    listing.files += len(taken.rows)
    listing.opened += taken.opened
    listing.bytes += sum(row.size for row in taken.rows)
    listing.cursor = place.to_cursor() | scan.cursor
    _store(
        scan,
        files=listing.files,
        opened=listing.opened,
        bytes=listing.bytes,
        cursor=listing.cursor,
        excluded=dict(scan.excluded),
    )


def _is_wanted(listing: Listing) -> bool:
    sends = Send.objects.filter(listing=listing)
    wanted = sends.exclude(control="cancel").exclude(state__in=ENDED_STATES)
    return wanted.exists() or not sends.exists()


def _store(scan: Scan, **facts: object) -> None:
    """Write facts of the listing if it is still ours.

    Raises:
        Lost: it is not.
    """
    mine = Listing.objects.filter(pk=scan.listing.pk, owner=scan.owner, state=ListingState.SCANNING)
    if not mine.update(lease_until=_lease(), **facts):
        raise Lost


def _settle(scan: Scan) -> bool:
    """Settle copies, expectations and studies; False if the slice was over before."""
    listing = scan.listing
    if "settling" not in listing.cursor:
        repeated = 0
        if len(listing.sources) > 1 or listing.paths.exists():
            repeated = copies.drop_repeats(listing)
        listing.cursor = scan.cursor | {"settling": "", "repeated": repeated}
        _store(scan, cursor=listing.cursor)
    last = copies.mark_copies(
        listing, str(listing.cursor["settling"]), is_over=lambda: scan.is_over
    )
    if last is not None:
        listing.cursor["settling"] = last
        _store(scan, cursor=listing.cursor)
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
        "copies": entries.filter(standing=copies.COPY).exists(),
        "ready": True,
    }
    Listing.objects.filter(pk=listing.pk).update(cursor=listing.cursor)


def _write_studies(listing: Listing) -> None:
    rows = (
        ListingEntry.objects.filter(listing=listing)
        .exclude(standing=copies.COPY)
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


def _end(listing: Listing, owner: str, state: ListingState, detail: str) -> None:
    Listing.objects.filter(pk=listing.pk, owner=owner).update(
        state=state, detail=detail[:400], owner="", lease_until=None, finished_at=timezone.now()
    )


def forget_entries(listing_id: int) -> None:
    """Remove what only planners need of a listing, in small transactions."""
    entries = ListingEntry.objects.filter(listing_id=listing_id).order_by("number")
    while True:
        page = list(entries.values_list("number", flat=True)[:FORGET_ROWS])
        if not page:
            break
        ListingEntry.objects.filter(
            listing_id=listing_id, number__gte=page[0], number__lte=page[-1]
        ).delete()
    ListingStudy.objects.filter(listing_id=listing_id).delete()
    Listing.objects.filter(pk=listing_id).update(cursor={"forgotten": True})
