"""The acceptance-rate chart as SVG: geometry in Python, drawing in the template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from sender.analytics.overview import Point
from sender.negotiation import syntaxes

WIDTH, HEIGHT = 960, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 210, 14, 30
MOST_SERIES = 6
LABEL_STEP = 16
_SIZE = 4.2
_SHAPES = (
    "M-{0} 0a{0} {0} 0 1 0 {1} 0a{0} {0} 0 1 0 -{1} 0z",  # circle
    "M-{0} -{0}h{1}v{1}h-{1}z",  # square
    "M0 -{0}L{0} {0}H-{0}z",  # triangle
    "M0 -{0}L{0} 0L0 {0}L-{0} 0z",  # diamond
    "M0 {0}L{0} -{0}H-{0}z",  # triangle, pointing down
    "M-{0} -{0}L{0} {0}M{0} -{0}L-{0} {0}",  # cross
)


@dataclass(frozen=True, slots=True)
class Mark:
    """One point: where it is, what it says and where it leads."""

    x: float
    y: float
    shape: str
    is_hollow: bool
    tip: str
    link: str


@dataclass(frozen=True, slots=True)
class Series:
    """One line with its marks and the label at its end."""

    number: int
    name: str
    lines: tuple[str, ...]
    marks: tuple[Mark, ...]
    end_x: float
    end_y: float
    label_y: float
    rate: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws."""

    series: tuple[Series, ...]
    levels: tuple[tuple[float, int], ...]
    ticks: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    label_x: int = WIDTH - RIGHT + 26


def draw(
    lines: Sequence[tuple[str, Sequence[Point]]],
    first: date,
    last: date,
    *,
    widest_gap_days: int,
    link: Callable[[str, date], str],
) -> Chart:
    """Lay out a chart.

    Args:
        lines: transfer syntax UIDs and their points; those without points are left out.
        widest_gap_days: points further apart are not connected, because nothing is known between.
        link: returns the address of the rows behind a point.
    """
    span = max((last - first).days, 1)

    def place_x(day: date) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (day - first).days / span, 1)

    drawn = [(uid, points) for uid, points in lines if points][:MOST_SERIES]
    ends = _spread([_place_y(points[-1]) for _, points in drawn])
    series = []
    for number, (uid, points) in enumerate(drawn, start=1):
        shape = _SHAPES[number - 1].format(_SIZE, 2 * _SIZE)
        marks = tuple(
            Mark(
                place_x(point.day),
                _place_y(point),
                shape,
                point.is_uncertain,
                _say(uid, point),
                link(uid, point.day),
            )
            for point in points
        )
        series.append(
            Series(
                number=number,
                name=syntaxes.short_name_of(uid),
                lines=tuple(_lines(points, marks, widest_gap_days)),
                marks=marks,
                end_x=marks[-1].x,
                end_y=marks[-1].y,
                label_y=ends[number - 1],
                rate=points[-1].pooled.rate or 0.0,
            )
        )
    levels = tuple((_height_of(level / 100), level) for level in (0, 25, 50, 75, 100))
    return Chart(tuple(series), levels, _ticks(first, span, place_x))


def _height_of(rate: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate), 1)


def _place_y(point: Point) -> float:
    return _height_of(point.pooled.rate or 0.0)


def _lines(points: Sequence[Point], marks: Sequence[Mark], widest_gap_days: int) -> list[str]:
    """Return polylines; a longer gap between points stays a gap."""
    runs: list[list[Mark]] = []
    before: date | None = None
    for point, mark in zip(points, marks, strict=True):
        if before is None or (point.day - before).days > widest_gap_days:
            runs.append([])
        runs[-1].append(mark)
        before = point.day
    return [" ".join(f"{mark.x},{mark.y}" for mark in run) for run in runs if len(run) > 1]


def _spread(heights: Sequence[float]) -> list[float]:
    """Return heights for the labels at the ends of lines, moved apart so that all can be read."""
    placed = [0.0] * len(heights)
    lowest = float(TOP)
    for index in sorted(range(len(heights)), key=lambda i: (heights[i], i)):
        placed[index] = max(heights[index], lowest)
        lowest = placed[index] + LABEL_STEP
    surplus = max(0.0, lowest - LABEL_STEP - (HEIGHT - BOTTOM))
    return [round(height - surplus + 4, 1) for height in placed]


def _ticks(
    first: date, span: int, place_x: Callable[[date], float]
) -> tuple[tuple[float, str], ...]:
    step = max(1, -(-span // 8))
    days = [date.fromordinal(first.toordinal() + offset) for offset in range(0, span + 1, step)]
    return tuple((place_x(day), f"{day.day} {day:%b}") for day in days)


def _say(uid: str, point: Point) -> str:
    """Say what a point shows: its rate, on how much it stands, and its own bucket."""
    pooled, own = point.pooled, point.own
    low, high = pooled.interval or (0.0, 1.0)
    return "\n".join(
        (
            f"{syntaxes.short_name_of(uid)}: {(pooled.rate or 0) * 100:.1f} %",
            f"{point.day:%a} {point.day.day} {point.day:%b %Y}",
            f"{pooled.accepted:,} of {pooled.accepted + pooled.rejected:,} accepted, "
            f"95 % interval {low * 100:.0f} to {high * 100:.0f} %",
            f"That day: accepted {own.accepted:,}, not chosen {own.not_chosen:,}, "
            f"rejected {own.rejected:,}, not negotiated {own.other + own.unknown:,}",
        )
    )
