"""A folder with everything that a folder can hold: each entry told once, sent or why not."""

import os
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest

from tests import factories
from tests.misbehaviour.catalogue import Group, Misbehaviour
from tests.misbehaviour.destinations import destination
from tests.misbehaviour.dialogue import Dialogue, account
from tests.misbehaviour.observing import listening
from tests.misbehaviour.sessions import Authority
from tests.misbehaviour.shell import SendResult, Shell

pytestmark = pytest.mark.slow
SR = "1.2.840.10008.5.1.4.1.1.88.11"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass
class Tree:
    """A folder, and what has to be told of it.

    Attributes:
        good: SOP Instance UIDs that must be sent.
        bad: relative paths, as written in reasons, that must not.
        conflicts: SOP Instance UIDs under which different data sets stand, with their number.
    """

    root: Path
    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    conflicts: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    def new_uid(self) -> str:
        self._number += 1
        return f"1.2.826.0.9.{self._number}"

    def add(self, name: str, **options: object) -> Path:
        """Write a good instance."""
        uid = self.new_uid()
        self.good.append(uid)
        return factories.write_instance(self.root / name, sop_instance=uid, **options)  # type: ignore[arg-type]

    def spoil(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Write a file that is no sendable instance."""
        path = factories.write_instance(self.root / name, sop_instance=self.new_uid())
        path.write_bytes(change(path.read_bytes()))
        self.bad.append(name)


def build(root: Path) -> Tree:
    """Fill a folder."""
    tree = Tree(root)
    tree.add("plain.dcm")
    _add_names(tree)
    _add_damaged(tree)
    _add_strangers(tree)
    _add_duplicates(tree)
    _add_special_files(tree)
    return tree


def _add_names(tree: Tree) -> None:
    for name in (
        "no suffix", ".hidden", "=1+1.dcm", "-rf", "@sum", "a;b&c.dcm", "quote's \"x\".dcm",
        "ünï.dcm", "雪.dcm", "<b>bold</b>.dcm", "%2e%2e", "x" * 200, "con.dcm/inside.dcm",
        "/".join(["deep"] * 40) + "/i.dcm",
    ):  # fmt: skip
        tree.add(name)
    os.rename(
        tree.add("renamed.dcm"), os.path.join(os.fsencode(tree.root), b"not \xff utf-8 \n.dcm")
    )


def _add_damaged(tree: Tree) -> None:
    tree.spoil("cut.dcm", lambda content: content[: len(content) * 3 // 4])
    tree.spoil("cut early.dcm", lambda content: content[:200])
    tree.spoil("only a preamble.dcm", lambda content: content[:132])
    tree.spoil("no meta.dcm", lambda content: content[_offset(content) :])
    tree.spoil("empty.dcm", lambda _: b"")
    tree.spoil("one byte.dcm", lambda _: b"D")
    tree.spoil("junk behind.dcm", lambda content: content + b"\xff" * 33)
    tree.spoil("zeros.dcm", lambda content: bytes(len(content)))
    tree.spoil(
        "other instance in meta.dcm", lambda c: c.replace(b"1.2.826.0.9.", b"1.2.826.0.8.", 1)
    )
    tree.spoil(
        "other syntax in meta.dcm",
        lambda content: content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"),
    )


def _offset(content: bytes) -> int:
    return 144 + int.from_bytes(content[140:144], "little")


def _add_strangers(tree: Tree) -> None:
    for name, content in (
        ("notes.txt", b"hello"), ("page.html", b"<html></html>"),
        ("archive.zip", b"PK\3\4" + bytes(60)),
        ("image.png", b"\x89PNG\r\n\x1a\n" + bytes(200)), ("table.csv", b"a,b\n=1,2\n"),
        ("Thumbs.db", bytes(4096)),
    ):  # fmt: skip
        (tree.root / name).write_bytes(content)
        tree.bad.append(name)
    for name, keyword in (("no class.dcm", "SOPClassUID"), ("no instance.dcm", "SOPInstanceUID")):
        path = factories.write_instance(tree.root / name, sop_instance=tree.new_uid())
        dataset = pydicom.dcmread(path)
        delattr(dataset, keyword)
        dataset.save_as(path, enforce_file_format=False)
        tree.bad.append(name)
    directory = factories.write_instance(tree.root / "DICOMDIR", sop_instance=tree.new_uid())
    dataset = pydicom.dcmread(directory)
    dataset.SOPClassUID = DIRECTORY
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.UID(DIRECTORY)
    dataset.save_as(directory, enforce_file_format=True)
    tree.bad.append("DICOMDIR")
    report = tree.add("report.dcm", sop_class=SR)
    dataset = pydicom.dcmread(report)
    del dataset.PixelData
    dataset.save_as(report, enforce_file_format=True)


def _add_duplicates(tree: Tree) -> None:
    first = tree.add("copies/a.dcm")
    for name in ("b.dcm", "c/d.dcm"):
        target = tree.root / "copies" / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(first.read_bytes())
    uid = tree.new_uid()
    for number, rows in enumerate((8, 10, 8)):
        factories.write_instance(tree.root / "clash" / f"{number}.dcm", sop_instance=uid, rows=rows)
        tree.conflicts[uid] += 1


def _add_special_files(tree: Tree) -> None:
    (tree.root / "link.dcm").symlink_to(tree.root / "plain.dcm")
    (tree.root / "dangling.dcm").symlink_to(tree.root / "nowhere.dcm")
    (tree.root / "outside").symlink_to("/etc")
    (tree.root / "loop").symlink_to(tree.root)
    (tree.root / "itself").symlink_to("itself")
    os.mkfifo(tree.root / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as holder:
        previous = Path.cwd()
        os.chdir(tree.root)  # the path of a socket is short
        try:
            holder.bind("socket.dcm")
        finally:
            os.chdir(previous)
    tree.bad += ["link.dcm", "dangling.dcm", "outside", "loop", "itself", "pipe.dcm", "socket.dcm"]
    (tree.root / "empty folder").mkdir()
    (tree.root / "folder.dcm").mkdir()


def serve(dialogue: Dialogue) -> None:
    """Behave."""
    dialogue.accept_all()
    dialogue.serve()


def test_every_entry_of_an_odd_tree_is_told_once(
    tmp_path: Path, shell: Shell, authority: Authority
) -> None:
    tree = build(tmp_path / "tree")
    with listening(Misbehaviour("behaves", Group.SIZE, serve), authority) as (port, dialogues):
        result = shell.send(tree.root, to=destination(shell, port))
    check_good(tree, result, dialogues)
    check_bad(tree, result)
    assert len(result.rows) == len(tree.good) + len(tree.bad) + tree.conflicts.total()
    assert (result.document["state"], result.code) == ("partial", 1)


def check_good(tree: Tree, result: SendResult, dialogues: list[Dialogue]) -> None:
    """Every instance is sent, once."""
    sent = [row.iuid for row in result.rows if row.outcome == "sent"]
    assert sorted(sent) == sorted(tree.good)
    assert account(dialogues) == {uid: [0] for uid in tree.good}


def check_bad(tree: Tree, result: SendResult) -> None:
    """Everything else has a row of its own that names it and says why."""
    rows = [row for row in result.rows if row.outcome != "sent"]
    assert {row.outcome for row in rows} == {"unsendable"}
    assert all(row.reason.isprintable() for row in rows)
    conflicts = Counter(row.iuid for row in rows if row.iuid in tree.conflicts)
    assert conflicts == tree.conflicts
    assert all("conflict" in row.reason for row in rows if row.iuid in tree.conflicts)
    named = sorted(row.reason.split(": ")[0] for row in rows if row.iuid not in tree.conflicts)
    assert named == sorted(tree.bad)


def test_a_link_as_source_or_one_within_leads_nowhere(
    tmp_path: Path, shell: Shell, authority: Authority
) -> None:
    """Nothing outside the folder that was named is sent, whatever points there."""
    inside = factories.write_instance(tmp_path / "in" / "a.dcm", sop_instance="1.2.826.0.9.1")
    secret = factories.write_instance(tmp_path / "out" / "b.dcm", sop_instance="1.2.826.0.9.2")
    (inside.parent / "link.dcm").symlink_to(secret)
    (inside.parent / "folder").symlink_to(secret.parent)
    with listening(Misbehaviour("behaves", Group.SIZE, serve), authority) as (port, dialogues):
        result = shell.send(inside.parent, to=destination(shell, port))
    assert account(dialogues) == {"1.2.826.0.9.1": [0]}
    assert sorted(row.outcome for row in result.rows) == ["sent", "unsendable", "unsendable"]
