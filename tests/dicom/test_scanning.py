"""Many files at once: every entry once, in order, whatever happens to those who scan."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sender.dicom import children, files, scanning
from sender.dicom.files import Entry, list_files
from sender.dicom.identity import MustInflate
from sender.dicom.scanning import Scanner, scan_many
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance, Unreadable
from tests import factories
from tests.processes import PATIENCE_SECONDS, check_children_end, children_of

COUNT = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Instances, and things that are none."""
    template = factories.write_instance(tmp_path / "000.dcm", sop_instance="1.2.3.1000")
    content = template.read_bytes()
    for number in range(1, COUNT):
        path = tmp_path / f"{number:03}.dcm"
        path.write_bytes(content.replace(b"1.2.3.1000", b"1.2.3.%d" % (1000 + number)))
    (tmp_path / "empty").write_bytes(b"")
    os.symlink(template, tmp_path / "link")
    return tmp_path


@pytest.fixture
def _early_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children help from the third entry on, and have most of the rest."""
    monkeypatch.setattr(scanning, "ALONE_ENTRIES", 0)
    monkeypatch.setattr(scanning, "CHUNK", 1)
    monkeypatch.setattr(scanning, "_CHILDS_CHUNK", 5)
    start = scanning._Crew.start

    def start_and_wait(crew: scanning._Crew) -> None:
        start(crew)
        for answer in crew._first_answers:
            answer.result(PATIENCE_SECONDS)

    monkeypatch.setattr(scanning._Crew, "start", start_and_wait)


def alone(folder: Path) -> list[ScannedInstance | Unreadable]:
    return list(scan_many(list_files(str(folder))))


def test_every_entry_comes_out_once_and_in_order(folder: Path) -> None:
    found = alone(folder)
    assert [one.relative_path for one in found] == sorted(os.listdir(folder))
    assert sum(isinstance(one, ScannedInstance) for one in found) == COUNT


@pytest.mark.slow
@pytest.mark.usefixtures("_early_help")
@pytest.mark.parametrize("processes", [2, 3])
def test_children_find_the_same(folder: Path, processes: int) -> None:
    wanted = frozenset({files.tag_of("PatientID"), files.tag_of("Rows")})
    found = list(scan_many(list_files(str(folder)), wanted=wanted, processes=processes))
    assert found == list(scan_many(list_files(str(folder)), wanted=wanted))
    instances = [one for one in found if isinstance(one, ScannedInstance)]
    assert {one.values[files.tag_of("Rows")] for one in instances} == {"8"}
    assert len({id(one.kind) for one in instances}) == 1


def test_a_small_input_starts_no_child(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(scanning, "Child", refuse)
    assert len(list(scan_many(list_files(str(folder)), processes=8))) == COUNT + 2


def refuse_to_start(*_: object) -> None:
    raise BlockingIOError


@pytest.mark.usefixtures("_early_help")
def test_where_no_process_can_be_started_all_is_done_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "Child", refuse_to_start)
    assert list(scan_many(list_files(str(folder)), processes=2)) == alone(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("_early_help")
def test_a_child_that_dies_costs_the_entry_that_killed_it_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_MODULE", "tests.dicom.deadly_scanner")
    monkeypatch.setattr(scanning, "_IN_HAND", 100)  # children have all the rest
    content = (folder / "000.dcm").read_bytes()
    for name in ("deadly.dcm", "once.dcm"):
        (folder / name).write_bytes(content)
    listed = list(list_files(str(folder)))
    found = {one.relative_path: one for one in scan_many(listed, processes=2)}
    assert list(found) == [entry.relative_path for entry in listed]
    deadly = found.pop("deadly.dcm")
    assert isinstance(deadly, Unreadable)
    assert deadly.reason == scanning.FATAL
    assert deadly.size == len(content)
    assert found == {one.relative_path: one for one in alone(folder) if one.relative_path in found}


@pytest.mark.slow
@pytest.mark.usefixtures("_early_help")
def test_who_stops_reading_leaves_no_child_behind(folder: Path) -> None:
    before = children_of(os.getpid())
    found = scan_many(list_files(str(folder)), processes=2)
    for _ in range(25):
        next(found)
    assert children_of(os.getpid()) > before
    found.close()  # type: ignore[attr-defined]
    assert children_of(os.getpid()) == before


@pytest.mark.slow
def test_children_end_with_a_parent_that_is_killed(folder: Path) -> None:
    check_children_end(
        "from sender.dicom import scanning\ncrew = scanning._Crew(frozenset(), 2)\ncrew.start()\n"
    )


@pytest.mark.slow
def test_a_child_in_the_midst_of_its_work_ends_with_a_parent_that_is_killed() -> None:
    check_children_end(
        "from sender.dicom.children import Child\n"
        "child = Child('tests.dicom.silent_child')\n"
        "child.submit(b'anything')\n"
    )


def test_what_is_deflated_is_inflated_beside_the_rest_and_stays_in_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deflated = syntaxes.DEFLATED_EXPLICIT_VR_LE
    for number in (5, 7, 58):
        factories.write_instance(
            folder / f"{number:03}.dcm", sop_instance=f"1.2.4.{number}", transfer_syntax=deflated
        )
    cut = (folder / "058.dcm").read_bytes()
    (folder / "058.dcm").write_bytes(cut[:-20])
    monkeypatch.setattr(scanning, "CHUNK", 4)
    monkeypatch.setattr(scanning, "_MOST_AHEAD", 2)
    found = alone(folder)
    assert [one.relative_path for one in found] == sorted(os.listdir(folder))
    told = {one.relative_path: one for one in found}
    for name in ("005.dcm", "007.dcm"):
        one = told[name]
        assert isinstance(one, ScannedInstance)
        assert one.kind.transfer_syntax == deflated
    assert isinstance(told["058.dcm"], Unreadable)
    assert "cut off" in told["058.dcm"].reason
    assert sum(isinstance(one, ScannedInstance) for one in found) == COUNT - 1


def test_who_wants_no_inflating_now_is_told(tmp_path: Path) -> None:
    path = factories.write_instance(
        tmp_path / "x", sop_instance="1.2", transfer_syntax=syntaxes.DEFLATED_EXPLICIT_VR_LE
    )
    with pytest.raises(MustInflate):
        files.scan(str(path), relative_path="x", may_inflate=False)


class TestThreads:
    """A scanner that waits for files takes threads, and gives them up again."""

    @pytest.fixture
    def gate(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Barrier]:
        """Scans that go on only when as many as the barrier has parties have begun."""
        barrier = threading.Barrier(4)
        scan = files.scan

        def scan_together(path: str, **options: object) -> ScannedInstance | Unreadable:
            barrier.wait(20)
            return scan(path, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(files, "scan", scan_together)
        yield barrier
        barrier.abort()

    def entries(self, folder: Path) -> list[Entry]:
        return [one for one in list_files(str(folder)) if isinstance(one, Entry)][:40]

    def test_files_that_come_at_once_need_none(self, folder: Path) -> None:
        scanner = Scanner(frozenset())
        scanner.scan(self.entries(folder))
        assert not scanner.has_threads

    def test_files_that_were_waited_for_are_read_side_by_side(
        self, folder: Path, gate: threading.Barrier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert gate.parties == 4
        scanner = Scanner(frozenset())
        scanner.adapt(40, seconds=4.0, waits=40)
        assert scanner.has_threads
        # Nothing would come back if they were read one after another.
        assert len(scanner.scan(self.entries(folder))) == 40
        scanner.close()

    def test_work_that_is_slow_but_never_waits_gets_none(self) -> None:
        scanner = Scanner(frozenset())
        scanner.adapt(40, seconds=4.0, waits=1)
        assert not scanner.has_threads

    def test_once_they_come_fast_again_the_threads_end(self) -> None:
        scanner = Scanner(frozenset())
        scanner.adapt(40, seconds=4.0, waits=40)
        scanner.adapt(40, seconds=0.001, waits=0)
        assert not scanner.has_threads


@pytest.mark.slow
def test_a_child_that_takes_too_long_is_ended() -> None:
    child = children.Child("tests.dicom.silent_child")
    with pytest.raises(children.ChildDied, match="took too long"):
        child.ask(b"anything", seconds=0.5)
    assert not Path(f"/proc/{child.pid}").exists()
    child.close()
