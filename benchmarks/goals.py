"""What the product is to reach, beside its peers on the same machine in the same run.

The ratios are those of the issue of the sending engine; they were set from a prototype without a
database, with room for what a product has to do besides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What goals are about, of one sender, data set and receiver.

    Attributes:
        cpu_per_1000: CPU seconds per 1,000 instances.
        growth_bytes: peak memory beyond idle; None if idle was not measured.
        peak_bytes: peak memory of the largest process.
    """

    seconds: float
    cpu_per_1000: float
    growth_bytes: int | None
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class RatioGoal:
    """How many times as fast as a peer, by data set."""

    receiver: str
    associations: int
    base: str
    at_least: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal with what was measured."""

    goal: str
    measured: str
    is_met: bool

    def __str__(self) -> str:
        return f"{self.goal}: {self.measured} {'met' if self.is_met else 'MISSED'}"


RATIOS = (
    RatioGoal("null", 1, "dcmsend-nodelay", {"A": 2.0, "B": 1.5, "C": 1.8, "D": 2.5}),
    RatioGoal("null", 2, "dcmsend-nodelay", {"A": 3.0, "B": 2.5, "C": 2.0, "D": 2.5}),
    RatioGoal("storescp-nodelay", 1, "dcmsend-nodelay", {"A": 1.7, "B": 1.3, "C": 0.9, "D": 2.0}),
    RatioGoal("storescp-nodelay", 2, "dcmsend-nodelay", {"A": 2.0, "B": 2.0, "C": 1.2, "D": 2.5}),
    RatioGoal("storescp", 1, "dcmsend", {"A": 15, "B": 50, "D": 10}),
    RatioGoal("null", 1, "orthanc-job-nodelay", {"A": 2.0, "B": 3.0, "D": 4.0}),
    RatioGoal("orthanc-nodelay", 4, "dcmsend-nodelay", {"A": 1.5, "B": 1.1}),
)
CPU_PER_1000 = {"A": 0.8, "B": 0.35, "C": 90.0, "D": 0.9}
"""At most, with one association to the null receiver, beside CPU_BASE and the whole set."""
CPU_BASE = "dcmsend-nodelay"
GROWTH_PER_ASSOCIATION = 32 * MEGABYTE
PEAK = {"L": 200 * MEGABYTE}


def judge(
    name: str, receiver: str, associations: int, *, ours: Figures, peers: Mapping[str, Figures]
) -> Iterator[Verdict]:
    """Yield the goals of the product for a data set, a receiver and a number of associations."""
    for goal in RATIOS:
        concerns = (goal.receiver, goal.associations) == (receiver, associations)
        if concerns and name in goal.at_least and goal.base in peers:
            ratio, wanted = peers[goal.base].seconds / ours.seconds, goal.at_least[name]
            yield Verdict(f"≥ {wanted:g}x {goal.base}", f"{ratio:.2f}x", ratio >= wanted)
    if receiver == "null" and associations == 1 and CPU_BASE in peers and name in CPU_PER_1000:
        most = CPU_PER_1000[name]
        used = ours.cpu_per_1000
        yield Verdict(f"CPU ≤ {most:g} s", f"{used:.2f} s", used <= most)
    if ours.growth_bytes is not None:
        each = ours.growth_bytes / associations
        yield Verdict(
            f"≤ {GROWTH_PER_ASSOCIATION // MEGABYTE} MB an association",
            f"{each / MEGABYTE:.0f} MB",
            each <= GROWTH_PER_ASSOCIATION,
        )
    if name in PEAK:
        yield Verdict(
            f"≤ {PEAK[name] // MEGABYTE} MB in all",
            f"{ours.peak_bytes / MEGABYTE:.0f} MB",
            ours.peak_bytes <= PEAK[name],
        )
