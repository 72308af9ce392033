"""Windows of the week in which a destination may be sent to, as people write them.

    mon-fri 20:00-06:00; sat,sun 00:00-24:00

The clock on the wall decides: a window is open whenever the local time lies in it. So a window
02:00-03:00 does not open on a day that skips this hour, and is open for two hours on a day that has
it twice. A window whose end is not after its start runs into the next day and belongs to the day on
which it starts.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from itertools import groupby

from sender.negotiation.local_time import in_utc, spans, wall_time

DAY = 24 * 60
WEEK = 7 * DAY
LONGEST_TEXT = 2000
DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = tuple(range(7))
EXAMPLE = "mon-fri 20:00-06:00; sat,sun 00:00-24:00"

_HORIZON = timedelta(days=35)
"""Beyond the longest that any window stays open or closed, gaps of the clocks included."""
_LONGEST_REACH = timedelta(days=2 * 366)
_DAY_WORDS: dict[str, tuple[int, ...]] = {
    "weekdays": EVERY_DAY[:5],
    "weekday": EVERY_DAY[:5],
    "weekends": EVERY_DAY[5:],
    "weekend": EVERY_DAY[5:],
    "daily": EVERY_DAY,
}
_FULL_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_DASHES = re.compile(r"\s*[-\u2010-\u2015\u2212]\s*")
_COMMAS = re.compile(r"\s*,\s*")


class InvalidWindows(ValueError):
    """A text holds no windows; the message names the piece at fault, in the user's words.

    Attributes:
        piece: the piece of the text that can't be used.
    """

    def __init__(self, piece: str, message: str) -> None:
        super().__init__(f'"{piece}": {message}' if piece else message)
        self.piece = piece


@dataclass(frozen=True, slots=True)
class Window:
    """One window on some days of the week.

    Attributes:
        days: days on which it starts, Monday is 0; sorted.
        start: minutes after midnight, 0 to 1439.
        end: minutes after midnight, 1 to 1440; not after `start`: on the next day.

    Raises:
        ValueError: a value is out of these bounds.
    """

    days: tuple[int, ...]
    start: int
    end: int

    def __post_init__(self) -> None:
        if not self.days or list(self.days) != sorted(set(self.days) & set(EVERY_DAY)):
            raise ValueError(f"Days are numbers from 0 to 6, sorted, not {self.days}.")
        if not 0 <= self.start < DAY or not 0 < self.end <= DAY:
            raise ValueError(f"No window lasts from minute {self.start} to {self.end}.")

    def __str__(self) -> str:
        return f"{_written_days(self.days)} {_written(self.start)}-{_written(self.end)}"

    @property
    def minutes(self) -> Iterator[tuple[int, int]]:
        """The minutes of the week, from Monday 00:00, in which it is open; cut at its end."""
        length = self.end - self.start + (DAY if self.end <= self.start else 0)
        for day in self.days:
            first = day * DAY + self.start
            last = first + length
            yield first, min(last, WEEK)
            if last > WEEK:
                yield 0, last - WEEK


@dataclass(frozen=True, slots=True)
class Opening:
    """A time, from `opens_at` until just before `closes_at` (UTC), in which windows are open."""

    opens_at: datetime
    closes_at: datetime


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a week; none: always open. All instants are aware; answers are in UTC."""

    windows: tuple[Window, ...] = ()
    _week: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        minutes = (piece for window in self.windows for piece in window.minutes)
        week = tuple(_merged(minutes)) if self.windows else ((0, WEEK),)
        object.__setattr__(self, "_week", week)

    def __str__(self) -> str:
        return "; ".join(str(window) for window in self.windows)

    @property
    def is_always_open(self) -> bool:
        """They never close."""
        return self._week == ((0, WEEK),)

    def is_open(self, now: datetime, zone: tzinfo) -> bool:
        """Tell whether the local time of `zone` lies in a window."""
        wall = wall_time(now, zone)
        minute = wall.weekday() * DAY + wall.hour * 60 + wall.minute
        return any(start <= minute < end for start, end in self._week)

    def opens_at(self, now: datetime, zone: tzinfo) -> datetime | None:
        """Return the first instant from `now` on at which they are open: now if they are.

        None: they don't open within five weeks, which no zone of today makes them do.
        """
        found = next(self.openings(now, in_utc(now) + _HORIZON, zone), None)
        return found.opens_at if found else None

    def closes_at(self, now: datetime, zone: tzinfo) -> datetime | None:
        """Return the first instant from `now` on at which they are closed: now if they are.

        None: they never close.
        """
        if self.is_always_open:
            return None
        if not self.is_open(now, zone):
            return in_utc(now)
        return next(self.openings(now, in_utc(now) + _HORIZON, zone)).closes_at

    def open_seconds(self, start: datetime, end: datetime, zone: tzinfo) -> float:
        """Return for how long they are open between two instants, in seconds of elapsed time."""
        return sum(
            (opening.closes_at - opening.opens_at).total_seconds()
            for opening in self.openings(start, end, zone)
        )

    def after_open_seconds(self, start: datetime, seconds: float, zone: tzinfo) -> datetime | None:
        """Return the first instant by which they have been open for so long since `start`.

        None: not within two years.
        """
        if seconds > _LONGEST_REACH.total_seconds():
            return None
        left = timedelta(seconds=max(0.0, seconds))
        if self.is_always_open or not left:
            return in_utc(start) + left
        for opening in self.openings(start, in_utc(start) + _LONGEST_REACH, zone):
            if left <= opening.closes_at - opening.opens_at:
                return opening.opens_at + left
            left -= opening.closes_at - opening.opens_at
        return None

    def openings(self, start: datetime, end: datetime, zone: tzinfo) -> Iterator[Opening]:
        """Yield when they are open between two instants, in order, each as long as it lasts."""
        current: Opening | None = None
        for opens_at, closes_at in self._pieces(start, end, zone):
            if current is not None and current.closes_at == opens_at:
                current = Opening(current.opens_at, closes_at)
                continue
            if current is not None:
                yield current
            current = Opening(opens_at, closes_at)
        if current is not None:
            yield current

    def _pieces(
        self, start: datetime, end: datetime, zone: tzinfo
    ) -> Iterator[tuple[datetime, datetime]]:
        for span in spans(start, end, zone):
            first, last = (
                (moment + span.offset).replace(tzinfo=None) for moment in (span.start, span.end)
            )
            for opens, closes in self._open_on_the_wall(first, last):
                yield span.start + (opens - first), span.start + (closes - first)

    def _open_on_the_wall(
        self, first: datetime, last: datetime
    ) -> Iterator[tuple[datetime, datetime]]:
        """Yield the open pieces between two local times that are less than a week apart."""
        monday = datetime(first.year, first.month, first.day) - timedelta(days=first.weekday())  # noqa: DTZ001 - a local time
        for week in (monday, monday + timedelta(days=7)):
            for start, end in self._week:
                opens = max(first, week + timedelta(minutes=start))
                closes = min(last, week + timedelta(minutes=end))
                if opens < closes:
                    yield opens, closes


