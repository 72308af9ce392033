"""When a schedule runs: once, at plain intervals, or by a cron expression in a time zone.

Local times follow one rule in all kinds: a time that a change of the clocks skips runs at the first
instant after the gap, one that occurs twice runs once, at its first occurrence. cronsim keeps this
rule only for expressions that name minute and hour, so it is asked for local times without a zone,
and the rule is applied here.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice

from cronsim import CronSim, CronSimError

from sender.negotiation.local_time import (
    UnknownZone,
    in_utc,
    instant_of,
    wall_time,
    zone_named,
)

SHORTEST_INTERVAL = timedelta(minutes=1)
LONGEST_INTERVAL = timedelta(days=366)
LONGEST_EXPRESSION = 200
YEARS = range(2000, 3000)
MISSED_AT_MOST = 1000

_INTERVAL = re.compile(r"(?:([0-9]{1,3})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,7})m)?")
_UNIT_WORD = re.compile(r"(?<=[0-9])(d)ays?|(?<=[0-9])(h)ours?|(?<=[0-9])(m)in(?:ute)?s?")
_ONCE_FORMATS = ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S")
_SECOND = timedelta(seconds=1)
_LONGEST_REPEAT = timedelta(hours=26)
"""No zone sets its clocks back by more."""
_ANY_TIME = datetime(2000, 1, 1)  # noqa: DTZ001 - a local time
_FIELDS = (
    ("minute", "0 to 59", 60),
    ("hour", "0 to 23", 24),
    ("day of the month", "1 to 31, L (the last day) or LW (the last weekday)", 31),
    ("month", "1 to 12 or JAN to DEC", 12),
    (
        "day of the week",
        "0 to 7 (0 and 7 are Sunday), SUN to SAT, 5L (the last Friday) or MON#1 (the first Monday)",
        8,
    ),
)


class Kind(StrEnum):
    """What an expression is."""

    ONCE = "once"
    INTERVAL = "interval"
    CRON = "cron"


class InvalidRecurrence(ValueError):
    """A schedule can't run like this; the message says why, in the user's words.

    Attributes:
        field: the field at fault: "kind", "expression", "zone" or "anchor".
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Recurrence:
    """When something runs.

    Attributes:
        expression: once: a local time, `2026-03-29 02:30`; interval: `30m`, `6h`, `1d`, `1d12h`;
            cron: minute, hour, day of the month, month, day of the week.
        zone: IANA name of the zone whose local times are meant; intervals don't heed it.
        anchor: the first run of an interval, from which elapsed time is counted; others: unused.

    Raises:
        InvalidRecurrence: it would never run, or a part can't be used.
    """

    kind: Kind
    expression: str
    zone: str
    anchor: datetime | None = None

    def __post_init__(self) -> None:
        try:
            zone_named(self.zone)
        except UnknownZone as error:
            raise InvalidRecurrence("zone", str(error)) from error
        _CHECKS[self.kind](self.expression)
        if self.kind == Kind.INTERVAL and (self.anchor is None or self.anchor.utcoffset() is None):
            raise InvalidRecurrence(
                "anchor", "An interval needs the time of its first run, with a time zone."
            )


def parse_recurrence(
    kind: str, expression: str, zone: str, anchor: datetime | None = None
) -> Recurrence:
    """Build a recurrence from what people write; the expression is brought into one form.

    Raises:
        InvalidRecurrence: it would never run, or a part can't be used.
    """
    if kind not in list(Kind):
        raise InvalidRecurrence(
            "kind", f'"{kind[:40]}" is no kind of schedule; choose once, interval or cron.'
        )
    text = " ".join(expression.split())
    if kind == Kind.INTERVAL:
        text = shortest_interval(text)
    elif kind == Kind.ONCE:
        text = text.replace("T", " ")
    else:
        text = text.upper()
    return Recurrence(Kind(kind), text, zone.strip(), anchor)


def shortest_interval(text: str) -> str:
    """Write an interval in the one form in which it is kept: "1 day 12 hours" is 1d12h."""
    together = "".join(text.split()).lower()
    return _UNIT_WORD.sub(lambda unit: unit[unit.lastindex or 0], together)


def next_runs(recurrence: Recurrence, after: datetime, count: int) -> list[datetime]:
    """Return the next runs strictly after an instant, in UTC, at most `count`."""
    return list(islice(_RUNS[recurrence.kind](recurrence, in_utc(after)), count))


def missed_runs(
    recurrence: Recurrence, since: datetime, until: datetime, *, at_most: int = MISSED_AT_MOST
) -> list[datetime]:
    """Return the runs that were due after `since` and not after `until`, oldest first.

    Of more than `at_most` only the newest are returned.
    """
    since, until = in_utc(since), in_utc(until)
    found: deque[datetime] = deque()
    for run in _RUNS_BACKWARDS[recurrence.kind](recurrence, until):
        if run <= since or len(found) == at_most:
            break
        found.appendleft(run)
    return list(found)


def _check_once(expression: str) -> None:
    if _once(expression).year not in YEARS:
        raise InvalidRecurrence("expression", f"The year must be from {YEARS[0]} to {YEARS[-1]}.")


