"""The senders, by name.

concordat-N: this product, `send --inline`, N associations; cluster-N: through its background
sender with N workers and associations. Both with -postgresql at the end, else on SQLite.
dcmsend, storescu: DCMTK's; orthanc-job: Orthanc's store job, with the data in Orthanc before;
each with -nodelay: run with TCP_NODELAY=1. pynetdicom: a plain script.
"""

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks.data_sets import DataSet, under_new_names
from benchmarks.measuring import Finished, Tree, busy_seconds, run
from benchmarks.receivers import (
    AE_TITLE,
    NODELAY,
    NotStarted,
    Orthanc,
    Ports,
    environment_of,
    program,
    receiving,
)
from benchmarks.sites import SQLITE, Site, destination, warm_up_destination

LIMIT_SECONDS = 900.0
PLAIN_SCRIPT = Path(__file__).with_name("plain_pynetdicom.py")
_PRODUCT = re.compile(r"(concordat|cluster)-(\d+)(?:-(postgresql))?")


@dataclass(frozen=True, slots=True)
class Measured:
    """What one sender took to send one data set.

    Attributes:
        seconds: by the sender's clock: the product's from the work being picked up to the last
            outcome committed, Orthanc's from its order to its answer, other tools' the whole
            process.
        wall_seconds: from the start of the command to its end.
        cpu_seconds: of the sender, its children and its database server.
        peak_bytes: of the sender's largest process.
        strange_seconds: CPU that everything else on the machine used meanwhile.
        sent: how many instances the sender says that it has sent.
        growth_bytes: the peak of the process that grew most, beyond what it had with nothing, or
            one tiny instance, to send; None if that is not known.
    """

    seconds: float
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    strange_seconds: float
    sent: int
    growth_bytes: int | None = None


class Sender(Protocol):
    """Something that sends a data set."""

    @contextmanager
    def ready(self, data: DataSet) -> Iterator[None]:
        """Get ready for all the runs with one data set; nothing here is measured."""
        ...

    def send(self, data: DataSet) -> Measured:
        """Send it once.

        Raises:
            OSError, ValueError: it could not.
        """
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """What senders are made from.

    Attributes:
        sites: installations by database.
        single: a set of one tiny instance.
        warm_up: what a background sender sends before it is measured, as one that works all day.
        starts: what `send --inline` takes for that, by database.
    """

    sites: Mapping[str, Site]
    ports: Ports
    single: DataSet
    warm_up: DataSet
    starts: Mapping[str, Finished]


def product(name: str) -> tuple[str, int, str] | None:
    """Take a product sender's name apart: its way, associations and database; None for others."""
    found = _PRODUCT.fullmatch(name)
    if found is None:
        return None
    return found[1], int(found[2]), found[3] or SQLITE


def databases_of(names: list[str]) -> set[str]:
    """Return the databases that senders need."""
    return {parts[2] for parts in map(product, names) if parts is not None}


def make_sender(name: str, bench: Bench) -> Sender:
    """Return the sender of that name.

    Raises:
        NotStarted: there is none.
    """
    if parts := product(name):
        way, associations, database = parts
        site = bench.sites[database]
        if way == "concordat":
            return Inline(site, associations, bench.starts[database].peak_bytes)
        return Cluster(site, associations, bench)
    tool = name.removesuffix(NODELAY)
    if tool == "orthanc-job":
        return OrthancJob(name, bench.ports)
    if tool in ("dcmsend", "storescu") or name == "pynetdicom":
        return Tool(name, bench.ports.receiver)
    raise NotStarted(f"There is no sender {name}.")


class Tool:
    """A program that ends when all is sent."""

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._port = port

    @contextmanager
    def ready(self, data: DataSet) -> Iterator[None]:
        yield

    def send(self, data: DataSet) -> Measured:
        command = self._command(data)
        finished = run(command, environment_of(self._name), limit_seconds=LIMIT_SECONDS)
        # By default they stop at the first instance that is refused.
        sent = data.count if finished.code == 0 else 0
        return Measured(
            seconds=finished.wall_seconds,
            wall_seconds=finished.wall_seconds,
            cpu_seconds=finished.cpu_seconds,
            peak_bytes=finished.peak_bytes,
            strange_seconds=finished.strange_seconds,
            sent=sent,
        )

    def _command(self, data: DataSet) -> list[str]:
        if self._name == "pynetdicom":
            return [sys.executable, str(PLAIN_SCRIPT), str(self._port), str(data.folder)]
        tool = self._name.removesuffix(NODELAY)
        target = ["-aec", AE_TITLE, "+sd", "+r", "127.0.0.1", str(self._port), str(data.folder)]
        return [program(tool), *target]


