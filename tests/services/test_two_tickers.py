"""Two processes look at the clock at the same moment: each time of 50 schedules has one run."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django_q.models import OrmQ
from pytest_django import Settings

from sender.models import Schedule, ScheduleRun, Send, SendState
from tests import factories
from tests.processes import ROOT

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.slow]
SCHEDULES = 50
ROUNDS = 6
START = datetime(2026, 11, 24, 0, 0, 1, tzinfo=UTC)

TICKER = """
import json, sys
from datetime import datetime
import django
from django.utils import timezone
django.setup()
from sender.models import RunState, ScheduleRun
from sender.services import run_starting, schedule_runs
print("ready", flush=True)
for line in sys.stdin:
    now = datetime.fromisoformat(line.strip())
    timezone.now = lambda: now  # one clock for all, or a lease of today were one of the future
    wrote = [run.pk for run in schedule_runs.run_due(now)]
    schedule_runs.tick(now)
    for run_id in ScheduleRun.objects.filter(state=RunState.DUE).values_list("pk", flat=True):
        run_starting.start_run(run_id)
    print(json.dumps(wrote), flush=True)
"""


def database_url() -> str:
    """Return the address of the database that this test uses."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


@pytest.fixture
def tickers(tmp_path: Path) -> "Iterator[list[subprocess.Popen[str]]]":
    """Two processes, as on two hosts, that wait for a time."""
    with ExitStack() as stack:
        found = []
        for number in range(2):
            environment = os.environ | {
                "DATABASE_URL": database_url(),
                "CONCORDAT_SOURCE_ROOTS": str(tmp_path),
                "CONCORDAT_HOST_NAME": f"host{number}",
                "DJANGO_SETTINGS_MODULE": "dicomsite.settings",
            }
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", TICKER],
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            found.append(process)
        for process in found:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield found


def tell(tickers: "list[subprocess.Popen[str]]", now: datetime) -> list[list[int]]:
    """Let all tickers look at the same clock at once; return the runs that each wrote."""
    for ticker in tickers:
        assert ticker.stdin is not None
        ticker.stdin.write(f"{now.isoformat()}\n")
        ticker.stdin.flush()
    answers = [ticker.stdout.readline() for ticker in tickers if ticker.stdout is not None]
    return [json.loads(answer) for answer in answers]


def test_each_time_has_one_run_and_one_send_however_many_look(
    tickers: "list[subprocess.Popen[str]]", tmp_path: Path, settings: Settings
) -> None:
    settings.SOURCE_ROOTS = [tmp_path]
    path = factories.write_instance(tmp_path / "in" / "0.dcm", sop_instance="1.2.3")
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    to = factories.destination()
    for number in range(SCHEDULES):
        factories.schedule(tmp_path / "in", to, name=f"s{number}", expression="0 * * * *")
    Schedule.objects.update(next_run_at=START.replace(second=0), settled_until=START)
    wrote: Counter[int] = Counter()
    for number in range(ROUNDS):
        now = START + timedelta(hours=number)
        for answer in tell(tickers, now):
            wrote.update(answer)
        times = ScheduleRun.objects.filter(intended_at=now.replace(second=0))
        assert times.count() == SCHEDULES
        assert set(times.values_list("state", flat=True)) == {"started"}
        sends = Send.objects.filter(listing__runs__in=times)
        assert sends.count() == SCHEDULES
        assert Send.objects.count() == SCHEDULES * (number + 1)
        sends.update(state=SendState.SUCCEEDED)
    assert set(wrote.values()) == {1}, "each run was written by one process"
    assert OrmQ.objects.count() == 2 * SCHEDULES * ROUNDS, "a ticket per run and per send"
