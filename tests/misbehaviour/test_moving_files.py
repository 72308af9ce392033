"""Files that change between the scan and the send, or during it: marked, and never sent mixed.

The acceptor moves them: when it is asked for an association (all files are scanned, none is sent),
or in the middle of a data set.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import factories
from tests.misbehaviour.catalogue import Act, Group, Misbehaviour
from tests.misbehaviour.conftest import LARGE_ROWS
from tests.misbehaviour.destinations import destination
from tests.misbehaviour.dialogue import Dialogue
from tests.misbehaviour.observing import listening, sop_instance
from tests.misbehaviour.sessions import Authority
from tests.misbehaviour.shell import SendResult, Shell

pytestmark = pytest.mark.slow
COUNT = 6
VICTIM = 4
Change = Callable[[Path], None]


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(100))


def replace_by_another(path: Path) -> None:
    """Put another instance of the same size in its place, as a copy under its name would."""
    other = path.with_suffix(".new")
    rows = 8 if path.stat().st_size < 1 << 20 else LARGE_ROWS
    factories.write_instance(other, sop_instance=sop_instance(VICTIM + 5), rows=rows)
    assert other.stat().st_size == path.stat().st_size
    other.replace(path)


def overwrite(path: Path) -> None:
    """Write other pixels into it, size and beginning unchanged."""
    with path.open("r+b") as file:
        file.seek(-50, os.SEEK_END)
        file.write(b"\x55" * 50)


def make_a_link(path: Path) -> None:
    target = path.with_suffix(".moved")
    path.rename(target)
    path.symlink_to(target)


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def forbid(path: Path) -> None:
    """Take its folder away, so that it can't be opened by anybody, root included."""
    shutil.rmtree(path.parent)


CHANGES = (
    delete, cut, empty, grow, replace_by_another, overwrite, make_a_link, make_a_folder,
    make_a_pipe, forbid,
)  # fmt: skip
IN_PLACE = (delete, cut, grow, replace_by_another, overwrite)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Small instances, each in a folder of its own."""
    for number in range(1, COUNT + 1):
        factories.write_instance(
            tmp_path / "in" / str(number) / "i.dcm", sop_instance=sop_instance(number)
        )
    return tmp_path / "in"


def digests(source: Path) -> dict[str, str]:
    """Return the SHA-256 of each data set, by SOP Instance UID, as the files are now."""
    import pydicom

    found = {}
    for path in source.rglob("*.dcm"):
        with path.open("rb") as file:
            pydicom.dcmread(file, stop_before_pixels=True)
            content = path.read_bytes()
        uid = pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
        meta = pydicom.filereader.read_file_meta_info(path)
        offset = 132 + 12 + meta.FileMetaInformationGroupLength
        found[str(uid)] = hashlib.sha256(content[offset:]).hexdigest()
    return found


def check_unmixed(
    result: SendResult, dialogues: list[Dialogue], before: dict[str, str], victim: str
) -> None:
    """The victim is failed with its reason, all else sent, and nothing arrived but as it was."""
    outcomes = result.outcomes
    row = next(row for row in result.rows if row.iuid == victim)
    assert row.outcome == "failed"
    assert "file" in row.reason
    assert {outcomes[iuid] for iuid in outcomes if iuid != victim} == {"sent"}
    assert result.document["state"] == "partial"
    for dialogue in dialogues:
        for reception in dialogue.receptions:
            assert reception.sop_instance != victim
            assert reception.digest == before[reception.sop_instance]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_after_the_scan_is_not_sent(
    change: Change, source: Path, shell: Shell, authority: Authority
) -> None:
    before = digests(source)

    def act(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        if not dialogue.ended.is_set() and len(moved) == 0:
            moved.append(change)
            change(source / str(VICTIM) / "i.dcm")
        dialogue.send(dialogue.acceptance())
        dialogue.serve()

    moved: list[Change] = []
    with listening(Misbehaviour("moves files", Group.SIZE, act), authority) as (port, dialogues):
        result = shell.send(source, to=destination(shell, port))
    check_unmixed(result, dialogues, before, sop_instance(VICTIM))


@pytest.mark.parametrize("change", IN_PLACE)
def test_a_file_that_changes_between_two_instances_is_not_sent(
    change: Change, source: Path, shell: Shell, authority: Authority
) -> None:
    """The first instance is answered only after the change; the second one may be loaded."""
    before = digests(source)
    with listening(
        Misbehaviour("moves files", Group.SIZE, _changing_at_first(change, source)), authority
    ) as (port, dialogues):
        result = shell.send(source, to=destination(shell, port))
    check_unmixed(result, dialogues, before, sop_instance(VICTIM))


def _changing_at_first(change: Change, source: Path) -> Act:
    moved: list[Change] = []

    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        asked = dialogue.read_request()
        if not moved:
            moved.append(change)
            change(source / str(VICTIM) / "i.dcm")
        dialogue.answer(asked)
        dialogue.serve()

    return act


@pytest.mark.parametrize(
    ("change", "outcome"),
    [(cut, "failed"), (grow, "failed"), (overwrite, "failed"), (replace_by_another, "sent"),
     (delete, "sent")],
)  # fmt: skip
def test_a_file_that_changes_while_it_is_sent_is_never_sent_mixed(
    change: Change, outcome: str, source: Path, shell: Shell, authority: Authority
) -> None:
    """A file of 12.5 MB is streamed: it changes when a part of it has arrived.

    What is renamed over or deleted is still the same file to who has it open, and goes whole.
    """
    path = source / str(VICTIM) / "i.dcm"
    factories.write_instance(path, sop_instance=sop_instance(VICTIM), rows=LARGE_ROWS)
    before = digests(source)
    victim = sop_instance(VICTIM)
    moved: list[Change] = []

    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        while True:
            asked = dialogue.read_command()
            if asked.text(0x1000) == victim and not moved:
                moved.append(change)
                change(path)
            dialogue.read_data_set(asked)
            dialogue.answer(asked)

    case = Misbehaviour("moves a file", Group.SIZE, act, receive_buffer=1 << 16)
    with listening(case, authority) as (port, dialogues):
        result = shell.send(source, to=destination(shell, port))
    assert moved
    assert set(result.outcomes) == set(before)
    for dialogue in dialogues:
        for reception in dialogue.receptions:
            assert reception.digest == before[reception.sop_instance]
    outcomes = result.outcomes
    assert outcomes.pop(victim) == outcome
    assert set(outcomes.values()) == {"sent"}


def test_what_may_have_arrived_stays_unknown_when_its_file_is_gone(
    source: Path, shell: Shell, authority: Authority
) -> None:
    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        asked = dialogue.read_request()
        (source / "1" / "i.dcm").unlink()
        assert asked.text(0x1000) == sop_instance(1)
        dialogue.reset()

    def serve(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        dialogue.serve()

    case = Misbehaviour("resets", Group.LOSS, act)
    with listening(case, authority, serve) as (port, _):
        result = shell.send(source, to=destination(shell, port))
    outcomes = result.outcomes
    assert outcomes.pop(sop_instance(1)) == "unknown"
    assert set(outcomes.values()) == {"sent"}
    reason = next(row.reason for row in result.rows if row.iuid == sop_instance(1))
    assert "the peer may have stored it" in reason
    assert "file" in reason
