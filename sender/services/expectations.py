"""Lists of UIDs with expected counts: what of them was found, what is missing or incomplete."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count

from sender.models import Listing, ListingEntry
from sender.models.sources import printable
from sender.negotiation.lists import ANY_LEVEL, ListedUid

_COLUMNS = {
    "study": "study__uid",
    "series": "file__series__uid",
    "instance": "file__sop_instance_uid",
}
SOURCE = "source"
"""The level of a source in which nothing was found."""
LEVELS = {
    "study": "Study",
    "series": "Series",
    "instance": "Instance",
    ANY_LEVEL: "Study, series or instance",
    SOURCE: "Source",
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """One entry of a list of UIDs, or a source in which nothing was found.

    Attributes:
        level: study, series, instance or source; "": whichever it turns out to be.
        uid: the UID, or the path of a source.
        instances: how many there should be; None: nobody said.
        found: how many were found; None: not listed yet.
    """

    level: str
    uid: str
    instances: int | None = None
    found: int | None = None

    @property
    def is_missing(self) -> bool:
        return self.found == 0

    @property
    def is_incomplete(self) -> bool:
        return bool(self.found) and self.found is not None and self.found < (self.instances or 0)

    @property
    def level_words(self) -> str:
        return LEVELS[self.level]

    @property
    def said(self) -> str:
        """What is missing, as text that pages and exports take."""
        return printable(self.uid)


def of_list(entries: Iterable[ListedUid]) -> tuple[Expectation, ...]:
    """Return what a list of UIDs lets expect."""
    return tuple(Expectation(entry.level, entry.uid, entry.instances) for entry in entries)


def to_rows(expected: Iterable[Expectation]) -> list[dict[str, Any]]:
    """Return entries as they are stored."""
    return [
        {"level": e.level, "uid": e.uid, "instances": e.instances, "found": e.found}
        for e in expected
    ]


def of_listing(listing: Listing) -> list[Expectation]:
    """Return the entries of a listing's list of UIDs, and its sources without anything."""
    return [Expectation(**row) for row in listing.expected]


def shortfalls(listing: Listing) -> list[Expectation]:
    """Return the entries that were not found, or not all of them."""
    return [e for e in of_listing(listing) if e.is_missing or e.is_incomplete]


def settle(listing: Listing, empty_sources: Iterable[str] = ()) -> None:
    """Count the instances found of each entry, and keep which sources were empty."""
    listed = [e for e in of_listing(listing) if e.level != SOURCE]
    found: dict[tuple[str, str], int] = {}
    levels: dict[str, str] = {}
    for level in _COLUMNS:
        uids = {e.uid: 0 for e in listed if _may_be(e, level) and (e.level, e.uid) not in found}
        if uids:
            _count(listing, level, uids)
        for entry in listed:
            if uids.get(entry.uid) and _may_be(entry, level):
                found.setdefault((entry.level, entry.uid), uids[entry.uid])
                levels.setdefault(entry.uid, level)
    settled = [
        replace(
            entry,
            level=entry.level or levels.get(entry.uid, ANY_LEVEL),
            found=found.get((entry.level, entry.uid), 0),
        )
        for entry in listed
    ]
    settled += [Expectation(SOURCE, path, None, 0) for path in empty_sources]
    if settled or listing.expected:
        listing.expected = to_rows(settled)
        Listing.objects.filter(pk=listing.pk).update(expected=listing.expected)


def _may_be(entry: Expectation, level: str) -> bool:
    return entry.level in (ANY_LEVEL, level)


def _count(listing: Listing, level: str, uids: dict[str, int]) -> None:
    """Count the SOP Instance UIDs of each entry, conflicts once, in one pass over the listing."""
    column = _COLUMNS[level]
    rows = (
        ListingEntry.objects.filter(listing=listing, file__reason="")
        .exclude(standing="copy")
        .order_by()
        .values_list(column)
        .annotate(n=Count("file__sop_instance_uid", distinct=True))
    )
    for uid, found in rows.iterator(chunk_size=2000):
        if uid in uids:
            uids[uid] += found


def export(listing: Listing) -> Iterator[tuple[str, str, str, str]]:
    """Yield the shortfalls as CSV: a head, then level, UID, how many were expected and found."""
    yield "level", "uid", "expected", "found"
    for entry in shortfalls(listing):
        expected = "" if entry.instances is None else str(entry.instances)
        yield entry.level, entry.said, expected, str(entry.found)


def say(listing: Listing) -> str:
    """Sum up the shortfalls in a sentence; "" if there are none."""
    counts = Counter(_shortfall(entry) for entry in shortfalls(listing))
    return "; ".join(_SAID[kind][number > 1].format(number) for kind, number in counts.items())


def _shortfall(entry: Expectation) -> str:
    if entry.level == SOURCE:
        return SOURCE
    return "missing" if entry.is_missing else "incomplete"


_SAID = {
    SOURCE: ("{} source holds no files", "{} sources hold no files"),
    "missing": ("{} listed UID was not found", "{} listed UIDs were not found"),
    "incomplete": ("{} listed UID is incomplete", "{} listed UIDs are incomplete"),
}
