"""Schedules as people keep them: what can be said, what can't, and what is on record."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from sender.models import AuditEntry, ContextTemplate, Destination, Schedule
from sender.services import schedules
from sender.services.schedule_facts import InvalidSchedule, ScheduleFacts
from sender.services.sending import WrongState
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """The only source root."""
    settings.SOURCE_ROOTS = [tmp_path]
    return tmp_path


@pytest.fixture
def pacs() -> Destination:
    return factories.destination()


def test_a_schedule_is_written_in_one_form_with_an_audit_entry(
    folder: Path, pacs: Destination
) -> None:
    schedule = factories.schedule(
        folder,
        pacs,
        name=" Nightly ",
        expression="0  20 * * mon-fri",
        windows="Weekdays 20:00 - 06:00",
        rules={"modalities": ["ct"], "studies": ["1.2.3"], "date_from": "2026-01-01"},
    )
    schedule.refresh_from_db()
    assert (schedule.name, schedule.expression, schedule.windows) == (
        "Nightly", "0 20 * * MON-FRI", "mon-fri 20:00-06:00",
    )  # fmt: skip
    assert schedule.rules["modalities"] == ["CT"]
    assert schedule.next_run_at is not None
    assert schedule.next_run_at > datetime.now(UTC)
    entry = AuditEntry.objects.get(action="schedule.add")
    assert (entry.actor, entry.subject) == ("test", "Nightly")
    told = entry.facts["rules"]
    assert (told["date_from"], told["modalities"], told["studies"]) == ("20260101", 1, 1)
    assert entry.facts["targets"] == [["pacs", "Derived from files"]]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": ""}, "name", "cannot be blank"),
        ({"name": "two\nlines"}, "name", "one line"),
        ({"kind": "often"}, "kind", "once, interval or cron"),
        ({"expression": "0 20 * *"}, "expression", "five fields"),
        ({"expression": "0 25 * * *"}, "expression", "hour"),
        ({"expression": "0 0 31 2 *"}, "expression", "never comes"),
        ({"kind": "interval", "expression": "30s"}, "expression", "30m, 6h, 1d"),
        ({"kind": "once", "expression": "2020-01-01 00:00"}, "expression", "past"),
        ({"zone": "Berlin"}, "zone", "Europe/Berlin"),
        ({"windows": "20:00"}, "windows", "no end"),
        ({"rules": {"studies": ["abc"]}}, "studies", "no UID"),
        ({"rules": {"colour": ["blue"]}}, "colour", "no rule colour"),
        ({"catch_up": "maybe"}, "catch_up", "not a valid choice"),
        ({"overlap": "maybe"}, "overlap", "not a valid choice"),
        ({"study_order": "random"}, "study_order", "not a valid choice"),
        ({"retries": 21}, "retries", "0 to 20"),
        ({"priority": 101}, "priority", "-100 to 100"),
        ({"finish_within_seconds": 59}, "finish_within_seconds", "1 minute"),
        ({"note": "x" * 2001}, "note", "2000"),
        ({"sources": []}, "sources", "at least one"),
        ({"sources": ["relative/path"]}, "sources", "whole path"),
        ({"sources": ["/etc"]}, "sources", "outside the allowed source roots"),
        ({"sources": ["/nowhere"]}, "sources", "does not exist"),
        ({"sources": ["/a\x01b"]}, "sources", "printable"),
        ({"targets": []}, "targets", "at least one destination"),
    ],
)
def test_what_can_not_be_is_told_beside_its_field(
    changes: dict[str, Any], field: str, words: str, folder: Path, pacs: Destination
) -> None:
    template = ContextTemplate.objects.get(name="Derived from files")
    values: dict[str, Any] = {
        "name": "n", "kind": "cron", "expression": "0 20 * * *", "zone": "Europe/Berlin",
        "sources": [str(folder)], "targets": [(pacs, template)],
    }  # fmt: skip
    with pytest.raises(InvalidSchedule) as error:
        schedules.add_schedule(ScheduleFacts(**values | changes), actor="test")
    assert list(error.value.problems) == [field]
    assert words in " ".join(error.value.problems[field])
    assert not Schedule.objects.exists()
    assert not AuditEntry.objects.filter(action="schedule.add").exists()


def test_a_taken_name_and_a_doubled_destination_are_refused(
    folder: Path, pacs: Destination
) -> None:
    factories.schedule(folder, pacs)
    with pytest.raises(InvalidSchedule) as error:
        factories.schedule(folder, pacs, pacs)
    assert error.value.problems == {
        "name": ["There is a schedule Nightly already."],
        "targets": ["pacs stands there twice."],
    }


def test_an_interval_begins_one_interval_from_now_or_at_its_first_run(
    folder: Path, pacs: Destination
) -> None:
    now = datetime.now(UTC)
    plain = factories.schedule(folder, pacs, kind="interval", expression="2h")
    assert plain.next_run_at is not None
    assert timedelta(minutes=118) < plain.next_run_at - now <= timedelta(minutes=120)
    first = (now + timedelta(days=3)).replace(microsecond=0)
    told = factories.schedule(
        folder, pacs, name="later", kind="interval", expression="2h", anchor=first
    )
    assert told.next_run_at == first


def change(schedule: Schedule, **changes: Any) -> None:
    names = set(ScheduleFacts.__dataclass_fields__) - {"targets"}
    targets = [(t.destination, t.template) for t in schedule.targets.all()]
    values: dict[str, Any] = {name: getattr(schedule, name) for name in names}
    facts = ScheduleFacts(**{"targets": targets, **values, **changes})
    schedules.change_schedule(schedule, facts, actor="ada")


def test_a_change_tells_the_audit_log_what_is_new(folder: Path, pacs: Destination) -> None:
    schedule = factories.schedule(folder, pacs, rules={"studies": ["1.2.3"]})
    change(schedule)
    assert not AuditEntry.objects.filter(action="schedule.change").exists()
    change(schedule, note="why", rules={"studies": ["1.2.4"]})
    entry = AuditEntry.objects.get(action="schedule.change")
    assert (entry.actor, set(entry.facts), entry.facts["note"]) == (
        "ada", {"note", "rules"}, "why",
    )  # fmt: skip
    assert entry.facts["rules"]["studies"] == 1


def test_a_change_of_the_interval_counts_anew_and_another_change_does_not(
    folder: Path, pacs: Destination
) -> None:
    first = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    schedule = factories.schedule(folder, pacs, kind="interval", expression="1h", anchor=first)
    change(schedule, anchor=None, note="x")
    assert schedule.anchor == first
    change(schedule, anchor=None, expression="1 hour")
    assert (schedule.anchor, schedule.expression) == (first, "1h")
    change(schedule, anchor=None, expression="2h")
    assert schedule.anchor is not None
    assert schedule.anchor > first


def test_targets_are_replaced_by_a_change(folder: Path, pacs: Destination) -> None:
    schedule = factories.schedule(folder, pacs)
    other = factories.destination("other")
    template = ContextTemplate.objects.get(name="Derived from files")
    change(schedule, targets=[(other, template)])
    assert [target.destination for target in schedule.targets.all()] == [other]


def test_sources_that_are_away_hold_up_no_other_change(folder: Path, pacs: Destination) -> None:
    (folder / "in").mkdir()
    schedule = factories.schedule(folder / "in", pacs)
    (folder / "in").rmdir()
    change(schedule, note="x")
    assert schedule.note == "x"
    with pytest.raises(InvalidSchedule, match="does not exist"):
        change(schedule, sources=[str(folder / "in"), str(folder)])


def test_a_once_that_is_over_can_be_changed_but_not_enabled_again(
    folder: Path, pacs: Destination
) -> None:
    schedule = factories.schedule(folder, pacs, kind="once", expression="2999-01-01 00:00")
    Schedule.objects.update(expression="2020-01-01 00:00", next_run_at=None)
    schedule.refresh_from_db()
    change(schedule, note="it was good")
    assert schedule.note == "it was good"
    schedules.disable_schedule(schedule, "ada")
    with pytest.raises(WrongState, match="would never run"):
        schedules.enable_schedule(schedule, "ada")
    with pytest.raises(InvalidSchedule, match="past"):
        change(schedule, enabled=True)
    schedule.refresh_from_db()
    change(schedule, enabled=True, expression="2999-01-01 00:00")
    assert schedule.next_run_at is not None


def test_disabling_and_enabling_are_on_record(folder: Path, pacs: Destination) -> None:
    schedule = factories.schedule(folder, pacs)
    schedules.disable_schedule(schedule, "ada")
    assert (schedule.enabled, schedule.next_run_at) == (False, None)
    with pytest.raises(WrongState, match="disabled already"):
        schedules.disable_schedule(schedule, "ada")
    schedules.enable_schedule(schedule, "ada")
    actions = AuditEntry.objects.filter(actor="ada").values_list("action", flat=True)
    assert sorted(actions) == ["schedule.disable", "schedule.enable"]


def test_a_preview_writes_nothing(folder: Path) -> None:
    times = schedules.preview("interval", "1h", "UTC")
    assert [later - earlier for earlier, later in pairwise(times)] == [timedelta(hours=1)] * 4
    assert len(schedules.preview("once", "2999-01-01 00:00", "UTC")) == 1
    assert not Schedule.objects.exists()
