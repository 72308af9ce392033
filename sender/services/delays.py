"""When what did not work is tried again, in the units of this installation (negotiation/retry)."""

from datetime import datetime, timedelta
from random import random

from django.conf import settings
from django.utils import timezone

from sender.negotiation import retry
from sender.negotiation.retry import RetryDecision


def new_jitter() -> float:
    """Return a random number that lengthens pauses."""
    return random()  # noqa: S311 - spreads load, guards nothing


def due_at(decision: RetryDecision, attempt: int, jitter: float) -> datetime:
    """Return when an automatic attempt, counted from 1, is due.

    Args:
        jitter: as `retry.delay` has it.
    """
    seconds = retry.delay(
        decision, attempt, base_seconds=settings.RETRY_BASE_SECONDS, jitter=jitter
    )
    return timezone.now() + timedelta(seconds=seconds)


def base_delays(number: float) -> timedelta:
    """Return so many base delays, CONCORDAT_RETRY_BASE_SECONDS each."""
    return timedelta(seconds=number * settings.RETRY_BASE_SECONDS)
