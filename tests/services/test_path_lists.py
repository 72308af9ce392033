"""Lists of paths: each line is looked at in the background, and what can't be used is a row."""

import os
from pathlib import Path
from typing import Any

import pytest

from sender.models import ContextTemplate, ListedPath, Listing, ListingEntry, Send
from sender.negotiation.lists import InvalidList
from sender.negotiation.selection import Selection
from sender.services import (
    forgetting,
    listing,
    path_lists,
    planner,
    sending,
    taking,
    tickets,
    walking,
)
from sender.services.listing import ScanEnd
from sender.services.path_lists import PathList
from sender.services.sending import SendOrder
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "issue_plan", lambda _: None)
    monkeypatch.setattr(tickets, "issue_work", lambda _: None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A root with three instances, one of them in a folder, and a file that is none."""
    for number, name in enumerate(["a.dcm", "b, c.dcm", "sub/d.dcm"]):
        factories.write_instance(tmp_path / "data" / name, sop_instance=f"1.2.{number}")
    (tmp_path / "data" / "notes.txt").write_text("x")
    (tmp_path / "data" / "empty").mkdir()
    (tmp_path / "outside.dcm").write_text("x")
    return tmp_path / "data"


def order(text: str, root: Path, *folders: Path, **facts: Any) -> Send:
    version = ContextTemplate.objects.get(name="Derived from files").newest
    given = SendOrder(
        factories.destination(f"d{Send.objects.count()}"),
        version,
        [str(folder) for folder in folders],
        "test",
        roots=[root],
        path_list=path_lists.read_path_list(text.encode("utf-8", "surrogateescape")),
        **facts,
    )
    return sending.create_send(given, start=False)


def planned(text: str, root: Path, *folders: Path, **facts: Any) -> Send:
    send = order(text, root, *folders, **facts)
    planner.plan_send(send.pk)
    send.refresh_from_db()
    return send


def account(send: Send) -> list[tuple[str, str]]:
    rows = send.items.order_by("position").values_list("file__sop_instance_uid", "reason")
    return sorted((uid, reason) for uid, reason in rows)


def problems(send: Send) -> list[tuple[int, str]]:
    assert send.listing is not None
    return [(row.number, row.problem) for row in path_lists.problems(send.listing)]


def test_each_line_is_a_file_or_a_folder(data: Path) -> None:
    text = f'path\n{data}/a.dcm\n"{data}/b, c.dcm"\n\n{data}/sub\n'
    send = planned(text, data)
    assert account(send) == [("1.2.0", ""), ("1.2.1", ""), ("1.2.2", "")]
    assert problems(send) == []


def test_a_comma_belongs_to_the_path_if_there_is_such_a_file(data: Path) -> None:
    send = planned(f"{data}/b, c.dcm\n{data}/a.dcm,1.2.840,x\n", data)
    assert account(send) == [("1.2.0", ""), ("1.2.1", "")]


def test_lines_that_can_not_be_used_are_told_and_are_rows(data: Path) -> None:
    (data / "link.dcm").symlink_to(data.parent / "outside.dcm")
    text = (
        f"{data}/a.dcm\n{data}/gone.dcm\n{data.parent}/outside.dcm\nrelative.dcm\n"
        f"{data}/empty\n{data}/x\0y\n{data}/../outside.dcm\n{data}/link.dcm\n{data}/notes.txt\n"
    )
    send = planned(text, data)
    outside = "is outside the allowed source roots"
    assert problems(send) == [
        (2, "does not exist"),
        (3, outside),
        (4, "is no whole path, from the root on"),
        (5, "holds no files"),
        (6, "no path has a NUL character"),
        (7, outside),
        (8, outside),
    ]
    found = account(send)
    assert len(found) == 9
    assert found[-1] == ("1.2.0", "")
    assert ("", "notes.txt: not a DICOM file") not in found
    reasons = [reason for _, reason in found]
    assert f"{data}/gone.dcm: line 2 of the list does not exist" in reasons
    assert f"{data}/notes.txt: not a DICOM file" in reasons
    assert send.plan["unreadable"] == 8


def test_a_list_of_which_no_line_can_be_used_is_a_failed_send(data: Path) -> None:
    send = planned("/nowhere/1\n/nowhere/2\n", data)
    sending.start_send(send, "test")
    assert (send.state, len(account(send))) == ("failed", 2)


def test_a_file_that_is_named_more_than_once_is_one_row(data: Path) -> None:
    text = f"{data}/a.dcm\n{data}/a.dcm\n{data}/./a.dcm\n{data}/sub/../a.dcm\n{data}\n"
    send = planned(text, data, data / "sub")
    assert [uid for uid, _ in account(send)] == ["", "1.2.0", "1.2.1", "1.2.2"]
    assert send.listing is not None
    send.listing.refresh_from_db()
    assert send.listing.files == 4


def test_rules_hold_for_files_of_a_list(data: Path) -> None:
    text = f"{data}/a.dcm\n{data}/notes.txt\n/gone\n"
    send = planned(text, data, selection=Selection(patterns=("*.dcm",)))
    assert [uid for uid, _ in account(send)] == ["", "1.2.0"]
    assert send.listing is not None
    send.listing.refresh_from_db()
    assert send.listing.excluded == {"file name": 1}
    assert problems(send) == [(3, "does not exist")]


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_scan_goes_on_line_by_line(
    chunk: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{data}/a.dcm\n/gone/1\n{data}/sub\n{data}\n/gone/2\n"
    whole = planned(text, data)
    monkeypatch.setattr(taking, "CHUNK", chunk)
    monkeypatch.setattr(listing, "WINDOW", 2)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(walking, "LINES", 2)
    monkeypatch.setattr(listing, "LINES", 2)
    send = order(text, data)
    turns = 1
    while listing.scan_listing(send.listing_id or 0, "me", in_slices=True) is ScanEnd.SLICE_OVER:
        turns += 1
    assert turns > 3
    planner.plan_send(send.pk, in_slices=False)
    assert account(send) == account(whole)
    assert problems(send) == problems(whole)


def test_names_that_are_no_utf_8_are_found(data: Path) -> None:
    odd = os.fsencode(data) + b"/\xff.dcm"
    os.rename(data / "a.dcm", odd)
    send = planned(os.fsdecode(odd) + "\n", data)
    assert account(send) == [("1.2.0", "")]
    assert send.listing is not None
    assert next(iter(send.listing.paths.all())).said.endswith("/\\xff.dcm")


def test_lines_of_a_list_in_a_folder_begin_there(data: Path) -> None:
    (data / "list.csv").write_text("a.dcm\nsub/d.dcm\n../outside.dcm\n")
    version = ContextTemplate.objects.get(name="Derived from files").newest
    lines = path_lists.read_path_list((data / "list.csv").read_bytes(), folder=str(data))
    given = SendOrder(factories.destination(), version, [], "test", roots=[data], path_list=lines)
    send = sending.create_send(given, start=False)
    planner.plan_send(send.pk)
    assert [uid for uid, _ in account(send)] == ["", "1.2.0", "1.2.2"]
    assert problems(send) == [(3, "is outside the allowed source roots")]


def test_roots_stay_those_of_whoever_ordered(data: Path) -> None:
    send = order(f"{data}/a.dcm\n", data)
    assert send.listing is not None
    assert send.listing.roots == [str(data)]
    version = ContextTemplate.objects.get(name="Derived from files").newest
    lines = path_lists.read_path_list(f"{data.parent}/outside.dcm\n".encode())
    given = SendOrder(factories.destination(), version, [], "test", roots=None, path_list=lines)
    free = sending.create_send(given, start=False)
    planner.plan_send(free.pk)
    assert problems(free) == []
    assert account(free)[0][1].endswith("outside.dcm: not a DICOM file")


def test_what_can_be_no_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidList, match="is empty"):
        path_lists.read_path_list(b"\n \n")
    monkeypatch.setattr(path_lists, "LARGEST_LIST", 1_000_000)
    with pytest.raises(InvalidList, match="at most 0 MB"):
        path_lists.read_path_list(bytes(1_000_001))
    assert not PathList(())


def test_a_list_can_be_used_again(data: Path) -> None:
    send = order(f"{data}/a.dcm,x\nrelative\n", data)
    assert send.listing is not None
    again = path_lists.of_listing(send.listing)
    assert again is not None
    assert [(line.path, line.first_cell) for line in again.lines] == [
        (f"{data}/a.dcm,x", f"{data}/a.dcm"),
        ("relative", ""),
    ]
    assert path_lists.of_listing(Listing.objects.create()) is None


def test_lines_are_exported_with_why(data: Path) -> None:
    send = planned(f"{data}/a.dcm\n/gone\n", data)
    assert send.listing is not None
    assert list(path_lists.export(send.listing)) == [
        ("line", "path", "problem"),
        ("2", "/gone", "does not exist"),
    ]
    assert ListedPath.objects.filter(listing=send.listing).count() == 2
    forgetting.forget_entries()
    assert not ListingEntry.objects.exists()
    assert ListedPath.objects.exists(), "they can be exported later"
