"""`manage.py schedule`."""

import json
from pathlib import Path

import pytest
from pytest_django import Settings

from sender.models import Destination, RunState, Schedule, ScheduleRun, Send, SendState
from sender.services import heartbeat, planner, run_starting
from tests import factories
from tests.commands.conftest import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(tmp_path: Path, settings: Settings) -> str:
    """A folder below the only source root."""
    settings.SOURCE_ROOTS = [tmp_path]
    (tmp_path / "in").mkdir()
    return str(tmp_path / "in")


@pytest.fixture
def archive() -> Destination:
    return factories.destination("archive")


def add(run: Run, source: str, *options: str, name: str = "Nightly") -> tuple[int, str]:
    times = () if {"--once", "--every"} & set(options) else ("--cron", "0 20 * * MON-FRI")
    done = run("schedule", "add", name, *times, "--source", source, "--to", "archive", *options)
    return done.code, done.said


def test_a_schedule_is_added_and_shown(run: Run, source: str, archive: Destination) -> None:
    Path(source, "rules.json").write_text(json.dumps({"modalities": ["CT"]}))
    code, said = add(
        run, source, "--zone", "Europe/Berlin", "--windows", "mon-fri 20:00-06:00", "--overlap",
        "queue", "--catch-up", "skip", "--order", "newest", "--retries", "2", "--priority", "5",
        "--finish-within", "10", "--note", "why", "--again", "--rules", f"{source}/rules.json",
    )  # fmt: skip
    assert (code, said.strip()) == (0, "Schedule Nightly was added.")
    told = run("schedule", "show", "Nightly", "--json").document
    assert told["kind"] == "cron"
    assert told["expression"] == "0 20 * * MON-FRI"
    assert told["to"] == [{"destination": "archive", "template": "Derived from files"}]
    assert (told["windows"], told["finish_within_seconds"]) == ("mon-fri 20:00-06:00", 36000)
    assert (told["only_new"], told["overlap"], told["catch_up"]) == (False, "queue", "skip")
    assert (told["rules"]["modalities"], told["sources"]) == (["CT"], [source])
    assert len(told["next_runs"]) == 5
    assert told["next_runs"][0] == told["next_run_at"]
    assert told["next_run_at"].endswith("Z")
    assert told["runs"] == []
    assert Schedule.objects.get().created_by.startswith("cli:")
    assert "next_runs: 2" in run("schedule", "show", "Nightly").out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--every", "6h", "--first", "2999-01-01T00:00:00Z"), "2999-01-01T00:00:00Z"),
        (("--once", "2999-01-01 20:00", "--zone", "Asia/Tokyo"), "2999-01-01T11:00:00Z"),
    ],
)
def test_intervals_and_single_times(
    options: tuple[str, ...], words: str, run: Run, source: str, archive: Destination
) -> None:
    assert add(run, source, *options)[0] == 0
    assert run("schedule", "list", "--json").document[0]["next_run_at"] == words


def test_a_destination_may_have_its_own_template(
    run: Run, source: str, archive: Destination
) -> None:
    factories.destination("second")
    starter = "Starter: CT, MR and secondary capture"
    assert add(run, source, "--to", "second", starter)[0] == 0
    assert run("schedule", "show", "Nightly", "--json").document["to"] == [
        {"destination": "archive", "template": "Derived from files"},
        {"destination": "second", "template": starter},
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--to", "nobody"), "There is no destination nobody."),
        (("--to", "archive", "nothing"), "There is no template nothing."),
        (("--to", "archive", "a", "b"), "at most one template"),
        (("--windows", "20:00"), "windows:"),
        (("--zone", "Nowhere"), "zone:"),
        (("--retries", "99"), "retries:"),
        (("--rules", "/nowhere.json"), "can't be read"),
        (("--rules", "{source}/list.json"), "holds no rules"),
        (("--source", "/etc"), "outside the allowed source roots"),
        (("--once", "2020-01-01 20:00"), "past"),
        (("--cron", "0 20 * * *", "--every", "1h"), "not allowed with"),
    ],
)
def test_what_can_not_be_exits_2(
    options: tuple[str, ...], words: str, run: Run, source: str, archive: Destination
) -> None:
    Path(source, "list.json").write_text("[]")
    code, said = add(run, source, *(option.format(source=source) for option in options))
    assert code == 2
    assert words in said
    assert not Schedule.objects.exists()


