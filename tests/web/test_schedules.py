"""The pages of schedules: what they show to whom, and what their forms do."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from pytest_django import Settings

from sender.models import (
    ContextTemplate,
    Destination,
    Listing,
    RunState,
    Schedule,
    ScheduleRun,
    Send,
    SendState,
)
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import schedules
from tests import factories

SignIn = Callable[[str], Client]
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """The only source root."""
    settings.SOURCE_ROOTS = [tmp_path]
    return tmp_path


@pytest.fixture
def nightly(folder: Path, destination: Destination) -> Schedule:
    """A schedule at 20:00 in Berlin whose sends begin at 22:00."""
    return factories.schedule(
        folder,
        destination,
        windows="daily 22:00-06:00",
        rules={"modalities": ["CT"], "studies": ["1.2.826.77"], "patterns": ["meier*"]},
    )


def text(client: Client, address: str, status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    return str(response.content.decode())


def form(folder: Path, to: Destination, **changes: Any) -> dict[str, Any]:
    """Return a form that can be saved."""
    template = ContextTemplate.objects.get(name="Derived from files")
    return {
        "name": "Nightly", "enabled": "on", "kind": "cron", "expression": "0 20 * * MON-FRI",
        "zone": "Europe/Berlin", "anchor": "", "catch_up": "latest", "overlap": "skip",
        "windows": "", "finish_within_hours": "", "sources": str(folder), "only_new": "on",
        "study_order": "listed", "priority": "0", "retries": "", "note": "",
        "targets-TOTAL_FORMS": "2", "targets-INITIAL_FORMS": "0",
        "targets-0-destination": str(to.pk), "targets-0-template": str(template.pk),
        "targets-1-destination": "", "targets-1-template": str(template.pk),
        **changes,
    }  # fmt: skip


def run_of(schedule: Schedule, **facts: Any) -> ScheduleRun:
    values: dict[str, Any] = {
        "intended_at": datetime(2026, 11, 24, 19, tzinfo=UTC),
        "trigger": "time",
        "state": RunState.STARTED,
        **facts,
    }
    return ScheduleRun.objects.create(schedule=schedule, **values)


def send_of(run: ScheduleRun, state: SendState, **facts: Any) -> Send:
    target = run.schedule.targets.get()
    listing = Listing.objects.create(sources=list(run.schedule.sources), **facts)
    ScheduleRun.objects.filter(pk=run.pk).update(listing=listing)
    return Send.objects.create(
        destination=target.destination,
        template_version=target.template.newest,
        listing=listing,
        state=state,
        requested_by="test",
    )


def test_the_list_tells_the_next_time_and_how_the_last_run_went(
    as_role: SignIn, nightly: Schedule
) -> None:
    page = text(as_role("viewer"), "/schedules/")
    assert "never ran" in page
    assert re.search(r"\w{3} 20\d\d-\d\d-\d\d 20:00", page)
    send_of(run_of(nightly), SendState.PARTIAL)
    page = text(as_role("viewer"), "/schedules/")
    assert "Partly sent" in page
    assert "Tue 2026-11-24 20:00" in page
    Schedule.objects.update(enabled=False, next_run_at=None)
    assert "Disabled" in text(as_role("viewer"), "/schedules/")


def test_the_next_five_times_are_told_in_both_zones_with_the_window(
    as_role: SignIn, nightly: Schedule
) -> None:
    page = text(as_role("viewer"), f"/schedules/{nightly.pk}/")
    times = re.findall(
        r"<td>(\w{3}) (20[\d-]+) 20:00<br>.*?22:00 on</small></td><td>(20.*?)</td>", page
    )
    assert len(times) == 5
    assert {utc.split()[1] for _, _, utc in times} <= {"18:00", "19:00"}


def test_paths_uids_and_names_are_only_for_who_may_see_them(
    as_role: SignIn, nightly: Schedule, folder: Path
) -> None:
    run = run_of(nightly, state=RunState.FAILED, detail=f"{folder} holds no files.")
    for address in (f"/schedules/{nightly.pk}/", f"/schedules/{nightly.pk}/runs/{run.pk}/"):
        page = text(as_role("viewer"), address)
        assert str(folder) not in page
        assert "A source can&#x27;t be used." in page
        assert str(folder) in text(as_role("auditor"), address)
    page = text(as_role("viewer"), f"/schedules/{nightly.pk}/")
    assert "meier" not in page
    assert "1.2.826.77" not in page
    assert "CT" in page
    page = text(as_role("operator"), f"/schedules/{nightly.pk}/")
    assert "meier*" in page
    assert "1.2.826.77" in page


def test_the_dashboard_and_the_first_steps_tell_of_runs_that_failed(
    as_role: SignIn, nightly: Schedule, folder: Path
) -> None:
    assert "Needs attention" not in text(as_role("viewer"), "/")
    run_of(nightly, state=RunState.FAILED, detail=f"{folder} holds no files.")
    assert "Needs attention" in text(as_role("viewer"), "/get-started/")
    factories.recorded(nightly.targets.get().destination)
    page = text(as_role("viewer"), "/")
    assert "Schedule Nightly" in page
    assert re.search(r"Run of [^.]* Europe/Berlin\.", page), "whose zone it is"
    assert str(folder) not in page
    assert str(folder) in text(as_role("operator"), "/")
    run_of(nightly, intended_at=datetime(2026, 11, 25, 19, tzinfo=UTC), state=RunState.DUE)
    assert "Needs attention" not in text(as_role("viewer"), "/")


def test_what_should_have_run_and_did_not_is_told(as_role: SignIn, nightly: Schedule) -> None:
    Schedule.objects.update(next_run_at=datetime.now(UTC) - timedelta(minutes=5))
    assert "It should have run at" in text(as_role("viewer"), "/")


def test_a_warning_is_told_before_and_after(as_role: SignIn, nightly: Schedule) -> None:
    run = run_of(nightly, warning="pacs: 3 instances of 1 kind have no context to travel in")
    send_of(run, SendState.RUNNING)
    for address in ("/", f"/schedules/{nightly.pk}/", f"/schedules/{nightly.pk}/runs/{run.pk}/"):
        assert "3 instances of 1 kind have no context" in text(as_role("viewer"), address)
    assert "Warning" in text(as_role("viewer"), "/schedules/")


def test_a_run_whose_windows_are_closed_says_until_when(as_role: SignIn, nightly: Schedule) -> None:
    run = run_of(nightly)
    send_of(run, SendState.QUEUED)
    address = f"/schedules/{nightly.pk}/runs/{run.pk}/"
    hour = datetime.now(ZoneInfo("Europe/Berlin")).hour
    Schedule.objects.update(windows=f"daily {(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00")
    assert "Its windows are closed until" in text(as_role("viewer"), address)
    Schedule.objects.update(windows="")
    assert "Its windows are closed until" not in text(as_role("viewer"), address)


def test_polling_ends_when_nothing_goes_on(as_role: SignIn, nightly: Schedule) -> None:
    client = as_role("viewer")
    run = run_of(nightly)
    send = send_of(run, SendState.RUNNING)
    part, page = f"/schedules/{nightly.pk}/runs/", f"/schedules/{nightly.pk}/runs/{run.pk}/"
    assert "hx-get" in text(client, f"/schedules/{nightly.pk}/")
    assert client.get(part).status_code == 200
    assert client.get(page, headers={"HX-Request": "true"}).status_code == 200
    Send.objects.filter(pk=send.pk).update(state=SendState.SUCCEEDED)
    assert client.get(part).status_code == 286
    assert client.get(page, headers={"HX-Request": "true"}).status_code == 286
    assert "Nothing new" in text(client, page)


def test_a_run_of_another_schedule_is_not_found(as_role: SignIn, nightly: Schedule) -> None:
    run = run_of(nightly)
    assert as_role("viewer").get(f"/schedules/{nightly.pk + 1}/runs/{run.pk}/").status_code == 404


def test_what_somebody_named_is_shown_as_text(
    as_role: SignIn, folder: Path, destination: Destination
) -> None:
    schedule = factories.schedule(
        folder, destination, name=HOSTILE, note=HOSTILE, rules={"patterns": [HOSTILE]}
    )
    run_of(schedule, state=RunState.FAILED, detail=HOSTILE, warning=HOSTILE)
    own = f"/schedules/{schedule.pk}/"
    for address in ("/", "/schedules/", own, f"{own}change/", f"{own}deleting/"):
        page = text(as_role("administrator"), address)
        assert HOSTILE not in page
        assert "&lt;img src=x" in page


def test_a_schedule_is_added_and_shown(
    as_role: SignIn, folder: Path, destination: Destination
) -> None:
    posted = form(
        folder,
        destination,
        kind="interval",
        expression="6h",
        anchor="2999-07-01 20:00",
        modalities="ct, mr",
        sop_classes="CT Image Storage\n1.2.840.10008.5.1.4.1.1.4",
        transfer_syntaxes="Explicit VR LE",
        tags="StationName = CT1*\nStationName = CT2*\nStudyID = 7",
        date_from="2026-01-01",
        finish_within_hours="1.5",
        priority="10",
        retries="2",
    )
    response = as_role("operator").post("/schedules/add/", posted)
    made = Schedule.objects.get()
    assert response["Location"] == f"/schedules/{made.pk}/"
    assert made.created_by == "operator"
    assert made.anchor == datetime(2999, 7, 1, 18, tzinfo=UTC), "20:00 in Berlin, in summer"
    assert made.rules["sop_classes"] == [factories.CT, factories.MR]
    assert made.rules["transfer_syntaxes"] == [factories.ELE]
    assert made.rules["tags"] == {"StationName": ["CT1*", "CT2*"], "StudyID": "7"}
    assert (made.finish_within_seconds, made.priority, made.retries) == (5400, 10, 2)
    page = text(as_role("operator"), f"/schedules/{made.pk}/")
    assert "CT Image Storage" in page
    assert "StationName = CT1*, StationName = CT2*, StudyID = 7" in page
    changed = text(as_role("operator"), f"/schedules/{made.pk}/change/")
    assert "StationName = CT1*\nStationName = CT2*\nStudyID = 7" in changed


def test_a_form_shows_a_schedule_as_it_is_and_saving_it_changes_nothing(
    as_role: SignIn, nightly: Schedule
) -> None:
    Schedule.objects.update(rules=nightly.rules | {"least_age_seconds": 300.0}, priority=3)
    nightly.refresh_from_db()
    client = as_role("operator")
    response = client.get(f"/schedules/{nightly.pk}/change/")
    shown = response.context["form"]
    data = {
        name: "on" if value is True else value
        for name in shown.fields
        if (value := shown[name].value()) not in (None, False)
    }
    for index, row in enumerate(response.context["rows"].forms):
        for name in ("destination", "template"):
            data[f"targets-{index}-{name}"] = row[name].value() or ""
    data |= {"targets-TOTAL_FORMS": "2", "targets-INITIAL_FORMS": "1"}
    assert client.post(f"/schedules/{nightly.pk}/change/", data).status_code == 302
    after = Schedule.objects.get()
    for name in ("name", "kind", "expression", "zone", "windows", "sources", "rules", "priority",
                 "next_run_at", "enabled", "only_new", "catch_up", "overlap"):  # fmt: skip
        assert getattr(after, name) == getattr(nightly, name), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expression": "0 25 * * *"}, "is no hour"),
        ({"windows": "20:00"}, "has no end"),
        ({"sources": "/etc"}, "outside the allowed source roots"),
        ({"zone": "Europe/Atlantis"}, "Select a valid choice"),
        ({"targets-0-destination": ""}, "Name at least one destination."),
        ({"studies": "abc"}, "is no UID"),
        ({"tags": "StationName"}, "write a keyword, = and a pattern"),
        ({"kind": "interval", "expression": "1h", "anchor": "tomorrow"}, "is no time"),
        ({"kind": "once", "expression": "2020-01-01 00:00"}, "This time is past."),
        ({"date_from": "soon"}, "valid date"),
    ],
)
def test_what_can_not_be_is_told_and_nothing_is_saved(
    changes: dict[str, str], words: str, as_role: SignIn, folder: Path, destination: Destination
) -> None:
    posted = form(folder, destination, note="kept", **changes)
    page = as_role("operator").post("/schedules/add/", posted).content.decode()
    assert words in page.replace("&quot;", '"')
    assert "kept" in page
    assert "Nothing was saved." in page
    assert not Schedule.objects.exists()


def test_another_destination_and_a_preview_keep_what_was_written(
    as_role: SignIn, folder: Path, destination: Destination
) -> None:
    client = as_role("operator")
    posted = form(folder, destination, note="kept", expression="15 4 * * *", add_row="1")
    del posted["only_new"]
    page = client.post("/schedules/add/", posted).content.decode()
    assert 'name="targets-2-destination"' in page
    assert "kept" in page
    assert f'<option value="{destination.pk}" selected>' in page
    assert not re.search(r'name="only_new"[^>]* checked', page)
    assert re.search(r'name="enabled"[^>]* checked', page)
    del posted["add_row"]
    page = client.post("/schedules/add/", posted | {"preview": "1"}).content.decode()
    assert page.count(" 04:15</td>") == 5
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("kind=cron&expression=0+20+*+*+*&zone=Asia/Tokyo", "11:00</td>"),
        ("kind=once&expression=2999-03-31+02:30&zone=Europe/Berlin", "Sun 2999-03-31 03:00"),
        ("kind=interval&expression=6h&zone=UTC&anchor=2999-01-01+00:00", "2999-01-01 06:00"),
        ("kind=once&expression=2020-01-01+00:00&zone=UTC", "This time is past."),
        ("kind=cron&expression=0+20&zone=UTC", "five fields"),
        ("kind=cron&expression=0+20+*+*+*&zone=Nowhere", "is no time zone"),
        ("kind=interval&expression=6h&zone=UTC&anchor=x", "is no time"),
        ("", "no kind of schedule"),
    ],
)
def test_a_preview_tells_the_next_times_or_why_there_are_none(
    query: str, words: str, as_role: SignIn
) -> None:
    assert words in text(as_role("operator"), f"/schedules/preview/?{query}")


def test_the_examples_tell_their_next_time(as_role: SignIn) -> None:
    page = text(as_role("operator"), "/schedules/add/")
    assert "every 15 minutes from 7:00 to 18:45" in page
    assert page.count("<td>By a cron expression</td>") + page.count("<td>Cron</td>") == 4


def test_commands_do_what_they_say(as_role: SignIn, nightly: Schedule) -> None:
    client = as_role("operator")
    address = f"/schedules/{nightly.pk}/"
    response = client.post(f"{address}run/")
    run = ScheduleRun.objects.get()
    assert response["Location"] == f"{address}runs/{run.pk}/"
    assert (run.trigger, run.requested_by) == ("now", "operator")
    page = client.post(f"{address}run/", follow=True).content.decode()
    assert "has not begun yet" in page
    assert "checks" not in client.post(f"{address}check/")["Location"]
    assert ScheduleRun.objects.filter(trigger="check").count() == 1
    client.post(f"{address}disable/")
    assert not Schedule.objects.get().enabled
    client.post(f"{address}enable/")
    assert Schedule.objects.get().enabled
    assert client.post(f"{address}dance/").status_code == 404
    assert client.post(f"{address}delete/")["Location"] == "/schedules/"
    assert not Schedule.objects.exists()
    assert client.get(address).status_code == 404


def test_a_list_of_many_schedules_costs_as_many_queries_as_of_one(
    as_role: SignIn, folder: Path, destination: Destination, django_assert_max_num_queries: Any
) -> None:
    client = as_role("viewer")
    for number in range(12):
        made = factories.schedule(folder, destination, name=f"s{number}")
        send_of(run_of(made), SendState.SUCCEEDED)
    client.get("/schedules/")
    with django_assert_max_num_queries(20):
        client.get("/schedules/")
    with django_assert_max_num_queries(30):
        client.get("/")


def test_the_words_of_a_schedule_that_is_disabled(as_role: SignIn, nightly: Schedule) -> None:
    schedules.disable_schedule(nightly, "test")
    page = text(as_role("viewer"), f"/schedules/{nightly.pk}/")
    assert "It does not run at its times." in page


def test_priority_and_attempts_are_words(as_role: SignIn, nightly: Schedule) -> None:
    Schedule.objects.update(priority=100, retries=0)
    page = text(as_role("viewer"), f"/schedules/{nightly.pk}/")
    assert "<dd>Urgent: overtakes others at the next batch</dd>" in page
    assert "<dd>only one</dd>" in page


def test_a_run_that_failed_for_stray_files_alone_says_so(
    as_role: SignIn, nightly: Schedule
) -> None:
    said = "It failed only because {} no sendable instance; there was nothing else to send."
    run = run_of(nightly)
    send = send_of(run, SendState.FAILED)
    one, two = (said.format(files) for files in ("1 file holds", "2 files hold"))
    pages = (f"/schedules/{nightly.pk}/runs/{run.pk}/", f"/schedules/{nightly.pk}/", "/")
    factories.send_item(send, position=1, uid="", outcome=InstanceOutcome.UNSENDABLE)
    assert all(one in text(as_role("viewer"), page) for page in pages)
    factories.send_item(send, position=2, uid="", path="/x/y", outcome=InstanceOutcome.UNSENDABLE)
    assert all(two in text(as_role("viewer"), page) for page in pages)
    Listing.objects.update(
        expected=[{"level": "source", "uid": "/gone", "instances": None, "found": 0}]
    )
    assert "failed only" not in text(as_role("viewer"), pages[0])
    Listing.objects.update(expected=[])
    factories.send_item(send, position=3, uid="1.2.3", outcome=InstanceOutcome.UNSENDABLE)
    assert "failed only" not in text(as_role("viewer"), pages[0])


def test_a_run_whose_send_could_not_be_planned_has_a_page(
    as_role: SignIn, nightly: Schedule
) -> None:
    run = run_of(nightly, detail="odd")
    send_of(run, SendState.FAILED)
    Send.objects.update(planned_at=datetime(2026, 11, 24, 20, tzinfo=UTC), detail="odd")
    assert "odd" in text(as_role("viewer"), f"/schedules/{nightly.pk}/runs/{run.pk}/")
