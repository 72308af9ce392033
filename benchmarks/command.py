"""The command line of `benchmarks/send.py`.

Makes the data sets once, starts a receiver afresh for each measurement, lets the senders take
turns in alternating order, and prints medians, ratios and goals as a table. A run that loses an
instance counts as failed. The product's time is the `seconds` of `send --json`: from the work
being picked up to the last outcome committed, scan and plan included; that of other tools is the
whole of their process, that of Orthanc's job from order to answer. Every instance is recorded all
the while.
"""

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from benchmarks.data_sets import data_set
from benchmarks.goals import MEGABYTE
from benchmarks.measuring import Finished
from benchmarks.receivers import NotStarted, Ports, receiving
from benchmarks.report import HEADER
from benchmarks.rounds import Course, Round, chosen, run_round
from benchmarks.senders import Bench, databases_of
from benchmarks.sites import SQLITE, Site, destination, made_site

WARM_UP_INSTANCES = 200
DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "concordat-benchmark"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; return the exit code."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, _stop)
    try:
        rounds = chosen(
            receivers=options.receivers,
            sets=options.sets,
            senders=options.senders,
            databases=options.databases,
        )
        _measure(rounds, options)
    except NotStarted as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave in order: what we have started ends with us."""
    sys.exit(128 + number)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receivers", type=_words, default=[], help="only rounds to these")
    parser.add_argument("--sets", type=_words, default=[], help="only these, of A,B,C,D,L")
    parser.add_argument("--senders", type=_words, default=[], help="these, whatever the round has")
    parser.add_argument(
        "--databases", type=_words, default=[SQLITE], help="sqlite (default), postgresql, or both"
    )
    parser.add_argument("--repeat", type=int, default=5, help="runs of each sender (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="which part of each set to send")
    parser.add_argument(
        "--folder", type=Path, default=DEFAULT_FOLDER, help="keeps the data sets for the next time"
    )
    parser.add_argument("--null-command", default="", help="another, as 'nullscp {port}'")
    parser.add_argument("--log", type=Path, help="where to write each run as a line of JSON")
    return parser.parse_args(arguments)


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _measure(rounds: Sequence[Round], options: argparse.Namespace) -> None:
    course = Course(
        folder=options.folder,
        repeat=options.repeat,
        scale=options.scale,
        null_command=options.null_command,
        log=options.log,
    )
    course.folder.mkdir(parents=True, exist_ok=True)
    databases = databases_of([name for each in rounds for name in each.senders])
    with _bench(course, databases) as bench:
        _print_conditions(bench, course)
        print(HEADER, flush=True)
        for each in rounds:
            print("\n".join(run_round(each, bench, course)), flush=True)


@contextmanager
def _bench(course: Course, databases: set[str]) -> Iterator[Bench]:
    """Make new installations, and see what a start of them takes."""
    ports = Ports.free()
    single = data_set("single", 1, course.folder)
    warm_up = data_set("warm-up", WARM_UP_INSTANCES, course.folder)
    work = Path(tempfile.mkdtemp(prefix="concordat-bench-"))
    work.chmod(0o755)  # PostgreSQL's own user has to get in
    try:
        with ExitStack() as stack:
            sites = {
                name: stack.enter_context(made_site(work / name, ports, name))
                for name in sorted(databases)
            }
            with receiving("null", ports):
                starts = {name: _start(site, single.folder) for name, site in sites.items()}
            yield Bench(sites, ports, single, warm_up, starts)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _start(site: Site, folder: Path) -> Finished:
    """Return what `send --inline` takes for one tiny instance, the second time."""
    site.send(folder, destination(1), inline=True)
    return site.send(folder, destination(1), inline=True)


def _print_conditions(bench: Bench, course: Course) -> None:
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} CPUs, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} at the start, {course.repeat} runs of each sender."
    )
    for name, start in bench.starts.items():
        print(
            f"send --inline of one tiny instance ({name}): {start.wall_seconds:.2f} s wall, "
            f"{start.cpu_seconds:.2f} s CPU, {start.peak_bytes / MEGABYTE:.0f} MB."
        )
    print()
