"""Windows of the week: as people write them, and when they open and close, by tables of times."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation.windows import (
    ALWAYS,
    DAY,
    EVERY_DAY,
    InvalidWindows,
    Window,
    Windows,
    parse_windows,
)

NIGHTS = "mon-fri 20:00-06:00; sat,sun 00:00-24:00"
TRANSITIONS = {
    "Europe/Berlin": ("2024-03-31", "2024-10-27", "2025-03-30", "2026-10-25", "2027-03-28"),
    "Australia/Lord_Howe": ("2024-04-07", "2024-10-06", "2025-04-06", "2026-10-04", "2027-04-04"),
    "America/New_York": ("2024-03-10", "2024-11-03", "2025-03-09", "2026-11-01", "2027-03-14"),
    "Asia/Kolkata": ("2024-03-31", "2027-10-31"),
    "Africa/Cairo": ("2024-04-26", "2025-10-31"),
    "America/Asuncion": ("2023-10-01", "2024-03-24"),
}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(text: str, zone: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (NIGHTS, NIGHTS),
        ("", ""),
        (" \n ; ", ""),
        ("weekdays 20:00–06:00", "mon-fri 20:00-06:00"),
        ("weekends 0:00-24:00", "sat,sun 00:00-24:00"),
        ("DAILY 8:30 — 9:00", "daily 08:30-09:00"),
        ("20:00-06:00", "daily 20:00-06:00"),
        ("Monday, Wed 20:00-06:00", "mon,wed 20:00-06:00"),
        ("fri-mon 20:00-06:00", "mon,fri-sun 20:00-06:00"),
        ("sun-tue,thu 01:00-02:00", "mon,tue,thu,sun 01:00-02:00"),
        ("mon 20:00-00:00\ntue 00:00-00:00", "mon 20:00-24:00; tue 00:00-24:00"),
        ("mon 08:00-08:00", "mon 08:00-08:00"),
        ("daily 00:00-06:00, 20:00-24:00", "daily 00:00-06:00; daily 20:00-24:00"),
        ("mon 1:00-2:00; mon 01:00-02:00", "mon 01:00-02:00"),
    ],
)
def test_windows_are_read_as_people_write_them_and_written_in_one_form(
    text: str, canonical: str
) -> None:
    windows = parse_windows(text)
    assert str(windows) == canonical
    assert parse_windows(canonical) == windows


@pytest.mark.parametrize(
    ("text", "piece", "said"),
    [
        ("mon-fri 25:00-06:00", "mon-fri 25:00-06:00", '"25:00" is no time of day'),
        ("mon 1:00-2:00; tue 08:61-09:00", "tue 08:61-09:00", '"08:61" is no time of day'),
        ("mon 23:00-24:30", "mon 23:00-24:30", '"24:30" is no time of day'),
        ("mon 8pm-9pm", "mon 8pm-9pm", "the times are missing"),
        ("mon ٠٨:00-09:00", "mon ٠٨:00-09:00", "is no time of day"),
        ("mon 24:00-06:00", "mon 24:00-06:00", "can't start at 24:00"),
        ("mon 20:00", "mon 20:00", '"20:00" has no end'),
        ("mon-fri 07:00-18:00-19:00", "mon-fri 07:00-18:00-19:00", "is no time of day"),
        ("weekends", "weekends", "the times are missing"),
        ("funday 20:00-06:00", "funday 20:00-06:00", '"funday" is no day'),
        ("mon-weekends 20:00-06:00", "mon-weekends 20:00-06:00", '"weekends" is no day'),
        ("mon,,tue 20:00-06:00", "mon,,tue 20:00-06:00", '"" is no day'),
        ("mon fri 20:00-06:00", "mon fri 20:00-06:00", "the days, one space, and the times"),
        ("mon 20:00-06:00 tue", "mon 20:00-06:00 tue", "the days, one space, and the times"),
        ("x" * 2001, "", "at most 2000 characters"),
    ],
)
def test_what_is_no_window_is_named(text: str, piece: str, said: str) -> None:
    with pytest.raises(InvalidWindows) as caught:
        parse_windows(text)
    assert caught.value.piece == piece
    assert said in str(caught.value)
    assert piece in str(caught.value)


@pytest.mark.parametrize(
    ("days", "start", "end"), [((), 0, 60), ((7,), 0, 60), ((1, 0), 0, 60), ((0,), DAY, 60),
                               ((0,), 0, 0), ((0,), 0, DAY + 1), ((0, 0), 0, 60)],
)  # fmt: skip
def test_a_window_out_of_bounds_cannot_be_built(
    days: tuple[int, ...], start: int, end: int
) -> None:
    with pytest.raises(ValueError, match=r"Days are numbers|No window lasts"):
        Window(days, start, end)


@pytest.mark.parametrize(
    ("zone", "text", "now", "open_now", "turns_at"),
    [
        # Plain days; 2026-06-01 is a Monday.
        ("Europe/Berlin", NIGHTS, "2026-06-01 19:59", False, "2026-06-01 18:00"),
        ("Europe/Berlin", NIGHTS, "2026-06-01 20:00", True, "2026-06-02 04:00"),
        ("Europe/Berlin", NIGHTS, "2026-06-02 05:59", True, "2026-06-02 04:00"),
        ("Europe/Berlin", NIGHTS, "2026-06-02 06:00", False, "2026-06-02 18:00"),
        # Friday night flows into the weekend; Monday 00:00 closes, Sunday's window ends.
        ("Europe/Berlin", NIGHTS, "2026-06-05 21:00", True, "2026-06-07 22:00"),
        ("Europe/Berlin", NIGHTS, "2026-06-08 00:00", False, "2026-06-08 18:00"),
        ("Asia/Kolkata", NIGHTS, "2026-06-01 20:00", True, "2026-06-02 00:30"),
        ("Asia/Kolkata", "daily 05:30-05:31", "2024-02-29 05:30", True, "2024-02-29 00:01"),
        # A window over midnight belongs to the day on which it starts.
        ("America/New_York", "fri 22:00-02:00", "2025-06-07 01:59", True, "2025-06-07 06:00"),
        ("America/New_York", "fri 22:00-02:00", "2025-06-06 01:00", False, "2025-06-07 02:00"),
        ("America/New_York", "sun 22:00-02:00", "2025-06-09 01:00", True, "2025-06-09 06:00"),
        ("Europe/Berlin", "mon 08:00-08:00", "2026-06-02 07:59", True, "2026-06-02 06:00"),
        # The clocks go forward: Berlin 2026-03-29 02:00 -> 03:00.
        ("Europe/Berlin", "daily 02:00-03:00", "2026-03-28 02:30", True, "2026-03-28 02:00"),
        ("Europe/Berlin", "daily 02:00-03:00", "2026-03-28 03:00", False, "2026-03-30 00:00"),
        ("Europe/Berlin", "sun 02:00-03:00", "2026-03-28 12:00", False, "2026-04-05 00:00"),
        ("Europe/Berlin", "daily 01:00-02:30", "2026-03-29 01:30", True, "2026-03-29 01:00"),
        ("Europe/Berlin", "daily 02:30-04:00", "2026-03-29 01:30", False, "2026-03-29 01:00"),
        ("Europe/Berlin", "sat 20:00-06:00", "2027-03-27 20:00", True, "2027-03-28 04:00"),
        ("Europe/Berlin", "daily 03:00-02:00", "2024-03-30 12:00", True, "2024-04-01 00:00"),
        # The clocks go back: Berlin 2025-10-26 03:00 -> 02:00, a day of 25 h.
        ("Europe/Berlin", "daily 02:00-03:00", "2025-10-26 02:30", True, "2025-10-26 02:00"),
        ("Europe/Berlin", "sat 20:00-06:00", "2024-10-26 20:00", True, "2024-10-27 05:00"),
        ("Europe/Berlin", "sun 00:00-24:00", "2026-10-25 00:00", True, "2026-10-25 23:00"),
        # Only part of the repeated hour: it opens, closes, and opens again.
        ("Europe/Berlin", "daily 02:30-04:00", "2025-10-26 02:30", True, "2025-10-26 01:00"),
        ("Europe/Berlin", "sat 20:00-02:30", "2025-10-25 20:00", True, "2025-10-26 00:30"),
        # Lord Howe moves by half an hour, at 02:00.
        ("Australia/Lord_Howe", "daily 02:00-02:30", "2025-10-05 01:59", False, "2025-10-05 15:00"),
        ("Australia/Lord_Howe", "daily 01:00-02:15", "2024-10-06 01:59", True, "2024-10-05 15:30"),
        ("Australia/Lord_Howe", "daily 01:30-02:00", "2026-04-05 01:30", True, "2026-04-04 15:30"),
        ("Australia/Lord_Howe", NIGHTS, "2027-04-02 20:00", True, "2027-04-04 13:30"),
        # New York 2024-03-10 02:00 -> 03:00; 2026-11-01 02:00 -> 01:00.
        ("America/New_York", "sat 22:00-06:00", "2024-03-09 22:00", True, "2024-03-10 10:00"),
        ("America/New_York", "sat 22:00-06:00", "2026-10-31 22:00", True, "2026-11-01 11:00"),
        # Midnight itself is skipped (Cairo 2024-04-26) or comes twice (2025-10-31 00:00 -> 23:00).
        ("Africa/Cairo", "fri 00:00-06:00", "2024-04-25 23:59", False, "2024-04-25 22:00"),
        ("Africa/Cairo", "thu 00:00-24:00", "2025-10-30 12:00", True, "2025-10-30 22:00"),
    ],
)  # fmt: skip
def test_when_windows_turn(zone: str, text: str, now: str, open_now: bool, turns_at: str) -> None:
    windows, moment, place = parse_windows(text), local(now, zone), ZoneInfo(zone)
    assert windows.is_open(moment, place) is open_now
    opens_at, closes_at = windows.opens_at(moment, place), windows.closes_at(moment, place)
    assert (closes_at if open_now else opens_at) == utc(turns_at)
    assert (opens_at if open_now else closes_at) == moment.astimezone(UTC)


def test_a_repeated_time_counts_in_both_of_its_passes() -> None:
    windows, zone = parse_windows("daily 02:30-03:00"), ZoneInfo("Europe/Berlin")
    start, end = utc("2025-10-25 22:00"), utc("2025-10-26 06:00")
    found = [(each.opens_at, each.closes_at) for each in windows.openings(start, end, zone)]
    assert found == [
        (utc("2025-10-26 00:30"), utc("2025-10-26 01:00")),
        (utc("2025-10-26 01:30"), utc("2025-10-26 02:00")),
    ]


@pytest.mark.parametrize(
    ("zone", "text", "day", "hours"),
    [
        ("Europe/Berlin", "daily 00:00-24:00", "2026-03-29", 23),
        ("Europe/Berlin", "daily 00:00-24:00", "2026-10-25", 25),
        ("Europe/Berlin", "daily 20:00-06:00", "2026-10-25", 4 + 7),
        ("Europe/Berlin", "daily 02:00-03:00", "2026-03-29", 0),
        ("Europe/Berlin", "daily 02:00-03:00", "2024-10-27", 2),
        ("Australia/Lord_Howe", "daily 00:00-24:00", "2025-10-05", 23.5),
        ("Australia/Lord_Howe", "daily 00:00-24:00", "2025-04-06", 24.5),
        ("Australia/Lord_Howe", "daily 01:30-02:00", "2025-04-06", 1),
        ("Asia/Kolkata", "daily 20:00-06:00", "2026-03-29", 10),
        ("America/New_York", "daily 01:00-03:00", "2027-03-14", 1),
        ("America/New_York", "daily 01:00-03:00", "2027-11-07", 3),
        ("America/New_York", "", "2027-11-07", 25),
    ],
)
def test_how_long_windows_are_open_on_a_day(zone: str, text: str, day: str, hours: float) -> None:
    start = local(day, zone)
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=ZoneInfo(zone))
    assert parse_windows(text).open_seconds(start, end, ZoneInfo(zone)) == hours * 3600


def test_no_windows_are_always_open() -> None:
    now, zone = utc("2026-01-01 00:00"), ZoneInfo("Europe/Berlin")
    for windows in (ALWAYS, parse_windows("daily 00:00-24:00"), parse_windows("mon-sun 6:00-6:00")):
        assert windows.is_always_open
        assert windows.is_open(now, zone)
        assert windows.opens_at(now, zone) == now
        assert windows.closes_at(now, zone) is None
        assert windows.open_seconds(now, now + timedelta(hours=1), zone) == 3600
        assert windows.after_open_seconds(now, 90.5, zone) == now + timedelta(seconds=90.5)


@pytest.mark.parametrize(
    ("text", "now", "hours", "reached"),
    [
        ("mon-fri 20:00-06:00", "2026-06-01 18:00", 1, "2026-06-01 19:00"),
        ("mon-fri 20:00-06:00", "2026-06-01 18:00", 10, "2026-06-02 04:00"),
        ("mon-fri 20:00-06:00", "2026-06-01 18:00", 11, "2026-06-02 19:00"),
        ("mon-fri 20:00-06:00", "2026-06-05 20:00", 9, "2026-06-08 19:00"),
        ("daily 02:00-03:00", "2026-03-28 00:00", 2, "2026-03-30 01:00"),
        ("daily 02:00-03:00", "2026-03-28 00:00", 0, "2026-03-28 00:00"),
    ],
)
def test_when_enough_open_time_has_passed(text: str, now: str, hours: float, reached: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert parse_windows(text).after_open_seconds(utc(now), hours * 3600, zone) == utc(reached)


def test_what_takes_more_than_two_years_has_no_end() -> None:
    windows, zone = parse_windows("mon 02:00-02:01"), ZoneInfo("Europe/Berlin")
    assert windows.after_open_seconds(utc("2026-01-01 00:00"), 7200, zone) is None


def test_instants_need_a_zone() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        ALWAYS.is_open(datetime.fromisoformat("2026-01-01"), ZoneInfo("UTC"))


WINDOW = st.builds(
    Window,
    st.sets(st.sampled_from(EVERY_DAY), min_size=1).map(lambda days: tuple(sorted(days))),
    st.integers(0, 95).map(lambda quarter: quarter * 15),
    st.integers(1, 96).map(lambda quarter: quarter * 15),
)
PLACES = st.sampled_from([(zone, day) for zone, days in TRANSITIONS.items() for day in days])


def shows(window: Window, wall: datetime) -> bool:
    """Tell, in another way than the code, whether a clock shows a time of the window."""
    minute = wall.hour * 60 + wall.minute
    if window.end > window.start:
        return wall.weekday() in window.days and window.start <= minute < window.end
    late = wall.weekday() in window.days and minute >= window.start
    early = (wall.weekday() - 1) % 7 in window.days and minute < window.end
    return late or early


@given(st.lists(WINDOW, min_size=1, max_size=3), PLACES)
def test_each_quarter_of_the_days_around_a_change_is_open_as_the_clock_says(
    chosen: list[Window], place: tuple[str, str]
) -> None:
    name, day = place
    windows, zone = Windows(tuple(chosen)), ZoneInfo(name)
    start = utc(day) - timedelta(hours=36)
    moments = [start + timedelta(minutes=15 * step) for step in range(4 * 72)]
    expected = [
        any(shows(window, moment.astimezone(zone)) for window in chosen) for moment in moments
    ]
    assert [windows.is_open(moment, zone) for moment in moments] == expected
    end = moments[-1] + timedelta(minutes=15)
    openings = list(windows.openings(start, end, zone))
    for before, after in pairwise(openings):
        assert before.closes_at < after.opens_at
    covered = [
        any(each.opens_at <= moment < each.closes_at for each in openings) for moment in moments
    ]
    assert covered == expected
    assert windows.open_seconds(start, end, zone) == 900 * sum(expected)
    assert parse_windows(str(windows)) == Windows(tuple(dict.fromkeys(chosen)))


@given(st.lists(WINDOW, min_size=1, max_size=2), PLACES, st.integers(0, 2880))
def test_turns_are_the_edges_of_what_is_open(
    chosen: list[Window], place: tuple[str, str], minute: int
) -> None:
    name, day = place
    windows, zone = Windows(tuple(chosen)), ZoneInfo(name)
    now = utc(day) - timedelta(hours=24) + timedelta(minutes=minute)
    tick = timedelta(microseconds=1)
    opens_at, closes_at = windows.opens_at(now, zone), windows.closes_at(now, zone)
    assert opens_at is not None
    assert windows.is_open(opens_at, zone)
    assert opens_at == now or not windows.is_open(opens_at - tick, zone)
    if closes_at is not None:
        assert not windows.is_open(closes_at, zone)
        assert closes_at == now or windows.is_open(closes_at - tick, zone)
    seconds = windows.open_seconds(now, now + timedelta(days=9), zone)
    reached = windows.after_open_seconds(now, seconds, zone)
    assert reached is not None
    assert reached <= now + timedelta(days=9)
    assert windows.open_seconds(now, reached, zone) == seconds
