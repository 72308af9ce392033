"""What bad destinations cost the good ones: `python benchmarks/isolation.py` (RELIABILITY.md, R6).

Runs `manage.py up` on a new SQLite database and sends four times 50 instances to each of 40
destinations that accept everything; then on another, to ten others as well: three take a connection
and say nothing, two refuse for now, one refuses for good, two are black holes, and at two nobody
listens. Does both twice, in turn. Reports how long the good ones took, what the pages took
meanwhile, and whether any destination ever had more associations open than it allows.
"""

import argparse
import contextlib
import http.client
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.data_sets import data_set
from benchmarks.installing import install_here
from benchmarks.receivers import Ports, await_port, receiving
from benchmarks.sites import MANAGE, running

GOOD, ROUNDS, INSTANCES = 40, 4, 50
PAGES = ("/", "/sends/", "/destinations/", "/history/", "/schedules/")
PATIENCE_SECONDS = 900.0
REJECT_TRANSIENT = bytes.fromhex("03 00 00000004 00 02 03 02")
REJECT_PERMANENT = bytes.fromhex("03 00 00000004 00 01 01 07")
"""A-ASSOCIATE-RJ (PS3.8 section 9.3.4): local limit exceeded; called AE title not recognised."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run.

    Attributes:
        seconds: until the last good send had ended.
        each: seconds of each good send, from its creation on.
        pages: seconds of each page that was asked for meanwhile.
        crowded: destinations that had more associations open than they allow.
        states: of the good sends, and of the bad ones when the good ones had ended.
    """

    seconds: float
    each: list[float]
    pages: list[float]
    crowded: list[str]
    states: tuple[dict[str, int], dict[str, int]]


