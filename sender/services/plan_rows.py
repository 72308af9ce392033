"""The rows of a listing in the order in which a send takes them: study by study, page by page."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from django.db.models import Case, Q, QuerySet, When

from sender.models import ListingEntry, ListingStudy, Send, StudyOrder
from sender.models.sources import COPY
from sender.services.plan_pages import Row, Study

PAGE = 2000
STUDIES_PER_QUERY = 1000
STUDIES_TOGETHER = 500


class Progress(NamedTuple):
    """How far a planner is.

    Attributes:
        studies: studies that are written.
        series_id, number: the last row of the study at work that is written; None and 0: none.
    """

    studies: int = 0
    series_id: int | None = None
    number: int = 0


_COLUMNS = (
    "number",
    "file_id",
    "file__kind_id",
    "file__series_id",
    "file__size",
    "standing",
    "file__reason",
    "file__sop_instance_uid",
)


def pages(send: Send, done: Progress) -> Iterator[tuple[Study, list[Row]]]:
    """Yield the rows that are left, study by study, no rows at the end of each.

    Small studies are read several at a time, large ones page by page.
    """
    waiting = _studies(send, done.studies)
    if done.number and (begun := next(waiting, None)):
        for rows in _rows(send, begun.study_id, done):
            yield begun, rows
        yield begun, []
    for studies in _together(waiting):
        if len(studies) == 1:
            for rows in _rows(send, studies[0].study_id, Progress()):
                yield studies[0], rows
            yield studies[0], []
        else:
            found = _rows_of(send, studies)
            for study in studies:
                if study.study_id in found:
                    yield study, found[study.study_id]
                yield study, []


def _studies(send: Send, done: int) -> Iterator[Study]:
    """Yield the studies that are left, in the order in which they shall travel."""
    undated = Case(When(study_date="", then=1), default=0)
    order = {
        StudyOrder.LISTED: ("first",),
        StudyOrder.NEWEST: (undated, "-study_date", "first"),
        StudyOrder.OLDEST: (undated, "study_date", "first"),
    }[StudyOrder(send.study_order)]
    rows = (
        ListingStudy.objects.filter(listing=send.listing)
        .order_by(*order)
        .values_list("study_id", "study__uid", "files")
    )
    while page := list(rows[done : done + STUDIES_PER_QUERY]):
        for study_id, uid, files in page:
            yield Study(study_id, uid or "", files)
        if len(page) < STUDIES_PER_QUERY:
            return
        done += len(page)


def _together(studies: Iterator[Study]) -> Iterator[list[Study]]:
    """Yield studies that have no more than a page of rows together; others by themselves."""
    group: list[Study] = []
    files = 0
    for study in studies:
        is_full = files + study.files > PAGE or len(group) >= STUDIES_TOGETHER
        if group and (study.study_id is None or is_full):
            yield group
            group, files = [], 0
        group.append(study)
        files += study.files if study.study_id is not None else PAGE
    if group:
        yield group


def _rows_of(send: Send, studies: Sequence[Study]) -> dict[int | None, list[Row]]:
    """Return the rows of small studies: series by series, as listed."""
    entries = _entries(send).filter(study_id__in=[study.study_id for study in studies])
    found: defaultdict[int | None, list[Row]] = defaultdict(list)
    for study_id, *row in entries.values_list("study_id", *_COLUMNS):
        found[study_id].append(Row(*row))
    return found


def _rows(send: Send, study_id: int | None, done: Progress) -> Iterator[list[Row]]:
    """Yield the rows of a study that are left, page by page: series by series, as listed."""
    entries = _entries(send).filter(study_id=study_id)
    if done.number:
        behind = Q(number__gt=done.number)
        if done.series_id is not None:
            behind = Q(file__series_id__gt=done.series_id) | Q(
                file__series_id=done.series_id, number__gt=done.number
            )
        entries = entries.filter(behind)
    rows = entries.values_list(*_COLUMNS).iterator(chunk_size=PAGE)
    while page := [Row(*row) for row in islice(rows, PAGE)]:
        yield page


def _entries(send: Send) -> QuerySet[ListingEntry]:
    """Return what of a listing may get rows, in the order of rows within a study."""
    entries = ListingEntry.objects.filter(listing=send.listing).exclude(standing=COPY)
    return entries.order_by("file__series_id", "number")
