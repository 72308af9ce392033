"""Runs of schedules with files and a real receiver: what is sent, left, refused, and said."""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django_q.models import OrmQ
from pytest_django import Settings

from sender.analytics.schedules import RunAccount, RunOutcome, accounts, attention, newest_runs
from sender.dicom.acceptor import Receiver
from sender.models import (
    Association,
    AuditEntry,
    ContextTemplate,
    Destination,
    RunState,
    Schedule,
    ScheduleRun,
    Send,
    SendItem,
    SendState,
)
from sender.services import (
    engine,
    keeping,
    listing,
    planner,
    run_starting,
    schedule_runs,
    schedules,
    sending,
    vigil,
)
from tests import factories
from tests.processes import await_true, free_port
from tests.services.test_vigil import Clock

pytestmark = pytest.mark.usefixtures("live_db")
COMPRESSED = factories.J90


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """Three old instances below the only source root."""
    settings.SOURCE_ROOTS = [tmp_path]
    for number in range(3):
        old(factories.write_instance(tmp_path / "in" / f"{number}.dcm", sop_instance=uid(number)))
    return tmp_path / "in"


def uid(number: int) -> str:
    return f"1.2.3.{number}"


def old(path: Path) -> Path:
    """Let a file be an hour old."""
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    return path


def pacs(receiver: Receiver, name: str = "pacs", **facts: object) -> Destination:
    return factories.destination(
        name, **{"ae_title": "DEMO_SCP", "port": receiver.port, "retries": 0, **facts}
    )


def dark() -> Destination:
    """Add a destination where nobody answers."""
    return factories.destination(port=free_port())


def begin(schedule: Schedule) -> ScheduleRun:
    """Run a schedule now, as far as its sends."""
    run = schedule_runs.run_now(schedule, "ada")
    run_starting.start_run(run.pk)
    run.refresh_from_db()
    return run


def complete(run: ScheduleRun) -> RunAccount:
    """Plan and send whatever a run began."""
    for send in Send.objects.filter(listing=run.listing_id):
        planner.plan_send(send.pk)
    for send in Send.objects.filter(listing=run.listing_id, state=SendState.QUEUED):
        engine.run_inline(send)
    return account_of(run)


def account_of(run: ScheduleRun) -> RunAccount:
    return accounts([ScheduleRun.objects.select_related("schedule", "listing").get(pk=run.pk)])[0]


def uids(run: ScheduleRun, outcome: str = "sent") -> list[str]:
    items = SendItem.objects.filter(send__listing=run.listing_id, outcome=outcome)
    return sorted(items.values_list("file__sop_instance_uid", flat=True))


def test_a_run_sends_to_all_targets_from_one_listing(receiver: Receiver, folder: Path) -> None:
    schedule = factories.schedule(
        folder,
        pacs(receiver),
        pacs(receiver, "second", ae_title="DEMO_OLD"),
        windows="daily 00:00-24:00",
        priority=7,
        retries=1,
        study_order="newest",
        finish_within_seconds=3600,
    )
    run = begin(schedule)
    sends = list(Send.objects.order_by("id"))
    assert len(sends) == 2
    assert {send.listing_id for send in sends} == {run.listing_id}
    for send in sends:
        assert (send.windows, send.zone, send.priority, send.retries, send.study_order) == (
            "daily 00:00-24:00", "Europe/Berlin", 7, 1, "newest",
        )  # fmt: skip
        assert send.only_new
        assert send.finish_by is not None
        assert (send.finish_by - run.intended_at).total_seconds() == 3600
    assert sends[0].name.startswith("Nightly, 20")
    assert sends[0].requested_by == "ada"
    account = complete(run)
    assert (account.outcome, account.counts) == (RunOutcome.SUCCEEDED, {"sent": 6})
    entry = AuditEntry.objects.get(action="schedule.run")
    assert entry.facts["sends"] == [send.pk for send in sends]


def test_a_run_on_time_is_named_by_its_local_time(receiver: Receiver, folder: Path) -> None:
    schedule = factories.schedule(folder, pacs(receiver))
    Schedule.objects.update(next_run_at=datetime(2026, 11, 24, 19, tzinfo=UTC))
    (run,) = schedule_runs.run_due(datetime(2026, 11, 24, 19, 0, 2, tzinfo=UTC))
    run_starting.start_run(run.pk)
    send = Send.objects.get()
    assert (send.name, send.requested_by) == ("Nightly, 2026-11-24 20:00", "schedule:Nightly")
    assert schedule.name == "Nightly"


