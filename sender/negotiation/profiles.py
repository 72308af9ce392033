"""What may be sent to a destination at which time of the week, as people write it.

    mon-fri 07:00-18:00: 2 MB/s, 10/s, 1 association
    otherwise: 50 MB/s

The first line whose window is open counts, and counts alone. Windows are those of windows.py.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import TypeVar

from sender.negotiation.local_time import in_utc
from sender.negotiation.windows import LONGEST_TEXT, InvalidWindows, Windows, parse_windows

OTHERWISE = "otherwise"
NO_LIMIT = "no limit"
EXAMPLE = "mon-fri 07:00-18:00: 2 MB/s, 10/s, 1 association"

_HORIZON = timedelta(days=35)
_LINE = re.compile(r"(otherwise|.*[0-9]:[0-9]{2})\s*:(.*)", re.IGNORECASE)
_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,6})?)"
_VOLUME = re.compile(_NUMBER + r" ?([A-Za-z]+)/s")
_INSTANCES = re.compile(_NUMBER + r" ?(?:instances? ?)?/ ?(s|min)")
_ASSOCIATIONS = re.compile(r"([0-9]{1,4}) ?associations?")
_BYTES: dict[str, float] = {
    "GB": 1e9, "MB": 1e6, "kB": 1e3, "KB": 1e3, "B": 1,
    "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "kiB": 2**10,
    "Gbit": 1e9 / 8, "Mbit": 1e6 / 8, "kbit": 1e3 / 8,
}  # fmt: skip
_SECONDS = {"s": 1, "min": 60}
_Number = TypeVar("_Number", int, float)


class InvalidProfile(ValueError):
    """A text is no profile; the message names the line at fault, in the user's words.

    Attributes:
        line: the line of the text that can't be used.
    """

    def __init__(self, line: str, message: str) -> None:
        super().__init__(f'"{line}": {message}' if line else message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be sent at most; None: no limit.

    Attributes:
        bytes_per_second: bytes of data sets, over all associations together.
        instances_per_second: over all associations together; may be below 1.
        associations: associations at once.
    """

    bytes_per_second: float | None = None
    instances_per_second: float | None = None
    associations: int | None = None

    def __str__(self) -> str:
        written = (
            None if self.bytes_per_second is None else _written_volume(self.bytes_per_second),
            None if self.instances_per_second is None else _written_rate(self.instances_per_second),
            None if self.associations is None else _written_associations(self.associations),
        )
        return ", ".join(filter(None, written)) or NO_LIMIT


NONE = Limits()


def tightest(limits: Iterable[Limits]) -> Limits:
    """Return the limits that keep all of some limits."""
    found = list(limits)
    return Limits(
        bytes_per_second=_least(each.bytes_per_second for each in found),
        instances_per_second=_least(each.instances_per_second for each in found),
        associations=_least(each.associations for each in found),
    )


def _least(values: Iterable[_Number | None]) -> _Number | None:
    return min((value for value in values if value is not None), default=None)


@dataclass(frozen=True, slots=True)
class ProfileLine:
    """Limits, and the windows in which they hold; None: at any other time."""

    windows: Windows | None
    limits: Limits

    def __str__(self) -> str:
        return f"{OTHERWISE if self.windows is None else self.windows}: {self.limits}"

    def holds(self, now: datetime, zone: tzinfo) -> bool:
        """Tell whether the line's windows are open."""
        return self.windows is None or self.windows.is_open(now, zone)


@dataclass(frozen=True, slots=True)
class Profile:
    """Lines in the order in which they are asked; none: no limit ever."""

    lines: tuple[ProfileLine, ...] = ()

    def __str__(self) -> str:
        return "\n".join(str(line) for line in self.lines)


def limits_at(profile: Profile, now: datetime, zone: tzinfo) -> Limits:
    """Return the limits of the first line that holds; no limit if none does."""
    return next((line.limits for line in profile.lines if line.holds(now, zone)), NONE)


def changes_at(profile: Profile, now: datetime, zone: tzinfo) -> datetime | None:
    """Return the next instant (UTC) at which other limits hold than now; None: they always do."""
    limits = limits_at(profile, now, zone)
    at = in_utc(now)
    while at < in_utc(now) + _HORIZON:
        following = min(_turns(profile, at, zone), default=None)
        if following is None:
            return None
        if limits_at(profile, following, zone) != limits:
            return following
        at = following
    return None


