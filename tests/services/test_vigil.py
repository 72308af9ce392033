"""Leases are over when they stand still, whatever the clocks on the wall say."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from sender.models import (
    AssociationAttempt,
    BatchState,
    DestinationSlot,
    Listing,
    ListingState,
    Send,
    SendBatch,
)
from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.services import clock as clocks
from sender.services import engine, leases, planner, recording, recovery, vigil
from sender.services.owners import LEASE_SECONDS
from sender.services.vigil import ENDED, STILL_SECONDS, Vigil
from tests import factories
from tests.services.test_sending import order

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_lease_is_over_once_it_stood_still() -> None:
    clock = Clock()
    watch = Vigil(clock)
    assert watch.over("g", [(1, NOW)]) == set()
    clock.seconds += LEASE_SECONDS - 1
    assert watch.over("g", [(1, NOW)]) == set()
    clock.seconds += 1
    assert watch.over("g", [(1, NOW)]) == {1}


def test_a_lease_that_moves_is_never_over() -> None:
    clock = Clock()
    watch = Vigil(clock)
    for step in range(10):
        clock.seconds += LEASE_SECONDS - 1
        assert watch.over("g", [(1, NOW - timedelta(days=step))]) == set()


def test_what_nobody_holds_is_over_at_once() -> None:
    assert Vigil(Clock()).over("g", [(1, None), (2, ENDED), (3, NOW)]) == {1, 2}


def test_what_was_out_of_sight_is_watched_anew() -> None:
    clock = Clock()
    watch = Vigil(clock)
    watch.over("g", [(1, NOW)])
    watch.over("g", [])
    clock.seconds += LEASE_SECONDS
    assert watch.over("g", [(1, NOW)]) == set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which this process watches leases."""
    made = Clock()
    monkeypatch.setattr(vigil.WATCH, "_clock", made)
    monkeypatch.setattr(vigil.WATCH, "_seen", {})
    return made


@pytest.fixture
def send(tmp_path: Path, live_db: None) -> Send:
    factories.write_instance(tmp_path / "in" / "1.dcm", sop_instance="1.2.3.1")
    made = order(factories.destination(), tmp_path / "in", inline=False, retries=3)
    planner.plan_send(made.pk)
    return made