def test_a_doubled_ticket_starts_a_run_once(receiver: Receiver, folder: Path) -> None:
    run = begin(factories.schedule(folder, pacs(receiver)))
    run_starting.start_run(run.pk)
    assert Send.objects.count() == 1


def test_a_run_whose_sources_take_long_is_called_out_for_nobody_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, run = Clock(), schedule_runs.run_now(factories.schedule(folder, dark()), "ada")
    monkeypatch.setattr(vigil.WATCH, "_clock", clock)
    monkeypatch.setattr(keeping, "EXTEND_EVERY_SECONDS", 0.05)
    OrmQ.objects.all().delete()

    def look(_paths: object) -> bool:
        for clock.seconds in range(0, 100, 20):
            schedule_runs.tick(datetime.now(UTC))
            await_longer_lease(run)
        return True

    monkeypatch.setattr(listing, "holds_files", look)
    run_starting.start_run(run.pk)
    run.refresh_from_db()
    assert (run.state, run.attempts) == (RunState.STARTED, 1)
    assert not [row for row in OrmQ.objects.all() if row.task["func"].endswith("start_run")]


def test_a_run_whose_worker_died_while_it_looked_is_called_out_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, run = Clock(), schedule_runs.run_now(factories.schedule(folder, dark()), "ada")
    monkeypatch.setattr(vigil.WATCH, "_clock", clock)
    OrmQ.objects.all().delete()
    ScheduleRun.objects.update(attempts=1)
    for clock.seconds in (0, 31):
        schedule_runs.tick(datetime.now(UTC))
    assert OrmQ.objects.count() == 1
    run_starting.start_run(run.pk)
    run.refresh_from_db()
    assert (run.state, run.attempts) == (RunState.STARTED, 2)


def await_longer_lease(run: ScheduleRun) -> None:
    as_now = ScheduleRun.objects.filter(pk=run.pk, lease_until=lease_of(run))
    await_true(lambda: not as_now.exists(), "a longer lease", 10)


def lease_of(run: ScheduleRun) -> datetime | None:
    return ScheduleRun.objects.get(pk=run.pk).lease_until


def test_the_second_night_sends_only_what_is_new(receiver: Receiver, folder: Path) -> None:
    schedule = factories.schedule(folder, pacs(receiver))
    complete(begin(schedule))
    assert complete(begin(schedule)).outcome == RunOutcome.NOTHING_NEW
    old(factories.write_instance(folder / "new.dcm", sop_instance=uid(9)))
    run = begin(schedule)
    account = complete(run)
    assert (uids(run), account.already_there, account.outcome) == ([uid(9)], 3, "succeeded")


def test_last_nights_failures_are_taken_up_again(folder: Path, settings: Settings) -> None:
    settings.RETRY_BASE_SECONDS = 0.01
    port = free_port()
    schedule = factories.schedule(
        folder,
        factories.destination(port=port, ae_title="DEMO_SCP", retries=0, connect_timeout=1),
        retries=0,
    )
    first = begin(schedule)
    assert complete(first).outcome == RunOutcome.FAILED
    with Receiver(port=port):
        second = begin(schedule)
        assert complete(second).outcome == RunOutcome.SUCCEEDED
    assert uids(second) == [uid(0), uid(1), uid(2)]
    assert attention() == []


def test_a_changed_file_is_new_again(receiver: Receiver, folder: Path) -> None:
    schedule = factories.schedule(folder, pacs(receiver))
    complete(begin(schedule))
    old(factories.write_instance(folder / "0.dcm", sop_instance=uid(0), rows=4))
    run = begin(schedule)
    complete(run)
    assert uids(run) == [uid(0)]


def test_files_that_may_still_be_written_wait_for_the_next_run(
    receiver: Receiver, folder: Path
) -> None:
    fresh = factories.write_instance(folder / "fresh.dcm", sop_instance=uid(9))
    schedule = factories.schedule(folder, pacs(receiver))
    first = begin(schedule)
    account = complete(first)
    assert account.outcome == RunOutcome.SUCCEEDED
    assert account.listing is not None
    assert account.listing.excluded == {"younger than the least age": 1}
    old(fresh)
    second = begin(schedule)
    complete(second)
    assert uids(second) == [uid(9)]


def test_rules_leave_out_what_they_should(receiver: Receiver, folder: Path) -> None:
    old(factories.write_instance(folder / "mr.dcm", sop_instance=uid(9), sop_class=factories.MR))
    schedule = factories.schedule(
        folder, pacs(receiver), rules={"sop_classes": [factories.MR], "patterns": ["*.dcm"]}
    )
    run = begin(schedule)
    complete(run)
    assert uids(run) == [uid(9)]


