"""Workers, clusters and everything are killed in the middle of a send; the account stays exact."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import factories
from tests.processes import MANAGE, Site, await_true, free_port, make_migrated_site

pytestmark = pytest.mark.slow
INSTANCES = 120
KILLS = 4


@contextmanager
def receiving(log: Path, port: int) -> Iterator[None]:
    """Run the receiver, slowed down a little, with a log of what it stored."""
    command = [
        sys.executable,
        "-m",
        "sender.dicom.acceptor",
        "--port",
        str(port),
        "--log",
        str(log),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening")
        try:
            yield
        finally:
            process.terminate()


def stored(log: Path) -> list[str]:
    """Return the SOP Instance UIDs that the receiver stored, in order, repeats included."""
    if not log.exists():
        return []
    lines = [line for line in log.read_text().splitlines() if line.endswith("}")]
    events = [json.loads(line) for line in lines]
    return [event["sop_instance"] for event in events if event["event"] == "store"]


def counts(site: Site, table: str, column: str) -> dict[str, int]:
    path = Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"
    database = sqlite3.connect(path, timeout=20)
    rows = database.execute(f"SELECT {column}, count(*) FROM {table} GROUP BY 1").fetchall()
    database.close()
    return dict(rows)


def test_kills_in_the_middle_lose_nothing_and_repeat_next_to_nothing(tmp_path: Path) -> None:
    for number in range(INSTANCES):
        factories.write_instance(tmp_path / "in" / f"{number}.dcm", sop_instance=f"1.2.3.{number}")
    port, log = free_port(), tmp_path / "received.jsonl"
    site = make_migrated_site(tmp_path)
    add = ("destination", "add", "slow", "--ae-title", "DEMO_SLOW", "--address", "127.0.0.1")
    assert site.run(*add, "--port", str(port), "--retries", "9").returncode == 0
    chance = random.Random(7)
    with receiving(log, port), site.running([*MANAGE, "sender", "--workers", "2"]) as sender:
        await_true(lambda: counts(site, "sender_workerheartbeat", "kind"), "the sender")
        with subprocess.Popen(
            [*MANAGE, "send", str(tmp_path / "in"), "--to", "slow"],
            env=site.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as client:
            for kill in range(KILLS):
                reached = (kill + 1) * INSTANCES // (KILLS + 2)
                await_true(lambda: len(stored(log)) >= reached, "progress", 30)  # noqa: B023
                victims = [pid for pid in site.processes("cluster main") if pid != sender.pid]
                os.kill(chance.choice(victims), signal.SIGKILL)
            assert client.wait(90) == 0
        sender.send_signal(signal.SIGTERM)
        assert sender.wait(10) == 0
    received = Counter(stored(log))
    assert counts(site, "sender_senditem", "outcome") == {"sent": INSTANCES}
    assert counts(site, "sender_send", "state") == {"succeeded": 1}
    assert set(received) == {f"1.2.3.{number}" for number in range(INSTANCES)}
    assert sum(received.values()) - INSTANCES <= KILLS, "one re-send per kill at most"
    acknowledged = counts(site, "sender_instanceattempt", "outcome")
    assert acknowledged["sent"] == INSTANCES
