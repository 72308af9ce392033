"""A clock that is put back delays nothing; times that people chose stay."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from sender.models import Hold, HoldKind, Schedule, ScheduleRun, SendBatch, SendItem
from sender.services import clock, engine, heartbeat, planner
from sender.services.clock import Steps, follow_steps
from tests import factories
from tests.services.test_sending import order
from tests.services.test_vigil import Clock

HOUR = timedelta(hours=1)
MINUTES = timedelta(minutes=3)
of_hosts = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite is for one host")


class Wall:
    """A clock on the wall that is put forward and back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = timezone.now
        self.off = timedelta()
        monkeypatch.setattr(timezone, "now", lambda: self._real() + self.off)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


def test_a_clock_that_goes_on_makes_no_step(wall: Wall) -> None:
    monotonic = Clock()
    steps = Steps(monotonic)
    assert steps.look() == timedelta()
    monotonic.seconds += 3600
    wall.off += HOUR
    assert abs(steps.look()) < timedelta(seconds=1)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_is_told_once(wall: Wall, step: timedelta) -> None:
    steps = Steps()
    steps.look()
    wall.off += step
    assert abs(steps.look() - step) < timedelta(seconds=1)
    assert abs(steps.look()) < timedelta(seconds=1)


@pytest.mark.usefixtures("live_db")
@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_what_was_due_is_due_after_a_step(wall: Wall, tmp_path: Path, step: timedelta) -> None:
    factories.write_instance(tmp_path / "in" / "1.dcm", sop_instance="1.2.3.1")
    send = order(factories.destination(), tmp_path / "in", inline=False)
    planner.plan_send(send.pk)
    SendItem.objects.update(retry_at=timezone.now())
    steps = Steps()
    follow_steps(steps)
    wall.off += step
    follow_steps(steps)
    soon = timezone.now() + timedelta(seconds=1)
    assert SendBatch.objects.get().next_attempt_at <= soon
    assert _retry_at() <= soon


@pytest.mark.usefixtures("live_db")
def test_a_pause_that_somebody_set_ends_when_it_was_to_end(wall: Wall) -> None:
    until = timezone.now() + 2 * HOUR
    hold = Hold.objects.create(
        kind=HoldKind.PAUSE, reason="x", set_by="test", until=until, probe_at=until
    )
    steps = Steps()
    follow_steps(steps)
    wall.off -= HOUR
    follow_steps(steps)
    hold.refresh_from_db()
    assert hold.until == until
    assert hold.probe_at is not None
    assert abs(hold.probe_at - (until - HOUR)) < timedelta(seconds=1)


def _retry_at() -> datetime:
    found = SendItem.objects.get().retry_at
    assert found is not None
    return found


@pytest.mark.usefixtures("live_db")
@pytest.mark.parametrize(("off", "said"), [(MINUTES, "ahead of"), (-MINUTES, "behind")])
def test_a_clock_that_differs_from_the_databases_is_told_once(
    wall: Wall, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    off: timedelta, said: str,
) -> None:  # fmt: skip
    real = timezone.now
    monkeypatch.setattr(clock, "shared_now", lambda: real() - wall.off)
    comparison = clock.Comparison()
    comparison.look()
    wall.off = off
    comparison.look()
    comparison.look()
    wall.off = timedelta()
    comparison.look()
    records = [record for record in caplog.records if record.name == clock.__name__]
    assert [record.levelname for record in records] == ["ERROR", "WARNING"]
    assert f"180 s {said} the database" in records[0].getMessage()


@pytest.mark.usefixtures("live_db")
@of_hosts
@pytest.mark.parametrize("off", [MINUTES, -MINUTES])
def test_hosts_with_different_clocks_run_a_schedule_at_its_times_only(
    wall: Wall, tmp_path: Path, off: timedelta, settings: Settings
) -> None:
    settings.SOURCE_ROOTS = [tmp_path]
    made = factories.schedule(
        tmp_path, factories.destination(), kind="cron", expression="* * * * *", zone="UTC"
    )
    at = clock.shared_now().replace(second=0, microsecond=0)
    Schedule.objects.update(next_run_at=at)
    for _ in range(2):
        wall.off = off
        engine.tick("with a wrong clock")
        wall.off = timedelta()
        engine.tick("with the right clock")
    runs = ScheduleRun.objects.filter(schedule=made)
    assert set(runs.values_list("intended_at", flat=True)) <= {at, at + timedelta(minutes=1)}
    assert not runs.filter(detail__contains="missed").exists()


@pytest.mark.usefixtures("live_db")
@of_hosts
def test_a_sender_with_a_wrong_clock_is_seen_to_live(wall: Wall) -> None:
    wall.off = -MINUTES
    heartbeat.beat("other:1", kind="sender")
    wall.off = timedelta()
    assert heartbeat.sender_state().is_live