def test_a_rule_on_an_attribute_that_does_not_exist_is_a_failed_run(
    receiver: Receiver, folder: Path
) -> None:
    schedule = factories.schedule(folder, pacs(receiver), rules={"tags": {"Colour": "blue"}})
    run = begin(schedule)
    assert run.state == RunState.FAILED
    assert "no DICOM attribute called “Colour”" in run.detail
    assert not Send.objects.exists()


@pytest.mark.parametrize("what", ["missing", "empty", "outside"])
def test_a_source_that_can_not_be_used_is_a_failed_run(
    what: str, receiver: Receiver, folder: Path, settings: Settings
) -> None:
    schedule = factories.schedule(folder, pacs(receiver))
    shutil.rmtree(folder)
    if what == "empty":
        (folder / "deep").mkdir(parents=True)
    elif what == "outside":
        folder.symlink_to("/etc")
    run = begin(schedule)
    assert run.state == RunState.FAILED
    assert str(folder) in run.detail
    assert {"missing": "not exist", "empty": "holds no files", "outside": "outside"}[
        what
    ] in run.detail
    assert not Send.objects.exists()
    (found,) = attention()
    assert (found.is_bad, found.schedule) == (True, schedule)
    assert AuditEntry.objects.get(action="schedule.run").facts["state"] == "failed"


def test_a_source_that_vanishes_before_it_is_listed_is_a_failed_run(
    receiver: Receiver, folder: Path
) -> None:
    run = begin(factories.schedule(folder, pacs(receiver)))
    shutil.rmtree(folder)
    account = complete(run)
    assert (account.outcome, account.run.state) == (RunOutcome.FAILED, RunState.FAILED)
    assert "does not exist" in account.run.detail


def test_one_bad_source_fails_the_run_but_holds_up_no_other(
    receiver: Receiver, folder: Path
) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / "x.txt").write_text("x")
    schedule = factories.schedule(folder, pacs(receiver))
    Schedule.objects.update(sources=[str(other), str(folder)])
    shutil.rmtree(other)
    run = begin(schedule)
    account = complete(run)
    assert (account.outcome, uids(run)) == (RunOutcome.FAILED, [uid(0), uid(1), uid(2)])
    assert str(other) in run.detail
    assert schedule.pk in newest_runs([schedule])


def test_rules_that_suddenly_take_nothing_are_told(receiver: Receiver, folder: Path) -> None:
    schedule = factories.schedule(folder, pacs(receiver), rules={"patterns": ["*.dcm"]})
    complete(begin(schedule))
    for path in folder.iterdir():
        path.rename(path.with_suffix(".dicom"))
    account = complete(begin(schedule))
    assert account.outcome == RunOutcome.NOTHING_NEW
    assert account.run.warning == ("the rules left out all 3 files, where the run before took 3")
    assert [(one.schedule, one.is_bad) for one in attention()] == [(schedule, False)]


def test_a_disabled_destination_is_left_out_and_named(receiver: Receiver, folder: Path) -> None:
    off = pacs(receiver, "off")
    schedule = factories.schedule(folder, pacs(receiver), off)
    Destination.objects.filter(pk=off.pk).update(enabled=False)
    run = begin(schedule)
    assert Send.objects.get().destination.name == "pacs"
    assert run.detail == "off is disabled and was left out."
    Send.objects.update(state=SendState.SUCCEEDED)
    Destination.objects.update(enabled=False)
    run = begin(schedule)
    assert (run.state, run.detail) == (RunState.FAILED, run_starting.NO_TARGET)


def test_a_schedule_that_is_disabled_before_its_run_began_does_not_run(
    receiver: Receiver, folder: Path
) -> None:
    schedule = factories.schedule(folder, pacs(receiver))
    Schedule.objects.update(next_run_at=datetime(2026, 11, 24, 19, tzinfo=UTC))
    (run,) = schedule_runs.run_due(datetime(2026, 11, 24, 19, 0, 2, tzinfo=UTC))
    schedules.disable_schedule(schedule, "ada")
    run_starting.start_run(run.pk)
    run.refresh_from_db()
    assert (run.state, run.detail) == (RunState.SKIPPED, schedule_runs.DISABLED)
    assert begin(schedule).state == RunState.STARTED, "a person may run it all the same"


