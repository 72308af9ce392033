"""Two hosts on one PostgreSQL: one limit, no work twice, and one takes over from the other."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.instances import uid_of, write_many
from tests.ledger import counts, progress, query
from tests.postgresql import PostgreSQL
from tests.processes import MANAGE, Site, await_true, make_site
from tests.receiving import ReceiverProcess
from tests.soak import CHECK

pytestmark = pytest.mark.slow
INSTANCES = 60
LIMIT = 3
TAKEN_OVER_SECONDS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL() as running:
        yield running


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    with ReceiverProcess(tmp_path / "received.jsonl") as running:
        yield running


@pytest.fixture
def hosts(tmp_path: Path, server: PostgreSQL) -> Iterator[tuple[Site, Site]]:
    """Two hosts with data directories of their own, one key, one database."""
    database = server.new_database()
    made = [_host(tmp_path, name, database) for name in ("a", "b")]
    assert made[0].run("migrate", "-v0").returncode == 0
    yield made[0], made[1]
    for site in made:
        _vanish(site)


def _host(folder: Path, name: str, database: str) -> Site:
    (folder / name).mkdir()
    return make_site(
        folder / name,
        DATABASE_URL=database,
        CONCORDAT_HOST_NAME=name,
        CONCORDAT_SECRET_KEY_FILE=str(folder / "secret.key"),
    )


def _vanish(site: Site) -> None:
    """Kill every process of a host, as a power cut does."""
    while pids := site.processes():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def sending(site: Site, workers: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a sender on a host, from its first sign of life on."""
    before = _beats(site)
    with (site.directory / "sender.txt").open("ab") as log:
        process = subprocess.Popen(
            [*MANAGE, "sender", "--workers", str(workers)],
            env=site.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        await_true(lambda: _beats(site) - before, f"host {site.directory.name}")
        yield process
    finally:
        _vanish(site)
        process.wait()


def _beats(site: Site) -> set[str]:
    host = site.environment["CONCORDAT_HOST_NAME"]
    rows = query(site, f"SELECT name FROM sender_workerheartbeat WHERE host = '{host}'")
    return {str(row[0]) for row in rows}


def prepare(site: Site, receiver: ReceiverProcess, *, limit: int, sends: int) -> set[str]:
    """Add the destination and folders to send; return all UIDs."""
    add = ("destination", "add", "peer", "--ae-title", "DEMO_SLOW", "--address", "127.0.0.1")
    facts = ("--port", str(receiver.port), "--max-associations", str(limit), "--retries", "9")
    assert site.run(*add, *facts).returncode == 0
    everything = set()
    for number in range(sends):
        root, share = f"1.2.{number + 3}", INSTANCES // sends
        write_many(site.directory.parent / "in" / root, share, root=root)
        everything |= {uid_of(n, root) for n in range(share)}
    return everything


def order(site: Site, folder: Path) -> None:
    """Start sends of all folders at full pace; nobody waits for them."""
    code = (
        "from dataclasses import replace\n"
        "from django.utils import timezone\n"
        "from sender.models import ContextTemplate, Destination, DestinationPace\n"
        "from sender.negotiation import pacing\n"
        "from sender.services.sending import SendOrder, create_send\n"
        "version = ContextTemplate.objects.get(name='Derived from files').newest\n"
        "to = Destination.objects.get()\n"
        "pace = replace(pacing.begin(to.max_associations, timezone.now()),"
        " associations=to.max_associations)\n"
        "DestinationPace.objects.create(destination=to, state=pacing.to_document(pace))\n"
        f"for path in {[str(path) for path in sorted(folder.iterdir())]!r}:\n"
        "    create_send(SendOrder(to, version, [path], 'test', roots=None), start=True)\n"
    )
    done = site.run("shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stderr


def is_through(site: Site) -> bool:
    states = counts(site, "sender_send", "state")
    return set(states) == {"succeeded"}


def assert_exact(site: Site, everything: set[str], receiver: ReceiverProcess) -> None:
    """The account is whole, the receiver has all, and the history adds up."""
    assert counts(site, "sender_senditem", "outcome") == {"sent": len(everything)}
    assert progress(site) == (len(everything), len(everything))
    assert set(receiver.stored()) == everything
    checked = site.run("shell", "-v0", "-c", CHECK).stdout.strip().splitlines()[-1]
    assert checked == '{"records": [], "rollups": [], "parts": 0}'


def test_two_hosts_keep_one_limit_and_do_nothing_twice(
    hosts: tuple[Site, Site], receiver: ReceiverProcess, tmp_path: Path
) -> None:
    a, b = hosts
    everything = prepare(a, receiver, limit=LIMIT, sends=18)
    with sending(a, LIMIT - 1), sending(b, LIMIT - 1):
        order(a, tmp_path / "in")
        await_true(lambda: is_through(a), "the end of all sends", 120)
    assert receiver.most_open() == LIMIT
    assert set(receiver.stored().values()) == {1}
    assert working_hosts(a) == {"a", "b"}
    assert_exact(a, everything, receiver)


def test_a_host_that_vanishes_is_taken_over_and_adds_nothing_when_it_is_back(
    hosts: tuple[Site, Site], receiver: ReceiverProcess, tmp_path: Path
) -> None:
    everything = prepare(hosts[0], receiver, limit=1, sends=1)
    with contextlib.ExitStack() as running:
        for site in hosts:
            running.enter_context(sending(site, 1))
        order(hosts[0], tmp_path / "in")
        await_true(lambda: len(receiver.stored()) >= 10, "ten instances")
        gone, other = hosts if "a" in working_hosts(hosts[0]) else reversed(hosts)
        with held_results(gone):
            await_true(lambda: journalled(gone), "results that are in the journal only")
            _vanish(gone)
        vanished, stored = time.monotonic(), sum(receiver.stored().values())
        lost = journalled(gone)
        await_true(
            lambda: sum(receiver.stored().values()) > stored + 1, "work on the other host", 120
        )
        assert time.monotonic() - vanished <= TAKEN_OVER_SECONDS
        await_true(lambda: is_through(other), "the end of the send", 120)
        assert receiver.most_open() == 1
        again = sum(receiver.stored().values()) - len(everything)
        assert again <= lost + 1, "a group at most, and what was in flight"
        assert_exact(other, everything, receiver)
        running.enter_context(sending(gone, 1))
        await_true(lambda: not journals(gone), "its journal to be read")
        assert_exact(other, everything, receiver)
        assert sum(receiver.stored().values()) == len(everything) + again


def working_hosts(site: Site) -> set[str]:
    """Return the hosts that opened associations."""
    return set(counts(site, "sender_associationattempt", "sender_host"))


@contextlib.contextmanager
def held_results(site: Site) -> Iterator[None]:
    """Keep results from being committed for a while."""
    with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
        connection.execute("LOCK TABLE sender_senditem IN SHARE MODE")
        yield


def journals(site: Site) -> list[Path]:
    return list((Path(site.environment["CONCORDAT_DATA_DIR"]) / "journal").glob("*"))


def journalled(site: Site) -> int:
    """Return how many results stand in journals."""
    return sum(path.read_bytes().count(b"\n") for path in journals(site))
