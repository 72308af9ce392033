"""Slower when a destination can't follow, and back; against a model of a peer."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation.outcomes import InstanceOutcome, Rejection, StoreOutcome
from sender.negotiation.pacing import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    Allowed,
    Answers,
    Change,
    Measure,
    Pace,
    Rejected,
    answers_of,
    begin,
    from_document,
    step,
    to_document,
)

START = datetime(2026, 6, 1, 18, tzinfo=UTC)
BUSY = Rejection(2, 3, 2)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def pace_of(associations: int, *, maximum: int = 8, delay: float = 0.0) -> Pace:
    return Pace(maximum, associations, Measure(START, START), delay_seconds=delay)


def good(seconds: float, count: int = 100, *, each: float = 0.01, in_use: int = 8) -> Answers:
    return Answers(after(seconds), count, count, seconds=count * each, in_use=in_use)


def run(
    pace: Pace,
    answers: Callable[[Pace, datetime], Answers],
    *,
    begins: float = 0,
    seconds: int,
) -> tuple[Pace, list[Change]]:
    """Feed a model's answers, once a second."""
    changes = []
    for second in range(1, seconds + 1):
        pace, change = step(pace, answers(pace, after(begins + second)))
        changes += [change] if change else []
    return pace, changes


def peer(parallel: int, *, rate: int = 100) -> Callable[[Pace, datetime], Answers]:
    """A peer that works on so many associations at once, at a rate each; more only wait."""

    def answers(pace: Pace, at: datetime) -> Answers:
        used = pace.associations
        count = rate * min(used, parallel)
        return Answers(at, count, count, seconds=float(used), in_use=used)

    return answers


def test_a_destination_begins_with_one_association() -> None:
    pace = begin(4, START)
    assert (pace.associations, pace.delay_seconds, pace.maximum) == (1, 0, 4)


@pytest.mark.parametrize("parallel", [1, 2, 3, 5])
def test_associations_are_added_while_throughput_grows(parallel: int) -> None:
    pace, changes = run(begin(8, START), peer(parallel), seconds=60)
    assert pace.associations == parallel
    assert [change.associations for change in changes] == [*range(2, parallel + 2), parallel]
    assert changes[-1].why == (f"{parallel + 1} associations were hardly faster than {parallel}.")


def test_the_destinations_maximum_is_the_end_of_growth() -> None:
    pace, changes = run(begin(3, START), peer(8), seconds=60)
    assert pace.associations == 3
    assert [change.associations for change in changes] == [2, 3]


def test_what_brought_nothing_is_tried_again_after_ten_minutes() -> None:
    pace, _ = run(begin(8, START), peer(2), seconds=60)
    assert pace.associations == 2
    pace, changes = run(pace, peer(4), begins=60, seconds=530)
    assert changes == []
    pace, changes = run(pace, peer(4), begins=590, seconds=60)
    assert pace.associations == 4


def test_nothing_is_added_before_a_second_and_50_answers() -> None:
    _, change = step(begin(4, START), good(0.5, 1000))
    assert change is None
    _, change = step(begin(4, START), good(30, 49))
    assert change is None
    _, change = step(begin(4, START), good(1, 50))
    assert change is not None
    assert str(change) == (
        "2 associations instead of 1: The peer answered 50 instances well; one association more is "
        "tried."
    )


def test_nothing_is_added_while_a_status_is_not_good() -> None:
    def answers(pace: Pace, at: datetime) -> Answers:
        return Answers(at, 100, 99, seconds=1)

    pace, changes = run(begin(4, START), answers, seconds=60)
    assert (pace.associations, changes) == (1, [])


def test_nothing_is_added_while_what_is_allowed_is_not_used() -> None:
    def answers(pace: Pace, at: datetime) -> Answers:
        return good((at - START).total_seconds(), in_use=1)

    pace, changes = run(begin(4, START), answers, seconds=60)
    assert pace.associations == 2
    assert len(changes) == 1


def test_a_pause_between_sends_is_not_part_of_a_rate() -> None:
    pace, _ = run(begin(2, START), peer(8), seconds=1)
    assert pace.associations == 2
    # Hours later the same peer goes on as before: two associations are faster than one.
    pace, changes = run(pace, peer(8), begins=7200, seconds=30)
    assert (pace.associations, changes) == (2, [])