def only_compressed() -> ContextTemplate:
    """A template that proposes CT in JPEG 2000 alone and decompresses nothing."""
    from sender.negotiation.rules import parse
    from sender.services.templates import save_version

    document: dict[str, Any] = {
        "format": "concordat.template/1",
        "name": "Compressed CT",
        "contexts": [{"abstract_syntax": factories.CT, "transfer_syntaxes": [COMPRESSED]}],
        "options": {"decompress": "never", "convert_uncompressed": False},
    }
    return save_version(parse(document), actor="test").template


def with_template(schedule: Schedule, template: ContextTemplate) -> Schedule:
    schedule.targets.update(template=template)
    return schedule


def test_what_no_context_can_carry_is_told_before_the_first_association(
    receiver: Receiver, folder: Path
) -> None:
    schedule = with_template(factories.schedule(folder, pacs(receiver)), only_compressed())
    run = begin(schedule)
    for send in Send.objects.all():
        planner.plan_send(send.pk)
    run.refresh_from_db()
    assert run.warning == "pacs: 3 instances of 1 kind have no context to travel in"
    assert not Association.objects.exists()


def test_what_the_peer_rejected_last_time_is_told_before_it_is_proposed_again(
    receiver: Receiver, folder: Path
) -> None:
    for path in folder.iterdir():
        path.unlink()
    old(
        factories.write_instance(
            folder / "j.dcm", sop_instance=uid(9), transfer_syntax=COMPRESSED, rows=64
        )
    )
    to = pacs(receiver, ae_title="DEMO_OLD")
    schedule = with_template(factories.schedule(folder, to), only_compressed())
    first = begin(schedule)
    complete(first)
    first.refresh_from_db()
    assert first.warning == "", "nobody knew"
    assert uids(first, "unsendable") == [uid(9)]
    before = Association.objects.count()
    second = begin(schedule)
    for send in Send.objects.filter(listing=second.listing_id):
        planner.plan_send(send.pk)
    second.refresh_from_db()
    assert second.warning == (
        "pacs: 1 instance of 1 kind has no context that was accepted last time"
    )
    assert Association.objects.count() == before


def test_what_would_be_converted_is_no_reason_to_warn(receiver: Receiver, folder: Path) -> None:
    old(
        factories.write_instance(
            folder / "j.dcm", sop_instance=uid(9), transfer_syntax=COMPRESSED, rows=64
        )
    )
    schedule = factories.schedule(folder, pacs(receiver, ae_title="DEMO_OLD"))
    complete(begin(schedule))
    old(
        factories.write_instance(
            folder / "k.dcm", sop_instance=uid(10), transfer_syntax=COMPRESSED, rows=64
        )
    )
    account = complete(begin(schedule))
    assert (account.outcome, account.run.warning) == (RunOutcome.SUCCEEDED, "")


def test_a_check_plans_drafts_and_sends_nothing(receiver: Receiver, folder: Path) -> None:
    schedule = with_template(factories.schedule(folder, pacs(receiver)), only_compressed())
    run = schedule_runs.check_now(schedule, "ada")
    run_starting.start_run(run.pk)
    run.refresh_from_db()
    assert account_of(run).outcome == RunOutcome.CHECKING
    draft = Send.objects.get()
    planner.plan_send(draft.pk)
    draft.refresh_from_db()
    assert (draft.state, draft.plan["kinds"][0]["travels"]) == (SendState.DRAFT, "not sent")
    account = account_of(run)
    assert account.outcome == RunOutcome.CHECKED
    assert "no context to travel in" in account.run.warning
    assert newest_runs([schedule]) == {}
    schedule_runs.check_now(schedule, "ada")
    draft.refresh_from_db()
    assert draft.state == SendState.CANCELLED


def test_a_check_of_a_source_that_vanished_is_a_failed_check(
    receiver: Receiver, folder: Path
) -> None:
    schedule = factories.schedule(folder, pacs(receiver))
    run = schedule_runs.check_now(schedule, "ada")
    run_starting.start_run(run.pk)
    shutil.rmtree(folder)
    planner.plan_send(Send.objects.get().pk)
    assert account_of(run).outcome == RunOutcome.FAILED
    with pytest.raises(sending.WrongState):
        sending.start_send(Send.objects.get(), "ada")


def test_a_deleted_schedule_leaves_its_sends(receiver: Receiver, folder: Path) -> None:
    schedule = factories.schedule(folder, pacs(receiver))
    complete(begin(schedule))
    schedules.delete_schedule(schedule, "ada")
    assert not ScheduleRun.objects.exists()
    assert Send.objects.get().state == SendState.SUCCEEDED
    assert AuditEntry.objects.get(action="schedule.delete").subject == "Nightly"
