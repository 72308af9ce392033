"""What a limit lets through, second by second, told by numbers alone."""

import pytest

from sender.negotiation.buckets import Limits, TokenBucket


def sent_within(bucket: TokenBucket, seconds: float, amount: float) -> float:
    """Spend `amount` again and again, each time as soon as nothing is owed; return how much."""
    now = spent = 0.0
    while now < seconds:
        bucket = bucket.spend(amount, now)
        spent += amount
        now += bucket.wait(now)
    return spent


@pytest.mark.parametrize("rate", [10.0, 250_000.0, 1e9])
@pytest.mark.parametrize(
    "share",
    [pytest.param(0.001, marks=pytest.mark.slow), 0.1, 4.0],
    ids=["small", "middle", "large"],
)
def test_in_the_long_run_the_rate_is_kept(rate: float, share: float) -> None:
    spent = sent_within(TokenBucket.full(rate, 0.0), 100.0, rate * share)
    assert spent == pytest.approx(100 * rate, rel=0.06)


def test_the_first_may_go_at_once_and_the_next_waits_its_turn() -> None:
    bucket = TokenBucket.full(0.5, 10.0).spend(1, 10.0)
    assert bucket.wait(10.0) == 0
    bucket = bucket.spend(1, 10.0)
    assert bucket.wait(10.0) == 2.0
    assert bucket.wait(11.5) == 0.5
    assert bucket.wait(99.0) == 0


def test_a_long_rest_is_made_up_for_by_one_burst_only() -> None:
    bucket = TokenBucket.full(100.0, 0.0).filled(1e6)
    assert bucket.level == bucket.burst == 50.0


def test_a_clock_that_stands_still_gives_nothing() -> None:
    bucket = TokenBucket.full(100.0, 5.0).spend(80, 5.0)
    assert bucket.filled(4.0) == bucket
    assert bucket.filled(5.0) == bucket


def test_what_is_owed_stays_owed_when_the_rate_changes() -> None:
    bucket = TokenBucket.full(10.0, 0.0).spend(105, 0.0)
    assert bucket.wait(0.0) == 10.0
    assert bucket.changed(100.0, 0.0).wait(0.0) == 1.0
    assert bucket.changed(1.0, 0.0).wait(0.0) == 100.0


def test_what_was_saved_up_does_not_outlive_a_lower_rate() -> None:
    assert TokenBucket.full(1000.0, 0.0).changed(10.0, 0.0).level == 5.0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_is_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        TokenBucket.full(rate, 0.0)
    with pytest.raises(ValueError, match="above zero"):
        Limits(bytes_per_second=rate)
    with pytest.raises(ValueError, match="above zero"):
        Limits(instances_per_second=rate)


def test_no_limit_is_a_limit_too() -> None:
    assert Limits() == Limits(None, None)
