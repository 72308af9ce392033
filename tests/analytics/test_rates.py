"""Acceptance rates over time: site-local days, unknown answers, and the same sums from rows."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from sender.analytics.rates import (
    Bucket,
    RateQuery,
    TooLong,
    acceptance,
    bucket_of,
    last_days,
    totals,
)
from sender.models import Association, Destination, Installation
from sender.models.reading import contexts_of
from sender.negotiation.outcomes import AssociationKind, Verdict
from sender.negotiation.rates import REJECTED, decisions
from sender.services import installation
from tests import factories
from tests.factories import ELE, ILE, J90

pytestmark = pytest.mark.django_db


@pytest.fixture
def zone(request: pytest.FixtureRequest) -> Iterator[ZoneInfo]:
    """The site's time zone, as an installation there has it."""
    Installation.objects.update(time_zone=request.param)
    installation.site_zone.cache_clear()
    yield ZoneInfo(request.param)
    installation.site_zone.cache_clear()


def day(query_day: date, **options: object) -> dict[str, tuple[int, int, int, int]]:
    rows = acceptance(RateQuery(query_day, query_day, **options))  # type: ignore[arg-type]
    return {
        row.transfer_syntax: (
            row.tally.accepted,
            row.tally.rejected,
            row.tally.not_chosen,
            row.tally.unknown,
        )
        for row in rows
    }


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
JUNE = date(2026, 6, 1)


def record(
    *results: int | None, to: Destination | None = None, at: datetime = NOON, **facts: object
) -> Association:
    destination = to or Destination.objects.first() or factories.destination()
    return factories.recorded(
        destination,
        factories.outcome(*results, started_at=at, **facts),  # type: ignore[arg-type]
    )


def test_each_proposal_counts_by_its_verdict() -> None:
    record(0, 0, 4)
    record(4, 0, 4)
    assert day(JUNE) == {J90: (1, 3, 0, 0), ELE: (2, 0, 0, 0), ILE: (0, 0, 2, 0)}


def test_proposals_without_an_answer_are_unknown_and_in_no_rate() -> None:
    record(kind=AssociationKind.TIMED_OUT)
    assert day(JUNE) == {J90: (0, 0, 0, 2), ELE: (0, 0, 0, 1), ILE: (0, 0, 0, 1)}
    (row, *_) = acceptance(RateQuery(JUNE, JUNE))
    assert row.tally.rate is None


def test_a_rate_can_leave_out_sop_classes_that_are_not_supported() -> None:
    record(4, 0, 3)
    assert day(JUNE)[J90] == (0, 2, 0, 0)
    assert day(JUNE, supported_only=True)[J90] == (0, 1, 0, 0)


def test_only_single_syntax_contexts_can_be_counted() -> None:
    record(0, 0, 4)
    assert set(day(JUNE, sole_only=True)) == {J90}


def test_one_sop_class_and_one_destination_can_be_asked_for() -> None:
    other = factories.destination("other")
    record(0, 0, 4, to=other)
    record(4, 0, 4, to=factories.destination("mine"))
    assert day(JUNE, destination_id=other.pk)[J90] == (1, 1, 0, 0)
    assert day(JUNE, destination_id=other.pk, abstract_syntax=factories.MR) == {J90: (0, 1, 0, 0)}


@pytest.mark.parametrize(
    ("zone", "moment", "local_day"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28, 22, 59, tzinfo=UTC), date(2026, 3, 28)),
        ("Europe/Berlin", datetime(2026, 3, 28, 23, 0, tzinfo=UTC), date(2026, 3, 29)),
        ("Europe/Berlin", datetime(2026, 3, 29, 21, 59, tzinfo=UTC), date(2026, 3, 29)),
        ("Europe/Berlin", datetime(2026, 3, 29, 22, 0, tzinfo=UTC), date(2026, 3, 30)),
        ("Europe/Berlin", datetime(2026, 10, 24, 22, 0, tzinfo=UTC), date(2026, 10, 25)),
        ("Europe/Berlin", datetime(2026, 10, 25, 22, 59, tzinfo=UTC), date(2026, 10, 25)),
        ("Europe/Berlin", datetime(2026, 10, 25, 23, 0, tzinfo=UTC), date(2026, 10, 26)),
        ("Asia/Kolkata", datetime(2026, 5, 1, 18, 29, tzinfo=UTC), date(2026, 5, 1)),
        ("Asia/Kolkata", datetime(2026, 5, 1, 18, 30, tzinfo=UTC), date(2026, 5, 2)),
        ("America/St_Johns", datetime(2026, 1, 2, 3, 29, tzinfo=UTC), date(2026, 1, 1)),
    ],
    indirect=["zone"],
)
def test_a_day_is_a_day_of_the_site(zone: ZoneInfo, moment: datetime, local_day: date) -> None:
    record(0, 0, 4, at=moment)
    assert day(local_day)
    assert not day(local_day - timedelta(days=1))
    assert not day(local_day + timedelta(days=1))


@pytest.mark.parametrize("zone", ["Asia/Kolkata"], indirect=True)
def test_hours_are_told_as_instants_and_add_up_to_the_day(zone: ZoneInfo) -> None:
    start = datetime(2026, 6, 1, tzinfo=zone)
    for minutes in (0, 29, 30, 90, 1439):
        record(0, 0, 4, at=start + timedelta(minutes=minutes))
    rows = acceptance(RateQuery(JUNE, JUNE, Bucket.HOUR))
    assert all(isinstance(row.bucket, datetime) for row in rows)
    assert totals(rows)[J90].accepted == 5
    assert day(JUNE)[J90][0] == 5


def test_hours_are_told_for_fourteen_days_at_most() -> None:
    acceptance(RateQuery(JUNE, JUNE + timedelta(days=13), Bucket.HOUR))
    with pytest.raises(TooLong):
        acceptance(RateQuery(JUNE, JUNE + timedelta(days=14), Bucket.HOUR))


@pytest.mark.parametrize(
    ("bucket", "first"),
    [
        (Bucket.DAY, date(2026, 11, 25)),
        (Bucket.WEEK, date(2026, 11, 23)),
        (Bucket.MONTH, date(2026, 11, 1)),
    ],
)
def test_a_bucket_begins_with_its_first_day(bucket: Bucket, first: date) -> None:
    assert bucket_of(date(2026, 11, 25), bucket) == first


def test_the_last_days_end_today() -> None:
    first, last = last_days(30)
    assert (last - first).days == 29


@pytest.mark.parametrize("seed", range(3))
def test_rates_are_those_of_the_rows(seed: int) -> None:
    chance = random.Random(seed)
    to = factories.destination()
    for _ in range(25):
        results = [chance.choice([0, 1, 2, 3, 4, None]) for _ in range(3)]
        if chance.random() < 0.2:
            record(kind=AssociationKind.REJECTED, to=to)
        else:
            record(*results, to=to)
    counted: dict[str, list[int]] = {}
    for row in Association.objects.all():
        for decision in decisions(contexts_of(row)):
            entry = counted.setdefault(decision.transfer_syntax, [0, 0, 0, 0])
            place = {Verdict.ACCEPTED: 0, Verdict.NOT_CHOSEN: 2, Verdict.UNKNOWN: 3}
            if decision.verdict in REJECTED:
                entry[1] += 1
            elif decision.verdict in place:
                entry[place[decision.verdict]] += 1
    assert day(JUNE) == {uid: tuple(entry) for uid, entry in counted.items()}
