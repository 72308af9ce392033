"""Whether a lease is over, told without trusting clocks that may step.

Whoever holds a lease writes a new end of it every few seconds, so those who watch see it move. A
lease that stood still for as long as leases last is over, by the monotonic clock of whoever
watched; what the wall clocks of several hosts make of its end is not asked.
"""

import time
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from sender.services.owners import LEASE_SECONDS

EXTEND_SECONDS = 4
"""How often whoever holds a lease extends it."""
FENCE_SECONDS = 30
"""Who could not extend its leases for so long lets go of its association before others come."""
STILL_SECONDS = 2 * EXTEND_SECONDS + 1
"""A lease that is over by the clock, and stands still for so long, may be taken in a hurry."""
ENDED = datetime(1970, 1, 1, tzinfo=UTC)
"""End of leases whose holder is known to be gone, or gave them back: over at once."""

Key = TypeVar("Key", bound=Hashable)


class Vigil:
    """What one process has seen of leases.

    Args:
        clock: seconds that never step.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, dict[Hashable, tuple[datetime, float]]] = {}

    def over(
        self,
        group: str,
        leases: Iterable[tuple[Key, datetime | None]],
        *,
        after: float = LEASE_SECONDS,
    ) -> set[Key]:
        """Return which leases are over; those that this process sees for the first time are not.

        Args:
            group: names all leases that are watched together; what is not in it any more is
                forgotten.
            leases: what identifies each, and when it ends; None: nobody holds it.
            after: how long a lease must have stood still, in seconds.
        """
        now, before = self._clock(), self._seen.get(group, {})
        seen: dict[Hashable, tuple[datetime, float]] = {}
        found: set[Key] = set()
        for key, until in leases:
            if until is None or until <= ENDED:
                found.add(key)
                continue
            last, since = before.get(key, (until, now))
            seen[key] = (until, since if last == until else now)
            if now - seen[key][1] >= after:
                found.add(key)
        self._seen[group] = seen
        return found

    def forget(self) -> None:
        """Watch everything anew."""
        self._seen.clear()


WATCH = Vigil()
"""The watch of this process."""