def step(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Put the clock on the wall forward or back."""
    real, shared = timezone.now, clocks.shared_now
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(hours=hours))
    if abs(shared() - real()) < timedelta(minutes=1):  # with SQLite it follows by itself
        monkeypatch.setattr(clocks, "shared_now", lambda: shared() + timedelta(hours=hours))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_step_of_the_clock_takes_nothing_from_anybody(
    send: Send, clock: Clock, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    slot = leases.claim_slot(send.destination, "elsewhere:1")
    batch = leases.claim_batch(send.destination_id, "elsewhere:1")
    uid = factories.open_attempt(send.destination)
    assert slot is not None
    assert batch is not None
    step(monkeypatch, hours)
    for _ in range(3):
        engine.tick("test")
        assert leases.claim_slot(send.destination, "other") is None
        assert leases.claim_batch(send.destination_id, "other") is None
        clock.seconds += LEASE_SECONDS / 4
    assert SendBatch.objects.get().state == BatchState.RUNNING
    assert AssociationAttempt.objects.get(pk=uid).closed_at is None
    assert leases.extend_slot(slot)
    assert leases.extend_batch(batch)


@pytest.mark.parametrize("hours", [1, 0, -1])
def test_who_vanished_is_followed_whatever_the_clock_says(
    send: Send, clock: Clock, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    slot = leases.claim_slot(send.destination, "elsewhere:1")
    batch = leases.claim_batch(send.destination_id, "elsewhere:1")
    assert slot is not None
    assert batch is not None
    step(monkeypatch, hours)
    recovery.end_leases()
    clock.seconds += LEASE_SECONDS
    engine.tick("test")
    assert SendBatch.objects.get().state == BatchState.READY
    assert not leases.extend_batch(batch)
    assert not leases.extend_slot(slot)
    assert leases.claim_slot(send.destination, "other") is not None


@pytest.mark.parametrize("is_answered", [True, False])
def test_failures_before_a_vanished_worker_count_no_more_if_it_had_got_on(
    send: Send, clock: Clock, is_answered: bool
) -> None:
    SendBatch.objects.update(failures=6)
    assert leases.claim_batch(send.destination_id, "elsewhere:1") is not None
    uid = factories.open_attempt(send.destination, send=send)
    AssociationAttempt.objects.update(owner="elsewhere:1")
    status = 0x0000 if is_answered else None
    kind = InstanceOutcome.SENT if is_answered else InstanceOutcome.UNKNOWN
    result = recording.InstanceResult(
        1,
        send.items.get().pk,
        "1.2.3.1",
        "1.2",
        factories.ELE,
        "none",
        StoreOutcome(kind, 1, status),
    )
    recording.record_instances(uid, [result])
    engine.tick("test")
    clock.seconds += LEASE_SECONDS
    engine.tick("test")
    batch = SendBatch.objects.get()
    assert batch.state == BatchState.READY
    assert batch.failures == (0 if is_answered else 6)
    assert (batch.next_attempt_at > timezone.now()) is not is_answered


@pytest.mark.parametrize("hours", [1, 0, -1])
def test_scans_and_plans_are_followed_by_watching_too(
    tmp_path: Path, live_db: None, clock: Clock, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    factories.write_instance(tmp_path / "in" / "1.dcm", sop_instance="1.2.3.1")
    made = order(factories.destination(), tmp_path / "in", inline=False)
    until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    Send.objects.update(owner="elsewhere:1", lease_until=until)
    Listing.objects.update(state=ListingState.SCANNING, owner="elsewhere:1", lease_until=until)
    step(monkeypatch, hours)
    for _ in range(2):
        engine.tick("test")
        planner.plan_send(made.pk)
        assert Send.objects.get().owner == "elsewhere:1", "whoever plans may only be slow"
        clock.seconds += LEASE_SECONDS / 2
    engine.tick("test")
    planner.plan_send(made.pk)
    assert Send.objects.get().planned_at is not None


def test_who_is_in_a_hurry_takes_what_is_over_and_still_for_a_while(
    send: Send, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = send.destination
    assert leases.claim_slot(to, "elsewhere:1") is not None
    step(monkeypatch, 1)
    assert leases.claim_slot(to, "other", in_a_hurry=True) is None
    clock.seconds += STILL_SECONDS - 1
    assert leases.claim_slot(to, "other", in_a_hurry=True) is None
    clock.seconds += 1
    assert leases.claim_slot(to, "other", in_a_hurry=True) is not None


def test_nobody_is_in_such_a_hurry_that_a_host_with_a_wrong_clock_loses_its_slot(
    send: Send, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = timezone.now
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(clocks, "shared_now", real)
        elsewhere.setattr(timezone, "now", lambda: real() - timedelta(minutes=3))
        slot = leases.claim_slot(send.destination, "elsewhere:1")
        assert slot is not None
        assert leases.extend_slot(slot)
    assert leases.claim_slot(send.destination, "other", in_a_hurry=True) is None
    clock.seconds += STILL_SECONDS
    assert leases.claim_slot(send.destination, "other", in_a_hurry=True) is None


def test_nobody_is_in_such_a_hurry_that_a_lease_in_force_is_taken(send: Send, clock: Clock) -> None:
    assert leases.claim_slot(send.destination, "elsewhere:1") is not None
    assert leases.claim_slot(send.destination, "other", in_a_hurry=True) is None
    clock.seconds += STILL_SECONDS
    assert leases.claim_slot(send.destination, "other", in_a_hurry=True) is None


def test_a_lease_that_was_ended_is_not_extended_any_more(send: Send) -> None:
    slot = leases.claim_slot(send.destination, "elsewhere:1")
    batch = leases.claim_batch(send.destination_id, "elsewhere:1")
    assert slot is not None
    assert batch is not None
    recovery.give_back("elsewhere:1")
    assert not leases.extend_slot(slot)
    assert not leases.extend_batch(batch)
    assert DestinationSlot.objects.get().owner == ""


def test_a_process_that_gives_no_sign_of_life_loses_its_inline_send(
    tmp_path: Path, live_db: None, clock: Clock
) -> None:
    factories.write_instance(tmp_path / "in" / "1.dcm", sop_instance="1.2.3.1")
    send = order(factories.destination(), tmp_path / "in", inline=True)
    mine = Send.objects.filter(pk=send.pk)
    mine.update(runner="elsewhere:1")
    for seconds in range(3):
        mine.update(runner_until=NOW + timedelta(seconds=seconds))
        engine.tick("test")
        assert mine.get().inline, "it moves"
        clock.seconds += LEASE_SECONDS - 1
    engine.tick("test")
    assert mine.get().inline
    clock.seconds += 1
    engine.tick("test")
    assert not mine.get().inline
    assert mine.get().detail.startswith("The command that ran it gave no sign of life")