ALWAYS = Windows()


def parse_windows(text: str) -> Windows:
    """Read windows, separated by semicolons or new lines; no text: always open.

    A window is days and times: `mon-fri 20:00-06:00`, `sat,sun 00:00-24:00`, `weekdays 18:00-24:00`
    (also `weekends`, `daily`, whole names of days, and several times: `daily 00:00-06:00,
    20:00-24:00`). Without days it is daily.

    Raises:
        InvalidWindows: naming the first piece that can't be used.
    """
    if len(text) > LONGEST_TEXT:
        raise InvalidWindows("", f"Windows are written in at most {LONGEST_TEXT} characters.")
    pieces = (" ".join(piece.split()) for piece in re.split(r"[;\n]", text))
    found = [window for piece in pieces if piece for window in _parse_piece(piece)]
    return Windows(tuple(dict.fromkeys(found)))


def _parse_piece(piece: str) -> list[Window]:
    tight = _COMMAS.sub(",", _DASHES.sub("-", piece.lower()))
    *days, times = tight.split(" ")
    if len(days) > 1:
        raise InvalidWindows(piece, f"write the days, one space, and the times, like {EXAMPLE}.")
    if ":" not in times:
        raise InvalidWindows(piece, f"the times are missing; write for example {EXAMPLE}.")
    found = _parse_days(piece, days[0]) if days else EVERY_DAY
    return [Window(found, *_parse_times(piece, part)) for part in times.split(",")]


def _parse_days(piece: str, text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        if part in _DAY_WORDS:
            found.update(_DAY_WORDS[part])
            continue
        first, dash, last = part.partition("-")
        start = _parse_day(piece, first)
        end = _parse_day(piece, last) if dash else start
        found.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return tuple(sorted(found))


def _parse_day(piece: str, text: str) -> int:
    for names in (DAY_NAMES, _FULL_NAMES):
        if text in names:
            return names.index(text)
    known = ", ".join((*DAY_NAMES, "weekdays", "weekends"))
    raise InvalidWindows(piece, f'"{text}" is no day; write {known} or daily.')


def _parse_times(piece: str, text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not dash:
        raise InvalidWindows(piece, f'"{text}" has no end; write a start and an end: 20:00-06:00.')
    start, end = _parse_time(piece, first), _parse_time(piece, last)
    if start == DAY:
        raise InvalidWindows(piece, "a window can't start at 24:00; write 00:00 of the next day.")
    return start, end or DAY


def _parse_time(piece: str, text: str) -> int:
    match = _TIME.fullmatch(text)
    if match:
        hour, minute = (int(group) for group in match.groups())
        if minute < 60 and hour * 60 + minute <= DAY:
            return hour * 60 + minute
    raise InvalidWindows(piece, f'"{text}" is no time of day; write 00:00 to 24:00.')


def _merged(pieces: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the union of some pieces of the week, in order."""
    current: tuple[int, int] | None = None
    for start, end in sorted(pieces):
        if current is None:
            current = (start, end)
        elif start <= current[1]:
            current = (current[0], max(current[1], end))
        else:
            yield current
            current = (start, end)
    if current is not None:
        yield current


def _written(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _written_days(days: tuple[int, ...]) -> str:
    """Write days in the shortest way: daily, mon-fri, sat,sun."""
    if days == EVERY_DAY:
        return "daily"
    runs = [
        [day for _, day in run]
        for _, run in groupby(enumerate(days), key=lambda pair: pair[1] - pair[0])
    ]
    return ",".join(
        f"{DAY_NAMES[run[0]]}-{DAY_NAMES[run[-1]]}"
        if len(run) > 2
        else ",".join(DAY_NAMES[day] for day in run)
        for run in runs
    )