def test_a_schedule_is_disabled_and_enabled(run: Run, source: str, archive: Destination) -> None:
    add(run, source, "--disabled")
    assert run("schedule", "list", "--json").document[0]["enabled"] is False
    assert run("schedule", "disable", "Nightly").code == 2
    assert run("schedule", "enable", "Nightly").code == 0
    assert run("schedule", "enable", "Nightly").code == 2
    assert run("schedule", "disable", "Nightly").said.strip() == "Schedule Nightly is disabled."


def test_a_run_needs_a_sender_and_is_told(run: Run, source: str, archive: Destination) -> None:
    add(run, source)
    refused = run("schedule", "run", "Nightly", "--json")
    assert refused.code == 2
    assert "No sender is running" in refused.said
    heartbeat.beat("here:1", kind="sender")
    done = run("schedule", "run", "Nightly", "--json")
    assert (done.code, done.document["outcome"], done.document["trigger"]) == (0, "starting", "now")
    again = run("schedule", "run", "Nightly")
    assert again.code == 2
    assert "has not begun yet" in again.said
    told = run("schedule", "show", "Nightly", "--json").document["runs"]
    assert [row["run"] for row in told] == [done.document["run"]]


def test_waiting_for_a_run_that_fails_exits_1(
    run: Run, source: str, archive: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(run, source)
    heartbeat.beat("here:1", kind="sender")
    monkeypatch.setattr(
        "sender.management.commands.schedule.time.sleep",
        lambda _: ScheduleRun.objects.update(state=RunState.FAILED, detail="it holds no files."),
    )
    done = run("schedule", "run", "Nightly", "--wait", "--json")
    assert (done.code, done.document["outcome"]) == (1, "failed")
    assert "holds no files" in done.said
    assert run("schedule", "list", "--json").document[0]["last_run"] == "failed"


@pytest.mark.parametrize(("warning", "code"), [("", 0), ("1 instance can't be sent", 1)])
def test_a_check_plans_what_a_run_would_send_and_says_what_it_could_not(
    warning: str,
    code: int,
    run: Run,
    source: str,
    archive: Destination,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factories.write_instance(Path(source, "i.dcm"), sop_instance="1.2.3")
    add(run, source)
    heartbeat.beat("here:1", kind="sender")

    def work(_: float) -> None:
        for due in ScheduleRun.objects.filter(state=RunState.DUE):
            run_starting.start_run(due.pk)
        for draft in Send.objects.filter(planned_at=None):
            planner.plan_send(draft.pk)
        if warning:
            ScheduleRun.objects.update(warning=warning)

    monkeypatch.setattr("sender.management.commands.schedule.time.sleep", work)
    done = run("schedule", "check", "Nightly", "--wait", "--json")
    assert (done.code, done.document["outcome"], done.document["trigger"]) == (
        code,
        "checked",
        "check",
    )
    assert warning in done.said
    assert [send.state for send in Send.objects.all()] == [SendState.DRAFT]
    assert [row["state"] for row in done.document["sends"]] == ["draft"]


def test_a_schedule_is_deleted_and_its_sends_stay(
    run: Run, source: str, archive: Destination
) -> None:
    factories.write_instance(Path(source, "i.dcm"), sop_instance="1.2.3")
    add(run, source)
    heartbeat.beat("here:1", kind="sender")
    run("schedule", "check", "Nightly")
    run_starting.start_run(ScheduleRun.objects.get().pk)
    done = run("schedule", "delete", "Nightly")
    assert (done.code, done.said.strip()) == (0, "Schedule Nightly is deleted. Its sends stay.")
    assert run("schedule", "list", "--json").document == []
    assert Send.objects.count() == 1


@pytest.mark.parametrize("verb", ["show", "run", "check", "enable", "disable", "delete"])
def test_an_unknown_schedule_exits_2(verb: str, run: Run) -> None:
    done = run("schedule", verb, "nobody")
    assert (done.code, done.said.strip()) == (2, "There is no schedule nobody.")
