"""The sender's timers after an outage of the database."""

import time
from pathlib import Path

import pytest
from django.db import OperationalError

from sender.models import SendBatch
from sender.process import pulse
from sender.process.pulse import Pulse
from sender.services import heartbeat, leases, planner, vigil
from sender.services.owners import LEASE_SECONDS
from sender.services.vigil import ENDED
from tests import factories
from tests.services.test_sending import order
from tests.services.test_vigil import Clock

pytestmark = pytest.mark.usefixtures("live_db")
BEAT = heartbeat.beat


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which leases are watched; beats and ticks come without a pause."""
    made = Clock()
    monkeypatch.setattr(vigil.WATCH, "_clock", made)
    monkeypatch.setattr(vigil.WATCH, "_seen", {})
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.0)
    monkeypatch.setattr(pulse, "TICK_SECONDS", 0.0)
    return made


@pytest.fixture
def batch(tmp_path: Path) -> SendBatch:
    """A batch that a worker elsewhere works on."""
    factories.write_instance(tmp_path / "in" / "1.dcm", sop_instance="1.2.3.1")
    made = order(factories.destination(), tmp_path / "in", inline=False)
    planner.plan_send(made.pk)
    assert leases.claim_batch(made.destination_id, "elsewhere:1") is not None
    return SendBatch.objects.get()


def be_away(name: str, kind: str) -> None:
    raise OperationalError("connection refused")


def be_slow(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a beat take as long as leases last."""
    real = time.monotonic
    late = [0.0]

    def beat(name: str, kind: str) -> None:
        late[0] += LEASE_SECONDS
        clock.seconds += LEASE_SECONDS
        BEAT(name, kind)

    monkeypatch.setattr(time, "monotonic", lambda: real() + late[0])
    monkeypatch.setattr(heartbeat, "beat", beat)


@pytest.mark.parametrize("is_away", [True, False], ids=["away", "slow"])
def test_leases_that_nobody_could_extend_are_not_over(
    batch: SendBatch, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, is_away: bool
) -> None:
    timers = Pulse()
    timers.keep()
    if is_away:
        monkeypatch.setattr(heartbeat, "beat", be_away)
        timers.keep()
        clock.seconds += LEASE_SECONDS
        monkeypatch.setattr(heartbeat, "beat", BEAT)
    else:
        be_slow(clock, monkeypatch)
    timers.keep()
    assert SendBatch.objects.filter(owner="elsewhere:1", lease_until__gt=ENDED).exists()
    monkeypatch.setattr(heartbeat, "beat", BEAT)
    clock.seconds += LEASE_SECONDS
    timers.keep()
    assert SendBatch.objects.get().owner == "", "now it stood still"
