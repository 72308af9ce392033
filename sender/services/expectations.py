"""Lists of UIDs with expected counts: what of them was found, what is missing or incomplete."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from sender.models import Listing, ListingEntry

CHUNK = 500
_COLUMNS = {
    "study": "study__uid",
    "series": "file__series__uid",
    "instance": "file__sop_instance_uid",
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """One entry of a list of UIDs.

    Attributes:
        level: study, series or instance.
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


def to_rows(expected: Iterable[Expectation]) -> list[dict[str, Any]]:
    """Return entries as they are stored."""
    return [
        {"level": e.level, "uid": e.uid, "instances": e.instances, "found": e.found}
        for e in expected
    ]


def of_listing(listing: Listing) -> list[Expectation]:
    """Return the entries of a listing's list of UIDs."""
    return [Expectation(**row) for row in listing.expected]


def shortfalls(listing: Listing) -> list[Expectation]:
    """Return the entries that were not found, or not all of them."""
    return [e for e in of_listing(listing) if e.is_missing or e.is_incomplete]


def settle(listing: Listing) -> None:
    """Count what was found of each entry, copies left out."""
    if not listing.expected:
        return
    counted = [
        Expectation(e.level, e.uid, e.instances, found)
        for level in _COLUMNS
        for chunk in _chunks([e for e in of_listing(listing) if e.level == level])
        for e, found in _count(listing, level, chunk)
    ]
    listing.expected = to_rows(counted)
    Listing.objects.filter(pk=listing.pk).update(expected=listing.expected)


def _chunks(entries: list[Expectation]) -> Iterator[list[Expectation]]:
    for start in range(0, len(entries), CHUNK):
        yield entries[start : start + CHUNK]


def _count(
    listing: Listing, level: str, entries: list[Expectation]
) -> Iterator[tuple[Expectation, int]]:
    column = _COLUMNS[level]
    rows = (
        ListingEntry.objects.filter(
            listing=listing, **{f"{column}__in": [entry.uid for entry in entries]}
        )
        .exclude(standing="copy")
        .order_by()
        .values_list(column)
        .annotate(n=Count("file"))
    )
    found = dict(rows)
    for entry in entries:
        yield entry, found.get(entry.uid, 0)