class Inline:
    """The product in one process, `send --inline`."""

    def __init__(self, site: Site, associations: int, idle_bytes: int) -> None:
        self._site = site
        self._associations = associations
        self._idle = idle_bytes

    @contextmanager
    def ready(self, data: DataSet) -> Iterator[None]:
        yield

    def send(self, data: DataSet) -> Measured:
        server = self._site.server_cpu_seconds()
        with under_new_names(data) as new:
            to = destination(self._associations)
            finished = self._site.send(new.folder, to, inline=True)
        server = self._site.server_cpu_seconds() - server
        return _of_product(
            finished,
            cpu_seconds=finished.cpu_seconds + server,
            peak_bytes=finished.peak_bytes,
            strange_seconds=finished.strange_seconds - server,
            growth_bytes=max(0, finished.peak_bytes - self._idle),
        )


class Cluster:
    """The product's background sender; it runs, and has sent elsewhere, when it is measured.

    Its growth is counted from when it had sent next to nothing.
    """

    def __init__(self, site: Site, associations: int, bench: Bench) -> None:
        self._site = site
        self._associations = associations
        self._bench = bench

    @contextmanager
    def ready(self, data: DataSet) -> Iterator[None]:
        yield

    def send(self, data: DataSet) -> Measured:
        with self._site.sender(self._associations) as tree:
            idle = self._warm_up(tree)
            with under_new_names(data) as new:
                return self._measure(tree, idle, new)

    def _warm_up(self, tree: Tree) -> dict[int, int]:
        """Have it send to another receiver; return what its processes had before that."""
        bench, warm_up = self._bench, warm_up_destination(self._associations)
        with receiving("null", replace(bench.ports, receiver=bench.ports.warm_up)):
            self._site.await_sender(bench.single.folder, warm_up)
            idle = tree.reset_peaks()
            with under_new_names(bench.warm_up) as new:
                self._site.send(new.folder, warm_up, inline=False)
        return idle

    def _measure(self, tree: Tree, idle: Mapping[int, int], data: DataSet) -> Measured:
        before = tree.cpu_seconds() + self._site.server_cpu_seconds()
        to = destination(self._associations)
        finished = self._site.send(data.folder, to, inline=False)
        used = tree.cpu_seconds() + self._site.server_cpu_seconds() - before
        return _of_product(
            finished,
            cpu_seconds=used,
            peak_bytes=tree.peak_bytes(),
            strange_seconds=finished.strange_seconds - used,
            growth_bytes=tree.growth_bytes(idle),
        )


class OrthancJob:
    """Orthanc's own store job, asked for through its web service."""

    def __init__(self, name: str, ports: Ports) -> None:
        self._name = name
        self._ports = ports
        self._orthanc: Orthanc | None = None

    @contextmanager
    def ready(self, data: DataSet) -> Iterator[None]:
        ports = self._ports
        with Orthanc(
            self._name, ports.orthanc_sender_dicom, ports.orthanc_sender_http, sink=ports.receiver
        ) as orthanc:
            target = ["127.0.0.1", str(ports.orthanc_sender_dicom)]
            command = [program("dcmsend"), "-aec", AE_TITLE, "+sd", "+r", *target, str(data.folder)]
            run(command, environment_of(NODELAY), limit_seconds=LIMIT_SECONDS)
            if orthanc.count() != data.count:
                raise NotStarted(f"Orthanc did not take all of {data.label}.")
            self._orthanc = orthanc
            yield
        self._orthanc = None

    def send(self, data: DataSet) -> Measured:
        assert self._orthanc is not None
        tree = self._orthanc.tree
        studies = self._orthanc.ask("/studies")
        tree.reset_peaks()
        cpu_seconds = tree.cpu_seconds()
        began, busy = time.perf_counter(), busy_seconds()
        order = {"Resources": studies, "Synchronous": True, "Timeout": 600}
        told = self._orthanc.ask("/modalities/sink/store", order, seconds=LIMIT_SECONDS)
        seconds = time.perf_counter() - began
        cpu_seconds = tree.cpu_seconds() - cpu_seconds
        return Measured(
            seconds=seconds,
            wall_seconds=seconds,
            cpu_seconds=cpu_seconds,
            peak_bytes=tree.peak_bytes(),
            strange_seconds=busy_seconds() - busy - cpu_seconds,
            sent=data.count - int(told["FailedInstancesCount"]),
        )


def _of_product(
    finished: Finished,
    *,
    cpu_seconds: float,
    peak_bytes: int,
    strange_seconds: float,
    growth_bytes: int,
) -> Measured:
    """Read what `send --json` tells.

    Raises:
        ValueError: it told nothing.
    """
    told = json.loads(finished.output)
    return Measured(
        seconds=told["seconds"],
        wall_seconds=finished.wall_seconds,
        cpu_seconds=cpu_seconds,
        peak_bytes=peak_bytes,
        strange_seconds=strange_seconds,
        sent=told["instances"]["sent"],
        growth_bytes=growth_bytes,
    )
