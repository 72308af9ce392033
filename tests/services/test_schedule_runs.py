"""Schedules and the clock: one run per intended time, whatever happens to clocks and hosts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django_q.models import OrmQ
from pytest_django import Settings

from sender.models import (
    AuditEntry,
    Destination,
    RunState,
    RunTrigger,
    Schedule,
    ScheduleRun,
    Send,
    SendState,
)
from sender.services import schedule_runs, schedules, vigil
from sender.services.schedule_facts import ScheduleFacts
from sender.services.schedule_times import next_open
from sender.services.sending import WrongState
from tests import factories
from tests.services.test_vigil import Clock

pytestmark = pytest.mark.django_db


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(autouse=True)
def _tickets_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue tickets as soon as they are due: nothing is committed in these tests."""
    monkeypatch.setattr("django.db.transaction.on_commit", lambda issue: issue())


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which this process watches leases; it has seen none."""
    made = Clock()
    monkeypatch.setattr(vigil.WATCH, "_clock", made)
    monkeypatch.setattr(vigil.WATCH, "_seen", {})
    return made


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """A folder that schedules may read, with one old file."""
    settings.SOURCE_ROOTS = [tmp_path]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_text("x")
    return tmp_path / "in"


@pytest.fixture
def pacs() -> Destination:
    return factories.destination()


def at(schedule: Schedule, now: str) -> Schedule:
    """Let a schedule be as if it had been added at a time."""
    moment = utc(now)
    Schedule.objects.filter(pk=schedule.pk).update(
        next_run_at=next_open(schedule, moment), settled_until=moment
    )
    schedule.refresh_from_db()
    return schedule


def end_runs() -> None:
    """Let all runs be over."""
    ScheduleRun.objects.filter(state__in=(RunState.DUE, RunState.QUEUED)).update(
        state=RunState.STARTED
    )


def written(schedule: Schedule) -> list[tuple[str, str, str]]:
    return [
        (f"{run.intended_at.astimezone(UTC):%m-%d %H:%M}", run.trigger, run.state)
        for run in ScheduleRun.objects.filter(schedule=schedule).order_by("intended_at")
    ]


def run_through(start: str, minutes: int, step: int = 10) -> None:
    """Look at the clock every so many minutes, each run over before the next."""
    now = utc(start)
    for _ in range(0, minutes + 1, step):
        schedule_runs.run_due(now)
        end_runs()
        now += timedelta(minutes=step)


DAY = 24 * 60


@pytest.mark.parametrize(
    ("zone", "expression", "start", "days", "runs"),
    [
        # Berlin skips 02:00-03:00 on 29 March: 02:30 runs at 03:00, which is 01:00 UTC.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T00:00", 3,
         ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        # Berlin has 02:00-03:00 twice on 25 October: 02:30 runs once, at the first.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T00:00", 3,
         ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
        # Of two times that the gap swallows, both come at the same instant: one run.
        ("Europe/Berlin", "10,40 2 * * *", "2026-03-28T12:00", 1, ["03-29 01:00"]),
        # Lord Howe Island moves by half an hour: 02:00-02:30 is missing on 4 October.
        ("Australia/Lord_Howe", "10 2 * * *", "2026-10-02T12:00", 3,
         ["10-02 15:40", "10-03 15:30", "10-04 15:10"]),
        # And 01:30-02:00 comes twice on 5 April.
        ("Australia/Lord_Howe", "40 1 * * *", "2026-04-03T12:00", 3,
         ["04-03 14:40", "04-04 14:40", "04-05 15:10"]),
    ],
)  # fmt: skip
def test_each_time_runs_once_where_the_clocks_change(
    *,
    zone: str,
    expression: str,
    start: str,
    days: int,
    runs: list[str],
    folder: Path,
    pacs: Destination,
) -> None:
    schedule = factories.schedule(folder, pacs, zone=zone, expression=expression)
    at(schedule, start)
    run_through(start, days * DAY)
    assert written(schedule) == [(time, "time", "started") for time in runs], zone


def test_an_interval_counts_elapsed_time_past_the_change(folder: Path, pacs: Destination) -> None:
    schedule = factories.schedule(
        folder, pacs, kind="interval", expression="6h", anchor=utc("2026-03-28T20:00")
    )
    at(schedule, "2026-03-28T20:00")
    run_through("2026-03-28T20:00", 18 * 60)
    assert [time for time, _, _ in written(schedule)] == [
        "03-29 02:00", "03-29 08:00", "03-29 14:00",
    ]  # fmt: skip


def test_once_runs_once_and_never_again(folder: Path, pacs: Destination) -> None:
    schedule = factories.schedule(folder, pacs, kind="once", expression="2999-06-01 02:30")
    run_through("2999-05-31T23:50", 2 * DAY)
    schedule.refresh_from_db()
    assert [time for time, _, _ in written(schedule)] == ["06-01 00:30"]
    assert (schedule.next_run_at, schedule.enabled) == (None, True)


def test_a_second_look_at_the_same_time_writes_nothing(folder: Path, pacs: Destination) -> None:
    schedule = at(factories.schedule(folder, pacs), "2026-11-24T12:00")
    now = utc("2026-11-24T19:00:03")
    assert len(schedule_runs.run_due(now)) == 1
    assert schedule_runs.run_due(now) == []
    assert OrmQ.objects.count() == 1
    schedule.refresh_from_db()
    assert schedule.next_run_at == utc("2026-11-25T19:00")


def test_who_read_the_schedule_before_another_host_ran_it_writes_nothing(
    folder: Path, pacs: Destination
) -> None:
    schedule = at(factories.schedule(folder, pacs), "2026-11-24T12:00")
    now = utc("2026-11-24T19:00:03")
    schedule_runs.run_due(now)
    assert schedule_runs._take(schedule, now) is None
    assert ScheduleRun.objects.count() == 1
    assert OrmQ.objects.count() == 1


def test_a_clock_set_back_runs_nothing_twice_and_loses_nothing(
    folder: Path, pacs: Destination
) -> None:
    schedule = at(factories.schedule(folder, pacs, expression="0 * * * *"), "2026-11-24T12:30")
    run_through("2026-11-24T12:30", 120)
    assert [time for time, _, _ in written(schedule)] == ["11-24 13:00", "11-24 14:00"]
    now = utc("2026-11-24T12:40")
    while now < utc("2026-11-24T15:10"):
        schedule_runs.tick(now)
        end_runs()
        now += timedelta(minutes=5)
    assert [time for time, _, _ in written(schedule)] == [
        "11-24 13:00", "11-24 14:00", "11-24 15:00",
    ]  # fmt: skip


def test_a_clock_that_jumps_ahead_and_back_leaves_the_times_between(
    folder: Path, pacs: Destination
) -> None:
    schedule = at(factories.schedule(folder, pacs, expression="0 * * * *"), "2026-11-24T12:30")
    schedule_runs.tick(utc("2026-11-26T12:30"))
    end_runs()
    assert written(schedule) == [("11-26 12:00", "catch-up", "started")]
    for now in ("2026-11-24T12:31", "2026-11-24T13:00:01", "2026-11-24T14:00:01"):
        schedule_runs.tick(utc(now))
        end_runs()
    assert written(schedule)[:2] == [
        ("11-24 13:00", "time", "started"), ("11-24 14:00", "time", "started"),
    ]  # fmt: skip
    schedule_runs.tick(utc("2026-11-26T12:00:01"))
    assert len(ScheduleRun.objects.filter(intended_at=utc("2026-11-26T12:00"))) == 1


@pytest.mark.parametrize(
    ("catch_up", "trigger", "state"),
    [("latest", "catch-up", "due"), ("skip", "time", "skipped")],
)
def test_what_was_missed_follows_the_policy(
    catch_up: str, trigger: str, state: str, folder: Path, pacs: Destination
) -> None:
    schedule = at(factories.schedule(folder, pacs, catch_up=catch_up), "2026-11-20T12:00")
    schedule_runs.run_due(utc("2026-11-24T12:00"))
    assert written(schedule) == [("11-23 19:00", trigger, state)]
    run = ScheduleRun.objects.get()
    assert "no sender was running" in run.detail.lower()
    assert "3 earlier times were missed." in run.detail
    schedule.refresh_from_db()
    assert schedule.next_run_at == utc("2026-11-24T19:00")


@pytest.mark.parametrize("catch_up", ["latest", "skip"])
def test_a_sender_that_is_a_moment_late_is_on_time(
    catch_up: str, folder: Path, pacs: Destination
) -> None:
    schedule = at(factories.schedule(folder, pacs, catch_up=catch_up), "2026-11-24T12:00")
    schedule_runs.run_due(utc("2026-11-24T19:00:59"))
    assert written(schedule) == [("11-24 19:00", "time", "due")]
    assert ScheduleRun.objects.get().detail == ""


def test_a_disabled_schedule_does_not_run_and_makes_nothing_up(
    folder: Path, pacs: Destination
) -> None:
    schedule = at(factories.schedule(folder, pacs), "2999-11-24T12:00")
    schedules.disable_schedule(schedule, "test")
    schedule_runs.run_due(utc("2999-11-24T19:00:03"))
    assert written(schedule) == []
    schedules.enable_schedule(schedule, "test")
    assert schedule.next_run_at is not None
    assert schedule.next_run_at > datetime.now(UTC)
    with pytest.raises(WrongState, match="enabled already"):
        schedules.enable_schedule(schedule, "test")


@pytest.mark.parametrize("change", ["times", "note"])
def test_an_edit_while_a_time_is_due_neither_loses_nor_doubles_it(
    change: str, folder: Path, pacs: Destination
) -> None:
    schedule = factories.schedule(folder, pacs)
    due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    berlin = f"{due.minute} {due.hour} * * *"
    edit(schedule, expression=berlin, zone="UTC")
    Schedule.objects.update(next_run_at=due)
    edit(schedule, **({"expression": "0 21 * * *"} if change == "times" else {"note": "x"}))
    schedule_runs.run_due(datetime.now(UTC))
    (found,) = ScheduleRun.objects.all()
    assert found.intended_at == due
    if change == "times":
        assert (found.state, found.detail) == ("skipped", schedules.CHANGED)
    else:
        assert (found.state, found.trigger) == ("due", "catch-up")


def edit(schedule: Schedule, **changes: Any) -> None:
    """Change some of what a schedule says."""
    schedule.refresh_from_db()
    names = set(ScheduleFacts.__dataclass_fields__) - {"targets", "sources"}
    facts = ScheduleFacts(
        sources=schedule.sources,
        targets=[(t.destination, t.template) for t in schedule.targets.all()],
        **{name: getattr(schedule, name) for name in names} | changes,
    )
    schedules.change_schedule(schedule, facts, actor="test")


def test_an_edit_between_reading_and_running_is_heeded(folder: Path, pacs: Destination) -> None:
    schedule = at(factories.schedule(folder, pacs), "2026-11-24T12:00")
    edit(Schedule.objects.get(pk=schedule.pk), note="changed meanwhile")
    assert schedule_runs._take(schedule, utc("2026-11-24T19:00:03")) is None
    assert len(schedule_runs.run_due(utc("2026-11-24T19:00:03"))) == 1


def test_another_zone_moves_the_next_time_and_repeats_none(folder: Path, pacs: Destination) -> None:
    schedule = factories.schedule(folder, pacs, expression="0 20 * * *")
    edit(schedule, zone="America/New_York")
    assert schedule.next_run_at is not None
    assert schedule.next_run_at.astimezone(UTC).hour in (0, 1)


def test_a_zone_that_is_gone_fails_loudly_and_stops_no_other(
    folder: Path, pacs: Destination
) -> None:
    broken = at(factories.schedule(folder, pacs), "2026-11-24T12:00")
    sound = at(factories.schedule(folder, pacs, name="Sound"), "2026-11-24T12:00")
    Schedule.objects.filter(pk=broken.pk).update(zone="Europe/Atlantis")
    schedule_runs.tick(utc("2026-11-24T19:00:03"))
    assert written(broken) == [("11-24 19:00", "time", "failed")]
    assert "Europe/Atlantis" in ScheduleRun.objects.get(schedule=broken).detail
    assert written(sound) == [("11-24 19:00", "time", "due")]


def with_open_send(schedule: Schedule, pacs: Destination) -> Send:
    """Let the newest run of a schedule have a send that goes on."""
    from sender.models import Listing

    run = ScheduleRun.objects.filter(schedule=schedule).first()
    assert run is not None
    target = schedule.targets.get()
    send = Send.objects.create(
        destination=pacs,
        template_version=target.template.newest,
        listing=Listing.objects.create(),
        state=SendState.RUNNING,
        requested_by="test",
    )
    ScheduleRun.objects.filter(pk=run.pk).update(state=RunState.STARTED, listing=send.listing)
    return send


def test_a_run_that_would_overlap_is_skipped_with_the_reason(
    folder: Path, pacs: Destination
) -> None:
    schedule = at(factories.schedule(folder, pacs), "2026-11-24T12:00")
    schedule_runs.run_due(utc("2026-11-24T19:00:03"))
    send = with_open_send(schedule, pacs)
    schedule_runs.run_due(utc("2026-11-25T19:00:03"))
    assert [state for _, _, state in written(schedule)] == ["started", "skipped"]
    run = ScheduleRun.objects.first()
    assert run is not None
    assert run.detail == "The run of 2026-11-24 20:00 is still going on: a send is open."
    Send.objects.filter(pk=send.pk).update(state=SendState.SUCCEEDED)
    schedule_runs.run_due(utc("2026-11-26T19:00:03"))
    assert written(schedule)[-1] == ("11-26 19:00", "time", "due")


def test_a_run_that_may_wait_begins_when_the_last_one_is_over(
    folder: Path, pacs: Destination
) -> None:
    schedule = at(factories.schedule(folder, pacs, overlap="queue"), "2026-11-24T12:00")
    schedule_runs.run_due(utc("2026-11-24T19:00:03"))
    send = with_open_send(schedule, pacs)
    schedule_runs.tick(utc("2026-11-25T19:00:03"))
    schedule_runs.tick(utc("2026-11-26T19:00:03"))
    assert [state for _, _, state in written(schedule)] == ["started", "queued", "skipped"]
    OrmQ.objects.all().delete()
    Send.objects.filter(pk=send.pk).update(state=SendState.PARTIAL)
    schedule_runs.tick(utc("2026-11-26T20:00"))
    assert [state for _, _, state in written(schedule)] == ["started", "due", "skipped"]
    assert OrmQ.objects.count() == 1


def test_a_draft_of_a_check_holds_up_no_run(folder: Path, pacs: Destination) -> None:
    schedule = at(factories.schedule(folder, pacs), "2026-11-24T12:00")
    schedule_runs.check_now(schedule, "ada")
    send = with_open_send(schedule, pacs)
    ScheduleRun.objects.update(state=RunState.CHECKED)
    Send.objects.filter(pk=send.pk).update(state=SendState.DRAFT)
    schedule_runs.run_due(utc("2026-11-24T19:00:03"))
    assert written(schedule)[0] == ("11-24 19:00", "time", "due")


def test_run_now_runs_once_and_leaves_the_times_alone(folder: Path, pacs: Destination) -> None:
    schedule = factories.schedule(folder, pacs)
    before = schedule.next_run_at
    run = schedule_runs.run_now(schedule, "ada")
    assert (run.trigger, run.state, run.requested_by) == (RunTrigger.NOW, RunState.DUE, "ada")
    assert run.intended_at.microsecond, "it takes the place of no time of the schedule"
    with pytest.raises(WrongState, match="has not begun yet"):
        schedule_runs.run_now(schedule, "ada")
    schedule.refresh_from_db()
    assert schedule.next_run_at == before
    assert AuditEntry.objects.filter(action="schedule.run_now", actor="ada").count() == 1


def test_a_lost_ticket_is_issued_again_but_not_at_each_tick(
    folder: Path, pacs: Destination, clock: Clock
) -> None:
    schedule_runs.run_now(factories.schedule(folder, pacs), "ada")
    OrmQ.objects.all().delete()
    counts = []
    for clock.seconds in (0, 29, 31, 36, 41):
        schedule_runs.tick(datetime.now(UTC))
        counts.append(OrmQ.objects.count())
    assert counts == [0, 0, 1, 1, 1], "whoever has the ticket gets time"


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_step_of_the_clock_calls_nobody_out(
    folder: Path, pacs: Destination, clock: Clock, step: timedelta
) -> None:
    schedule_runs.run_now(factories.schedule(folder, pacs), "ada")
    OrmQ.objects.all().delete()
    for clock.seconds in (0, 10):
        schedule_runs.tick(datetime.now(UTC) + step)
    assert OrmQ.objects.count() == 0


def test_a_run_from_which_no_worker_comes_back_fails(
    folder: Path, pacs: Destination, clock: Clock
) -> None:
    run = schedule_runs.run_now(factories.schedule(folder, pacs), "ada")
    ScheduleRun.objects.update(attempts=schedule_runs.MOST_ATTEMPTS)
    for clock.seconds in (0, 31):
        schedule_runs.tick(datetime.now(UTC))
    run.refresh_from_db()
    assert (run.state, run.detail) == (RunState.FAILED, schedule_runs.VANISHED)
