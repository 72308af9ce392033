"""Listings: what is found, remembered, left out; scans that stop anywhere and go on."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from sender.dicom import scanning
from sender.dicom.files import Entry
from sender.models import (
    Listing,
    ListingEntry,
    ListingState,
    ListingStudy,
    Send,
    SendState,
    SourceFile,
    SourceStudy,
)
from sender.models.sources import stored_path
from sender.negotiation.instances import ScannedInstance
from sender.negotiation.selection import Selection, to_document
from sender.services import expectations, listing, taking, walking
from sender.services.expectations import Expectation
from sender.services.listing import ScanEnd
from tests import factories
from tests.holders import gone_holder

pytestmark = pytest.mark.django_db


def make(*sources: Path, rules: Selection | None = None, **facts: Any) -> Listing:
    return Listing.objects.create(
        sources=[str(path) for path in sources],
        rules=to_document(rules) if rules else {},
        **facts,
    )


def scan(found: Listing, *, in_slices: bool = False, owner: str = "me") -> ScanEnd:
    ended = listing.scan_listing(found.pk, owner, in_slices=in_slices)
    found.refresh_from_db()
    return ended


def scanned(*sources: Path, rules: Selection | None = None) -> Listing:
    found = make(*sources, rules=rules)
    assert scan(found) is ScanEnd.THROUGH
    return found


def paths(found: Listing) -> list[str]:
    rows = ListingEntry.objects.filter(listing=found).order_by("number")
    return [row.file.path for row in rows.select_related("file__folder")]


def tree(root: Path, *, folders: int = 3, files: int = 4) -> list[str]:
    """Write a tree: files at the top, and folders with files; return the paths in their order."""
    made: list[str] = []
    for name in ["", *(f"f{number}" for number in range(folders))]:
        for number in range(files):
            path = root / name / f"{number}.dcm"
            uid = f"1.2.{int(name[1:] or 0) + 1 if name else 9}.{number}"
            factories.write_instance(path, sop_instance=uid, study=f"1.3.{len(made)}")
            made.append(str(path))
    return made


def test_every_file_is_listed_once_in_the_order_of_paths(tmp_path: Path) -> None:
    made = tree(tmp_path)
    found = scanned(tmp_path)
    assert paths(found) == made
    assert (found.state, found.files, found.opened) == (ListingState.DONE, 16, 16)
    assert found.bytes == sum(os.path.getsize(path) for path in made)
    numbers = ListingEntry.objects.filter(listing=found).values_list("number", flat=True)
    assert sorted(numbers) == list(range(1, 17))


def test_an_unchanged_folder_is_not_read_again(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "notes.txt").write_text("no instance")
    first, second = scanned(tmp_path), scanned(tmp_path)
    assert (first.opened, second.opened) == (17, 0)
    assert paths(first) == paths(second)
    assert SourceFile.objects.count() == 17


def test_what_changed_is_read_again_and_the_old_row_stays(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    factories.write_instance(tmp_path / "b.dcm", sop_instance="1.2.2")
    scanned(tmp_path)
    factories.write_instance(path, sop_instance="1.2.3", rows=16)
    found = scanned(tmp_path)
    assert found.opened == 1
    uids = {entry.file.sop_instance_uid for entry in ListingEntry.objects.filter(listing=found)}
    assert uids == {"1.2.2", "1.2.3"}
    assert SourceFile.objects.filter(sop_instance_uid="1.2.1").exists()


def test_a_file_with_another_time_of_change_is_read_again(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    scanned(tmp_path)
    os.utime(path, ns=(1, 1))
    assert scanned(tmp_path).opened == 1


def test_a_file_replaced_by_one_with_the_same_size_and_times_is_read_again(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    factories.write_instance(tmp_path / "b.dcm", sop_instance="1.2.2")
    scanned(tmp_path)
    was = path.stat()
    other = factories.write_instance(tmp_path / "new", sop_instance="1.2.3")
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    found = scanned(tmp_path)
    assert found.opened == 1
    uids = {entry.file.sop_instance_uid for entry in ListingEntry.objects.filter(listing=found)}
    assert uids == {"1.2.2", "1.2.3"}
    assert SourceFile.objects.filter(sop_instance_uid="1.2.1").exists(), "what was sent stays told"
    assert scanned(tmp_path).opened == 0


def test_a_file_whose_rights_changed_is_read_again_once_and_stays_the_same_row(
    tmp_path: Path,
) -> None:
    paths_made = tree(tmp_path)
    first = scanned(tmp_path)
    SourceFile.objects.update(content_digest=b"0" * 32)
    for path in paths_made[:3]:
        os.chmod(path, 0o640)
    second, third = scanned(tmp_path), scanned(tmp_path)
    assert (second.opened, third.opened) == (3, 0)
    assert SourceFile.objects.count() == len(paths_made)
    files = ListingEntry.objects.order_by("number").values_list("file_id", flat=True)
    assert list(files.filter(listing=first)) == list(files.filter(listing=third))
    assert SourceFile.objects.filter(content_digest=None).count() == 3


def test_what_could_not_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _refuse(os.open, str(path)))
        first = scanned(tmp_path)
    reasons = [e.file.reason for e in ListingEntry.objects.filter(listing=first)]
    assert reasons == ["can't be read: permission denied"]
    second = scanned(tmp_path)
    assert second.opened == 1
    assert ListingEntry.objects.get(listing=second).file.sop_instance_uid == "1.2.1"


def _refuse(real: Callable[..., int], path: str) -> Callable[..., int]:
    def opened(name: Any, *arguments: Any, **keywords: Any) -> int:
        if name == path:
            raise PermissionError(13, "Permission denied")
        return real(name, *arguments, **keywords)

    return opened


def test_links_pipes_and_odd_names_are_listed_with_their_reason(tmp_path: Path) -> None:
    factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    (tmp_path / "link.dcm").symlink_to(tmp_path / "a.dcm")
    os.mkfifo(tmp_path / "pipe")
    odd = os.fsencode(tmp_path) + b"/\xff\xfe.dcm"
    shutil.copy(os.fsencode(tmp_path / "a.dcm"), odd)
    found = scanned(tmp_path)
    entries = ListingEntry.objects.filter(listing=found).select_related("file__folder")
    reasons = {os.path.basename(entry.file.path): entry.file.reason for entry in entries}
    assert reasons == {
        "a.dcm": "",
        "link.dcm": "a link, which is not followed",
        "pipe": "no regular file",
        os.fsdecode(b"\xff\xfe.dcm"): "",
    }


@pytest.mark.parametrize(
    "done",
    [0, 7, 14, 15, *(pytest.param(done, marks=pytest.mark.slow) for done in range(15) if done % 7)],
)
def test_a_scan_that_was_interrupted_anywhere_goes_on_behind_what_it_took(
    done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tree(tmp_path)
    found = make(tmp_path)
    _interrupted(found, monkeypatch, after=done)
    Listing.objects.filter(pk=found.pk).update(lease_until=None)
    assert scan(found, owner="another") is ScanEnd.THROUGH
    assert paths(found) == made
    assert (found.files, found.opened) == (16, 16)


class Killed(RuntimeError):
    """Stands for a process that vanished."""


def _interrupted(found: Listing, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Scan file by file, and stop after some, as a killed process does."""
    left = after

    def scan_some(entries: Any, **keywords: Any) -> Iterator[Any]:
        nonlocal left
        for one in real(entries, **keywords):
            if left == 0:
                raise Killed
            left -= 1
            yield one

    real = scanning.scan_many
    with monkeypatch.context() as patch:
        patch.setattr(taking, "CHUNK", 1)
        patch.setattr(scanning, "scan_many", scan_some)
        with pytest.raises(Killed):
            listing.scan_listing(found.pk, "killed", in_slices=False)