def main() -> None:
    """Run without and with the bad ones, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--with-bad", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        _run_here(options.folder, options.workers, with_bad=options.with_bad)
        return
    for with_bad in (False, True, False, True):
        with tempfile.TemporaryDirectory(prefix="concordat-isolation-") as folder:
            command = [sys.executable, __file__, "--workers", str(options.workers)]
            command += ["--folder", folder, *["--with-bad"] * with_bad]
            subprocess.run(command, check=True)


def _run_here(folder: Path, workers: int, *, with_bad: bool) -> None:
    """Measure in a process of its own: Django is set up once in a process."""
    install_here(folder / "var")
    source = data_set("B", INSTANCES, folder).folder
    ports = Ports.free()
    with ExitStack() as stack:
        stack.enter_context(receiving("null", ports))
        good = [_destination(f"good{number:02}", ports.receiver) for number in range(GOOD)]
        peers = stack.enter_context(_bad_peers()) if with_bad else []
        bad = [_destination(f"bad{number:02}", port) for number, port in enumerate(peers)]
        stack.enter_context(_site(ports.orthanc_http, workers))
        outcome = _measure(source, good, bad, ports.orthanc_http)
    print(f"{'with' if with_bad else 'without'} bad ones: good sends ended after "
          f"{outcome.seconds:.1f} s, each {statistics.mean(outcome.each):.1f} s in the mean, "
          f"{max(outcome.each):.1f} s at most; {len(outcome.pages)} pages, p95 "
          f"{_p95(outcome.pages):.2f} s, {max(outcome.pages):.2f} s at most; "
          f"over their limit: {outcome.crowded or 'none'}; good {outcome.states[0]}, "
          f"bad {outcome.states[1]}", flush=True)  # fmt: skip


def _p95(times: Sequence[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


def _destination(name: str, port: int) -> Any:
    from sender.services.destinations import DestinationFacts, add_destination  # noqa: PLC0415

    facts = DestinationFacts(name, name.upper(), "127.0.0.1", port)
    return add_destination(facts, actor="benchmark", confirmed=True)


@contextmanager
def _bad_peers() -> Iterator[list[int]]:
    """Run ten peers that are of no use; yield their ports."""
    answers = [b""] * 3 + [REJECT_TRANSIENT] * 2 + [REJECT_PERMANENT]
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in answers]
    for listener, answer in zip(listeners, answers, strict=True):
        threading.Thread(target=_serve, args=(listener, answer), daemon=True).start()
    # Nobody accepts, and its queue is full: what else connects gets no answer at all.
    holes = [socket.create_server(("127.0.0.1", 0), backlog=0) for _ in range(2)]
    fillers = [socket.create_connection(hole.getsockname()) for hole in holes]
    closed = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in (*listeners, *holes, *closed)]
    for one in closed:
        one.close()
    try:
        yield ports
    finally:
        for one in (*listeners, *holes, *fillers):
            one.close()


def _serve(listener: socket.socket, answer: bytes) -> None:
    """Answer each request with this, or, if it is empty, never."""
    kept = []
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            kept.append(connection)
            if answer:
                connection.recv(1 << 16)
                connection.sendall(answer)


@contextmanager
def _site(port: int, workers: int) -> Iterator[None]:
    """Run the whole product."""
    command = [*MANAGE, "up", "--no-demo", "--bind", f"127.0.0.1:{port}"]
    with running([*command, "--workers", str(workers)], os.environ):
        await_port(port, "the web server")
        _await_sender()
        yield


def _await_sender() -> None:
    from sender.services import heartbeat  # noqa: PLC0415

    deadline = time.monotonic() + 60
    while not heartbeat.sender_state().is_live:
        if time.monotonic() > deadline:
            raise SystemExit("The sender does not start.")
        time.sleep(0.2)


def _measure(source: Path, good: list[Any], bad: list[Any], port: int) -> Outcome:
    from sender.models import Send, SendState  # noqa: PLC0415

    asking, pages = threading.Event(), list[float]()
    thread = threading.Thread(target=_ask, args=(port, _cookie(), asking, pages))
    began = time.monotonic()
    thread.start()
    order = [*good, *bad]
    order.sort(key=lambda destination: str(destination.name)[-1])  # the bad ones in between
    for _ in range(ROUNDS):
        for destination in order:
            _order(destination, source)
    sends = Send.objects.filter(destination__in=good)
    while sends.filter(finished_at__isnull=True).exists():
        if time.monotonic() - began > PATIENCE_SECONDS:
            break
        time.sleep(0.2)
    seconds = time.monotonic() - began
    asking.set()
    thread.join()
    each = [
        (send.finished_at - send.created_at).total_seconds()
        for send in sends.filter(state=SendState.SUCCEEDED)
        if send.finished_at is not None
    ]
    others = Send.objects.filter(destination__in=bad)
    return Outcome(seconds, each, pages, _crowded(), (_states(sends), _states(others)))


def _states(sends: Any) -> dict[str, int]:
    return dict(Counter(sends.values_list("state", flat=True)))


def _order(destination: Any, source: Path) -> None:
    from sender.services.sending import SendOrder, create_send  # noqa: PLC0415
    from sender.services.templates import find_version  # noqa: PLC0415

    version = find_version("Derived from files")
    order = SendOrder(destination, version, [str(source)], "benchmark", roots=None)
    create_send(order, start=True)


def _cookie() -> str:
    """Return the cookie of an administrator who has signed in."""
    from django.test import Client  # noqa: PLC0415

    from sender.services.users import add_user  # noqa: PLC0415

    user = add_user(
        name="benchmark", role="administrator", password=os.urandom(12).hex(), actor="benchmark"
    )
    client = Client()
    client.force_login(user)
    return "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())


def _ask(port: int, cookie: str, ended: threading.Event, took: list[float]) -> None:
    """Ask for pages one after another, ten a second at most, until a page fails."""
    while not ended.wait(0.1):
        page = PAGES[len(took) % len(PAGES)]
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", page, headers={"Cookie": cookie})
        response = connection.getresponse()
        response.read()
        connection.close()
        if response.status != http.client.OK:
            took.append(math.inf)
            return
        took.append(time.monotonic() - began)


def _crowded() -> list[str]:
    """Return the destinations that ever had more associations open than they allow."""
    from sender.models import AssociationAttempt, Destination  # noqa: PLC0415

    found = []
    for destination in Destination.objects.all():
        changes: list[tuple[datetime, int]] = []
        attempts = AssociationAttempt.objects.filter(destination=destination)
        for began, closed in attempts.values_list("started_at", "closed_at"):
            changes.append((began, 1))
            if closed is not None:
                changes.append((closed, -1))
        open_now = most = 0
        for _, change in sorted(changes):
            open_now += change
            most = max(most, open_now)
        if most > destination.max_associations:
            found.append(f"{destination.name} ({most})")
    return found


if __name__ == "__main__":
    main()
