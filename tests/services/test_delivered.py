"""Only what is new: what a destination has already, by SOP Instance UID and content."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sender.models import ContextTemplate, Destination, ListingEntry, Send, SourceFile
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import delivered, planner, sending, tickets
from sender.services.plan_pages import Row
from sender.services.sending import SendOrder
from tests import factories
from tests.services.test_listing import scanned

pytestmark = pytest.mark.django_db


@pytest.fixture
def to(db: None) -> Destination:
    """The destination that is asked about."""
    return factories.destination("pacs")


@pytest.fixture(autouse=True)
def _no_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "issue_plan", lambda _: None)
    monkeypatch.setattr(tickets, "issue_work", lambda _: None)


def sent(folder: Path, to: Destination, outcome: InstanceOutcome = InstanceOutcome.SENT) -> Send:
    """Stand for a send that ended with one outcome for all rows."""
    version = ContextTemplate.objects.get(name="Derived from files").newest
    given = SendOrder(to, version, [str(folder)], "test", roots=None)
    send = sending.create_send(given, start=True)
    planner.plan_send(send.pk)
    send.items.update(outcome=outcome)
    return send


def there(folder: Path, to: Destination) -> list[str]:
    """Return the names of files below a folder that are at the destination already."""
    found = scanned(folder)
    entries = ListingEntry.objects.filter(listing=found).select_related("file")
    rows: list[Any] = [
        Row(e.number, e.file_id, 0, None, 0, "", "", e.file.sop_instance_uid) for e in entries
    ]
    numbers = delivered.at_destination(to.pk, rows)
    return sorted(e.file.name for e in entries if e.number in numbers)


@pytest.mark.parametrize("outcome", list(InstanceOutcome))
def test_only_what_arrived_is_there(
    outcome: InstanceOutcome, tmp_path: Path, to: Destination
) -> None:
    factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    sent(tmp_path, to, outcome)
    arrived = outcome in (InstanceOutcome.SENT, InstanceOutcome.WARNING)
    assert there(tmp_path, to) == (["a.dcm"] if arrived else [])


def test_what_is_elsewhere_is_not_there(tmp_path: Path, to: Destination) -> None:
    factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    sent(tmp_path, factories.destination("another"))
    assert there(tmp_path, to) == []


def test_a_copy_at_another_place_is_the_same(tmp_path: Path, to: Destination) -> None:
    path = factories.write_instance(tmp_path / "in" / "a.dcm", sop_instance="1.2.1")
    sent(tmp_path / "in", to)
    (tmp_path / "copy").mkdir()
    shutil.copy(path, tmp_path / "copy" / "b.dcm")
    assert there(tmp_path / "copy", to) == ["b.dcm"]


@pytest.mark.parametrize("rows", [8, 16])
def test_other_content_under_the_same_uid_is_new(
    rows: int, tmp_path: Path, to: Destination
) -> None:
    path = factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    sent(tmp_path, to)
    factories.write_instance(
        path, sop_instance="1.2.1", rows=rows, extra=[("StudyID", "corrected")]
    )
    assert there(tmp_path, to) == []


def test_a_file_that_was_only_touched_is_the_same(tmp_path: Path, to: Destination) -> None:
    path = factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    keep = factories.write_instance(tmp_path / "keep" / "a.dcm", sop_instance="1.2.1")
    assert keep.read_bytes() == path.read_bytes()
    sent(tmp_path / "keep", to)
    assert there(tmp_path, to) == ["a.dcm", "a.dcm"]


def test_where_the_sent_file_is_gone_nobody_can_tell_so_it_is_new(
    tmp_path: Path, to: Destination
) -> None:
    path = factories.write_instance(tmp_path / "in" / "a.dcm", sop_instance="1.2.1")
    sent(tmp_path / "in", to)
    (tmp_path / "copy").mkdir()
    shutil.move(path, tmp_path / "copy" / "a.dcm")
    assert there(tmp_path / "copy", to) == []


def test_what_was_digested_before_it_went_is_still_known(tmp_path: Path, to: Destination) -> None:
    path = factories.write_instance(tmp_path / "in" / "a.dcm", sop_instance="1.2.1")
    sent(tmp_path / "in", to)
    (tmp_path / "copy").mkdir()
    shutil.copy(path, tmp_path / "copy" / "a.dcm")
    assert there(tmp_path / "copy", to) == ["a.dcm"]
    path.unlink()
    shutil.move(tmp_path / "copy" / "a.dcm", tmp_path / "copy" / "b.dcm")
    assert SourceFile.objects.exclude(content_digest=None).count() == 2
    assert there(tmp_path / "copy", to) == ["b.dcm"]


def test_any_number_of_rows_is_asked_in_parts(
    tmp_path: Path, to: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        factories.write_instance(tmp_path / f"{number}.dcm", sop_instance=f"1.2.{number}")
    (tmp_path / "x.txt").write_text("x")
    sent(tmp_path, to)
    monkeypatch.setattr(delivered, "CHUNK", 3)
    assert there(tmp_path, to) == [f"{number}.dcm" for number in range(7)]
