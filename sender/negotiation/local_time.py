"""Clock times of a place and the instants they stand for, also where the clocks change.

A local time that a change of the clocks skips stands for the first instant after the gap; one that
occurs twice stands for its first occurrence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_STEP = timedelta(hours=6)
"""No zone changes its clocks twice within this time."""
_NOT_PLACES = ("right/", "posix/")
_OF_THE_MACHINE = frozenset({"localtime", "posixrules", "Factory"})


class UnknownZone(ValueError):
    """The text is no IANA time zone that this system knows."""


def zone_named(name: str) -> ZoneInfo:
    """Return the time zone with an IANA name such as Europe/Berlin.

    Raises:
        UnknownZone: there is none, or the name means another zone on each machine.
    """
    name = name.strip()
    try:
        if name.startswith(_NOT_PLACES) or name in _OF_THE_MACHINE:
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZone(
            f'"{name[:60]}" is no time zone; write an IANA name such as Europe/Berlin or UTC.'
        ) from error


def wall_time(instant: datetime, zone: tzinfo) -> datetime:
    """Return what the clock on the wall shows at an instant, without a zone.

    Raises:
        ValueError: the instant has no time zone.
    """
    return in_utc(instant).astimezone(zone).replace(tzinfo=None, fold=0)


def in_utc(instant: datetime) -> datetime:
    """Return an instant in UTC.

    Raises:
        ValueError: it has no time zone.
    """
    if instant.utcoffset() is None:
        raise ValueError("An instant needs a time zone.")
    return instant.astimezone(UTC)


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """Return the instant, in UTC, for which a local time stands (see the module)."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall_time(instant, zone) == wall:
        return instant
    return _change(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant, zone)


@dataclass(frozen=True, slots=True)
class Span:
    """A time, from `start` until just before `end` (UTC), with one offset from UTC."""

    start: datetime
    end: datetime
    offset: timedelta


def spans(start: datetime, end: datetime, zone: tzinfo) -> Iterator[Span]:
    """Cut a time into spans of constant offset, in order and without gaps; 6 h are the longest."""
    at, end = in_utc(start), in_utc(end)
    while at < end:
        until = min(at + _STEP, end)
        offset = _offset(at, zone)
        if _offset(until, zone) != offset:
            until = _change(at, until, zone)
        yield Span(at, until, offset)
        at = until


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the first instant, to the second, whose offset is no longer that of `before`."""
    start = before.replace(microsecond=0)
    old = _offset(start, zone)
    low, high = 0, -((start - after) // timedelta(seconds=1))
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(start + timedelta(seconds=middle), zone) == old:
            low = middle
        else:
            high = middle
    return start + timedelta(seconds=high)


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
