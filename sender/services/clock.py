"""The clock on the wall may be put back: what was due by the old time need not wait for it again.

Leases are not concerned (vigil.py), and a pace minds its own times (negotiation/pacing.py). Times
that people chose stay as they are.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import F
from django.utils import timezone

from sender.models import BatchState, Hold, Send, SendBatch, SendItem
from sender.models.sends import ENDED_STATES
from sender.negotiation.outcomes import InstanceOutcome

SMALLEST_STEP = timedelta(seconds=2)
"""Slower corrections than this between two looks are a clock that is being adjusted."""
logger = logging.getLogger(__name__)


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
