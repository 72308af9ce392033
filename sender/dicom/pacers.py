"""Sending no faster than a destination wants it."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from sender.negotiation.buckets import Limits, TokenBucket


class Pacer(Protocol):
    """Tells a transfer how long to hold back; it may be changed while the transfer waits.

    The transfer itself waits, so that an interruption wakes it; it asks again (`spend(0)`) at
    least twice a second while it does.
    """

    def before_instance(self) -> float:
        """Count an instance that is about to be sent; return the seconds to hold it back."""
        ...

    def spend(self, count: int) -> float:
        """Count bytes of data sets that were sent; return the seconds to hold back the next."""
        ...


class LimitPacer:
    """Keeps within limits. Several threads may share one; the limits then hold for all together.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._bytes: TokenBucket | None = None
        self._instances: TokenBucket | None = None
        self.change(limits)

    def change(self, limits: Limits) -> None:
        """Set other limits; whoever waits learns of them within half a second."""
        with self._lock:
            now = self._clock()
            self._bytes = _changed(self._bytes, limits.bytes_per_second, now)
            self._instances = _changed(self._instances, limits.instances_per_second, now)

    def before_instance(self) -> float:
        with self._lock:
            now = self._clock()
            if self._instances is not None:
                self._instances = self._instances.spend(1, now)
            return self._wait(now)

    def spend(self, count: int) -> float:
        with self._lock:
            now = self._clock()
            if self._bytes is not None:
                self._bytes = self._bytes.spend(count, now)
            return self._wait(now)

    def _wait(self, now: float) -> float:
        buckets = (self._bytes, self._instances)
        return max((bucket.wait(now) for bucket in buckets if bucket is not None), default=0.0)


def _changed(bucket: TokenBucket | None, rate: float | None, now: float) -> TokenBucket | None:
    if rate is None:
        return None
    if bucket is None:
        return TokenBucket.full(rate, now)
    return bucket.changed(rate, now)