@pytest.mark.parametrize(
    ("event", "halved", "delay", "why"),
    [
        (Answers(after(1), 10, 7, out_of_resources=3, in_use=8), 4, 0.1,
         "The peer is out of resources; it refused 3 instances (A7xx)."),
        (Answers(after(1), 10, 9, out_of_resources=1, in_use=8), 4, 0.1,
         "The peer is out of resources; it refused 1 instance (A7xx)."),
        (Answers(after(1), 20, 16, not_understood=4, in_use=8), 4, 0.1,
         "The peer refused several instances (Cxxx) while associations ran in parallel."),
        (Rejected(after(1), BUSY), 4, 0,
         "The peer rejected an association as if it were busy (2/3/2)."),
        (Rejected(after(1), Rejection(2, 2, 1)), 4, 0,
         "The peer rejected an association as if it were busy (2/2/1)."),
        (Rejected(after(1), Rejection(1, 2, 1)), 4, 0,
         "The peer rejected an association as if it were busy (1/2/1)."),
        (Rejected(after(1), Rejection(1, 1, 1)), 4, 0,
         "The peer rejected an association as if it were busy (1/1/1)."),
    ],
)  # fmt: skip
def test_refusals_that_pass_halve_the_associations(
    event: Answers | Rejected, halved: int, delay: float, why: str
) -> None:
    pace, change = step(pace_of(8), event)
    assert (pace.associations, pace.delay_seconds) == (halved, delay)
    assert change is not None
    assert (change.was_associations, change.associations, change.why) == (8, halved, why)


@pytest.mark.parametrize(
    "event",
    [
        Rejected(after(1), Rejection(1, 1, 7)),
        Rejected(after(1), Rejection(1, 1, 3)),
        Rejected(after(1), Rejection(1, 3, 9)),
        Answers(after(1), 20, 18, not_understood=2, in_use=8),
        Answers(after(1), 10, 0, in_use=8),
        Answers(after(1), 0, 0, in_use=8),
    ],
)
def test_what_does_not_pass_or_is_no_burst_slows_nothing(event: Answers | Rejected) -> None:
    pace, change = step(pace_of(8), event)
    assert (pace.associations, pace.delay_seconds, change) == (8, 0, None)


def test_good_answers_outweigh_what_was_not_understood() -> None:
    pace = pace_of(8, maximum=8)
    for second in range(1, 50):
        event = Answers(after(second), 21, 20, not_understood=1, in_use=8)
        pace, change = step(pace, event)
        assert change is None
    pace, _ = step(pace, Answers(after(51), 5, 2, not_understood=3, in_use=8))
    assert pace.associations == 4


def test_what_one_association_is_refused_is_no_fault_of_parallel_ones() -> None:
    pace, changes = run(pace_of(1), lambda _, at: Answers(at, 10, 0, not_understood=10), seconds=60)
    assert (pace.associations, pace.delay_seconds, changes) == (1, 0, [])


def test_at_one_association_only_the_pause_grows_and_not_without_end() -> None:
    pace, delays = pace_of(1), []
    for attempt in range(8):
        pace, _ = step(pace, Rejected(after(10 * attempt), BUSY))
        delays.append(pace.delay_seconds)
        assert pace.associations == 1
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2]
    _, change = step(pace, Rejected(after(100), BUSY))
    assert change is None


def test_refusals_of_one_moment_slow_down_once() -> None:
    pace, _ = step(pace_of(8), Rejected(after(1), BUSY))
    for millisecond in range(1, 50):
        pace, change = step(pace, Rejected(after(1 + millisecond / 1000), BUSY))
        assert change is None
    assert pace.associations == 4
    pace, _ = step(pace, Rejected(after(6.1), BUSY))
    assert pace.associations == 2


def test_after_a_quiet_time_the_pause_shrinks_and_associations_come_back_one_by_one() -> None:
    pace, _ = step(pace_of(8), Answers(after(0), 10, 0, out_of_resources=10, in_use=8))
    pace, _ = step(pace, Answers(after(10), 10, 0, out_of_resources=10, in_use=4))
    assert (pace.associations, pace.delay_seconds) == (2, 0.2)
    pace, changes = run(pace, peer(8), begins=10, seconds=29)
    assert changes == []
    pace, changes = run(pace, peer(8), begins=39, seconds=62)
    assert [(change.associations, change.delay_seconds) for change in changes] == [
        (2, 0.1), (2, 0), (3, 0)
    ]  # fmt: skip
    assert str(changes[1]) == ("no pause between instances: The peer answered 6000 instances well.")
    # Four were refused: they are not tried again before ten minutes have passed.
    pace, changes = run(pace, peer(8), begins=101, seconds=500)
    assert (pace.associations, changes) == (3, [])
    pace, changes = run(pace, peer(8), begins=601, seconds=60)
    assert pace.associations == 8
    assert [change.associations for change in changes] == [4, 5, 6, 7, 8]