def _turns(profile: Profile, at: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield when each line's windows open or close next."""
    for line in profile.lines:
        if line.windows is None:
            continue
        is_open = line.windows.is_open(at, zone)
        turn = line.windows.closes_at(at, zone) if is_open else line.windows.opens_at(at, zone)
        if turn is not None:
            yield turn


def parse_profile(text: str) -> Profile:
    """Read a profile; its lines may also be separated by semicolons, as may windows of a line.

    A line is windows (or `otherwise`, in the last one), a colon, and limits separated by commas:
    `2 MB/s` (also kB, GB, MiB, Mbit), `10/s` or `30/min` (instances), `1 association`; or
    `no limit`.

    Raises:
        InvalidProfile: naming the first line that can't be used.
    """
    if len(text) > LONGEST_TEXT:
        raise InvalidProfile("", f"A profile is written in at most {LONGEST_TEXT} characters.")
    lines: list[ProfileLine] = []
    for line in text.splitlines():
        for times, limits in _parts(line):
            whole = f"{times}: {limits}"
            if lines and lines[-1].windows is None:
                raise InvalidProfile(whole, f'nothing after the line "{OTHERWISE}" would count.')
            lines.append(ProfileLine(_parse_times(whole, times), _parse_limits(whole, limits)))
    return Profile(tuple(lines))


def _parts(line: str) -> Iterator[tuple[str, str]]:
    """Yield times and limits; a piece without limits belongs to the next one that has some."""
    times = ""
    for piece in filter(None, (" ".join(piece.split()) for piece in line.split(";"))):
        match = _LINE.fullmatch(piece)
        if match is None:
            times += f"{piece}; "
            continue
        yield times + match[1], match[2].strip()
        times = ""
    if times:
        written = times.removesuffix("; ")
        raise InvalidProfile(written, f"write times, a colon and limits, like {EXAMPLE}.")


def _parse_times(line: str, text: str) -> Windows | None:
    if text.lower() == OTHERWISE:
        return None
    try:
        return parse_windows(text)
    except InvalidWindows as error:
        raise InvalidProfile(line, str(error)) from error


def _parse_limits(line: str, text: str) -> Limits:
    if text.lower() in (NO_LIMIT, "unlimited"):
        return NONE
    found: dict[str, float] = {}
    for part in text.split(","):
        name, value = _parse_limit(line, part.strip())
        if name in found:
            raise InvalidProfile(line, f'"{part.strip()}" is a second limit of its kind.')
        if value <= 0:
            raise InvalidProfile(line, "a limit is more than 0; windows say when nothing is sent.")
        found[name] = value
    associations = found.get("associations")
    return Limits(
        bytes_per_second=found.get("bytes"),
        instances_per_second=found.get("instances"),
        associations=None if associations is None else int(associations),
    )


def _parse_limit(line: str, text: str) -> tuple[str, float]:
    if match := _INSTANCES.fullmatch(text):
        number, unit = match.groups()
        return "instances", float(number) / _SECONDS[unit]
    if match := _VOLUME.fullmatch(text):
        number, unit = match.groups()
        if unit not in _BYTES:
            raise InvalidProfile(
                line, f'"{text}": write MB/s for bytes or Mbit/s for bits (also k and G).'
            )
        return "bytes", float(number) * _BYTES[unit]
    if match := _ASSOCIATIONS.fullmatch(text):
        return "associations", float(match[1])
    raise InvalidProfile(
        line, f'"{text}" is no limit; write for example 2 MB/s, 10/s, 30/min, 1 association.'
    )


def _written_volume(value: float) -> str:
    for unit in ("GB", "MB", "kB"):
        if value >= _BYTES[unit]:
            written = f"{value / _BYTES[unit]:.9g}"
            if float(written) * _BYTES[unit] == value and "e" not in written:
                return f"{written} {unit}/s"
    return f"{value:.6f}".rstrip("0").rstrip(".") + " B/s"


def _written_rate(value: float) -> str:
    for unit, seconds in _SECONDS.items():
        written = f"{value * seconds:.6f}".rstrip("0").rstrip(".")
        if float(written) / seconds == value:
            return f"{written} {'instance' if written == '1' else 'instances'}/{unit}"
    return f"{value:.6f} instances/s"


def _written_associations(count: int) -> str:
    return "1 association" if count == 1 else f"{count} associations"
