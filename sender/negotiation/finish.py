"""Finish by: when a send will end at its recent rate, and whether that is too late."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from sender.negotiation.local_time import in_utc
from sender.negotiation.windows import Windows

ENOUGH_SECONDS = 60.0
ENOUGH_INSTANCES = 50


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was done lately.

    Attributes:
        instances: that got their final outcome within the time.
        seconds: of sending; time in which windows were closed or the send was paused not counted.
    """

    instances: int
    seconds: float

    @property
    def is_enough(self) -> bool:
        """A minute or 50 instances: before that a rate says nothing."""
        if self.seconds <= 0:
            return False
        return self.seconds >= ENOUGH_SECONDS or self.instances >= ENOUGH_INSTANCES

    @property
    def rate(self) -> float | None:
        """Instances per second of sending; None: not enough evidence."""
        return self.instances / self.seconds if self.is_enough else None


@dataclass(frozen=True, slots=True)
class Hours:
    """When may be sent: in windows, and whatever they say until an override ends.

    Attributes:
        overridden_until: None: nobody overrides the windows.
    """

    windows: Windows
    zone: tzinfo
    overridden_until: datetime | None = None

    def open_seconds(self, start: datetime, end: datetime) -> float:
        """Return for how many seconds may be sent between two instants."""
        resumed = min(self._resumed(start), max(in_utc(start), in_utc(end)))
        free = (resumed - in_utc(start)).total_seconds()
        return free + self.windows.open_seconds(resumed, end, self.zone)

    def after_open_seconds(self, start: datetime, seconds: float) -> datetime | None:
        """Return by when it could be sent for so long since `start`; None: not in two years."""
        resumed = self._resumed(start)
        free = (resumed - in_utc(start)).total_seconds()
        if seconds <= free:
            return in_utc(start) + timedelta(seconds=max(0.0, seconds))
        return self.windows.after_open_seconds(resumed, seconds - free, self.zone)

    def _resumed(self, start: datetime) -> datetime:
        """Return from when on the windows decide again."""
        if self.overridden_until is None:
            return in_utc(start)
        return max(in_utc(start), in_utc(self.overridden_until))


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a send will end.

    Attributes:
        ends_at: UTC; None: unknown, or not within two years (then `warning` says so).
        late_by: how long after the deadline; None: in time, unknown, or without a deadline. With
            `ends_at` None and a deadline that has passed: how long ago that was.
        warning: "" or why the deadline will probably be missed, one sentence.
    """

    ends_at: datetime | None = None
    late_by: timedelta | None = None
    warning: str = ""

    @property
    def is_late(self) -> bool:
        """It will, as far as is known, end after its deadline."""
        return bool(self.warning)


def forecast(
    left: int,
    evidence: Evidence,
    hours: Hours,
    *,
    now: datetime,
    deadline: datetime | None = None,
) -> Forecast:
    """Estimate when the rest of a send will be done.

    Args:
        left: instances without a final outcome.
        evidence: the last while of work.
        hours: when may be sent.
        now, deadline: aware.
    """
    now, deadline = in_utc(now), deadline and in_utc(deadline)
    if left <= 0:
        return Forecast(ends_at=now)
    if evidence.rate is None:
        return _without_rate(hours, now, deadline)
    ends_at = None
    if evidence.rate > 0:
        ends_at = hours.after_open_seconds(now, left / evidence.rate)
    if deadline is None or (ends_at is not None and ends_at <= deadline):
        return Forecast(ends_at)
    if ends_at is None:
        return Forecast(None, _passed(now, deadline), _SAYS_NEVER[evidence.rate > 0])
    late_by = ends_at - deadline
    return Forecast(
        ends_at,
        late_by,
        f"At {_written_rate(evidence.rate)} it will be {in_words(late_by)} late; "
        f"{_needed(left, hours, now=now, deadline=deadline)}.",
    )


_SAYS_NEVER = {
    False: "Nothing was sent lately, so it will not be done in time.",
    True: "At this rate and with these windows it takes more than two years.",
}


def _without_rate(hours: Hours, now: datetime, deadline: datetime | None) -> Forecast:
    """Without evidence only a deadline that can't be met at any rate is a reason to warn."""
    if deadline is None:
        return Forecast()
    late_by = _passed(now, deadline)
    if late_by is not None:
        return Forecast(None, late_by, f"The deadline passed {in_words(late_by)} ago.")
    if hours.open_seconds(now, deadline) <= 0:
        return Forecast(warning=f"{_NO_TIME[0].upper()}{_NO_TIME[1:]}.")
    return Forecast()


def _passed(now: datetime, deadline: datetime) -> timedelta | None:
    return now - deadline if now > deadline else None


_NO_TIME = "no time to send is left before the deadline"


def _needed(left: int, hours: Hours, *, now: datetime, deadline: datetime) -> str:
    """Say what rate would do."""
    seconds = hours.open_seconds(now, deadline)
    if seconds <= 0:
        return _NO_TIME
    return f"{_written_rate(left / seconds)} would do"


def _written_rate(rate: float) -> str:
    unit, number = "second", f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"
    if rate < 1:
        unit, number = "minute", f"{rate * 60:.2g}"
    return f"{number} {'instance' if number == '1' else 'instances'} per {unit}"


def in_words(duration: timedelta) -> str:
    """Write a duration for people, in its two largest units: 2 d 3 h, 1 h 20 min, 45 s."""
    seconds = max(0, round(duration.total_seconds()))
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"
