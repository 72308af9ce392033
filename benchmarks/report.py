"""The table: medians, spread, ratios and goals."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.goals import MEGABYTE, Figures, judge
from benchmarks.senders import Measured, product

HEADER = (
    "| set | receiver | sender | runs | seconds (range) | wall s | instances/s | MB/s "
    "| CPU s/1000 | peak MB | ratio | others' CPU | goals |\n" + "|---" * 13 + "|"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of one sender.

    Attributes:
        measured: None if the sender failed.
        stored: how many instances the receiver has taken; None if it can't say.
        others: share of all CPUs that neither sender nor receiver used.
        fault: why the run does not count, "" if it does.
    """

    measured: Measured | None
    stored: int | None
    others: float
    fault: str


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of all senders with one data set to one receiver.

    Attributes:
        base: the sender to which ratios are taken.
        is_whole: whether the set has the size for which the goals were set.
    """

    name: str
    label: str
    count: int
    size: int
    receiver: str
    base: str
    is_whole: bool


def rows(group: Group, trials: Mapping[str, Sequence[Trial]]) -> list[str]:
    """Return the lines of the table, one for each sender."""
    figures = {name: found for name, runs in trials.items() if (found := _figures(group, runs))}
    return [_row(group, name, runs, figures) for name, runs in trials.items()]


def _good(runs: Sequence[Trial]) -> list[Measured]:
    return [run.measured for run in runs if run.measured is not None and not run.fault]


def _figures(group: Group, runs: Sequence[Trial]) -> Figures | None:
    good = _good(runs)
    if not good:
        return None
    growth = [m.growth_bytes for m in good if m.growth_bytes is not None]
    return Figures(
        seconds=statistics.median(m.seconds for m in good),
        cpu_per_1000=statistics.median(m.cpu_seconds for m in good) / group.count * 1000,
        growth_bytes=max(growth) if growth else None,
        peak_bytes=max(m.peak_bytes for m in good),
    )


def _row(group: Group, name: str, runs: Sequence[Trial], figures: Mapping[str, Figures]) -> str:
    failed = sum(bool(run.fault) for run in runs)
    told = f"{len(runs) - failed}" + (f", {failed} failed" if failed else "")
    start = f"| {group.label} | {group.receiver} | {name} | {told} |"
    ours = figures.get(name)
    if ours is None:
        faults = sorted({run.fault for run in runs})
        return f"{start} " + "| " * 8 + f"| {'; '.join(faults)} |"
    good = _good(runs)
    seconds = [m.seconds for m in good]
    wall = statistics.median(m.wall_seconds for m in good)
    others = statistics.median(run.others for run in runs if not run.fault)
    base = figures.get(group.base)
    cells = (
        f"{ours.seconds:.2f} ({min(seconds):.2f}–{max(seconds):.2f})",
        f"{wall:.2f}",
        f"{group.count / ours.seconds:.0f}",
        f"{group.size / MEGABYTE / ours.seconds:.0f}",
        f"{ours.cpu_per_1000:.2f}",
        f"{max(m.peak_bytes for m in good) / MEGABYTE:.0f}",
        f"{base.seconds / ours.seconds:.2f}x" if base else "",
        f"{others:.0%}",
        _goals(group, name, ours, figures),
    )
    return f"{start} {' | '.join(cells)} |"


def _goals(group: Group, name: str, ours: Figures, peers: Mapping[str, Figures]) -> str:
    parts = product(name)
    if parts is None or not group.is_whole:
        return ""
    verdicts = judge(group.name, group.receiver, parts[1], ours=ours, peers=peers)
    return "; ".join(map(str, verdicts))