HOUR = 3600
REFUSED = replace(good(0), good=90, out_of_resources=10)


def cut_an_hour_ahead(associations: int) -> Pace:
    """Return a pace that was slowed down just before the clock was put back by an hour."""
    pace, change = step(pace_of(associations), replace(REFUSED, at=after(HOUR)))
    assert change is not None
    return pace


def test_a_clock_put_back_holds_no_pause_up() -> None:
    pace = cut_an_hour_ahead(1)
    assert pace.delay_seconds == FIRST_DELAY_SECONDS
    pace, _ = run(pace, lambda _, at: replace(good(0), at=at), seconds=60)
    assert pace.delay_seconds == 0


def test_a_clock_put_back_lets_associations_come_back() -> None:
    pace, _ = run(cut_an_hour_ahead(8), peer(8), seconds=2400)
    assert pace.associations == 8


def test_after_a_clock_was_put_back_refusals_slow_down_again() -> None:
    pace, _ = step(cut_an_hour_ahead(1), good(1))
    pace, change = step(pace, replace(REFUSED, at=after(7)))
    assert change is not None
    assert pace.delay_seconds == 2 * FIRST_DELAY_SECONDS


@pytest.mark.parametrize("seconds", [HOUR + 1, HOUR - 59])
def test_hosts_whose_clocks_differ_a_little_share_a_pace(seconds: int) -> None:
    pace = cut_an_hour_ahead(8)
    late, change = step(pace, replace(REFUSED, at=after(seconds)))
    assert change is None, "earned before the cut"
    assert (late.cut_at, late.barrier_until) == (pace.cut_at, pace.barrier_until)


def test_few_answers_are_no_quiet_time() -> None:
    pace, _ = step(pace_of(4), Rejected(after(0), BUSY))
    pace, changes = run(pace, lambda _, at: Answers(at, 0, 0), seconds=59)
    pace, change = step(pace, good(59.5, 49))
    assert (pace.associations, changes, change) == (2, [], None)
    pace, change = step(pace, good(59.6, 1))
    assert pace.associations == 3


def test_rising_response_times_take_one_association_away() -> None:
    pace = pace_of(4, maximum=4)
    pace, change = step(pace, good(1, 100, each=0.1, in_use=4))
    pace, change = step(pace, good(2, 100, each=0.25, in_use=4))
    assert change is None
    pace, change = step(pace, good(3, 100, each=0.5, in_use=4))
    assert change is not None
    assert (pace.associations, pace.delay_seconds) == (3, 0)
    assert change.why.startswith("The peer takes ")
    assert change.why.endswith(" times as long to answer as at its best.")


def test_response_times_are_judged_by_at_least_20_answers() -> None:
    pace, _ = step(pace_of(4, maximum=4), good(1, 100, each=0.1, in_use=4))
    pace, _ = step(replace(pace, judged=0), good(1.1, 19, each=2, in_use=4))
    assert pace.associations == 4
    pace, _ = step(pace, good(1.2, 1, each=2, in_use=4))
    assert pace.associations == 3
    pace, change = step(pace, good(1.3, 19, each=2, in_use=3))
    assert change is None


def test_a_large_factor_between_small_times_is_noise() -> None:
    pace, _ = step(pace_of(4, maximum=4), good(1, 100, each=0.001, in_use=4))
    pace, change = step(pace, good(2, 100, each=0.04, in_use=4))
    assert (pace.associations, change) == (4, None)


def test_large_instances_may_take_longer() -> None:
    pace, _ = step(pace_of(4, maximum=4), good(1, 100, each=0.1, in_use=4))
    large = Answers(after(50), 100, 100, seconds=900, bytes=100 * 100_000_000, in_use=4)
    pace, change = step(pace, large)
    assert (pace.associations, change) == (4, None)


