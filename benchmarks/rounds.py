"""Who sends what to whom, and the measuring of it: interleaved, in alternating order."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.data_sets import FULL, DataSet, data_set, warm
from benchmarks.receivers import NotStarted, Ports, receiving
from benchmarks.report import Group, Trial, rows
from benchmarks.senders import Bench, Measured, Sender, make_sender, product
from benchmarks.sites import SQLITE

OURS = ("concordat-1", "concordat-2", "concordat-4", "cluster-1", "cluster-2", "cluster-4")
TUNED = ("dcmsend-nodelay", "storescu-nodelay")
DCMSEND = ("dcmsend", "dcmsend-nodelay")
JOB = ("concordat-1", "cluster-1", "orthanc-job-nodelay")
PLAIN = ("dcmsend", "storescu", "pynetdicom")


@dataclass(frozen=True, slots=True)
class Round:
    """One data set, or its first instances, to one receiver.

    Attributes:
        base: the sender to which ratios are taken.
        count: instances at full scale.
    """

    receiver: str
    name: str
    count: int
    senders: tuple[str, ...]
    base: str = "dcmsend-nodelay"


def _whole(receiver: str, senders: tuple[str, ...], sets: str) -> tuple[Round, ...]:
    return tuple(Round(receiver, name, FULL[name], senders) for name in sets)


ROUNDS = (
    *_whole("null", (*OURS, *TUNED), "ABC"),
    # storescu can't propose all that set D needs in one association.
    *_whole("null", (*OURS, "dcmsend-nodelay", "orthanc-job-nodelay"), "D"),
    Round("null", "L", 1, ("concordat-1", "cluster-1", "dcmsend-nodelay")),
    *_whole("storescp-nodelay", (*OURS, *TUNED), "ABC"),
    *_whole("storescp-nodelay", (*OURS, "dcmsend-nodelay"), "D"),
    # Each instance of a job costs Orthanc more, the more the job has: it gets jobs of a usual size.
    Round("null", "A", 600, JOB, "orthanc-job-nodelay"),
    Round("null", "B", 1000, JOB, "orthanc-job-nodelay"),
    # As they come, they need some 40 ms for each instance: hundreds tell as much as thousands.
    Round("null", "A", 300, ("concordat-1", *PLAIN), "dcmsend"),
    Round("null", "B", 300, ("concordat-1", *PLAIN, "orthanc-job"), "dcmsend"),
    Round("storescp", "A", 300, ("concordat-1", "cluster-1", *PLAIN, *TUNED), "dcmsend"),
    Round("storescp", "B", 1000, ("concordat-1", "cluster-1", *DCMSEND), "dcmsend"),
    Round("storescp", "D", 240, ("concordat-1", "cluster-1", "dcmsend", "pynetdicom"), "dcmsend"),
    Round("orthanc-nodelay", "A", 600, (*OURS, "dcmsend-nodelay")),
    Round("orthanc-nodelay", "B", 1000, (*OURS, "dcmsend-nodelay")),
    Round("orthanc", "A", 300, ("concordat-1", "concordat-4", "dcmsend", "dcmsend-nodelay")),
)


def chosen(
    *,
    receivers: Sequence[str],
    sets: Sequence[str],
    senders: Sequence[str],
    databases: Sequence[str],
) -> list[Round]:
    """Return the rounds that were asked for; an empty choice leaves all as they are.

    Args:
        databases: what the product runs on, each of its senders on each of them.

    Raises:
        NotStarted: nothing is left.
    """
    left = [
        each
        for each in ROUNDS
        if (not receivers or each.receiver in receivers) and (not sets or each.name in sets)
    ]
    if not left:
        raise NotStarted("No round has these receivers and sets.")
    return [
        replace(each, senders=tuple(on_databases(senders or each.senders, databases)))
        for each in left
    ]


def on_databases(senders: Sequence[str], databases: Sequence[str]) -> Iterator[str]:
    """Yield the senders, those of the product once for each database."""
    for name in senders:
        if product(name) is None:
            yield name
        else:
            yield from (name + ("" if base == SQLITE else f"-{base}") for base in databases)


@dataclass(frozen=True, slots=True)
class Course:
    """How rounds are run.

    Attributes:
        folder: where data sets are kept.
        scale: which part of each data set is sent.
        log: where each run is written as a line of JSON; None: nowhere.
    """

    folder: Path
    repeat: int
    scale: float
    null_command: str
    log: Path | None


def run_round(each: Round, bench: Bench, course: Course) -> list[str]:
    """Measure one round and return its lines of the table."""
    data = data_set(each.name, max(1, round(each.count * course.scale)), course.folder)
    warm(data)
    group = Group(
        name=data.name,
        label=data.label,
        count=data.count,
        size=data.size,
        receiver=each.receiver,
        base=each.base,
        is_whole=course.scale == 1,
    )
    trials: dict[str, list[Trial]] = {name: [] for name in each.senders}
    with ExitStack() as stack:
        senders = {name: make_sender(name, bench) for name in each.senders}
        for sender in senders.values():
            stack.enter_context(sender.ready(data))
        for turn in range(course.repeat):
            for name in each.senders if turn % 2 == 0 else reversed(each.senders):
                trial = _try(senders[name], data, each.receiver, bench.ports, course)
                trials[name].append(trial)
                _log(course.log, group, name, trial)
    return rows(group, trials)


def _try(sender: Sender, data: DataSet, receiver_name: str, ports: Ports, course: Course) -> Trial:
    """Let one sender send once to a new receiver."""
    measured, error = None, ""
    with receiving(receiver_name, ports, null_command=course.null_command) as receiver:
        used = receiver.tree.cpu_seconds()
        try:
            measured = sender.send(data)
        except (OSError, ValueError, NotStarted) as fault:
            error = str(fault)
        used = receiver.tree.cpu_seconds() - used
    if measured is None:
        return Trial(None, receiver.stored, 0.0, f"it failed: {error}")
    others = max(0.0, measured.strange_seconds - used)
    share = others / (measured.wall_seconds * (os.cpu_count() or 1))
    return Trial(measured, receiver.stored, share, _loss(measured, receiver.stored, data.count))


def _loss(measured: Measured, stored: int | None, count: int) -> str:
    """Say what was lost; a run that loses an instance counts as failed."""
    if measured.sent < count:
        return f"it sent {measured.sent} of {count}"
    if stored is not None and stored < count:
        return f"the receiver took {stored} of {count}"
    return ""


def _log(path: Path | None, group: Group, name: str, trial: Trial) -> None:
    if path is not None:
        line = {"sender": name, **asdict(group), **asdict(trial)}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
