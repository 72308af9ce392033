"""A clock that is put back delays nothing; times that people chose stay."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from sender.models import Hold, HoldKind, SendBatch, SendItem
from sender.services import planner
from sender.services.clock import Steps, follow_steps
from tests import factories
from tests.services.test_sending import order
from tests.services.test_vigil import Clock

HOUR = timedelta(hours=1)


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
    clock = Clock()
    steps = Steps(clock)
    assert steps.look() == timedelta()
    clock.seconds += 3600
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
