"""Lists of paths as they belong to a listing: kept line by line, nothing of them is lost."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from django.db.models import QuerySet

from sender.models import ListedPath, Listing
from sender.models.sources import real_path, stored_path
from sender.negotiation.lists import InvalidList, ListedLine, decoded, lines_of, parse_path_list
from sender.services.inserting import insert_rows

LARGEST_LIST = 32 << 20
"""Bytes of a list of paths or UIDs."""
_NOT_WHOLE = "is no whole path, from the root on"


@dataclass(frozen=True, slots=True)
class PathList:
    """A list of paths.

    Attributes:
        lines: those that are not empty.
        folder: where lines begin that are no whole paths; "": they can't be used.
    """

    lines: Sequence[ListedLine]
    folder: str = ""

    def __bool__(self) -> bool:
        return bool(self.lines)


def read_path_list(content: bytes, *, folder: str = "") -> PathList:
    """Read a list of paths.

    Raises:
        InvalidList: it is too large, is no text, or holds nothing.
    """
    if len(content) > LARGEST_LIST:
        raise InvalidList(f"A list has at most {LARGEST_LIST >> 20} MB.")
    found = PathList(tuple(parse_path_list(lines_of(decoded(content)))), folder)
    if not found:
        raise InvalidList("The list of paths is empty.")
    return found


def keep(listing: Listing, given: PathList) -> None:
    """Write the lines of a list."""
    rows = (_row(listing, line, given.folder) for line in given.lines)
    while part := list(islice(rows, 5000)):
        insert_rows(ListedPath, ("listing_id", "number", "path", "first_cell", "problem"), part)


def _row(listing: Listing, line: ListedLine, folder: str) -> tuple[int, int, str, str, str]:
    problem = line.fault
    if not problem and not folder and not os.path.isabs(line.path):
        problem = _NOT_WHOLE
    path, first_cell = _stored(line.path, folder), _stored(line.first_cell, folder)
    return listing.pk, line.number, path, first_cell, problem


def _stored(path: str, folder: str) -> str:
    whole = os.path.join(folder, path) if path and folder else path
    return stored_path(whole)


def of_listing(listing: Listing) -> PathList | None:
    """Return the list of paths of a listing, to be used again; None if it has none."""
    lines = tuple(
        ListedLine(row.number, real_path(row.path), real_path(row.first_cell))
        for row in ListedPath.objects.filter(listing=listing).order_by("number").iterator()
    )
    return PathList(lines) if lines else None


def problems(listing: Listing) -> "QuerySet[ListedPath]":
    """Return the lines that can't be used, as far as they have been looked at."""
    return ListedPath.objects.filter(listing=listing).exclude(problem="").order_by("number")


def lines_behind(listing: Listing, number: int, most: int) -> Sequence[ListedPath]:
    """Return the next lines behind a number."""
    rows = ListedPath.objects.filter(listing=listing, number__gt=number)
    return list(rows.order_by("number")[:most])


def tell_problems(listing: Listing, found: Iterable[tuple[int, str]]) -> None:
    """Write why lines can't be used."""
    for number, problem in found:
        rows = ListedPath.objects.filter(listing=listing, number=number)
        rows.update(problem=problem[:400])


def export(listing: Listing) -> Iterator[tuple[str, str, str]]:
    """Yield the lines that can't be used as CSV: a head, then number, path and why."""
    yield "line", "path", "problem"
    for row in problems(listing).iterator(chunk_size=2000):
        yield str(row.number), row.said, row.problem
