"""Clocks on the wall: they may be put back, and those of several hosts may differ.

What was due by the time before a step back need not wait for it again. Times at which all hosts do
one thing together are told by the clock that they share, the database server's. Leases are not
concerned (vigil.py), and a pace minds its own times (negotiation/pacing.py). Times that people
chose stay as they are.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F
from django.utils import timezone

from sender.models import BatchState, Hold, Send, SendBatch, SendItem
from sender.models.sends import ENDED_STATES
from sender.negotiation.outcomes import InstanceOutcome

SMALLEST_STEP = timedelta(seconds=2)
"""Slower corrections than this between two looks are a clock that is being adjusted."""
LARGEST_DIFFERENCE = timedelta(seconds=10)
"""A host whose clock differs more from the database's is told to see to it."""
logger = logging.getLogger(__name__)


def shared_now() -> datetime:
    """Return the time by the clock that all hosts share; with SQLite there is one host only."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        told: datetime = cursor.fetchone()[0]
    return told


class Steps:
    """Tells how far the clock on the wall was put, from one look to the next.

    Args:
        clock: seconds that never step.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[datetime, float] | None = None

    def look(self) -> timedelta:
        """Return how much further the wall clock went than time did, since the last look."""
        now = (timezone.now(), self._clock())
        last, self._last = self._last or now, now
        return now[0] - last[0] - timedelta(seconds=now[1] - last[1])


STEPS = Steps()
"""What this process sees of its host's clock."""


class Comparison:
    """Tells once of a clock that differs from the shared one, and once that it no longer does."""

    def __init__(self) -> None:
        self._has_told = False

    def look(self) -> timedelta:
        """Compare; return by how much this host's clock is ahead, as far as that can be told."""
        before = timezone.now()
        shared, after = shared_now(), timezone.now()
        ahead = timedelta() if before <= shared <= after else after - shared
        if ahead < timedelta():
            ahead = before - shared
        is_far = abs(ahead) - (after - before) > LARGEST_DIFFERENCE
        if is_far and not self._has_told:
            way = "ahead of" if ahead > timedelta() else "behind"
            logger.error(
                "The clock of this host is %.0f s %s the database server's. Times of retries and "
                "in the history are wrong by that: have NTP set it.",
                abs(ahead.total_seconds()),
                way,
            )
        elif self._has_told and not is_far:
            logger.warning("The clock of this host agrees with the database server's again.")
        self._has_told = is_far
        return ahead


COMPARISON = Comparison()
"""What this process has told of its host's clock."""


def follow_steps(steps: Steps = STEPS) -> None:
    """Say when the clock was put; if it was put back, bring forward what waits for a time."""
    step = steps.look()
    if abs(step) < SMALLEST_STEP:
        return
    seconds = abs(step.total_seconds())
    way = "forward" if step > timedelta() else "back"
    logger.warning("The clock of this host was put %s by %.0f s.", way, seconds)
    if step < timedelta():
        _bring_forward(timezone.now(), step)


def _bring_forward(now: datetime, step: timedelta) -> None:
    open_sends = Send.objects.exclude(state__in=ENDED_STATES)
    SendBatch.objects.filter(state=BatchState.READY, next_attempt_at__gt=now).update(
        next_attempt_at=F("next_attempt_at") + step
    )
    SendItem.objects.filter(
        send__in=open_sends, outcome=InstanceOutcome.PENDING, retry_at__gt=now
    ).update(retry_at=F("retry_at") + step)
    Hold.objects.filter(ended_at__isnull=True, probe_at__gt=now).update(
        probe_at=F("probe_at") + step
    )
