"""Acceptance rates per transfer syntax over time (HISTORY.md section 4; CONTRACT.md, rates).

Days, weeks and months come from the rollup, hours from the associations. In both cases proposals
and answers are counted by interned list first and joined with what the lists say afterwards.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import QuerySet, Sum

from sender.models import (
    NO_RESULT_LIST,
    Association,
    DefinitionListSyntax,
    NegotiationDay,
    ResultListOutcome,
    ResultListSyntaxOutcome,
)
from sender.models.audit import Installation
from sender.negotiation.outcomes import Verdict
from sender.negotiation.rates import OTHER, REJECTED, Tally, is_about_syntax

LONGEST_HOURS = timedelta(days=14)
DEFAULT_DAYS = 30


class Bucket(StrEnum):
    """How long a point of a series is."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class TooLong(ValueError):
    """Hours are told for at most 14 days."""


@dataclass(frozen=True, slots=True)
class RateQuery:
    """What is wanted.

    Attributes:
        first, last: site-local days, both inclusive; for hours the instants are derived from them
            unless `since` and `until` say better.
        supported_only: leave out answers that the SOP class is not supported, unless inferred.
        sole_only: only contexts that proposed a single transfer syntax.
    """

    first: date
    last: date
    bucket: Bucket = Bucket.DAY
    destination_id: int | None = None
    template_id: int | None = None
    abstract_syntax: str = ""
    supported_only: bool = False
    sole_only: bool = False
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RateRow:
    """One transfer syntax in one bucket; `bucket` is the bucket's first day, or instant."""

    bucket: date | datetime
    transfer_syntax: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class _Asked:
    """Associations of one bucket that asked and were answered alike."""

    bucket: date | datetime
    definition_list_id: int
    result_list_id: int
    associations: int


def today() -> date:
    """Return the current site-local day."""
    return datetime.now(UTC).astimezone(_zone()).date()


def _zone() -> ZoneInfo:
    return ZoneInfo(Installation.objects.values_list("time_zone", flat=True).get())


def last_days(days: int) -> tuple[date, date]:
    """Return the first and last of the last `days` site-local days, today included."""
    end = today()
    return end - timedelta(days=days - 1), end


def bucket_of(day: date, bucket: Bucket) -> date:
    """Return the first day of the bucket that holds a day; weeks begin on Monday (ISO 8601)."""
    if bucket is Bucket.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if bucket is Bucket.MONTH else day


def acceptance(query: RateQuery) -> list[RateRow]:
    """Return a row per bucket and transfer syntax that was proposed in it, in that order.

    Raises:
        TooLong: hours are wanted for more than 14 days.
    """
    asked = list(_by_hour(query) if query.bucket is Bucket.HOUR else _by_day(query))
    verdicts = _verdicts({a.result_list_id for a in asked} - {NO_RESULT_LIST}, query)
    proposals = _proposals(
        {a.definition_list_id for a in asked if a.result_list_id == NO_RESULT_LIST}, query
    )
    tallies: defaultdict[tuple[date | datetime, str], Tally] = defaultdict(Tally)
    for group in asked:
        if group.result_list_id == NO_RESULT_LIST:
            said = proposals.get(group.definition_list_id, {})
        else:
            said = verdicts.get(group.result_list_id, {})
        for uid, tally in said.items():
            tallies[group.bucket, uid] += _times(tally, group.associations)
    return [
        RateRow(bucket, uid, tally)
        for (bucket, uid), tally in sorted(tallies.items(), key=lambda entry: entry[0])
    ]


def _times(tally: Tally, count: int) -> Tally:
    return Tally(
        *(getattr(tally, name) * count for name in Tally.__dataclass_fields__),
    )


def days_of(query: RateQuery) -> QuerySet[NegotiationDay]:
    """Return the rollup's rows of a query's days, destination and template."""
    days = NegotiationDay.objects.filter(started_on__gte=query.first, started_on__lte=query.last)
    if query.destination_id is not None:
        days = days.filter(destination_id=query.destination_id)
    if query.template_id is not None:
        days = days.filter(template_version__template_id=query.template_id)
    return days


def _by_day(query: RateQuery) -> Iterable[_Asked]:
    grouped = (
        days_of(query)
        .order_by()
        .values_list("started_on", "definition_list_id", "result_list_id")
        .annotate(n=Sum("associations"))
    )
    for day, definition_list_id, result_list_id, associations in grouped:
        yield _Asked(bucket_of(day, query.bucket), definition_list_id, result_list_id, associations)


