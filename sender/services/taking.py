"""What is taken of what stands at the sources: looked up, or read, then judged by the rules."""

import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice

from django.conf import settings
from django.db import transaction

from sender.dicom import scanning
from sender.dicom.files import Entry
from sender.models import Listing, ListingEntry, ListingState, Send
from sender.models.sends import ENDED_STATES
from sender.negotiation.instances import ScannedInstance, Unreadable
from sender.negotiation.selection import (
    Selection,
    excluded_by,
    excluded_by_identity,
    takes_name,
)
from sender.services import path_lists
from sender.services.catalogue import CANT_BE_READ, Catalogue, Remembered
from sender.services.inserting import insert_rows
from sender.services.owners import lease_end
from sender.services.walking import Found, Place, Walk

CHUNK = 1000
"""Entries that are written together."""
WINDOW = 20_000
"""Entries that are looked up together; what is not known of them is read in one go."""
AHEAD_SECONDS = 3600.0
"""By so much a clock that dates files may be ahead of ours before its times tell nothing."""
BY_NAME = "file name"
TOO_YOUNG = "younger than the least age"
REPEATED = "listed already"
NO_INSTANCE = "not being an instance"
"""What rules on data leave out of files that hold none; not what nobody could look into."""


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
        repeated: files that were named once more.
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
    repeated: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the slice is over."""
        return self.deadline is not None and time.monotonic() > self.deadline

    @property
    def cursor(self) -> dict[str, object]:
        """What is stored beside the place of a scan."""
        return {
            "kinds": sorted(self.kinds),
            "empty": sorted(self.walk.empty),
            "repeated": self.repeated,
            "ahead": self.walk.goes_ahead,
        }


@dataclass(slots=True)
class Taken:
    """What is taken of a chunk."""

    rows: list[Remembered] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Judged:
    """Something at a source, and the rule on names and ages that leaves it out, "" if none."""

    found: Found
    rule: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is known of a window, and what is being read of it.

    Attributes:
        known: by path, files that nobody has to open.
        fresh: paths of files that are read.
        results: of these, in their order.
    """

    known: Mapping[str, Remembered]
    fresh: Set[str]
    results: Iterator[ScannedInstance | Unreadable]


def take_window(scan: Scan, window: Sequence[Found]) -> bool:
    """Look the files of a window up or read them, apply the rules, write the entries.

    Returns False if the slice was over before the window's end.

    Raises:
        Lost, Unwanted: the listing is not ours any more, or nobody's.
    """
    judged = _judge(scan.selection, window)
    entries = [
        one.found.entry for one in judged if not one.rule and isinstance(one.found.entry, Entry)
    ]
    known = scan.catalogue.known(entries)
    fresh = [entry for entry in entries if _must_be_read(scan, known.get(entry.path))]
    results = scanning.scan_many(
        fresh, wanted=frozenset(scan.wanted), processes=settings.SCAN_PROCESSES
    )
    lookup = Lookup(known, {entry.path for entry in fresh}, results)
    for start in range(0, len(judged), CHUNK):
        _take(scan, judged[start : start + CHUNK], lookup)
        if scan.is_over:
            return start + CHUNK >= len(judged)
    return True


def _judge(selection: Selection, window: Sequence[Found]) -> list[Judged]:
    """Judge by name and age, once; a path that stands twice is left out the second time."""
    now = time.time_ns()
    seen: set[str] = set()
    judged = []
    for found in window:
        entry = found.entry
        rule = REPEATED if entry.path in seen else ""
        if not rule and not found.problem:
            rule = _left_out_by(selection, entry, now)
        seen.add(entry.path)
        judged.append(Judged(found, rule))
    return judged


def _left_out_by(selection: Selection, entry: Entry | Unreadable, now: int) -> str:
    if selection.patterns and not takes_name(os.path.basename(entry.path), selection.patterns):
        return BY_NAME
    least_age = selection.least_age_seconds
    if least_age and isinstance(entry, Entry) and _age_seconds(entry, now) < least_age:
        return TOO_YOUNG
    return ""


