"""A cluster ends in order whatever ends it, and never hangs on a worker that was killed."""

import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.processes import Site, await_true, make_migrated_site

pytestmark = pytest.mark.slow
COMMAND = [
    sys.executable, "-m", "sender.process.cluster", "main", "--workers", "2", "--exit-with-stdin",
]  # fmt: skip
PROCESSES = 6
"""The main process, the sentinel, two workers, the pusher and the monitor."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A migrated site whose demo receiver does not run."""
    return make_migrated_site(tmp_path)


def query(site: Site, sql: str) -> list[tuple[object, ...]]:
    path = Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"
    with sqlite3.connect(path) as database:
        rows: list[tuple[object, ...]] = database.execute(sql).fetchall()
    database.close()
    return rows


def ticked(site: Site) -> bool:
    return bool(query(site, "SELECT ticked_at FROM sender_enginetick"))


def plan_is_made(site: Site) -> bool:
    return bool(query(site, "SELECT 1 FROM sender_send WHERE planned_at IS NOT NULL"))


def make_send(site: Site) -> None:
    """Make a send whose plan the tick will ask for; nobody listens at its destination."""
    code = (
        "from sender.services import demo\ndemo.PROFILES = demo.PROFILES[:1]\ndemo.prepare_demo()"
    )
    done = site.run("shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stderr


def workers(site: Site, main: int) -> list[int]:
    """Return the processes that the sentinel started."""
    family = {pid: _parent(pid) for pid in site.processes()}
    sentinel = next(pid for pid, parent in family.items() if parent == main)
    return sorted(pid for pid, parent in family.items() if parent == sentinel)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def test_it_ticks_and_works_and_ends_with_its_standard_input(site: Site) -> None:
    with site.running(COMMAND) as cluster:
        await_true(lambda: ticked(site), "a tick")
        make_send(site)
        await_true(lambda: plan_is_made(site), "a plan")
        assert cluster.stdin is not None
        cluster.stdin.close()
        assert cluster.wait(10) == 0
        assert site.processes() == []
    assert query(site, "SELECT * FROM sender_workerheartbeat") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_whole_group_ends_it_in_order(site: Site, number: int) -> None:
    with site.running(COMMAND) as cluster:
        await_true(lambda: ticked(site) and len(site.processes()) == PROCESSES, "the cluster")
        os.killpg(cluster.pid, number)
        assert cluster.wait(10) == 0, site.output
        assert site.processes() == []


@pytest.mark.parametrize("position", [0, 1])
def test_an_idle_worker_that_is_killed_ends_the_cluster(site: Site, position: int) -> None:
    with site.running(COMMAND) as cluster:
        await_true(lambda: ticked(site) and len(site.processes()) == PROCESSES, "the cluster")
        os.kill(workers(site, cluster.pid)[position], signal.SIGKILL)
        assert cluster.wait(10) != 0
        await_true(lambda: not site.processes(), "the end of all", 5)


def test_a_sentinel_that_is_killed_ends_the_cluster(site: Site) -> None:
    with site.running(COMMAND) as cluster:
        await_true(lambda: ticked(site) and len(site.processes()) == PROCESSES, "the cluster")
        sentinel = _parent(workers(site, cluster.pid)[0])
        os.kill(sentinel, signal.SIGKILL)
        assert cluster.wait(10) != 0
        await_true(lambda: not site.processes(), "the end of all", 5)


def test_workers_end_when_the_main_process_was_killed(site: Site) -> None:
    with site.running(COMMAND) as cluster:
        await_true(lambda: ticked(site) and len(site.processes()) == PROCESSES, "the cluster")
        os.kill(cluster.pid, signal.SIGKILL)
        cluster.wait(5)
        await_true(lambda: not site.processes(), "the end of all", 10)


def test_it_works_where_processes_are_spawned(tmp_path: Path) -> None:
    site = make_migrated_site(tmp_path, CONCORDAT_START_METHOD="spawn")
    make_send(site)
    with site.running(COMMAND) as cluster:
        await_true(lambda: plan_is_made(site), "a plan")
        assert cluster.stdin is not None
        cluster.stdin.close()
        assert cluster.wait(10) == 0, site.output
        await_true(lambda: not site.processes(), "the end of all", 5)
