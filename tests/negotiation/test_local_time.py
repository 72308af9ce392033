"""Local times and instants, also where the clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation.local_time import (
    UnknownZone,
    in_utc,
    instant_of,
    spans,
    wall_time,
    zone_named,
)

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata",
    "Africa/Cairo", "America/Asuncion", "Africa/Casablanca", "Pacific/Chatham",
)  # fmt: skip
MINUTES = st.integers(0, 4 * 366 * 24 * 60)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "wall", "instant"),
    [
        ("Europe/Berlin", "2024-03-31 01:59", "2024-03-31 00:59"),
        ("Europe/Berlin", "2024-03-31 02:00", "2024-03-31 01:00"),
        ("Europe/Berlin", "2025-03-30 02:30", "2025-03-30 01:00"),
        ("Europe/Berlin", "2026-03-29 02:59", "2026-03-29 01:00"),
        ("Europe/Berlin", "2027-03-28 03:00", "2027-03-28 01:00"),
        ("Europe/Berlin", "2024-10-27 02:30", "2024-10-27 00:30"),
        ("Europe/Berlin", "2025-10-26 03:00", "2025-10-26 02:00"),
        ("America/New_York", "2024-03-10 02:30", "2024-03-10 07:00"),
        ("America/New_York", "2025-11-02 01:30", "2025-11-02 05:30"),
        ("Australia/Lord_Howe", "2024-10-06 02:15", "2024-10-05 15:30"),
        ("Australia/Lord_Howe", "2025-10-05 02:30", "2025-10-04 15:30"),
        ("Australia/Lord_Howe", "2025-04-06 01:45", "2025-04-05 14:45"),
        ("Australia/Lord_Howe", "2027-04-04 02:00", "2027-04-03 15:30"),
        ("Africa/Cairo", "2024-04-26 00:00", "2024-04-25 22:00"),
        ("Africa/Cairo", "2025-10-30 23:30", "2025-10-30 20:30"),
        ("America/Asuncion", "2023-10-01 00:30", "2023-10-01 04:00"),
        ("America/Asuncion", "2024-03-23 23:30", "2024-03-24 02:30"),
        ("Asia/Kolkata", "2026-07-01 12:00", "2026-07-01 06:30"),
        ("Pacific/Apia", "2011-12-30 12:00", "2011-12-30 10:00"),
    ],
)
def test_a_skipped_time_is_the_first_after_the_gap_and_a_repeated_one_the_first(
    zone: str, wall: str, instant: str
) -> None:
    expected = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    assert instant_of(datetime.fromisoformat(wall), ZoneInfo(zone)) == expected


@given(st.sampled_from(ZONES), MINUTES)
def test_the_first_instant_that_shows_a_time_is_found_again(zone: str, minutes: int) -> None:
    instant = FIRST + timedelta(minutes=minutes)
    found = instant_of(wall_time(instant, ZoneInfo(zone)), ZoneInfo(zone))
    assert found in (instant, instant - timedelta(hours=1), instant - timedelta(minutes=30))
    assert wall_time(found, ZoneInfo(zone)) == wall_time(instant, ZoneInfo(zone))


@given(st.sampled_from(ZONES), MINUTES, st.integers(0, 3000))
def test_a_later_local_time_never_stands_for_an_earlier_instant(
    zone: str, minutes: int, step: int
) -> None:
    wall = FIRST.replace(tzinfo=None) + timedelta(minutes=minutes)
    later = wall + timedelta(minutes=step)
    assert instant_of(wall, ZoneInfo(zone)) <= instant_of(later, ZoneInfo(zone))


@pytest.mark.parametrize("zone", ZONES)
def test_spans_follow_each_other_and_each_has_one_offset(zone: str) -> None:
    start, end = FIRST + timedelta(seconds=1.5), FIRST + timedelta(days=800)
    at = start
    for span in spans(start, end, ZoneInfo(zone)):
        assert span.start == at < span.end
        for moment in (span.start, span.end - timedelta(microseconds=1)):
            assert moment.astimezone(ZoneInfo(zone)).utcoffset() == span.offset
        at = span.end
    assert at == end


def test_a_change_of_the_clocks_is_found_to_the_second() -> None:
    start = datetime(2026, 3, 28, 23, 12, 13, 400_000, tzinfo=UTC)
    found = list(spans(start, start + timedelta(hours=5), ZoneInfo("Europe/Berlin")))
    assert [span.start for span in found] == [start, datetime(2026, 3, 29, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    "name",
    ["", "Berlin", "Europe", "europe/berlin/x", "../etc/passwd", "/etc/localtime", "zone.tab",
     "localtime", "Factory", "right/Europe/Berlin", "a" * 300, "\0"],
)  # fmt: skip
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(UnknownZone, match=r"is no time zone; write an IANA name"):
        zone_named(name)


def test_a_time_zone_is_found_by_its_name() -> None:
    assert zone_named(" Europe/Berlin ").key == "Europe/Berlin"


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        in_utc(datetime.fromisoformat("2026-01-01"))
