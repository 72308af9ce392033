"""The dashboard's numbers: figures of a period, and how each destination did day by day."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import OuterRef, Q, Subquery, Sum

from sender.analytics.history import NEGOTIATED
from sender.analytics.rates import RateQuery, RateRow, days_of, totals
from sender.models import Association, Destination, Send, SendItem, SendState
from sender.models.sends import ENDED_STATES
from sender.negotiation.outcomes import AssociationKind, InstanceOutcome
from sender.negotiation.rates import Tally

LOCAL = (AssociationKind.REFUSED_LOCALLY, AssociationKind.INTERRUPTED)
"""No fault of the peer's."""
TRAILING_DAYS = 7
FEWEST_ANSWERS = 8
"""A rate on fewer answers is shown as uncertain."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in a period.

    Attributes:
        proposals: what became of all proposals of transfer syntaxes.
        not_negotiated: associations in which the peer never answered the proposal.
        instances: instances that travelled or were tried.
    """

    proposals: Tally
    associations: int
    not_negotiated: int
    instances: int
    open_sends: int
    instances_left: int

    @property
    def answered(self) -> int:
        return self.proposals.accepted + self.proposals.rejected


def figures(query: RateQuery, rows: list[RateRow]) -> Figures:
    """Return the figures of a period, with the sends that are open now.

    Args:
        rows: the acceptance rows of the same query.
    """
    days = days_of(query).aggregate(
        all=Sum("associations", default=0),
        failed=Sum("associations", filter=~Q(outcome__in=NEGOTIATED), default=0),
    )
    travelled = Association.objects.filter(
        started_on__gte=query.first, started_on__lte=query.last, instances__gt=0
    )
    if query.destination_id is not None:
        travelled = travelled.filter(destination_id=query.destination_id)
    sends = Send.objects.exclude(state__in=[*ENDED_STATES, SendState.DRAFT])
    left = SendItem.objects.filter(send__in=sends, outcome=InstanceOutcome.PENDING)
    return Figures(
        proposals=sum(totals(rows).values(), Tally()),
        associations=days["all"],
        not_negotiated=days["failed"],
        instances=travelled.aggregate(n=Sum("instances", default=0))["n"],
        open_sends=sends.count(),
        instances_left=left.count(),
    )


@dataclass(frozen=True, slots=True)
class SyntaxRow:
    """A transfer syntax in a period, and its rate in the period before (None: no answers)."""

    transfer_syntax: str
    tally: Tally
    rate_before: float | None

    @property
    def change(self) -> float | None:
        """The change of the rate in percentage points."""
        now = self.tally.rate
        if now is None or self.rate_before is None:
            return None
        return (now - self.rate_before) * 100


def syntax_rows(now: Mapping[str, Tally], before: Mapping[str, Tally]) -> list[SyntaxRow]:
    """Return a row per transfer syntax, most proposed first."""
    rows = [
        SyntaxRow(uid, tally, before[uid].rate if uid in before else None)
        for uid, tally in now.items()
    ]
    return sorted(rows, key=lambda row: (-row.tally.proposals, row.transfer_syntax))


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a rate's line: the pooled tally that it shows, and that of its own bucket."""

    day: date
    pooled: Tally
    own: Tally

    @property
    def is_uncertain(self) -> bool:
        return self.pooled.accepted + self.pooled.rejected < FEWEST_ANSWERS


def trailing(rows: list[RateRow], uid: str, first: date, last: date) -> list[Point]:
    """Return a transfer syntax's line: each day that has answers, pooled over its last 7 days.

    Args:
        rows: rows per day, from 6 days before `first` on.
    """
    days = {row.bucket: row.tally for row in rows if row.transfer_syntax == uid}
    points = []
    day = first
    while day <= last:
        own = days.get(day, Tally())
        if own.rate is not None:
            window = (day - timedelta(days=back) for back in range(TRAILING_DAYS))
            points.append(Point(day, sum((days.get(d, Tally()) for d in window), Tally()), own))
        day += timedelta(days=1)
    return points


def bucketed(rows: list[RateRow], uid: str) -> list[Point]:
    """Return a transfer syntax's line with one point per bucket that has answers."""
    return [
        Point(row.bucket, row.tally, row.tally)
        for row in rows
        if row.transfer_syntax == uid
        and row.tally.rate is not None
        and isinstance(row.bucket, date)
    ]


@dataclass(frozen=True, slots=True)
class Day:
    """A destination's day: its associations, and how many of them were not negotiated."""

    day: date
    associations: int
    failed: int

    @property
    def tone(self) -> str:
        """How the day went: none, accepted (all negotiated), failed (none was) or rejected."""
        if not self.associations:
            return "none"
        if not self.failed:
            return "accepted"
        return "failed" if self.failed == self.associations else "rejected"


@dataclass(frozen=True, slots=True)
class Strip:
    """A destination and its days."""

    destination: Destination
    days: tuple[Day, ...]

    @property
    def associations(self) -> int:
        return sum(day.associations for day in self.days)

    @property
    def negotiated_fraction(self) -> float | None:
        """The fraction of associations in which the peer answered the proposal."""
        total = self.associations
        return 1 - sum(day.failed for day in self.days) / total if total else None


def strips(first: date, last: date, destinations: list[Destination]) -> list[Strip]:
    """Return the days of destinations; two queries however many there are."""
    counted: defaultdict[tuple[int, date], list[int]] = defaultdict(lambda: [0, 0])
    rows = (
        days_of(RateQuery(first, last))
        .filter(destination__in=destinations)
        .exclude(outcome__in=LOCAL)
        .order_by()
        .values_list("destination_id", "started_on", "outcome")
        .annotate(n=Sum("associations"))
    )
    for destination_id, day, outcome, number in rows:
        cell = counted[destination_id, day]
        cell[0] += number
        cell[1] += 0 if outcome in NEGOTIATED else number
    days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    return [
        Strip(
            destination,
            tuple(Day(day, *counted.get((destination.pk, day), (0, 0))) for day in days),
        )
        for destination in destinations
    ]


def newest_associations(destinations: list[Destination]) -> dict[int, Association]:
    """Return the newest association of each destination that has one."""
    newest = (
        Association.objects.filter(destination=OuterRef("pk"))
        .order_by("-started_at", "-id")
        .values("pk")[:1]
    )
    numbers = (
        Destination.objects.filter(pk__in=[destination.pk for destination in destinations])
        .annotate(newest=Subquery(newest))
        .values_list("newest", flat=True)
    )
    rows = Association.objects.filter(pk__in=[number for number in numbers if number])
    return {row.destination_id: row for row in rows}
