"""When a send will end, and the warning that comes before it is too late."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation.finish import Evidence, Forecast, Hours, forecast, in_words
from sender.negotiation.windows import ALWAYS, parse_windows

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTS = parse_windows("mon-fri 20:00-06:00")
NO_TIME = "No time to send is left before the deadline."
NOW = datetime(2026, 6, 1, 18, tzinfo=UTC)
"""A Monday, 20:00 in Berlin: the night begins."""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("instances", "seconds", "rate"),
    [
        (49, 59.9, None),
        (50, 10, 5.0),
        (0, 59.9, None),
        (0, 60, 0.0),
        (6, 60, 0.1),
        (100, 0, None),
        (0, 0, None),
    ],
)
def test_a_rate_needs_a_minute_or_50_instances(
    instances: int, seconds: float, rate: float | None
) -> None:
    assert Evidence(instances, seconds).rate == rate


@pytest.mark.parametrize(
    ("left", "rate", "now", "ends_at"),
    [
        (3600, 1, "2026-06-01 18:00", "2026-06-01 19:00"),
        # 10 h of night are left of Monday's; the rest waits until Tuesday 20:00.
        (36_000, 1, "2026-06-01 18:00", "2026-06-02 04:00"),
        (36_060, 1, "2026-06-01 18:00", "2026-06-02 18:01"),
        (1800, 0.5, "2026-06-02 12:00", "2026-06-02 19:00"),
        # Friday's night ends on Saturday; the next begins on Monday.
        (12 * 3600, 1, "2026-06-05 18:00", "2026-06-08 20:00"),
        (0, 1, "2026-06-02 12:00", "2026-06-02 12:00"),
    ],
)
def test_the_end_is_where_enough_open_time_has_passed(
    left: int, rate: float, now: str, ends_at: str
) -> None:
    evidence = Evidence(int(rate * 600), 600)
    found = forecast(left, evidence, Hours(NIGHTS, BERLIN), now=utc(now))
    assert found == Forecast(ends_at=utc(ends_at))
    assert not found.is_late


@pytest.mark.parametrize(
    ("deadline", "late_by", "warning"),
    [
        ("2026-06-02 04:00", None, ""),
        ("2026-06-02 03:00", timedelta(hours=1),
         "At 1 instance per second it will be 1 h late; 1.11 instances per second would do."),
        ("2026-06-01 18:00", timedelta(hours=10),
         "At 1 instance per second it will be 10 h late; no time to send is left before the "
         "deadline."),
    ],
)  # fmt: skip
def test_what_will_be_late_is_told_with_how_much_and_what_would_do(
    deadline: str, late_by: timedelta | None, warning: str
) -> None:
    found = forecast(
        36_000, Evidence(600, 600), Hours(NIGHTS, BERLIN), now=NOW, deadline=utc(deadline)
    )
    assert found == Forecast(utc("2026-06-02 04:00"), late_by, warning)
    assert found.is_late is bool(warning)


def test_the_windows_decide_on_late() -> None:
    evidence, deadline = Evidence(600, 600), NOW + timedelta(hours=12)
    always = forecast(40_000, evidence, Hours(ALWAYS, BERLIN), now=NOW, deadline=deadline)
    assert not always.is_late
    nights = forecast(40_000, evidence, Hours(NIGHTS, BERLIN), now=NOW, deadline=deadline)
    assert nights.is_late
    # 4000 s are left after the first night; they begin on Tuesday at 18:00 UTC.
    assert nights.ends_at == utc("2026-06-02 18:00") + timedelta(seconds=4000)


def test_nobody_is_warned_without_evidence() -> None:
    deadline = NOW + timedelta(seconds=1)
    assert forecast(10**6, Evidence(49, 59), Hours(NIGHTS, BERLIN), now=NOW, deadline=deadline) == (
        Forecast()
    )


def test_a_deadline_before_the_windows_open_needs_no_evidence() -> None:
    noon = utc("2026-06-02 12:00")
    hours, told = Hours(NIGHTS, BERLIN), Forecast(warning=NO_TIME)
    deadline = utc("2026-06-02 18:00")
    assert forecast(1, Evidence(0, 0), hours, now=noon, deadline=deadline) == told
    later = deadline + timedelta(seconds=1)
    assert forecast(1, Evidence(0, 0), hours, now=noon, deadline=later) == Forecast()
    overridden = Hours(NIGHTS, BERLIN, noon + timedelta(hours=1))
    assert forecast(1, Evidence(0, 0), overridden, now=noon, deadline=deadline) == Forecast()


@pytest.mark.parametrize(
    ("override", "seconds", "ends_at"),
    [
        (timedelta(hours=1), 3600, "2026-06-02 13:00"),
        (timedelta(hours=1), 5400, "2026-06-02 18:30"),
        (timedelta(hours=-1), 3600, "2026-06-02 19:00"),
        (timedelta(hours=8), 9 * 3600, "2026-06-02 21:00"),
    ],
)
def test_windows_say_nothing_while_they_are_overridden(
    override: timedelta, seconds: int, ends_at: str
) -> None:
    noon = utc("2026-06-02 12:00")
    hours = Hours(NIGHTS, BERLIN, noon + override)
    assert hours.after_open_seconds(noon, seconds) == utc(ends_at)
    assert hours.open_seconds(noon, utc(ends_at)) == seconds


def test_a_deadline_that_has_passed_needs_no_evidence() -> None:
    found = forecast(
        1, Evidence(0, 0), Hours(NIGHTS, BERLIN), now=NOW, deadline=NOW - timedelta(minutes=90)
    )
    assert found == Forecast(None, timedelta(minutes=90), "The deadline passed 1 h 30 min ago.")


def test_a_send_that_does_not_move_is_told() -> None:
    evidence, deadline = Evidence(0, 60), NOW + timedelta(hours=1)
    found = forecast(10, evidence, Hours(NIGHTS, BERLIN), now=NOW, deadline=deadline)
    assert (found.ends_at, found.late_by) == (None, None)
    assert found.warning == "Nothing was sent lately, so it will not be done in time."
    assert forecast(10, evidence, Hours(NIGHTS, BERLIN), now=NOW) == Forecast()


def test_what_takes_years_has_no_end() -> None:
    deadline = NOW + timedelta(days=1)
    found = forecast(10**9, Evidence(60, 60), Hours(NIGHTS, BERLIN), now=NOW, deadline=deadline)
    assert found.ends_at is None
    assert "more than two years" in found.warning
    assert forecast(10**15, Evidence(1, 10**7), Hours(ALWAYS, BERLIN), now=NOW).ends_at is None


def test_a_deadline_in_the_repeated_hour_is_the_instant_that_it_is() -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    now = utc("2026-10-25 00:00")
    early = forecast(3000, Evidence(600, 600), Hours(ALWAYS, BERLIN), now=now, deadline=first)
    late = forecast(
        3000, Evidence(600, 600), Hours(ALWAYS, BERLIN), now=now, deadline=first.replace(fold=1)
    )
    assert early.late_by == timedelta(minutes=20)
    assert late.late_by is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.4, "0 s"), (59.6, "1 min"), (45, "45 s"), (60, "1 min"), (3600, "1 h"),
     (4800, "1 h 20 min"), (3601, "1 h"), (86400 + 7260, "1 d 2 h"), (90061, "1 d 1 h")],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


@given(st.integers(1, 10**6), st.integers(50, 10**5), st.integers(1, 3600), st.integers(0, 10**6))
def test_what_ends_in_time_is_never_late(
    left: int, instances: int, seconds: int, minutes: int
) -> None:
    deadline = NOW + timedelta(minutes=minutes)
    evidence = Evidence(instances, seconds)
    found = forecast(left, evidence, Hours(NIGHTS, BERLIN), now=NOW, deadline=deadline)
    if found.ends_at is not None:
        assert found.is_late is (found.ends_at > deadline)
        needed = left * seconds / instances
        opened = NIGHTS.open_seconds(NOW, found.ends_at, BERLIN)
        assert opened == pytest.approx(needed, abs=1e-3)
    else:
        assert found.is_late