def _by_hour(query: RateQuery) -> Iterable[_Asked]:
    """Count associations by the UTC hour of their start, so that no local hour is there twice."""
    zone = _zone()
    since = query.since or datetime.combine(query.first, datetime.min.time(), zone)
    until = query.until or datetime.combine(
        query.last + timedelta(days=1), datetime.min.time(), zone
    )
    if until - since > LONGEST_HOURS:
        raise TooLong("Rates per hour are told for at most 14 days.")
    rows = Association.objects.filter(started_at__gte=since, started_at__lt=until)
    if query.destination_id is not None:
        rows = rows.filter(destination_id=query.destination_id)
    if query.template_id is not None:
        rows = rows.filter(template_version__template_id=query.template_id)
    plain = rows.order_by().values_list("started_at", "definition_list_id", "result_list_id")
    for started_at, definition_list_id, result_list_id in plain.iterator():
        hour = started_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        yield _Asked(hour, definition_list_id, result_list_id, 1)


def _verdicts(lists: set[int], query: RateQuery) -> dict[int, dict[str, Tally]]:
    """Return what each result list says of each transfer syntax, as a tally of one association."""
    found: defaultdict[int, dict[str, Tally]] = defaultdict(dict)
    for list_id, uid, verdict, sole, inferred, contexts in _outcome_rows(lists, query):
        if query.sole_only and not sole:
            continue
        if query.supported_only and not is_about_syntax(Verdict(verdict), inferred=inferred):
            continue
        tally = found[list_id].get(uid, Tally(associations=1))
        found[list_id][uid] = _counted(tally, Verdict(verdict), contexts)
    return found


def _outcome_rows(lists: set[int], query: RateQuery) -> Iterable[tuple[Any, ...]]:
    columns = ("transfer_syntax__uid", "verdict", "sole", "inferred", "contexts")
    for part in _parts(lists):
        if query.abstract_syntax:
            yield from ResultListOutcome.objects.filter(
                result_list_id__in=part, abstract_syntax__uid=query.abstract_syntax
            ).values_list("result_list_id", *columns)
        else:
            yield from ResultListSyntaxOutcome.objects.filter(result_list_id__in=part).values_list(
                "result_list_id", *columns
            )


def _counted(tally: Tally, verdict: Verdict, contexts: int) -> Tally:
    if verdict is Verdict.ACCEPTED:
        return replace(tally, accepted=tally.accepted + contexts, decided=1)
    if verdict in REJECTED:
        return replace(tally, rejected=tally.rejected + contexts, decided=1)
    if verdict is Verdict.NOT_CHOSEN:
        return replace(tally, not_chosen=tally.not_chosen + contexts)
    if verdict in OTHER:
        return replace(tally, other=tally.other + contexts)
    return replace(tally, unknown=tally.unknown + contexts)


def _proposals(lists: set[int], query: RateQuery) -> dict[int, dict[str, Tally]]:
    """Return what each proposal proposes, as the tally of an association without an answer."""
    found: defaultdict[int, dict[str, Tally]] = defaultdict(dict)
    for part in _parts(lists):
        rows = DefinitionListSyntax.objects.filter(definition_list_id__in=part)
        if query.abstract_syntax:
            rows = rows.filter(abstract_syntax__uid=query.abstract_syntax)
        summed = (
            rows.order_by()
            .values_list("definition_list_id", "transfer_syntax__uid")
            .annotate(n=Sum("contexts"))
        )
        for list_id, uid, contexts in summed:
            found[list_id][uid] = Tally(unknown=contexts, associations=1)
    return found


def _parts(numbers: set[int], size: int = 500) -> Iterable[list[int]]:
    """Cut a set into parts that an IN clause takes on any database."""
    ordered = sorted(numbers)
    return (ordered[start : start + size] for start in range(0, len(ordered), size))


def totals(rows: Iterable[RateRow]) -> dict[str, Tally]:
    """Add rows up over time, by transfer syntax."""
    summed: defaultdict[str, Tally] = defaultdict(Tally)
    for row in rows:
        summed[row.transfer_syntax] += row.tally
    return dict(summed)
