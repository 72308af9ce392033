"""How much a destination is sent now: its limits, its profile by time of day, and its pace.

The limits hold for a destination as a whole, across workers and hosts: each association gets its
share, limit ÷ slots held, and learns of a new share within a second.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from sender.dicom.pacers import LimitPacer
from sender.models import Destination, DestinationPace
from sender.negotiation import buckets, pacing
from sender.negotiation.pacing import Allowed, Answers, Pace, Rejected
from sender.negotiation.profiles import Limits, Profile, limits_at, parse_profile, tightest
from sender.services import tickets
from sender.services.installation import site_zone

logger = logging.getLogger(__name__)
MOST_TRIES = 4


@dataclass(frozen=True, slots=True)
class Share:
    """What one association may send now; None: no limit.

    Attributes:
        delay_seconds: pause before each instance.
    """

    bytes_per_second: float | None = None
    instances_per_second: float | None = None
    delay_seconds: float = 0.0

    @property
    def is_free(self) -> bool:
        """Nothing is limited."""
        return self == Share()


class SharePacer(LimitPacer):
    """Keeps an association within its share, which may change at any time."""

    def __init__(self, share: Share, clock: Callable[[], float] = time.monotonic) -> None:
        self._delay = share.delay_seconds
        self._begins_at = 0.0
        super().__init__(_as_limits(share), clock)

    def share(self, share: Share) -> None:
        """Set another share."""
        self._delay = share.delay_seconds
        self.change(_as_limits(share))

    def before_instance(self) -> float:
        self._begins_at = self._clock() + self._delay
        return max(super().before_instance(), self._delay)

    def spend(self, count: int) -> float:
        return max(super().spend(count), self._begins_at - self._clock())


def _as_limits(share: Share) -> buckets.Limits:
    return buckets.Limits(share.bytes_per_second, share.instances_per_second)


@lru_cache(maxsize=256)
def profile_of(text: str) -> Profile:
    """Return a profile that was checked when it was saved."""
    return parse_profile(text)


def limits_of(destination: Destination, now: datetime) -> Limits:
    """Return what a destination as a whole may be sent at a time; associations are never None."""
    fixed = Limits(
        bytes_per_second=destination.bytes_per_second,
        instances_per_second=destination.instances_per_second,
        associations=destination.max_associations,
    )
    by_time = limits_at(profile_of(destination.profile), now, site_zone())
    return tightest([fixed, by_time])


def most_associations(destination: Destination, now: datetime) -> int:
    """Return how many associations people allow at a time."""
    return limits_of(destination, now).associations or 1


def pace_of(destination: Destination, now: datetime) -> Pace:
    """Return the pace of a destination, within what people allow now."""
    most = most_associations(destination, now)
    row: DestinationPace | None = getattr(destination, "pace", None)
    if row is None or not row.state:
        return pacing.begin(most, now)
    pace = pacing.from_document(row.state)
    if pace.maximum != most:
        pace, _ = pacing.step(pace, Allowed(now, most))
    return pace


def associations_now(destination_id: int, now: datetime) -> int:
    """Return how many associations may be open to a destination now."""
    destination = Destination.objects.select_related("pace").get(pk=destination_id)
    return pace_of(destination, now).associations


def share_of(destination: Destination, now: datetime, in_use: int) -> Share:
    """Return what one of `in_use` associations may send now."""
    limits = limits_of(destination, now)
    return Share(
        bytes_per_second=_part(limits.bytes_per_second, in_use),
        instances_per_second=_part(limits.instances_per_second, in_use),
        delay_seconds=pace_of(destination, now).delay_seconds,
    )


def _part(limit: float | None, in_use: int) -> float | None:
    return None if limit is None else limit / max(1, in_use)


def is_ever_limited(destination: Destination) -> bool:
    """Tell whether a transfer may have to hold back at some time, as far as people decide."""
    return bool(
        destination.bytes_per_second or destination.instances_per_second or destination.profile
    )


def note(destination_id: int, event: Answers | Rejected) -> None:
    """Take in what a destination did; slow down or speed up, and say why.

    Several workers may do so at a time: who comes second takes the step from where the first left.
    """
    for _ in range(MOST_TRIES):
        destination = Destination.objects.select_related("pace").get(pk=destination_id)
        before = pace_of(destination, event.at)
        if _says_nothing(before, event):
            return
        after, change = pacing.step(before, event)
        if not _store(destination, after, change):
            continue
        if change is not None:
            logger.info("%s: %s", destination, change)
            if change.associations > change.was_associations:
                tickets.issue_work(destination_id)
        return


def _says_nothing(pace: Pace, event: Answers | Rejected) -> bool:
    """A single association that goes well needs no account."""
    if isinstance(event, Rejected) or pace.maximum > 1 or pace.delay_seconds:
        return False
    return event.good == event.count


def _store(destination: Destination, pace: Pace, change: pacing.Change | None) -> bool:
    """Keep a pace if nobody else has kept another meanwhile."""
    values: dict[str, object] = {"state": pacing.to_document(pace)}
    if change is not None:
        values |= {"detail": str(change)[:400], "changed_at": timezone.now()}
    row: DestinationPace | None = getattr(destination, "pace", None)
    if row is not None:
        mine = DestinationPace.objects.filter(pk=destination.pk, fence=row.fence)
        return mine.update(fence=F("fence") + 1, **values) == 1
    try:
        with transaction.atomic():
            DestinationPace.objects.create(destination=destination, **values)
    except IntegrityError:
        return False
    return True
