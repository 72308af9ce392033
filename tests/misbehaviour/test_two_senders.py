"""The same work begun by several processes: each instance acknowledged once, limits kept."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from tests.misbehaviour.catalogue import Group, Misbehaviour
from tests.misbehaviour.dialogue import Dialogue, account
from tests.misbehaviour.observing import listening
from tests.misbehaviour.sessions import Authority
from tests.processes import MANAGE, Site, await_true, make_migrated_site

pytestmark = pytest.mark.slow
SENDS, INSTANCES, LIMIT = 4, 12, 2


@dataclass
class Counting:
    """An acceptor that behaves and counts how many associations it has at once."""

    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def act(self, dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        self._count(1)
        try:
            dialogue.send(dialogue.acceptance())
            while True:
                asked = dialogue.read_request()
                dialogue.ended.wait(0.01)
                dialogue.answer(asked)
        except ConnectionResetError:
            self._count(-1)
            if dialogue.released:
                dialogue.send(b"\x06\0\0\0\0\x04\0\0\0\0")

    def _count(self, more: int) -> None:
        with self.lock:
            self.now += more
            self.most = max(self.most, self.now)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A data directory with its database."""
    return make_migrated_site(tmp_path)


def add_destination(site: Site, port: int, limit: int) -> None:
    words = ["destination", "add", "pacs", "--ae-title", "PEER", "--address", "127.0.0.1"]
    words += ["--port", str(port), "--max-associations", str(limit)]
    assert site.run(*words).returncode == 0


@contextmanager
def sender(site: Site, workers: int = 2) -> Iterator["subprocess.Popen[str]"]:
    """Run a sender; it is stopped, or killed with all that it started."""
    with (
        (site.directory / "sender.txt").open("a") as log,
        subprocess.Popen(
            [*MANAGE, "sender", "--workers", str(workers)],
            env=site.environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            process.wait(15)
        finally:
            if process.poll() is None:
                for pid in site.processes("manage.py"):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def begin(site: Site, folder: Path, *options: str) -> "subprocess.Popen[str]":
    """Run `send`."""
    words = [*MANAGE, "send", str(folder), "--to", "pacs", "--json", *options]
    return subprocess.Popen(words, env=site.environment, stdout=subprocess.PIPE, text=True)


def begin_first(site: Site, folder: Path, dialogues: list[Dialogue]) -> "subprocess.Popen[str]":
    """Run `send` as soon as a sender takes it, which the acceptor notices."""
    begun = begin(site, folder)

    def is_taken() -> bool:
        nonlocal begun
        if begun.poll() == 2:  # no sender yet
            begun.communicate()
            begun = begin(site, folder)
        return bool(dialogues)

    await_true(is_taken, "an association")
    return begun


def document(running: "subprocess.Popen[str]") -> Any:
    """Wait for a send and return its JSON."""
    out, _ = running.communicate(timeout=60)
    assert running.returncode in (0, 1)
    return json.loads(out)


def double_tickets(site: Site, ended: threading.Event) -> None:
    """Hand out every ticket of the queue twice, as two clicks or a schedule fired twice would."""
    path = Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"
    while not ended.wait(0.1):
        with contextlib.suppress(sqlite3.OperationalError):
            database = sqlite3.connect(path, timeout=5)
            columns = "key, payload, lock"
            rows = f"SELECT {columns} FROM django_q_ormq"
            database.execute(f"INSERT INTO django_q_ormq ({columns}) {rows} LIMIT 8")
            database.commit()
            database.close()


def test_work_begun_twice_is_done_once(site: Site, tmp_path: Path, authority: Authority) -> None:
    """Two senders, tickets doubled all the time, four sends at once, and one of them inline."""
    for send in range(SENDS):
        for number in range(INSTANCES):
            factories.write_instance(
                tmp_path / str(send) / f"{number}.dcm",
                sop_instance=f"1.2.3.{send}.{number}",
                study=f"1.2.4.{send}",
            )
    counting, ended = Counting(), threading.Event()
    case = Misbehaviour("counts", Group.SIZE, counting.act)
    with ExitStack() as running, listening(case, authority) as (port, dialogues):
        add_destination(site, port, LIMIT)
        running.enter_context(sender(site))
        running.enter_context(sender(site))
        doubling = threading.Thread(target=double_tickets, args=(site, ended))
        doubling.start()
        sends = [begin_first(site, tmp_path / "0", dialogues)]
        sends += [begin(site, tmp_path / str(send)) for send in range(1, SENDS - 1)]
        sends.append(begin(site, tmp_path / str(SENDS - 1), "--inline"))
        told = [document(send) for send in sends]
        ended.set()
        doubling.join()
    assert [send["instances"]["sent"] for send in told] == [INSTANCES] * SENDS
    answered = account(dialogues)
    assert len(answered) == SENDS * INSTANCES
    assert all(statuses == [0] for statuses in answered.values())
    assert counting.most <= LIMIT
