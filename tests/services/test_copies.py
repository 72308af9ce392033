"""The same SOP Instance UID more than once: copies are one instance, differences are conflicts."""

import os
import shutil
from pathlib import Path

import pytest

from sender.analytics import sends as accounts
from sender.dicom import files
from sender.models import Listing, ListingEntry, SourceFile
from sender.services import copies, listing, planner
from sender.services.listing import ScanEnd
from tests import factories
from tests.services.test_listing import scan, scanned
from tests.services.test_sending import order

pytestmark = pytest.mark.django_db


def standings(found: Listing) -> dict[str, str]:
    rows = ListingEntry.objects.filter(listing=found).select_related("file__folder")
    return {os.path.relpath(row.file.path, found.sources[0]): row.standing for row in rows}


def test_identical_files_are_copies_of_the_first(tmp_path: Path) -> None:
    first = factories.write_instance(tmp_path / "b" / "1.dcm", sop_instance="1.2.1")
    for name in ("a/1.dcm", "c/1.dcm"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(first, tmp_path / name)
    found = scanned(tmp_path)
    assert standings(found) == {"a/1.dcm": "", "b/1.dcm": "copy", "c/1.dcm": "copy"}
    marked = ListingEntry.objects.filter(listing=found, standing="copy")
    assert {entry.first.path for entry in marked if entry.first} == {str(tmp_path / "a/1.dcm")}
    assert found.cursor["copies"] is True


@pytest.mark.parametrize("rows", [8, 16])
def test_different_data_of_any_size_are_a_conflict_of_all(rows: int, tmp_path: Path) -> None:
    factories.write_instance(tmp_path / "1.dcm", sop_instance="1.2.1")
    shutil.copy(tmp_path / "1.dcm", tmp_path / "2.dcm")
    factories.write_instance(
        tmp_path / "3.dcm", sop_instance="1.2.1", rows=rows, extra=[("StudyID", "X")]
    )
    factories.write_instance(tmp_path / "4.dcm", sop_instance="1.2.4")
    found = scanned(tmp_path)
    assert standings(found) == {
        "1.dcm": "conflict", "2.dcm": "conflict", "3.dcm": "conflict", "4.dcm": "",
    }  # fmt: skip
    assert found.cursor["copies"] is False


def test_the_same_bytes_under_another_label_are_a_conflict(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "1.dcm", sop_instance="1.2.1")
    content = path.read_bytes()
    labelled = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0", 1)
    assert labelled != content
    (tmp_path / "2.dcm").write_bytes(labelled)
    assert standings(scanned(tmp_path)) == {"1.dcm": "conflict", "2.dcm": "conflict"}


def test_another_preamble_makes_no_other_instance(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "1.dcm", sop_instance="1.2.1")
    (tmp_path / "2.dcm").write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert standings(scanned(tmp_path)) == {"1.dcm": "", "2.dcm": "copy"}


def test_broken_files_are_neither(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "1.dcm", sop_instance="1.2.1")
    for name in ("2.dcm", "3.dcm"):
        (tmp_path / name).write_bytes(path.read_bytes()[:-20])
    assert set(standings(scanned(tmp_path)).values()) == {""}


def test_copies_over_several_folders_and_sources(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "a" / "1.dcm", sop_instance="1.2.1")
    (tmp_path / "b").mkdir()
    shutil.copy(path, tmp_path / "b" / "1.dcm")
    found = scanned(tmp_path / "b", tmp_path / "a")
    first = ListingEntry.objects.get(listing=found, standing="")
    assert first.file.path == str(tmp_path / "b" / "1.dcm")
    assert ListingEntry.objects.get(listing=found, standing="copy").first_id == first.file_id


def test_a_copy_that_can_no_longer_be_read_is_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = factories.write_instance(tmp_path / "1.dcm", sop_instance="1.2.1")
    shutil.copy(path, tmp_path / "2.dcm")
    real = copies.mark_copies

    def late(*arguments: object, **keywords: object) -> object:
        path.unlink()
        return real(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(copies, "mark_copies", late)
    assert standings(scanned(tmp_path)) == {"1.dcm": "conflict", "2.dcm": "conflict"}


def test_contents_are_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = factories.write_instance(tmp_path / "1.dcm", sop_instance="1.2.1")
    shutil.copy(path, tmp_path / "2.dcm")
    scanned(tmp_path)
    assert SourceFile.objects.exclude(content_digest=None).count() == 2

    def fail(_: object) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(files, "dataset_digest", fail)
    assert standings(scanned(tmp_path)) == {"1.dcm": "", "2.dcm": "copy"}


def test_marking_goes_on_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        path = factories.write_instance(tmp_path / f"{number}a.dcm", sop_instance=f"1.2.{number}")
        shutil.copy(path, tmp_path / f"{number}b.dcm")
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1.0)
    found = Listing.objects.create(sources=[str(tmp_path)])
    ends: list[ScanEnd] = []
    while not ends or ends[-1] is ScanEnd.SLICE_OVER:
        ends.append(scan(found, in_slices=True))
    assert len(ends) == 7  # the files, five groups, the end
    assert sorted(standings(found).values()) == [""] * 5 + ["copy"] * 5


def test_a_large_group_is_marked_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = factories.write_instance(tmp_path / "00.dcm", sop_instance="1.2.1")
    for number in range(1, 12):
        os.link(path, tmp_path / f"{number:02d}.dcm")
    monkeypatch.setattr(copies, "CHUNK", 5)
    found = scanned(tmp_path)
    assert list(standings(found).values()).count("copy") == 11


def test_the_account_names_copies_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_PAGE", 2)
    for number in range(5):
        path = factories.write_instance(
            tmp_path / f"{number}.dcm", sop_instance=f"1.2.{number}", study="1.2.826"
        )
        if number % 2 == 0:
            shutil.copy(path, tmp_path / f"{number}.copy")
    send = order(factories.destination(), tmp_path)
    planner.plan_send(send.pk)
    rows = {row[0]: row[4] for row in list(accounts.export_rows(send))[1:]}
    assert rows == {
        "1.2.0": "also at 0.dcm",
        "1.2.1": "",
        "1.2.2": "also at 2.dcm",
        "1.2.3": "",
        "1.2.4": "also at 4.dcm",
    }
