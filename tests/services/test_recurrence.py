"""When schedules run, by tables of times; cronsim is held to our rules about gaps and repeats."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.services.recurrence import (
    InvalidRecurrence,
    Kind,
    Recurrence,
    missed_runs,
    next_runs,
    parse_recurrence,
)
from tests.processes import ROOT

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(expression: str, zone: str = "UTC") -> Recurrence:
    return parse_recurrence("cron", expression, zone)


def written(runs: list[datetime]) -> list[str]:
    assert all(run.tzinfo is UTC for run in runs)
    return [run.strftime("%m-%d %H:%M") for run in runs]


@pytest.mark.parametrize(
    ("zone", "expression", "after", "runs"),
    [
        # Berlin skips 02:00-03:00 on 2026-03-29; 01:00 UTC is the first instant after the gap.
        ("Europe/Berlin", "30 2 * * *", "2026-03-27 12:00",
         ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        ("Europe/Berlin", "*/15 2 * * *", "2026-03-28 12:00",
         ["03-29 01:00", "03-30 00:00", "03-30 00:15"]),
        ("Europe/Berlin", "0,30 2-3 * * *", "2026-03-28 12:00",
         ["03-29 01:00", "03-29 01:30", "03-30 00:00"]),
        ("Europe/Berlin", "0 * * * *", "2026-03-28 23:30",
         ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
        ("Europe/Berlin", "59 2 29 3 *", "2026-01-01 00:00", ["03-29 01:00", "03-29 00:59"]),
        # Berlin has 02:00-03:00 twice on 2024-10-27, 2025-10-26, 2026-10-25, 2027-10-31.
        ("Europe/Berlin", "30 2 * * *", "2024-10-26 12:00",
         ["10-27 00:30", "10-28 01:30", "10-29 01:30"]),
        ("Europe/Berlin", "*/15 2 * * *", "2025-10-25 12:00",
         ["10-26 00:00", "10-26 00:15", "10-26 00:30", "10-26 00:45", "10-27 01:00"]),
        ("Europe/Berlin", "0 * * * *", "2026-10-24 23:30",
         ["10-25 00:00", "10-25 02:00", "10-25 03:00"]),
        ("Europe/Berlin", "0 3 * * *", "2027-10-30 12:00", ["10-31 02:00", "11-01 02:00"]),
        # Asked within the second pass, the first one is over.
        ("Europe/Berlin", "30 2 * * *", "2026-10-25 01:10", ["10-26 01:30"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25 00:10", ["10-25 00:30", "10-26 01:30"]),
        # New York: 2024-03-10 02:00 -> 03:00, 2025-11-02 02:00 -> 01:00.
        ("America/New_York", "30 2 * * *", "2024-03-09 12:00", ["03-10 07:00", "03-11 06:30"]),
        ("America/New_York", "*/20 1 * * *", "2025-11-01 12:00",
         ["11-02 05:00", "11-02 05:20", "11-02 05:40", "11-03 06:00"]),
        # Lord Howe moves by half an hour at 02:00: forward 2026-10-04, back 2026-04-05.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 12:00", ["10-03 15:30", "10-04 15:15"]),
        ("Australia/Lord_Howe", "*/15 2 * * *", "2026-10-03 12:00",
         ["10-03 15:30", "10-03 15:45", "10-04 15:00"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04 12:00", ["04-04 14:45", "04-05 15:15"]),
        ("Australia/Lord_Howe", "*/15 1 * * *", "2027-04-03 12:00",
         ["04-03 14:00", "04-03 14:15", "04-03 14:30", "04-03 14:45", "04-04 14:30"]),
        # Midnight itself: Cairo skips 00:00-01:00 on 2024-04-26 and repeats 23:00 on 2025-10-30.
        ("Africa/Cairo", "0 0 * * *", "2024-04-25 12:00", ["04-25 22:00", "04-26 21:00"]),
        ("Africa/Cairo", "30 0 26 4 *", "2024-01-01 00:00", ["04-25 22:00", "04-25 21:30"]),
        ("Africa/Cairo", "30 23 * * *", "2025-10-30 12:00", ["10-30 20:30", "10-31 21:30"]),
        ("Africa/Cairo", "0 0 * * *", "2025-10-30 12:00", ["10-30 22:00", "10-31 22:00"]),
        # Asuncion skips 00:00-01:00 on 2023-10-01 and repeats 23:00 on 2024-03-23.
        ("America/Asuncion", "15 0 * * *", "2023-09-30 12:00", ["10-01 04:00", "10-02 03:15"]),
        ("America/Asuncion", "*/30 23 * * *", "2024-03-23 12:00",
         ["03-24 02:00", "03-24 02:30", "03-25 03:00"]),
        # No change of the clocks.
        ("Asia/Kolkata", "0 20 * * MON-FRI", "2026-03-27 12:00",
         ["03-27 14:30", "03-30 14:30", "03-31 14:30"]),
        ("UTC", "30 2 * * *", "2026-03-28 12:00", ["03-29 02:30", "03-30 02:30"]),
    ],
)  # fmt: skip
def test_skipped_times_run_after_the_gap_and_repeated_ones_once(
    zone: str, expression: str, after: str, runs: list[str]
) -> None:
    assert written(next_runs(cron(expression, zone), utc(after), len(runs))) == runs


@pytest.mark.parametrize(
    ("expression", "runs"),
    [
        ("0 0 L * *", ["01-31", "02-28", "03-31"]),
        ("0 0 LW * *", ["01-30", "02-27", "03-31"]),
        ("0 0 * * 5L", ["01-30", "02-27", "03-27"]),
        ("0 0 * * MON#1", ["01-05", "02-02", "03-02"]),
        ("0 0 * * 5#5", ["01-30", "05-29", "07-31"]),
        ("0 0 * * 0", ["01-04", "01-11", "01-18"]),
        ("0 0 * * 7", ["01-04", "01-11", "01-18"]),
        ("0 0 * * sat,sun", ["01-03", "01-04", "01-10"]),
        ("0 0 * jun mon", ["06-01", "06-08", "06-15"]),
        # Both days written: either. One begins with a star: both.
        ("0 0 1,15 * 1", ["01-01", "01-05", "01-12"]),
        ("0 0 */2 * 1", ["01-05", "01-19", "02-09"]),
        ("0 0 13 * */5", ["02-13", "03-13", "09-13"]),
        ("0 0 31 * *", ["01-31", "03-31", "05-31"]),
        ("0 0 31 2 1", ["02-02", "02-09", "02-16"]),
        ("0 0 29 2 *", ["02-29", "02-29", "02-29"]),
    ],
)
def test_which_days_a_cron_expression_means(expression: str, runs: list[str]) -> None:
    found = next_runs(cron(expression), utc("2025-12-31 12:00"), 3)
    assert [run.strftime("%m-%d") for run in found] == runs
    assert {run.strftime("%H:%M") for run in found} == {"00:00"}


def test_the_guides_examples_of_cron_expressions_run() -> None:
    guide = (ROOT / "docs/administrators.md").read_text(encoding="utf-8")
    examples = re.findall(r"^    ((?:[-*/,0-9A-Z#]+ ){4}[-*/,0-9A-Z#]+)$", guide, re.MULTILINE)
    assert len(examples) == 4
    for example in examples:
        assert len(next_runs(cron(example, "Europe/Berlin"), ANCHOR, 5)) == 5


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 0 31 2 *", '"0 0 31 2 *" never comes: there is no such day'),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0 0 */16 * 1#5", "never comes"),
        ("61 * * * *", '"61" is no minute; write 0 to 59'),
        ("* 24 * * *", '"24" is no hour'),
        ("* * 0 * *", '"0" is no day of the month'),
        ("* * 15W * *", '"15W" is no day of the month'),
        ("* * L-3 * *", '"L-3" is no day of the month'),
        ("* * * 13 *", '"13" is no month'),
        ("* * * * 8", '"8" is no day of the week'),
        ("* * * * FRI-SUN", '"FRI-SUN" is no day of the week'),
        ("* * * * MON#6", '"MON#6" is no day of the week'),
        ("*/0 * * * *", '"*/0" is no minute'),
        ("*/90 * * * *", '"*/90": the step is longer than the minute field'),
        ("1,*/60 * * * *", "the step is longer than the minute field"),
        ("* */24 * * *", "the step is longer than the hour field"),
        ("9" * 150 + " * * * *", "is no minute"),
        ("² * * * *", "is no minute"),
        ("* * * *", "has five fields"),
        ("0 30 2 * * *", "has five fields"),
        ("@daily", "has five fields"),
        ("", "has five fields"),
        ("1," * 200 + "1 * * * *", "has five fields"),
    ],
)
def test_a_cron_expression_that_cannot_run_is_refused(expression: str, said: str) -> None:
    with pytest.raises(InvalidRecurrence) as caught:
        cron(expression)
    assert said in str(caught.value)
    assert caught.value.field == "expression"


@pytest.mark.parametrize(
    ("expression", "zone", "run"),
    [
        ("2026-06-01 20:00", "Europe/Berlin", "2026-06-01 18:00"),
        ("2026-06-01T20:00", "Europe/Berlin", "2026-06-01 18:00"),
        ("2026-03-29 02:30", "Europe/Berlin", "2026-03-29 01:00"),
        ("2026-10-25 02:30:15", "Europe/Berlin", "2026-10-25 00:30:15"),
        ("2026-10-04 02:10", "Australia/Lord_Howe", "2026-10-03 15:30"),
        ("2026-04-24 00:30", "Africa/Cairo", "2026-04-23 22:00"),
    ],
)
def test_once_runs_once_at_its_local_time(expression: str, zone: str, run: str) -> None:
    once = parse_recurrence("once", expression, zone)
    before = utc(run) - timedelta(seconds=1)
    assert next_runs(once, before, 5) == [utc(run)]
    assert next_runs(once, utc(run), 5) == []
    assert missed_runs(once, before, utc(run)) == [utc(run)]
    assert missed_runs(once, utc(run), utc("2030-01-01")) == []
    assert missed_runs(once, before - timedelta(days=1), before) == []


@pytest.mark.parametrize(
    "expression", ["", "tomorrow", "2026-02-30 12:00", "2026-06-01", "2026-06-01 20:00+02:00",
                   "1999-12-31 23:59", "9999-12-31 23:59", "01.06.2026 20:00"],
)  # fmt: skip
def test_once_needs_a_local_time(expression: str) -> None:
    with pytest.raises(InvalidRecurrence, match=r"is no time; write|The year must be"):
        parse_recurrence("once", expression, "Europe/Berlin")


@pytest.mark.parametrize(
    ("expression", "after", "runs"),
    [
        ("30m", "2025-12-31 00:00", ["01-01 00:00", "01-01 00:30", "01-01 01:00"]),
        ("30m", "2026-01-01 00:00", ["01-01 00:30", "01-01 01:00"]),
        ("6h", "2026-01-01 05:59", ["01-01 06:00", "01-01 12:00"]),
        ("1d12h", "2026-01-01 12:00", ["01-02 12:00", "01-04 00:00"]),
        ("90 m", "2026-01-01 00:00", ["01-01 01:30", "01-01 03:00"]),
        ("2 hours 1 min", "2026-01-01 00:00", ["01-01 02:01", "01-01 04:02"]),
        # A day is 24 hours, whatever the clocks do on 2026-03-29.
        ("1d", "2026-03-28 00:00", ["03-29 00:00", "03-30 00:00"]),
    ],
)
def test_intervals_are_plain_elapsed_time(expression: str, after: str, runs: list[str]) -> None:
    interval = parse_recurrence("interval", expression, "Europe/Berlin", ANCHOR)
    assert written(next_runs(interval, utc(after), len(runs))) == runs


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "is no interval; write days, hours and minutes like 30m"),
        ("90s", "is no interval"),
        ("-5m", "is no interval"),
        ("1.5h", "is no interval"),
        ("m", "is no interval"),
        ("2h1d", "is no interval"),
        ("2 hours 1 day", "is no interval"),
        ("1 month", "is no interval"),
        ("5 minutess", "is no interval"),
        ("hour", "is no interval"),
        ("0m", "from 1 minute to 366 days"),
        ("367d", "from 1 minute to 366 days"),
        ("9999999m", "from 1 minute to 366 days"),
    ],
)
def test_an_interval_that_cannot_run_is_refused(expression: str, said: str) -> None:
    with pytest.raises(InvalidRecurrence) as caught:
        parse_recurrence("interval", expression, "UTC", ANCHOR)
    assert said in str(caught.value)


@pytest.mark.parametrize("anchor", [None, ANCHOR.replace(tzinfo=None)])
def test_an_interval_needs_its_first_run(anchor: datetime | None) -> None:
    with pytest.raises(InvalidRecurrence, match="time of its first run") as caught:
        parse_recurrence("interval", "1h", "UTC", anchor)
    assert caught.value.field == "anchor"


def test_the_zone_and_the_kind_are_checked() -> None:
    with pytest.raises(InvalidRecurrence, match='"Mars/Olympus" is no time zone') as caught:
        cron("0 0 * * *", "Mars/Olympus")
    assert caught.value.field == "zone"
    with pytest.raises(InvalidRecurrence, match='"hourly" is no kind of schedule') as caught:
        parse_recurrence("hourly", "0 0 * * *", "UTC")
    assert caught.value.field == "kind"


def test_what_people_write_is_brought_into_one_form() -> None:
    assert cron("  30  2 * *\tmon-fri ", " Europe/Berlin ") == Recurrence(
        Kind.CRON, "30 2 * * MON-FRI", "Europe/Berlin"
    )
    assert parse_recurrence("interval", "1D 12H", "UTC", ANCHOR).expression == "1d12h"
    assert parse_recurrence("once", "2026-06-01T20:00", "UTC").expression == "2026-06-01 20:00"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("15 min", "15m"),
        ("1 minute", "1m"),
        ("90 Minutes", "90m"),
        ("1 hour", "1h"),
        ("2 HOURS", "2h"),
        ("1 day", "1d"),
        ("2 days", "2d"),
        ("1 day 12 hours 5 min", "1d12h5m"),
        ("1day12h", "1d12h"),
    ],
)
def test_the_units_of_an_interval_may_be_written_out(written: str, kept: str) -> None:
    assert parse_recurrence("interval", written, "UTC", ANCHOR).expression == kept


def test_an_instant_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        next_runs(cron("0 0 * * *"), ANCHOR.replace(tzinfo=None), 1)


@pytest.mark.parametrize(
    ("expression", "since", "until", "runs"),
    [
        ("30 2 * * *", "2026-03-28 01:30", "2026-03-30 00:30", ["03-29 01:00", "03-30 00:30"]),
        ("30 2 * * *", "2026-03-28 01:29", "2026-03-29 00:59", ["03-28 01:30"]),
        ("30 2 * * *", "2026-10-25 00:00", "2026-10-25 01:00", ["10-25 00:30"]),
        ("30 2 * * *", "2026-10-25 00:30", "2026-10-25 01:45", []),
        ("45 2 * * *", "2026-10-25 00:30", "2026-10-25 01:10", ["10-25 00:45"]),
        ("30 2 * * *", "2026-10-25 00:30", "2026-10-25 00:30", []),
        ("30 2 * * *", "2026-10-25 12:00", "2026-10-24 12:00", []),
    ],
)
def test_missed_runs_are_those_after_one_instant_and_up_to_another(
    expression: str, since: str, until: str, runs: list[str]
) -> None:
    found = missed_runs(cron(expression, "Europe/Berlin"), utc(since), utc(until))
    assert written(found) == runs


def test_of_many_missed_runs_the_newest_are_returned() -> None:
    until = ANCHOR + timedelta(days=3650)
    minutes = [until - timedelta(minutes=back) for back in (2, 1, 0)]
    assert missed_runs(cron("* * * * *"), ANCHOR, until, at_most=3) == minutes
    interval = parse_recurrence("interval", "1m", "UTC", ANCHOR)
    assert missed_runs(interval, ANCHOR, until, at_most=3) == minutes
    assert len(missed_runs(interval, ANCHOR, until)) == 1000


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Asia/Kolkata",
     "Africa/Cairo", "America/Asuncion", "Africa/Casablanca", "Pacific/Chatham"]
)  # fmt: skip
EXPRESSIONS = st.builds(
    lambda minute, hour, day: f"{minute} {hour} * * {day}",
    st.sampled_from(["*", "*/15", "0", "30", "15,45", "7-9"]),
    st.sampled_from(["*", "*/2", "0", "1", "2", "1-3", "23", "0,12"]),
    st.sampled_from(["*", "SUN", "5L", "SAT,SUN"]),
)


def matches(expression: str, wall: datetime) -> bool:
    """Tell whether a local time fits an expression of `EXPRESSIONS`, in another way."""
    minute, hour, _, _, day = expression.split()
    return (
        wall.minute in chosen(minute, 60)
        and wall.hour in chosen(hour, 24)
        and wall.isoweekday() in {"*": range(8), "SUN": [7], "SAT,SUN": [6, 7], "5L": [5]}[day]
        and (day != "5L" or (wall + timedelta(days=7)).month != wall.month)
    )


def chosen(field: str, size: int) -> set[int]:
    if field[0] == "*":
        return set(range(0, size, int(field[2:] or 1)))
    if "-" in field:
        first, last = (int(part) for part in field.split("-"))
        return set(range(first, last + 1))
    return {int(part) for part in field.split(",")}


def by_hand(expression: str, zone: ZoneInfo, first: datetime, days: int) -> list[datetime]:
    """Return the runs of some local days by walking through all minutes of UTC.

    A local time runs at the first minute that shows it; one that no minute shows runs at the first
    minute that shows a later time.
    """
    runs = set()
    wall = first.astimezone(zone).replace(tzinfo=None)
    waiting = [wall + timedelta(minutes=minute) for minute in range(days * 1440)]
    waiting = [each for each in reversed(waiting) if matches(expression, each)]
    for minute in range(days * 1440 - 240):
        moment = first + timedelta(minutes=minute)
        shown = moment.astimezone(zone).replace(tzinfo=None)
        while waiting and waiting[-1] <= shown:
            waiting.pop()
            runs.add(moment)
    return sorted(runs)


CHANGES = st.sampled_from(
    ["2024-03-29", "2024-10-25", "2025-04-04", "2026-10-02", "2027-03-26", "2024-04-24",
     "2025-10-29", "2024-03-22"]
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(ZONES, EXPRESSIONS, CHANGES)
def test_runs_are_those_that_a_walk_through_all_minutes_finds(
    zone: str, expression: str, day: str
) -> None:
    first, days = utc(day), 4
    expected = by_hand(expression, ZoneInfo(zone), first, days)
    end = first + timedelta(minutes=days * 1440 - 241)
    recurrence = cron(expression, zone)
    runs = next_runs(recurrence, first - timedelta(seconds=1), len(expected) + 1)
    # Times that stand for an instant before the walk began aren't found by it.
    assert [run for run in runs if first < run <= end] == [run for run in expected if run > first]
    assert missed_runs(recurrence, first, end, at_most=10_000) == [
        run for run in expected if run > first
    ]


@settings(max_examples=60, deadline=None)
@given(ZONES, EXPRESSIONS, st.integers(0, 3 * 366 * 1440), st.integers(0, 10))
def test_runs_backwards_are_the_runs_forwards(
    zone: str, expression: str, minute: int, count: int
) -> None:
    recurrence = cron(expression, zone)
    since = utc("2024-01-01") + timedelta(minutes=minute, seconds=0.5)
    runs = next_runs(recurrence, since, count)
    assert runs == sorted(set(runs))
    until = runs[-1] if runs else since
    assert missed_runs(recurrence, since, until) == runs
