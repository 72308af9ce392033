"""Rate limits as values: what may be spent comes back with time, up to a little more than none."""

from dataclasses import dataclass, replace

BURST_SECONDS = 0.5
"""What was not spent may be made up for, but for no longer than so much time."""


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """What may be spent at a rate; more may be spent at once, and is then owed.

    Times are seconds of any clock that never goes back.

    Attributes:
        rate: what comes back per second.
        burst: the most that can be saved up.
        level: what may be spent as of `at`; negative: what is owed.

    Raises:
        ValueError: the rate or the burst is not above zero.
    """

    rate: float
    burst: float
    level: float
    at: float

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.burst > 0):
            raise ValueError(f"A rate is a number above zero, not {self.rate:g}.")

    @classmethod
    def full(cls, rate: float, at: float) -> "TokenBucket":
        """Return a bucket from which its burst (at least 1) may be spent at once."""
        burst = max(1.0, rate * BURST_SECONDS)
        return cls(rate, burst, burst, at)

    def filled(self, at: float) -> "TokenBucket":
        """Return the bucket as of a later time."""
        if at <= self.at:
            return self
        level = min(self.burst, self.level + (at - self.at) * self.rate)
        return replace(self, level=level, at=at)

    def spend(self, amount: float, at: float) -> "TokenBucket":
        """Return the bucket without `amount`, which may be more than there is."""
        filled = self.filled(at)
        return replace(filled, level=filled.level - amount)

    def wait(self, at: float) -> float:
        """Return how many seconds after `at` nothing is owed any more."""
        return max(0.0, -self.filled(at).level / self.rate)

    def changed(self, rate: float, at: float) -> "TokenBucket":
        """Return the bucket with another rate; what is owed stays owed."""
        filled = self.filled(at)
        burst = max(1.0, rate * BURST_SECONDS)
        return TokenBucket(rate, burst, min(burst, filled.level), filled.at)


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast instances may be sent; None: no limit.

    Raises:
        ValueError: a limit is not above zero.
    """

    bytes_per_second: float | None = None
    instances_per_second: float | None = None

    def __post_init__(self) -> None:
        for limit in (self.bytes_per_second, self.instances_per_second):
            if limit is not None and not limit > 0:
                raise ValueError(f"A limit is a number above zero, not {limit:g}.")
