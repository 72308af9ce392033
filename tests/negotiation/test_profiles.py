"""Limits by the time of the week."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation.profiles import (
    NONE,
    InvalidProfile,
    Limits,
    Profile,
    ProfileLine,
    changes_at,
    limits_at,
    parse_profile,
    tightest,
)
from sender.negotiation.windows import EVERY_DAY, Window, Windows

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = "mon-fri 07:00-18:00: 2 MB/s, 10 instances/s, 1 association\notherwise: 50 MB/s"
BY_DAY, BY_NIGHT = Limits(2e6, 10, 1), Limits(50e6)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (OFFICE, OFFICE),
        ("", ""),
        ("Otherwise : no limit", "otherwise: no limit"),
        ("weekdays 7:00–18:00:10/s; otherwise: unlimited",
         "mon-fri 07:00-18:00: 10 instances/s\notherwise: no limit"),
        ("mon 07:00-18:00; sat 08:00-12:00: 2 associations",
         "mon 07:00-18:00; sat 08:00-12:00: 2 associations"),
        ("daily 00:00-06:00, 18:00-24:00: 100 Mbit/s, 30/min",
         "daily 00:00-06:00; daily 18:00-24:00: 12.5 MB/s, 0.5 instances/s"),
        ("otherwise: 1/min", "otherwise: 1 instance/min"),
        ("otherwise: 1.5 GB/s, 10 instances/s", "otherwise: 1.5 GB/s, 10 instances/s"),
        ("otherwise: 1 MiB/s", "otherwise: 1.048576 MB/s"),
        ("otherwise: 100 B/s", "otherwise: 100 B/s"),
        ("otherwise: 1 Mbit/s", "otherwise: 125 kB/s"),
    ],
)  # fmt: skip
def test_profiles_are_read_as_people_write_them_and_written_in_one_form(
    text: str, canonical: str
) -> None:
    profile = parse_profile(text)
    assert str(profile) == canonical
    assert parse_profile(canonical) == profile


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("mon-fri 07:00-18:00", "mon-fri 07:00-18:00", "times, a colon and limits"),
        ("2 MB/s", "2 MB/s", "times, a colon and limits"),
        ("daily 07:00-25:00: 1/s", "daily 07:00-25:00: 1/s", '"25:00" is no time of day'),
        ("otherwise: 1/s\nsat 08:00-12:00: 2/s", "sat 08:00-12:00: 2/s", "nothing after the line"),
        ("otherwise: 2 mb/s", "otherwise: 2 mb/s", "MB/s for bytes or Mbit/s for bits"),
        ("otherwise: 2 Mb/s", "otherwise: 2 Mb/s", "MB/s for bytes or Mbit/s for bits"),
        ("otherwise: 0/s", "otherwise: 0/s", "more than 0"),
        ("otherwise: 0 associations", "otherwise: 0 associations", "more than 0"),
        ("otherwise: 1.5 associations", "otherwise: 1.5 associations", "is no limit"),
        ("otherwise: 1/s, 2/s", "otherwise: 1/s, 2/s", "a second limit of its kind"),
        ("otherwise: fast", "otherwise: fast", '"fast" is no limit'),
        ("otherwise:", "otherwise: ", '"" is no limit'),
        ("otherwise: 1/s,", "otherwise: 1/s,", '"" is no limit'),
        (f"otherwise: {'9' * 400} MB/s", f"otherwise: {'9' * 400} MB/s", "is no limit"),
        ("x" * 2001, "", "at most 2000 characters"),
    ],
)
def test_what_is_no_profile_is_named(text: str, line: str, said: str) -> None:
    with pytest.raises(InvalidProfile) as caught:
        parse_profile(text)
    assert caught.value.line == line
    assert said in str(caught.value)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("now", "limits", "changes"),
    [
        # 2026-06-01 is a Monday; Berlin is two hours ahead of UTC.
        ("2026-06-01 04:59", BY_NIGHT, "2026-06-01 05:00"),
        ("2026-06-01 05:00", BY_DAY, "2026-06-01 16:00"),
        ("2026-06-01 16:00", BY_NIGHT, "2026-06-02 05:00"),
        ("2026-06-05 16:00", BY_NIGHT, "2026-06-08 05:00"),
        # The clocks change on Sunday: Monday begins an hour earlier, or later, by UTC.
        ("2026-03-27 17:00", BY_NIGHT, "2026-03-30 05:00"),
        ("2026-10-23 16:00", BY_NIGHT, "2026-10-26 06:00"),
    ],
)
def test_what_holds_when(now: str, limits: Limits, changes: str) -> None:
    profile = parse_profile(OFFICE)
    assert limits_at(profile, utc(now), BERLIN) == limits
    assert changes_at(profile, utc(now), BERLIN) == utc(changes)


def test_the_first_line_that_holds_counts_alone() -> None:
    profile = parse_profile(
        "mon 12:00-13:00: 1/s\nweekdays 07:00-18:00: 2 MB/s\nmon 0:00-24:00: 9/s"
    )
    times = {"10:30": 1, "12:00": 2, "20:00": 3}
    found = {time: limits_at(profile, utc(f"2026-06-01 {time}"), BERLIN) for time in times}
    assert found == {
        "10:30": Limits(instances_per_second=1),
        "12:00": Limits(bytes_per_second=2e6),
        "20:00": Limits(instances_per_second=9),
    }
    assert limits_at(profile, utc("2026-06-06 12:00"), BERLIN) == NONE


def test_what_never_changes_has_no_time_of_change() -> None:
    now = utc("2026-06-01 12:00")
    for text in ("", "otherwise: 1/s", "daily 00:00-24:00: 1/s\notherwise: 2/s",
                 "mon 08:00-09:00: 1/s\notherwise: 1/s"):  # fmt: skip
        assert changes_at(parse_profile(text), now, BERLIN) is None


def test_the_tightest_of_several_limits() -> None:
    assert tightest([BY_DAY, BY_NIGHT, NONE]) == Limits(2e6, 10, 1)
    assert tightest([Limits(3e6, None, 4), Limits(5e6, 2, None)]) == Limits(3e6, 2, 4)
    assert tightest([]) == NONE


LINES = st.builds(
    ProfileLine,
    st.builds(
        lambda days, start, end: Windows((Window(tuple(sorted(days)), start * 60, end * 60),)),
        st.sets(st.sampled_from(EVERY_DAY), min_size=1),
        st.integers(0, 23),
        st.integers(1, 24),
    ),
    st.builds(
        Limits,
        st.none() | st.integers(1, 10**9).map(float),
        st.none() | st.integers(1, 1000).map(lambda number: number / 60),
        st.none() | st.integers(1, 64),
    ),
)


@given(st.lists(LINES, max_size=3).map(lambda lines: Profile(tuple(lines))), st.integers(0, 20_000))
def test_limits_hold_until_they_change(profile: Profile, minutes: int) -> None:
    assert parse_profile(str(profile)) == profile
    now = utc("2026-10-20 00:00") + timedelta(minutes=minutes)
    limits, end = limits_at(profile, now, BERLIN), changes_at(profile, now, BERLIN)
    hours = 10 * 24 if end is None else int((end - now) / timedelta(hours=1))
    for hour in range(hours):
        assert limits_at(profile, now + timedelta(hours=hour), BERLIN) == limits
    if end is not None:
        assert limits_at(profile, end - timedelta(microseconds=1), BERLIN) == limits
        assert limits_at(profile, end, BERLIN) != limits