def _once(expression: str) -> datetime:
    for form in _ONCE_FORMATS:
        try:
            return datetime.strptime(expression, form)  # noqa: DTZ007 - a local time
        except ValueError:
            continue
    raise InvalidRecurrence(
        "expression",
        f'"{expression[:40]}" is no time; write the local time like 2026-03-29 02:30.',
    )


def _check_interval(expression: str) -> None:
    if not SHORTEST_INTERVAL <= _interval(expression) <= LONGEST_INTERVAL:
        raise InvalidRecurrence(
            "expression", f'"{expression}": an interval lasts from 1 minute to 366 days.'
        )


def _interval(expression: str) -> timedelta:
    match = _INTERVAL.fullmatch(expression)
    if match is None or not expression:
        raise InvalidRecurrence(
            "expression",
            f'"{expression[:40]}" is no interval; write days, hours and minutes like 30m, 6h, 1d '
            "or 1d12h.",
        )
    days, hours, minutes = (int(group or 0) for group in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes)


def _check_cron(expression: str) -> None:
    fields = expression.split()
    if len(fields) != len(_FIELDS) or len(expression) > LONGEST_EXPRESSION:
        raise InvalidRecurrence(
            "expression",
            "A cron expression has five fields: minute, hour, day of the month, month, day of the "
            "week; for example 30 2 * * MON-FRI.",
        )
    for position in range(len(_FIELDS)):
        _check_field(fields, position)
    if not _is_ever_due(expression):
        raise InvalidRecurrence("expression", f'"{expression}" never comes: there is no such day.')


def _check_field(fields: list[str], position: int) -> None:
    """Try the field alone, so that the message names it and no other."""
    name, values, size = _FIELDS[position]
    text = fields[position]
    alone = ["*"] * len(_FIELDS)
    alone[position] = text
    try:
        CronSim(" ".join(alone), _ANY_TIME)
    except (CronSimError, ValueError) as error:
        raise InvalidRecurrence(
            "expression",
            f'"{text}" is no {name}; write {values}, *, ranges like 1-5, lists like 1,3 or '
            "steps like */2.",
        ) from error
    steps = (part.partition("/")[2] for part in text.split(","))
    if any(step and int(step) >= size for step in steps):
        raise InvalidRecurrence(
            "expression",
            f'"{text}": the step is longer than the {name} field; choose an interval instead.',
        )


def _is_ever_due(expression: str) -> bool:
    try:
        return next(CronSim(expression, _ANY_TIME), None) is not None
    except CronSimError:
        return False


_CHECKS = {Kind.ONCE: _check_once, Kind.INTERVAL: _check_interval, Kind.CRON: _check_cron}


def _once_after(recurrence: Recurrence, after: datetime) -> Iterator[datetime]:
    run = instant_of(_once(recurrence.expression), zone_named(recurrence.zone))
    if run > after:
        yield run


def _once_until(recurrence: Recurrence, until: datetime) -> Iterator[datetime]:
    run = instant_of(_once(recurrence.expression), zone_named(recurrence.zone))
    if run <= until:
        yield run


def _intervals_after(recurrence: Recurrence, after: datetime) -> Iterator[datetime]:
    anchor, step = _anchor(recurrence), _interval(recurrence.expression)
    run = anchor + max(0, (after - anchor) // step + 1) * step
    while True:
        yield run
        run += step


def _intervals_until(recurrence: Recurrence, until: datetime) -> Iterator[datetime]:
    anchor, step = _anchor(recurrence), _interval(recurrence.expression)
    for number in range((until - anchor) // step, -1, -1):
        yield anchor + number * step


def _anchor(recurrence: Recurrence) -> datetime:
    assert recurrence.anchor is not None
    return in_utc(recurrence.anchor)


def _cron_after(recurrence: Recurrence, after: datetime) -> Iterator[datetime]:
    """Yield each run once, oldest first.

    `instant_of` never goes back where local time goes on, so equal runs are neighbours.
    """
    zone = zone_named(recurrence.zone)
    last = after
    for wall in CronSim(recurrence.expression, wall_time(after, zone)):
        run = instant_of(wall, zone)
        if run > last:
            last = run
            yield run


def _cron_until(recurrence: Recurrence, until: datetime) -> Iterator[datetime]:
    """Yield each run once, newest first."""
    zone = zone_named(recurrence.zone)
    start = wall_time(until, zone).replace(microsecond=0) + _SECOND
    if until.astimezone(zone).fold:
        start += _LONGEST_REPEAT
    last = until + _SECOND
    for wall in CronSim(recurrence.expression, start, reverse=True):
        run = instant_of(wall, zone)
        if run <= until and run < last:
            last = run
            yield run


_RUNS = {
    Kind.ONCE: _once_after,
    Kind.INTERVAL: _intervals_after,
    Kind.CRON: _cron_after,
}
_RUNS_BACKWARDS = {
    Kind.ONCE: _once_until,
    Kind.INTERVAL: _intervals_until,
    Kind.CRON: _cron_until,
}