@pytest.mark.parametrize("gone", ["the file", "the folder", "the folders behind it"])
def test_a_scan_goes_on_where_what_it_took_last_is_gone(
    gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tree(tmp_path)
    found = make(tmp_path)
    _interrupted(found, monkeypatch, after=6)  # the last one taken: f0/1.dcm
    Listing.objects.filter(pk=found.pk).update(lease_until=None)
    if gone == "the file":
        Path(made[5]).unlink()
        left = made
    elif gone == "the folder":
        shutil.rmtree(tmp_path / "f0")
        left = [*made[:6], str(tmp_path / "f0"), *made[8:]]
    else:
        shutil.rmtree(tmp_path / "f1")
        shutil.rmtree(tmp_path / "f2")
        left = made[:8]
    scan(found, owner="another")
    assert paths(found) == left


@pytest.mark.parametrize("is_left", [True, False])
def test_a_folder_that_is_lost_while_it_is_listed_is_told_once(
    *, is_left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held besides nobody knows: a send of it must not end as if it were whole."""
    made = tree(tmp_path)
    found = make(tmp_path)
    _interrupted(found, monkeypatch, after=6)  # the last one taken: f0/1.dcm
    Listing.objects.filter(pk=found.pk).update(lease_until=None)
    lost, real = tmp_path / "f0", os.scandir

    def refusing(path: Any = ".") -> Any:
        if str(path) == str(lost):
            raise PermissionError(13, "Permission denied")
        return real(path)

    if is_left:
        monkeypatch.setattr(os, "scandir", refusing)
    else:
        shutil.rmtree(lost)
    monkeypatch.setattr(taking, "CHUNK", 1)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1.0)
    while scan(found, in_slices=True) is ScanEnd.SLICE_OVER:
        pass
    assert paths(found) == [*made[:6], str(lost), *made[8:]]
    told = ListingEntry.objects.select_related("file").get(listing=found, number=7).file
    why = "permission denied" if is_left else "no such file or directory"
    assert told.reason == f"the folder can't be listed to its end: {why}"


def test_a_scan_goes_on_behind_a_folder_that_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tree(tmp_path)
    real = os.scandir

    def refusing(path: Any = ".") -> Any:
        if str(path) == str(tmp_path / "f1"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(taking, "CHUNK", 1)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1.0)
    found = make(tmp_path)
    slices = 1
    while scan(found, in_slices=True) is ScanEnd.SLICE_OVER:
        slices += 1
    assert slices > 12
    assert paths(found) == [*made[:8], str(tmp_path / "f1"), *made[12:]]


@pytest.mark.parametrize(("window", "turns"), [(20_000, 7), (5, 7), (3, 7), (1, 17)])
def test_slices_take_turns_and_find_the_same(
    window: int, turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tree(tmp_path)
    monkeypatch.setattr(listing, "WINDOW", window)
    monkeypatch.setattr(taking, "CHUNK", 3)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1.0)
    found = make(tmp_path)
    ended = [scan(found, in_slices=True)]
    while ended[-1] is ScanEnd.SLICE_OVER:
        assert (found.owner, found.lease_until) == ("", None)
        ended.append(scan(found, in_slices=True))
    assert len(ended) == turns
    assert paths(found) == made
    assert found.opened == 16


def test_files_behind_a_place_need_no_look_at_what_stands_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tree(tmp_path)
    looked_at: list[str] = []
    real = os.scandir

    def watching(path: Any = ".") -> Any:
        looked_at.append(str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", watching)
    place = walking.Place(path=str(tmp_path / "f1" / "1.dcm"))
    left = [entry.path for entry in walking.files_behind(str(tmp_path), place)]
    assert left == [*made[10:12], *made[12:]]
    assert str(tmp_path / "f0") not in looked_at


def test_somebody_else_is_left_alone_and_the_dead_are_not(tmp_path: Path) -> None:
    tree(tmp_path, folders=0)
    found = make(tmp_path)
    later = timezone.now() + timedelta(seconds=60)
    Listing.objects.filter(pk=found.pk).update(owner="elsewhere:1:0:0", lease_until=later)
    assert scan(found) is ScanEnd.TAKEN

    gone = gone_holder()
    Listing.objects.filter(pk=found.pk).update(owner=gone, lease_until=later)
    assert scan(found) is ScanEnd.THROUGH
    assert scan(found) is ScanEnd.BEFORE


def test_who_lost_a_listing_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path)
    found = make(tmp_path)
    real = scanning.scan_many

    def stolen(entries: Any, **keywords: Any) -> Iterator[Any]:
        Listing.objects.filter(pk=found.pk).update(owner="the thief")
        return real(entries, **keywords)

    monkeypatch.setattr(scanning, "scan_many", stolen)
    assert scan(found) is ScanEnd.TAKEN
    assert (found.owner, found.files) == ("the thief", 0)
    assert not ListingEntry.objects.filter(listing=found).exists()


def test_a_source_that_vanished_fails_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    found = make(folder)
    folder.rmdir()
    assert scan(found) is ScanEnd.THROUGH
    assert (found.state, found.detail) == (ListingState.FAILED, f"{folder} does not exist.")


def test_a_link_in_place_of_a_source_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    found = make(folder)
    folder.rmdir()
    folder.symlink_to("/etc")
    scan(found)
    assert found.state == ListingState.FAILED
    assert "is no longer the folder or file that was named" in found.detail


def test_an_unknown_keyword_fails_in_words(tmp_path: Path) -> None:
    tree(tmp_path, folders=0)
    found = make(tmp_path, rules=Selection(tags={"NoSuchKeyword": ("x",)}))
    scan(found)
    assert found.state == ListingState.FAILED
    assert "NoSuchKeyword" in found.detail


def test_rules_exclude_by_name_and_count_per_rule(tmp_path: Path) -> None:
    factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    factories.write_instance(tmp_path / "b.DCM", sop_instance="1.2.2", sop_class=factories.MR)
    factories.write_instance(tmp_path / "c.dcm", sop_instance="1.2.3", study="1.9")
    (tmp_path / "notes.txt").write_text("x")
    rules = Selection(
        patterns=("*.dcm",),
        sop_classes=frozenset({factories.CT}),
        studies=frozenset({"1.2.826.1"}),
    )
    found = scanned(tmp_path, rules=rules)
    assert [os.path.basename(path) for path in paths(found)] == ["a.dcm"]
    assert found.excluded == {"file name": 1, "SOP class": 1, "list of UIDs": 1}
    assert (found.files, found.excluded_files, found.found_files) == (1, 3, 4)
    again = scanned(tmp_path, rules=rules)
    assert (again.opened, again.excluded) == (0, found.excluded)


def test_rules_on_data_leave_out_what_is_no_instance_but_not_what_nobody_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_bytes(b"x" * 200)
    (tmp_path / "link").symlink_to("/etc/passwd")
    broken = factories.write_instance(tmp_path / "broken.dcm", sop_instance="1.2.1")
    broken.write_bytes(broken.read_bytes()[:-30])
    locked = factories.write_instance(tmp_path / "locked.dcm", sop_instance="1.2.2")
    factories.write_instance(tmp_path / "mr.dcm", sop_instance="1.2.3", extra=[("Modality", "MR")])
    monkeypatch.setattr(os, "open", _refuse(os.open, str(locked)))
    for _ in range(2):
        found = scanned(tmp_path, rules=Selection(modalities=frozenset({"CT"})))
        assert paths(found) == [str(broken), str(locked)]
        assert found.excluded == {taking.NO_INSTANCE: 2, "modality": 1}


def test_files_that_are_too_young_wait(tmp_path: Path) -> None:
    old = factories.write_instance(tmp_path / "old.dcm", sop_instance="1.2.1")
    factories.write_instance(tmp_path / "young.dcm", sop_instance="1.2.2")
    os.utime(old, (1, 1))
    found = scanned(tmp_path, rules=Selection(least_age_seconds=60))
    assert paths(found) == [str(old)]
    assert found.excluded == {listing.TOO_YOUNG: 1}


DAY = 86_400


@pytest.mark.parametrize(
    ("modified", "changed", "is_young"),
    [
        (0, 0, True),
        (-59, -59, True),
        (-61, -61, False),
        (-61, 0, False),  # its rights were changed
        (600, 600, True),  # by a clock that is ahead
        (3 * DAY, 0, True),  # a time that was put there, in a file that has just come
        (3 * DAY, -61, False),
        (3 * DAY, 3 * DAY, False),  # nobody can tell; it must not wait for days
    ],
)
def test_a_time_in_the_future_keeps_no_file_back(
    modified: int, changed: int, *, is_young: bool
) -> None:
    now = 1_800_000_000 * 10**9
    times = (now + modified * 10**9, now + changed * 10**9)
    rule = taking._left_out_by(Selection(least_age_seconds=60), Entry("/a", "a", 1, *times), now)
    assert rule == (listing.TOO_YOUNG if is_young else "")


def test_rules_on_tags_read_only_what_the_other_rules_leave(tmp_path: Path) -> None:
    for number, name in enumerate(["KNEE LEFT", "Knee right", "SKULL", ""]):
        factories.write_instance(
            tmp_path / f"{number}.dcm",
            sop_instance=f"1.2.{number}",
            extra=[("StudyDescription", name), ("StudyDate", "20240101")],
        )
    factories.write_instance(
        tmp_path / "late.dcm",
        sop_instance="1.2.9",
        study="1.9",
        extra=[("StudyDescription", "knee"), ("StudyDate", "20250101")],
    )
    scanned(tmp_path)
    rules = Selection(tags={"StudyDescription": ("knee*",)}, date_to="20241231")
    found = scanned(tmp_path, rules=rules)
    assert [os.path.basename(path) for path in paths(found)] == ["0.dcm", "1.dcm"]
    assert found.excluded == {"StudyDescription": 2, "study date": 1}
    assert found.opened == 4


def test_dates_are_those_of_the_study_whoever_asks(tmp_path: Path) -> None:
    factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    factories.write_instance(
        tmp_path / "b.dcm", sop_instance="1.2.2", extra=[("StudyDate", "20240101")]
    )
    rules = Selection(date_from="20240101")
    first, second = scanned(tmp_path, rules=rules), scanned(tmp_path, rules=rules)
    assert (first.files, first.excluded) == (second.files, second.excluded) == (2, {})


def test_what_a_list_of_uids_expects_is_counted_by_instance(tmp_path: Path) -> None:
    for number, (instance, rows) in enumerate([("1.2.1", 4), ("1.2.2", 4), ("1.2.2", 8)]):
        path = tmp_path / f"{number}.dcm"
        factories.write_instance(path, sop_instance=instance, study="1.3.1", rows=rows)
    found = make(
        tmp_path, expected=expectations.to_rows([Expectation("study", "1.3.1", 3),
                                                 Expectation("instance", "1.2.2")])
    )  # fmt: skip
    scan(found)
    standings = ListingEntry.objects.filter(listing=found).values_list("standing", flat=True)
    assert sorted(standings) == ["", "conflict", "conflict"]
    assert [entry.found for entry in expectations.of_listing(found)] == [2, 1]


def test_a_file_of_two_sources_is_listed_once(tmp_path: Path) -> None:
    made = tree(tmp_path)
    (tmp_path / "f0" / "broken.dcm").write_bytes(b"x" * 200)
    found = scanned(tmp_path, tmp_path / "f0", tmp_path / "f1" / "0.dcm")
    assert sorted(paths(found)) == sorted([*made, str(tmp_path / "f0" / "broken.dcm")])
    assert found.files == 17
    assert found.bytes == sum(os.path.getsize(path) for path in paths(found))
    assert found.cursor["kinds"]
    standings = ListingEntry.objects.filter(listing=found).values_list("standing", flat=True)
    assert set(standings) == {""}


def test_a_source_without_anything_is_told_beside_one_with_files(tmp_path: Path) -> None:
    tree(tmp_path / "full", folders=0)
    (tmp_path / "empty").mkdir()
    found = scanned(tmp_path / "empty", tmp_path / "full")
    assert found.files == 4
    assert found.expected == [
        {"level": "source", "uid": str(tmp_path / "empty"), "instances": None, "found": 0}
    ]


def test_studies_are_told_in_the_order_found_with_their_dates(tmp_path: Path) -> None:
    for number, (study, date) in enumerate(
        [("1.3.2", "20240102"), ("1.3.1", "20240101"), ("1.3.2", "20240102"), ("1.3.3", "")]
    ):
        factories.write_instance(
            tmp_path / f"{number}.dcm",
            sop_instance=f"1.2.{number}",
            study=study,
            extra=[("StudyDate", date)],
        )
    (tmp_path / "9.txt").write_text("x")
    found = scanned(tmp_path)
    rows = ListingStudy.objects.filter(listing=found).order_by("first")
    told = [(row.study.uid if row.study else "", row.study_date, row.files) for row in rows]
    assert told == [
        ("1.3.2", "20240102", 2),
        ("1.3.1", "20240101", 1),
        ("1.3.3", "", 1),
        ("", "", 1),
    ]


def test_a_study_gets_its_date_from_whichever_file_has_one(tmp_path: Path) -> None:
    factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    scanned(tmp_path)
    assert SourceStudy.objects.get(uid="1.2.826.1").study_date == ""
    factories.write_instance(
        tmp_path / "b.dcm", sop_instance="1.2.2", extra=[("StudyDate", "20240101")]
    )
    scanned(tmp_path)
    assert SourceStudy.objects.get(uid="1.2.826.1").study_date == "20240101"


def test_a_scan_that_nobody_wants_any_more_stops(tmp_path: Path, settings: Settings) -> None:
    tree(tmp_path)
    found = make(tmp_path)
    from sender.models import ContextTemplate

    Send.objects.create(
        destination=factories.destination(),
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        requested_by="test",
        listing=found,
        state=SendState.CANCELLING,
        control="cancel",
    )
    scan(found)
    assert (found.state, found.detail) == (ListingState.FAILED, listing.UNWANTED)
    assert not ListingEntry.objects.filter(listing=found).exists()


def test_a_listing_of_an_earlier_version_is_made_ready(tmp_path: Path) -> None:
    tree(tmp_path)
    found = scanned(tmp_path)
    kinds = found.cursor["kinds"]
    ListingStudy.objects.filter(listing=found).delete()
    found.cursor = {}
    listing.make_ready(found)
    assert found.cursor["kinds"] == kinds
    assert ListingStudy.objects.filter(listing=found).count() == 16


def test_values_that_databases_refuse_are_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.write_instance(tmp_path / "a.dcm", sop_instance="1.2.1")
    real = scanning.scan_many

    def odd(entries: Any, **keywords: Any) -> Iterator[Any]:
        for one in real(entries, **keywords):
            assert isinstance(one, ScannedInstance)
            yield one._replace(modality="C\0T" + "X" * 40)

    monkeypatch.setattr(scanning, "scan_many", odd)
    found = scanned(tmp_path)
    series = ListingEntry.objects.get(listing=found).file.series
    assert series is not None
    assert series.modality == "CT" + "X" * 14


def test_paths_that_are_no_utf_8_come_back_whole() -> None:
    name = os.fsdecode(b"/data/\xff/a")
    entry = Entry(name, "a", 1, 1)
    assert stored_path(entry.path) == "///data/%FF/a"


def test_a_file_of_a_year_that_no_database_keeps_holds_up_no_other(tmp_path: Path) -> None:
    made = tree(tmp_path, folders=0)
    os.utime(made[1], ns=(0, 10**19))
    found = scanned(tmp_path)
    assert paths(found) == made
    reasons = [entry.file.reason for entry in ListingEntry.objects.filter(listing=found)]
    assert sum("not within the years 1678 to 2262" in reason for reason in reasons) == 1
    os.utime(made[1])
    assert scanned(tmp_path).opened == 1