def test_a_slow_peer_keeps_one_association_and_gets_used_to_it() -> None:
    pace, _ = step(pace_of(2, maximum=2), good(1, 100, each=0.1, in_use=2))

    def slow(pace: Pace, at: datetime) -> Answers:
        return Answers(at, 10, 10, seconds=5, in_use=pace.associations)

    pace, changes = run(pace, slow, begins=1, seconds=100)
    assert [change.associations for change in changes] == [1]
    pace, changes = run(pace, slow, begins=101, seconds=550)
    # It is the usual now: another association is tried, and brings nothing.
    assert pace.best_seconds == pytest.approx(0.5)
    assert [change.associations for change in changes] == [2, 1]


def test_the_maximum_may_change_at_any_time() -> None:
    pace, change = step(pace_of(4, maximum=4), Allowed(after(1), 2))
    assert (pace.associations, pace.maximum) == (2, 2)
    assert str(change) == "2 associations instead of 4: The destination allows 2 at most."
    pace, change = step(pace, Allowed(after(2), 8))
    assert (pace.associations, pace.maximum, change) == (2, 8, None)
    pace, _ = run(pace, peer(8), begins=2, seconds=60)
    assert pace.associations == 8


@pytest.mark.parametrize("maximum", [0, -1])
def test_less_than_one_association_is_no_maximum(maximum: int) -> None:
    with pytest.raises(ValueError, match="at least 1 association"):
        begin(maximum, START)
    with pytest.raises(ValueError, match="at least 1 association"):
        step(pace_of(1), Allowed(after(1), maximum))


def test_answers_of_a_group_are_summed_up() -> None:
    def stored(outcome: InstanceOutcome, status: int | None) -> StoreOutcome:
        return StoreOutcome(outcome, 1, status=status, bytes_sent=1000, seconds=0.5)

    outcomes = [
        stored(InstanceOutcome.SENT, 0),
        stored(InstanceOutcome.WARNING, 0xB000),
        stored(InstanceOutcome.FAILED, 0xA700),
        stored(InstanceOutcome.FAILED, 0xC123),
        stored(InstanceOutcome.FAILED, 0x0110),
        stored(InstanceOutcome.FAILED, None),
        stored(InstanceOutcome.UNKNOWN, None),
        stored(InstanceOutcome.UNKNOWN, 0x0000),
    ]
    assert answers_of(outcomes, at=START, in_use=2) == Answers(
        START, 5, 2, out_of_resources=1, not_understood=1, seconds=2.5, bytes=5000, in_use=2
    )


EVENTS = st.one_of(
    st.builds(
        lambda count, bad, kind, seconds, size, used: Answers(
            START,
            count,
            max(0, count - bad),
            out_of_resources=min(bad, count) if kind == 1 else 0,
            not_understood=min(bad, count) if kind == 2 else 0,
            seconds=seconds,
            bytes=size,
            in_use=used,
        ),
        st.integers(0, 500),
        st.sampled_from([0, 0, 0, 1, 5]),
        st.integers(0, 2),
        st.floats(0, 100),
        st.integers(0, 10**9),
        st.integers(1, 8),
    ),
    st.builds(Rejected, st.just(START), st.sampled_from([BUSY, Rejection(1, 1, 1),
                                                        Rejection(1, 1, 7)])),
    st.builds(Allowed, st.just(START), st.integers(1, 8)),
)  # fmt: skip


@given(st.lists(st.tuples(EVENTS, st.floats(-5, 700)), max_size=60), st.integers(1, 8))
def test_whatever_happens_there_is_one_association_and_never_more_than_allowed(
    events: list[tuple[Answers | Rejected | Allowed, float]], maximum: int
) -> None:
    pace, at = begin(maximum, START), START
    for event, seconds in events:
        at += timedelta(seconds=seconds)
        before = pace
        pace, change = step(pace, replace(event, at=at))
        assert 1 <= pace.associations <= pace.maximum
        assert pace.delay_seconds == 0 or (
            FIRST_DELAY_SECONDS <= pace.delay_seconds <= LONGEST_DELAY_SECONDS
        )
        assert pace.associations <= before.associations + 1
        changed = (before.associations, before.delay_seconds) != (
            pace.associations, pace.delay_seconds
        )  # fmt: skip
        assert (change is not None) is changed
        assert change is None or change.why.endswith(".")
        assert from_document(json.loads(json.dumps(to_document(pace)))) == pace
