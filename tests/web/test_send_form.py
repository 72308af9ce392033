"""Ordering sends in the browser: sources, rules, lists, destinations, times; plans side by side."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from sender.models import ContextTemplate, Destination, Listing, Send, SendState, StudyOrder, Upload
from sender.models.sends import URGENT
from sender.services import planner, tickets
from tests import factories

SignIn = Callable[[str], Client]
ARCHIVE = zlib.compress(bytes(range(256)) * 99)


@pytest.fixture(autouse=True)
def _no_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "issue_plan", lambda _: None)
    monkeypatch.setattr(tickets, "issue_work", lambda _: None)


@pytest.fixture
def data(settings: Settings, tmp_path: Path) -> Path:
    """An allowed root with two studies of CT and one instance of MR."""
    root = tmp_path / "data"
    for number in range(3):
        factories.write_instance(
            root / f"{number}.dcm",
            sop_instance=f"1.2.{number}",
            study=f"1.3.{number // 2}",
            extra=[("StudyDate", "20240115"), ("StudyDescription", f"KNEE {number}")],
        )
    factories.write_instance(root / "mr.dcm", sop_instance="1.2.9", sop_class=factories.MR)
    settings.SOURCE_ROOTS = [root]
    return root


def post(client: Client, *to: Destination, **fields: Any) -> Any:
    template = ContextTemplate.objects.get(name="Derived from files")
    form = {
        "destination": [str(row.pk) for row in to],
        "template": [str(template.pk)] * max(1, len(to)),
    }
    return client.post("/sends/new/", form | fields)


def errors(response: Any) -> str:
    assert response.status_code == 200, response
    page = response.content.decode()
    found = re.findall(r'<ul class="errorlist.*?</ul>', page, re.DOTALL)
    return re.sub(r"<[^>]+>|\s+", " ", " ".join(found)).strip()


def planned(send: Send) -> Send:
    planner.plan_send(send.pk)
    send.refresh_from_db()
    return send


def test_a_send_takes_everything_that_was_said(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    response = post(
        as_role("operator"),
        destination,
        sources=str(data),
        name="tonight",
        patterns="*.dcm\n!mr*",
        modalities="ct; MR",
        sop_classes="CT Image Storage\n1.2.840.10008.5.1.4.1.1.4",
        transfer_syntaxes="explicit vr le",
        date_from="2024-01-01",
        date_to="2024-02-01",
        tags="StudyDescription=knee*",
        uids="1.3.0,2\n1.2.2\n1.9.9",
        study_order="newest",
        only_new="on",
        urgent="on",
        windows="weekdays 20:00-06:00",
        zone="Europe/Berlin",
        finish_by="2099-07-01T06:00",
        retries="5",
    )
    send = Send.objects.select_related("listing").get()
    assert response["Location"] == f"/sends/{send.pk}/"
    assert (send.state, send.name, send.requested_by) == (SendState.DRAFT, "tonight", "operator")
    assert (send.study_order, send.only_new, send.priority) == (StudyOrder.NEWEST, True, URGENT)
    assert (send.windows, send.zone, send.retries) == ("mon-fri 20:00-06:00", "Europe/Berlin", 5)
    assert send.finish_by is not None
    assert send.finish_by.isoformat() == "2099-07-01T04:00:00+00:00"
    assert send.listing is not None
    assert send.listing.rules == {
        "patterns": ["*.dcm", "!mr*"],
        "modalities": ["CT", "MR"],
        "sop_classes": [factories.CT, factories.MR],
        "transfer_syntaxes": [factories.ELE],
        "date_from": "20240101",
        "date_to": "20240201",
        "tags": {"StudyDescription": "knee*"},
        "uids": ["1.2.2", "1.3.0", "1.9.9"],
    }
    planned(send)
    assert sorted(send.items.values_list("file__sop_instance_uid", flat=True)) == [
        "1.2.0", "1.2.1", "1.2.2",
    ]  # fmt: skip
    page = as_role("operator").get(f"/sends/{send.pk}/").content.decode()
    assert "1 not found, or not whole" in page
    assert "1.9.9" in page
    assert "<strong>1</strong> by file name" in page


def test_each_line_on_one_attribute_counts(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    rules = "StudyDescription=*0\nStudyDescription=*2"
    post(as_role("operator"), destination, sources=str(data), tags=rules)
    send = planned(Send.objects.get())
    assert set(send.items.values_list("file__sop_instance_uid", flat=True)) == {"1.2.0", "1.2.2"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sources": ""}, "Name at least one folder or file"),
        ({"sources": "relative"}, "write the whole path"),
        ({"sources": "/etc"}, "outside the allowed source roots"),
        ({"patterns": "a/b"}, "a pattern is for the file&#x27;s name alone"),
        ({"sop_classes": "CT Imag"}, "“CT Imag” is no UID"),
        ({"transfer_syntaxes": "zip"}, "“zip” is no UID"),
        ({"date_from": "yesterday"}, "Enter a valid date"),
        ({"date_from": "2024-02-01", "date_to": "2024-01-01"}, "later than the last"),
        ({"tags": "KNEE"}, "write a keyword, =, and a pattern"),
        ({"tags": "Study Description=x"}, "is no keyword"),
        ({"tags": "NoSuchKeyword=x"}, "NoSuchKeyword"),
        (
            {"tags": "StudyDescription=x\n(0008,1030)=y"},
            "(0008,1030) and StudyDescription are one attribute",
        ),
        ({"uids": "1.2\nx"}, "Line 2: “x” is no UID."),
        ({"uid_file": SimpleUploadedFile("u.csv", b"1.2,many")}, "is no number of instances"),
        ({"path_file": SimpleUploadedFile("p.zip", ARCHIVE)}, "This is no text"),
        ({"uid_file": SimpleUploadedFile("u.zip", ARCHIVE)}, "This is no text"),
        ({"path_file": SimpleUploadedFile("p.csv", b"")}, "The list of paths is empty."),
        ({"path_file_here": "/etc/passwd"}, "outside the allowed source roots"),
        ({"windows": "20:00"}, "has no end"),
        ({"zone": "Mars/Olympus"}, "is no time zone"),
        ({"finish_by": "2001-01-01T00:00"}, "This time is past."),
        ({"retries": "21"}, "less than or equal to 20"),
        ({"study_order": "random"}, "Select a valid choice"),
        ({"uploads": ["99"]}, "not one of the available choices"),
        ({"destination": [""]}, "Choose a destination."),
        ({"destination": ["999"]}, "There is no such destination"),
        ({"destination": ["x'--"]}, "There is no such destination"),
        ({"template": ["999"]}, "There is no such template."),
    ],
)
def test_what_can_not_be_is_told_where_it_stands_and_makes_nothing(
    fields: dict[str, Any],
    words: str,
    as_role: SignIn,
    destination: Destination,
    data: Path,
) -> None:
    given = {"sources": str(data)} | fields
    assert words in errors(post(as_role("operator"), destination, **given))
    assert not Send.objects.exists()
    assert not Listing.objects.exists()


def test_what_was_typed_is_still_there_after_an_error(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    response = post(
        as_role("operator"), destination, sources=str(data), tags="X", name="keep me", uids="1.2.3"
    )
    page = response.content.decode()
    assert 'value="keep me"' in page
    assert "1.2.3" in page
    assert re.search(rf'<option value="{destination.pk}" selected>', page)
    assert "<details open><summary>Rules" in page


def test_a_uid_in_a_list_with_a_heading_has_its_level(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    content = "\ufeffStudyInstanceUID;instances\r\n1.3.0;3\r\n".encode()
    file = SimpleUploadedFile("list.csv", content)
    post(as_role("operator"), destination, sources=str(data), uid_file=file, uids="1.2.2")
    listing = Listing.objects.get()
    assert listing.rules == {"studies": ["1.3.0"], "uids": ["1.2.2"]}
    assert [row["instances"] for row in listing.expected] == [None, 3]


def test_a_list_of_paths_comes_from_here_or_there(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    client = as_role("operator")
    file = SimpleUploadedFile("list.csv", f"path\n{data}/0.dcm\n/gone\n".encode())
    post(client, destination, path_file=file)
    (data / "list.csv").write_text("1.dcm\n")
    post(client, destination, path_file_here=f"{data}/list.csv")
    here, there = (planned(send) for send in Send.objects.order_by("pk"))
    assert sorted(here.items.values_list("file__sop_instance_uid", flat=True)) == ["", "1.2.0"]
    assert list(there.items.values_list("file__sop_instance_uid", flat=True)) == ["1.2.1"]
    page = client.get(f"/sends/{here.pk}/").content.decode()
    assert "1 line of the list can't be used" in page
    assert "/gone" in page
    csv = b"".join(client.get(f"/listings/{here.listing_id}/lines.csv"))
    assert csv.decode().splitlines() == ["line,path,problem", "3,/gone,does not exist"]


def test_two_lists_of_paths_are_one_too_many(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    file = SimpleUploadedFile("list.csv", b"/a")
    response = post(as_role("operator"), destination, path_file=file, path_file_here="/b")
    assert "Give one list" in errors(response)


def test_uploads_can_be_chosen_and_the_new_one_is(
    as_role: SignIn, destination: Destination, settings: Settings, tmp_path: Path
) -> None:
    settings.DATA_DIR, settings.SOURCE_ROOTS = tmp_path, None
    upload = Upload.objects.create(
        folder="x", name="my study", uploaded_by="anna", state="ready", files=2, bytes=4400
    )
    Upload.objects.create(folder="y", name="half", uploaded_by="a", state="receiving")
    factories.write_instance(Path(upload.path) / "1.dcm", sop_instance="1.2.1")
    client = as_role("operator")
    page = client.get(f"/sends/new/?upload={upload.pk}").content.decode()
    assert re.search(rf'value="{upload.pk}"[^>]*checked', page)
    assert "my study: 2 files, 4.4 kB, by anna" in page
    assert "half" not in page
    post(client, destination, uploads=[str(upload.pk)])
    assert Listing.objects.get().sources == [upload.path]


def test_another_row_keeps_what_was_typed(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    response = post(
        as_role("operator"), destination, sources="not even a path", add_row="1", only_new="on"
    )
    page = response.content.decode()
    assert page.count('name="destination"') == 2
    assert "not even a path" in page
    assert re.search(r'name="only_new"[^>]*checked', page)
    assert errors(response) == ""


@pytest.fixture
def two(as_role: SignIn, data: Path) -> list[Send]:
    """Drafts of one listing to two destinations with two templates, the second without MR."""
    starter = ContextTemplate.objects.get(name="Starter: CT, MR and secondary capture")
    derived = ContextTemplate.objects.get(name="Derived from files")
    one, other = factories.destination("one"), factories.destination("two")
    response = as_role("operator").post(
        "/sends/new/",
        {
            "sources": str(data),
            "destination": [one.pk, "", other.pk],
            "template": [derived.pk, derived.pk, starter.pk],
        },
    )
    sends = list(Send.objects.order_by("pk"))
    assert response["Location"] == f"/listings/{sends[0].listing_id}/"
    return sends


def test_several_destinations_share_a_listing_each_with_its_template(two: list[Send]) -> None:
    assert len({send.listing_id for send in two}) == 1
    assert [str(send.template_version.template) for send in two] == [
        "Derived from files", "Starter: CT, MR and secondary capture",
    ]  # fmt: skip


def test_a_destination_twice_is_refused(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    response = post(as_role("operator"), destination, destination, sources=str(data))
    assert "stands here twice" in errors(response)


def test_plans_stand_side_by_side_and_are_started_together(
    as_role: SignIn, two: list[Send]
) -> None:
    client = as_role("operator")
    address = f"/listings/{two[0].listing_id}/"
    page = client.get(address).content.decode()
    assert "The sender has not begun to list the files yet." in page
    assert "data-poll" in page
    assert client.get(f"{address}progress/").status_code == 200
    for send in two:
        planned(send)
    response = client.get(f"{address}progress/")
    page = response.content.decode()
    assert response.status_code == 286
    assert "CT Image Storage" in page
    assert "MR Image Storage" in page
    assert "Start all 2 sends" in page
    client.post(f"{address}start/")
    assert {send.state for send in Send.objects.all()} == {SendState.QUEUED}
    page = client.get(address).content.decode()
    assert "Start all" not in page
    assert "data-poll" in page, "it shows how far the sends are"
    assert client.get(f"{address}progress/").status_code == 200
    row = page.split("What became of them")[1].split("</tr>")[0]
    assert len(re.findall("To send", row)) == 2
    Send.objects.update(state=SendState.PARTIAL)
    assert client.get(f"{address}progress/").status_code == 286
    Send.objects.update(state=SendState.QUEUED)
    send_page = client.get(f"/sends/{two[0].pk}/").content.decode()
    assert "All 2 sends of this listing" in send_page


def test_what_a_cell_counts_is_of_one_thing(as_role: SignIn, two: list[Send]) -> None:
    for send in two:
        planned(send)
    kind = {
        "sop_class": "1.2.840.10008.5.1.4.1.1.7", "transfer_syntax": "1.2.840.10008.1.2.1",
        "travels": "unchanged", "reason": "", "to_send": 1, "bytes": 9600, "studies": 2,
    }  # fmt: skip
    plan = two[0].plan | {
        "kinds": [kind | {"lossy": True, "instances": 3}, kind | {"lossy": False, "instances": 1}]
    }
    Send.objects.filter(pk=two[0].pk).update(plan=plan)
    page = as_role("viewer").get(f"/listings/{two[0].listing_id}/").content.decode()
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert (
        "Explicit VR LE, once compressed with loss 1 unchanged of 3 instances in 2 studies" in words
    )
    assert "Explicit VR LE 1 unchanged 2 studies" in words


def test_a_plan_of_what_is_there_already_says_so(as_role: SignIn, two: list[Send]) -> None:
    send = two[0]
    planned(send)
    send.refresh_from_db()
    assert send.plan["to_send"] == sum(kind["to_send"] for kind in send.plan["kinds"]) > 0
    client = as_role("viewer")
    assert "Proposes " in client.get(f"/sends/{send.pk}/").content.decode()
    Send.objects.filter(pk=send.pk).update(
        plan=send.plan | {"kinds": [], "to_send": 0}, only_new=True, already_there=5
    )
    page = client.get(f"/sends/{send.pk}/").content.decode()
    assert "Nothing to send: 5 there already." in page
    assert "no association is opened" in page
    assert "Proposes " not in page


def test_only_planned_drafts_are_started_and_all_can_be_discarded(
    as_role: SignIn, two: list[Send]
) -> None:
    client = as_role("operator")
    address = f"/listings/{two[0].listing_id}/"
    planned(two[0])
    client.post(f"{address}start/")
    assert [send.state for send in Send.objects.order_by("pk")] == ["queued", "draft"]
    client.post(f"{address}discard/")
    assert [send.state for send in Send.objects.order_by("pk")] == ["queued", "cancelled"]
    assert client.post(f"{address}nonsense/").status_code == 404


def test_a_viewer_sees_counts_and_no_paths(as_role: SignIn, two: list[Send], data: Path) -> None:
    planned(two[0])
    page = as_role("viewer").get(f"/listings/{two[0].listing_id}/").content.decode()
    assert str(data) not in page
    assert "CT Image Storage" in page
    assert "<button" not in page.split("Plans side by side")[1]
    assert "Start all" not in page


def test_a_scan_shows_how_far_it_is(as_role: SignIn, two: list[Send]) -> None:
    Listing.objects.update(
        state="scanning", files=1234, opened=1000, excluded={"modality": 6, "file name": 60}
    )
    page = as_role("viewer").get(f"/sends/{two[0].pk}/").content.decode()
    figures = re.findall(r"<strong>([^<]+)</strong> (found|read|remembered|left out)", page)
    assert figures == [
        ("1,300", "found"), ("1,000", "read"), ("240", "remembered"), ("66", "left out"),
    ]  # fmt: skip


def test_missing_uids_are_told_to_those_who_may_see_them(
    as_role: SignIn, destination: Destination, data: Path
) -> None:
    client = as_role("operator")
    post(client, destination, sources=str(data), uids="1.3.0,5\n1.9.9")
    send = planned(Send.objects.get())
    page = client.get(f"/sends/{send.pk}/").content.decode()
    assert "2 not found, or not whole" in page
    csv = b"".join(client.get(f"/listings/{send.listing_id}/missing.csv"))
    assert csv.decode().splitlines() == [
        "level,uid,expected,found", "study,1.3.0,5,2", ",1.9.9,,0",
    ]  # fmt: skip
    page = as_role("viewer").get(f"/sends/{send.pk}/").content.decode()
    assert "2 not found, or not whole" in page
    assert "1.9.9" not in page
