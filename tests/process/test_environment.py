"""Disks that are full, databases that are away or locked, keys that change: nothing is lost."""

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sender.process.supervisor import GRACE_SECONDS
from sender.services.owners import LEASE_SECONDS
from tests.disks import fill, small_disk
from tests.instances import uid_of, write_many
from tests.ledger import counts, progress, query
from tests.postgresql import PostgreSQL
from tests.processes import MANAGE, Site, await_true, make_site
from tests.receiving import ReceiverProcess

pytestmark = pytest.mark.slow
INSTANCES = 40
Make = Callable[..., Site]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    with ReceiverProcess(tmp_path / "received.jsonl") as running:
        yield running


def order(site: Site, receiver: ReceiverProcess, *, tickets: int = 0) -> None:
    """Start a send of all instances; further tickets are issued for it."""
    source = write_many(site.directory / "in", INSTANCES)
    code = f"""
from sender.models import ContextTemplate
from sender.services import tickets
from sender.services.destinations import DestinationFacts, add_destination
from sender.services.sending import SendOrder, create_send
to = add_destination(DestinationFacts(
    name="peer", ae_title="DEMO_SLOW", address="127.0.0.1", port={receiver.port}, retries=9,
    max_associations=2), actor="test", confirmed=True)
version = ContextTemplate.objects.get(name="Derived from files").newest
send = create_send(SendOrder(to, version, [{str(source)!r}], "test", roots=None), start=True)
for _ in range({tickets}):
    tickets.issue_plan(send.pk)
    tickets.issue_work(to.pk)
"""
    done = site.run("shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stderr


def run_shell(site: Site, code: str) -> None:
    done = site.run("shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stderr


def log_of(site: Site) -> str:
    return (Path(site.environment["CONCORDAT_DATA_DIR"]) / "logs" / "sender.log").read_text()


def is_through(site: Site) -> bool:
    with contextlib.suppress(sqlite3.Error):
        return counts(site, "sender_send", "state") == {"succeeded": 1}
    return False


def assert_once(site: Site, receiver: ReceiverProcess) -> None:
    """Each instance is acknowledged once, and was sent once."""
    total = query(site, "SELECT count(*), count(DISTINCT item_id) FROM sender_instanceattempt")
    assert total == [(INSTANCES, INSTANCES)]
    assert progress(site) == (INSTANCES, INSTANCES)
    assert receiver.stored() == {uid_of(number): 1 for number in range(INSTANCES)}


def sender_command() -> list[str]:
    return [*MANAGE, "sender", "--workers", "3"]


def test_a_new_key_an_emptied_queue_and_tickets_too_many(
    migrated_site: Make, receiver: ReceiverProcess
) -> None:
    """django-q2 drops tickets that were signed with another key, without a word to anybody."""
    site = migrated_site()
    order(site, receiver, tickets=3)
    assert query(site, "SELECT count(*) FROM django_q_ormq")[0][0] == 7
    (Path(site.environment["CONCORDAT_DATA_DIR"]) / "secret.key").write_text("another key" * 5)
    with site.running(sender_command()):
        await_true(lambda: len(receiver.stored()) >= 5, "five instances")
        run_shell(
            site,
            "from django_q.models import OrmQ\nfrom sender.services import tickets\n"
            "OrmQ.objects.all().delete()\n"
            "for _ in range(6): tickets.issue_work(1)\ntickets.issue_plan(1)",
        )
        await_true(lambda: is_through(site), "the end of the send", 90)
    assert_once(site, receiver)


def test_a_database_that_is_locked_for_10_seconds(
    migrated_site: Make, receiver: ReceiverProcess
) -> None:
    site = migrated_site()
    order(site, receiver)
    with site.running(sender_command()):
        await_true(lambda: len(receiver.stored()) >= 5, "five instances")
        path = Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            stored = len(receiver.stored())
            threading.Event().wait(10)
            assert len(receiver.stored()) - stored < INSTANCES / 2, "it was awaited"
            writer.execute("ROLLBACK")
        await_true(lambda: is_through(site), "the end of the send", 90)
    assert_once(site, receiver)


def test_a_database_that_is_away_in_the_middle(tmp_path: Path, receiver: ReceiverProcess) -> None:
    with PostgreSQL() as server:
        site = make_site(tmp_path, DATABASE_URL=server.new_database())
        assert site.run("migrate", "-v0").returncode == 0
        order(site, receiver)
        with site.running(sender_command()):
            await_true(lambda: len(receiver.stored()) >= 5, "five instances")
            server.stop()
            await_true(lambda: "Nothing is lost: it is awaited." in log_of(site), "the alarm")
            server.start()
            await_true(lambda: is_through(site), "the end of the send", 90)
        assert "The database can be used again" in log_of(site)
        assert_once(site, receiver)


def connections_to(port: int) -> int:
    """Count the open connections to a port of this machine."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def test_a_database_that_does_not_answer_any_more(
    tmp_path: Path, receiver: ReceiverProcess
) -> None:
    with PostgreSQL() as server:
        site = make_site(tmp_path, DATABASE_URL=server.new_database())
        assert site.run("migrate", "-v0").returncode == 0
        order(site, receiver)
        with site.running(sender_command()) as sender:
            await_true(lambda: len(receiver.stored()) >= 5, "five instances")
            with server.frozen():
                assert connections_to(receiver.port)
                frozen_at = time.monotonic()
                await_true(lambda: not connections_to(receiver.port), "the end of associations", 60)
                assert time.monotonic() - frozen_at < LEASE_SECONDS, "others may call by then"
                sender.terminate()
                sender.wait(GRACE_SECONDS + 10)
                assert not site.processes()
        with site.running(sender_command()):
            await_true(lambda: is_through(site), "the end of the send", 90)
        assert progress(site) == (INSTANCES, INSTANCES)


def test_a_full_disk_for_the_journal(migrated_site: Make, receiver: ReceiverProcess) -> None:
    site = migrated_site()
    folder = Path(site.environment["CONCORDAT_DATA_DIR"]) / "journal"
    with small_disk(folder, kilobytes=8):
        fill(folder)
        order(site, receiver)
        with site.running(sender_command()):
            await_true(lambda: is_through(site), "the end of the send", 90)
    assert "The journal" in log_of(site)
    assert "No space left on device" in log_of(site)
    assert_once(site, receiver)


def test_a_full_disk_for_the_database(migrated_site: Make, receiver: ReceiverProcess) -> None:
    site = migrated_site()
    made = Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"
    with small_disk(site.directory / "disk", kilobytes=32 << 10) as disk:
        shutil.copy(made, disk / "db.sqlite3")
        site.environment["DATABASE_URL"] = f"sqlite:///{disk}/db.sqlite3"
        order(site, receiver)
        with site.running(sender_command()):
            await_true(lambda: len(receiver.stored()) >= 5, "five instances")
            ballast = fill(disk)
            await_true(lambda: "database or disk is full" in log_of(site), "the alarm")
            ballast.unlink()
            await_true(lambda: is_through(site), "the end of the send", 90)
        assert_once(site, receiver)