def _age_seconds(entry: Entry, now: int) -> float:
    """Return how old a file is; one from the future, by a wrong clock, is as old as can be.

    The clock of whoever wrote it may be a little ahead, so that a time soon to come is a young one.
    """
    for time_ns in (entry.mtime_ns, entry.ctime_ns):
        age = (now - time_ns) / 1e9
        if age > -AHEAD_SECONDS:
            return age
    return math.inf


def _must_be_read(scan: Scan, row: Remembered | None) -> bool:
    """Tell whether a file has to be opened: nobody remembers it, or rules ask for its tags."""
    if row is None:
        return True
    candidate = scan.catalogue.candidate(row) if scan.wanted else None
    return candidate is not None and not excluded_by_identity(candidate, scan.selection)


def _take(scan: Scan, chunk: Sequence[Judged], lookup: Lookup) -> None:
    """Write a chunk of a window."""
    entries = [one.found.entry for one in chunk if not one.rule]
    fresh = sum(entry.path in lookup.fresh for entry in entries)
    scanned = list(islice(lookup.results, fresh))
    new = [*scanned, *(entry for entry in entries if isinstance(entry, Unreadable))]
    scan.catalogue.learn(new)
    taken = Taken(
        excluded=Counter(one.rule for one in chunk if one.rule),
        opened=fresh,
        problems=[(one.found.line, one.found.problem) for one in chunk if one.found.problem],
    )
    with transaction.atomic():
        remembered = scan.catalogue.remember(new)
        rows = dict(zip((one.path for one in new), remembered, strict=True))
        found = [rows.get(entry.path) or lookup.known[entry.path] for entry in entries]
        if scan.selection.looks_into_data:
            tags = {o.path: _tags(scan, o) for o in scanned if isinstance(o, ScannedInstance)}
            unknown = _unknown(chunk, new)
            for entry, row in zip(entries, found, strict=True):
                if entry.path in unknown:
                    taken.rows.append(row)
                else:
                    _decide(scan, row, tags.get(entry.path, {}), taken)
        else:
            taken.rows = found
        _write(scan, chunk[-1].found.place, taken)


def _tags(scan: Scan, one: ScannedInstance) -> dict[str, str]:
    return {keyword: one.values.get(tag, "") for tag, keyword in scan.wanted.items()}


def _unknown(chunk: Sequence[Judged], found: Sequence[ScannedInstance | Unreadable]) -> set[str]:
    """Return the paths of what nobody could look into, so that no rule can tell."""
    unknown = {one.found.entry.path for one in chunk if one.found.problem}
    return unknown | {
        one.path for one in found if isinstance(one, Unreadable) and CANT_BE_READ in one.reason
    }


def _decide(scan: Scan, row: Remembered, tags: dict[str, str], taken: Taken) -> None:
    """Take a file, or count it for the rule that leaves it out."""
    candidate = scan.catalogue.candidate(row, tags)
    if candidate is not None:
        rule = excluded_by(candidate, scan.selection)
    else:
        rule = "" if row.sop_instance else NO_INSTANCE
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
    scan.repeated += taken.excluded.pop(REPEATED, 0)
    scan.excluded += taken.excluded
    scan.kinds |= {row.kind_id for row in taken.rows}
    listing.files += len(taken.rows)
    listing.opened += taken.opened
    listing.bytes += sum(row.size for row in taken.rows)
    listing.cursor = place.to_cursor() | scan.cursor
    store(
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


def store(scan: Scan, **facts: object) -> None:
    """Write facts of the listing, which thereby has got on, if it is still ours.

    Raises:
        Lost: it is not.
    """
    mine = Listing.objects.filter(pk=scan.listing.pk, owner=scan.owner, state=ListingState.SCANNING)
    if not mine.update(lease_until=lease_end(), tries=0, **facts):
        raise Lost
