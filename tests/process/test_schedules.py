"""Two running clusters and 50 schedules: each runs once, each instance arrives once."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import factories
from tests.ledger import counts
from tests.processes import MANAGE, ROOT, Site, await_true, make_migrated_site
from tests.receiving import ReceiverProcess

pytestmark = pytest.mark.slow
SCHEDULES = 50
AHEAD_SECONDS = 25

ADD = """
import sys
from datetime import UTC, datetime, timedelta
import django
django.setup()
from sender.models import ContextTemplate, Destination
from sender.services.schedule_facts import ScheduleFacts
from sender.services.schedules import add_schedule
folder, number, ahead = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
to = (Destination.objects.get(), ContextTemplate.objects.get(name="Derived from files"))
at = datetime.now(UTC) + timedelta(seconds=ahead)
for n in range(number):
    add_schedule(
        ScheduleFacts(f"s{n}", "once", f"{at:%Y-%m-%d %H:%M:%S}", "UTC", [f"{folder}/{n}"], [to]),
        actor="test",
    )
"""


def add_schedules(site: Site, folder: Path) -> None:
    """Add schedules that are all due at the same moment, soon."""
    subprocess.run(
        [sys.executable, "-c", ADD, str(folder), str(SCHEDULES), str(AHEAD_SECONDS)],
        cwd=ROOT,
        env=site.environment | {"DJANGO_SETTINGS_MODULE": "dicomsite.settings"},
        check=True,
        timeout=120,
    )


def start_sender(stack: ExitStack, site: Site, host: str) -> "subprocess.Popen[str]":
    """Start a sender that calls itself another host."""
    log = stack.enter_context((site.directory / f"{host}.txt").open("w"))
    process = stack.enter_context(
        subprocess.Popen(
            [*MANAGE, "sender", "--workers", "2"],
            env=site.environment | {"CONCORDAT_HOST_NAME": host},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    )
    stack.callback(process.kill)
    return process


def kill_all(site: Site) -> None:
    """Leave no process of the site behind."""
    for pid in site.processes():
        os.kill(pid, signal.SIGKILL)


def live_senders(site: Site) -> int:
    """Return how many senders have given a sign of life."""
    return counts(site, "sender_workerheartbeat", "kind").get("sender", 0)


def test_two_clusters_run_each_schedule_once(tmp_path: Path) -> None:
    hour_ago = time.time() - 3600
    for number in range(SCHEDULES):
        path = tmp_path / "in" / f"{number}" / "0.dcm"
        factories.write_instance(path, sop_instance=f"1.2.3.{number}", study=f"1.2.826.{number}")
        os.utime(path, (hour_ago, hour_ago))
    receiver = ReceiverProcess(tmp_path / "received.jsonl")
    site = make_migrated_site(tmp_path, CONCORDAT_SOURCE_ROOTS=str(tmp_path))
    add = ("destination", "add", "pacs", "--ae-title", "DEMO_SCP", "--address", "127.0.0.1")
    assert site.run(*add, "--port", str(receiver.port)).returncode == 0
    with ExitStack() as stack:
        stack.enter_context(receiver)
        stack.callback(kill_all, site)
        senders = [start_sender(stack, site, host) for host in ("first", "second")]
        await_true(lambda: live_senders(site) == 2, "both senders")
        add_schedules(site, tmp_path / "in")
        await_true(
            lambda: counts(site, "sender_send", "state") == {"succeeded": SCHEDULES},
            "all sends",
            150,
        )
        for sender in senders:
            sender.send_signal(signal.SIGTERM)
        assert [sender.wait(15) for sender in senders] == [0, 0]
    assert counts(site, "sender_schedulerun", "state") == {"started": SCHEDULES}
    assert counts(site, "sender_schedulerun", "trigger") == {"time": SCHEDULES}
    assert counts(site, "sender_senditem", "outcome") == {"sent": SCHEDULES}
    assert receiver.stored() == {f"1.2.3.{number}": 1 for number in range(SCHEDULES)}
