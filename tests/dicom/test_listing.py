"""Every entry of a tree is listed once: as a file, or with the reason why it is none."""

import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from sender.dicom.files import Entry, Tally, list_files, scan
from sender.negotiation.instances import ScannedInstance, Unreadable
from tests import factories
from tests.samples import sample


def listed(folder: Path, *patterns: str) -> list[str]:
    return [entry.relative_path for entry in list_files(str(folder), patterns)]


def reasons(folder: Path) -> dict[str, str]:
    """Scan a tree; return the reason of each entry, "" for instances."""
    found = {}
    for entry in list_files(str(folder)):
        seen: object = entry
        if isinstance(entry, Entry):
            seen = scan(entry.path, relative_path=entry.relative_path)
        found[entry.relative_path] = seen.reason if isinstance(seen, Unreadable) else ""
    return found


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    (entry,) = list_files(str(tmp_path))
    assert entry == Entry(str(path), "x", 5, path.stat().st_mtime_ns, path.stat().st_ctime_ns)


def test_a_source_that_is_a_file_is_listed_whatever_the_patterns_say(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"x")
    (entry,) = list_files(str(path), ["*.dcm"])
    assert entry.relative_path == "x.txt"


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(list_files(str(tmp_path / "gone")))


NAMES = ["a.dcm", "B.DCM", "notes.txt", "deep/c.dcm", "deep/.hidden", "deep/c.dcm.bak"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], {*NAMES}),
        (["*.dcm"], {"a.dcm", "B.DCM", "deep/c.dcm"}),
        (["*.DCM", "notes.*"], {"a.dcm", "B.DCM", "deep/c.dcm", "notes.txt"}),
        (["!*.txt", "!.*"], {"a.dcm", "B.DCM", "deep/c.dcm", "deep/c.dcm.bak"}),
        (["*.dcm", "!b*"], {"a.dcm", "deep/c.dcm"}),
        (["?.dcm"], {"a.dcm", "B.DCM", "deep/c.dcm"}),
        (["[ab].dcm"], {"a.dcm", "B.DCM"}),
        (["", "!", "*"], {*NAMES}),
        (["deep"], set()),
    ],
)  # fmt: skip
def test_patterns_choose_by_name(patterns: list[str], expected: set[str], tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    tally = Tally()
    found = {entry.relative_path for entry in list_files(str(tmp_path), patterns, tally=tally)}
    assert found == expected
    assert tally.left_out == len(NAMES) - len(expected)


def test_patterns_hold_for_links_and_pipes_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/etc/passwd", tmp_path / "link.dcm")
    assert listed(tmp_path, "*.dcm") == ["link.dcm"]


def test_nothing_outside_the_source_is_reached(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    os.symlink(outside, source / "folder-link")
    os.symlink(outside / "secret", source / "file-link")
    os.symlink("..", source / "a" / "up")
    os.symlink("loop", source / "loop")
    os.symlink("nowhere", source / "broken")
    found = reasons(source)
    assert set(found) == {"folder-link", "file-link", "a/up", "loop", "broken"}
    assert set(found.values()) == {"a link, which is not followed"}


def test_pipes_sockets_and_devices_are_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(os.path.relpath(tmp_path / "socket"))
        found = reasons(tmp_path)
    assert found == {"pipe": "no regular file", "socket": "no regular file"}


def test_a_file_replaced_by_a_pipe_or_a_link_does_not_hang_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    (entry,) = list_files(str(tmp_path))
    path.unlink()
    os.mkfifo(path)
    seen = scan(entry.path, relative_path="x")
    assert isinstance(seen, Unreadable)
    assert seen.reason == "no regular file"
    path.unlink()
    os.symlink("/etc/passwd", path)
    assert isinstance(scan(entry.path, relative_path="x"), Unreadable)
    path.unlink()
    gone = scan(entry.path, relative_path="x")
    assert isinstance(gone, Unreadable)
    assert "no such file" in gone.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    assert "permission denied" in reasons(tmp_path)["shut"]
    os.chmod(tmp_path / "shut", stat.S_IRWXU)


def make_deeper_than_a_path_may_be(folder: Path) -> None:
    """Make nested folders until their path is longer than the system takes in one call."""
    here = os.open(folder, os.O_RDONLY)
    name = "d" * 200
    for _ in range(25):
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    with open(os.open("lost.dcm", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(b"x")
    os.close(here)


def test_what_lies_too_deep_to_be_opened_is_told(tmp_path: Path) -> None:
    make_deeper_than_a_path_may_be(tmp_path)
    (tmp_path / "near").write_bytes(b"x")
    found = reasons(tmp_path)
    assert found.pop("near") == "not a DICOM file"
    (reason,) = found.values()
    assert "longer than this system can open" in reason


ODD_NAMES = [
    "with space", "tab\there", "line\nbreak", "üñï", "\u202egnp.exe", "-rf", "*", "%s%n", "'\"",
    "<script>", "=1+1", "x" * 255, "nul\x01", "e\u0301", "é",
]  # fmt: skip


def test_odd_names_are_listed_printable_and_opened(tmp_path: Path) -> None:
    template = factories.write_instance(tmp_path / "t", sop_instance="1.2.3").read_bytes()
    (tmp_path / "t").unlink()
    names = [*ODD_NAMES, os.fsdecode(b"\xff\xfe")]
    for name in names:
        (tmp_path / name).write_bytes(template)
    entries = list(list_files(str(tmp_path)))
    assert len(entries) == len(names)
    assert all(entry.relative_path.isprintable() for entry in entries)
    assert all(entry.relative_path.encode() for entry in entries)
    assert len({entry.relative_path for entry in entries}) == len(names)
    assert set(reasons(tmp_path).values()) == {""}


def without(path: Path, *keywords: str) -> None:
    dataset = dcmread(path)
    for keyword in keywords:
        delattr(dataset, keyword)
    dataset.save_as(path)


def changed(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def claim_two_gigabytes(content: bytes) -> bytes:
    at = content.rindex(b"OW") + 4
    return content[:at] + struct.pack("<I", 0x7FFFFFF0) + content[at + 4 :]


@pytest.fixture
def odd_tree(tmp_path: Path) -> Path:
    """The odd tree of RELIABILITY.md R9."""
    make: Callable[[str], Path] = lambda name: factories.write_instance(  # noqa: E731
        tmp_path / name, sop_instance="1.2.3.4"
    )
    make("good.dcm")
    changed(make("truncated.dcm"), lambda content: content[:-20])
    changed(make("no-preamble.dcm"), lambda content: content[128:])
    changed(make("two-gigabytes.dcm"), claim_two_gigabytes)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "text.dcm").write_bytes(b"Not an image.\n" * 30)
    changed(
        make("other-instance.dcm"), lambda content: content.replace(b"1.2.3.4\0", b"1.2.3.5\0", 1)
    )
    without(make("no-instance.dcm"), "SOPInstanceUID")
    without(make("no-class.dcm"), "SOPClassUID")
    without(make("no-study.dcm"), "StudyInstanceUID")
    without(make("no-pixels.dcm"), "PixelData")
    (tmp_path / "DICOMDIR").write_bytes(sample("DICOMDIR").read_bytes())
    (tmp_path / "no-meta.dcm").write_bytes(sample("ExplVR_LitEndNoMeta.dcm").read_bytes())
    return tmp_path


def test_every_entry_of_an_odd_tree_is_an_instance_or_has_a_reason(odd_tree: Path) -> None:
    assert reasons(odd_tree) == {
        "good.dcm": "",
        "no-preamble.dcm": "",
        "no-study.dcm": "",
        "no-pixels.dcm": "",
        "truncated.dcm": reasons(odd_tree)["truncated.dcm"],
        "two-gigabytes.dcm": reasons(odd_tree)["two-gigabytes.dcm"],
        "empty.dcm": "an empty file",
        "text.dcm": "not a DICOM file",
        "other-instance.dcm": (
            "file meta information and data set disagree on the SOP Instance UID"
        ),
        "no-instance.dcm": "no SOP Instance UID in its data set",
        "no-class.dcm": "no SOP Class UID in its data set",
        "DICOMDIR": "a DICOMDIR, which is an index and no instance",
        "no-meta.dcm": "a data set without file meta information",
    }
    assert "it is cut off" in reasons(odd_tree)["truncated.dcm"]
    assert "it is cut off" in reasons(odd_tree)["two-gigabytes.dcm"]


def test_unreadable_files_have_size_time_and_instance(odd_tree: Path) -> None:
    path = odd_tree / "truncated.dcm"
    seen = scan(str(path), relative_path=path.name)
    assert isinstance(seen, Unreadable)
    assert (seen.size, seen.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert seen.sop_instance == "1.2.3.4"


def test_no_reason_holds_a_value(tmp_path: Path) -> None:
    path = factories.write_instance(
        tmp_path / "x", sop_instance="1.2.3.4", extra=[("PatientComments", "SECRET")]
    )
    content = path.read_bytes()
    for length in range(130, len(content) - 1, 3):
        path.write_bytes(content[:length])
        seen = scan(str(path), relative_path="x")
        if isinstance(seen, Unreadable):
            assert "SECRET" not in seen.reason
            assert "Somebody" not in seen.reason


def test_a_sequence_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "x", sop_instance="1.2.3.4")
    head = path.read_bytes()
    at = head.index(b"\x28\x00\x02\x00US")
    opening = b"\x09\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(head[:at] + opening * 20_000)
    seen = scan(str(path), relative_path="x")
    assert isinstance(seen, Unreadable)
    assert "nested more than 64 deep" in seen.reason


def test_values_that_no_page_or_database_takes_are_left_out(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "x", sop_instance="1.2.3.4")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CS\x02\x00CT", b"CS\x02\x00\x00\x01", 1))
    seen = scan(str(path), relative_path="x")
    assert isinstance(seen, ScannedInstance)
    assert seen.modality == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20240229", "20240229"), ("2024.02.29", "20240229"), ("20230229", ""), ("", ""),
        ("2024", ""), ("20241301", ""), ("yesterday", ""), ("00000000", ""), ("20240101-", ""),
    ],
)  # fmt: skip
def test_the_study_date_is_a_date_or_nothing(value: str, expected: str, tmp_path: Path) -> None:
    path = factories.write_instance(
        tmp_path / "x", sop_instance="1.2.3.4", extra=[("StudyDate", "19000101")]
    )
    content = path.read_bytes()
    raw = value.encode() + b" " * (len(value) % 2)
    old = b"DA\x08\x0019000101"
    path.write_bytes(content.replace(old, b"DA" + struct.pack("<H", len(raw)) + raw, 1))
    seen = scan(str(path), relative_path="x")
    assert isinstance(seen, ScannedInstance)
    assert seen.study_date == expected


@pytest.mark.slow
def test_a_hundred_thousand_files_in_one_folder_are_listed(tmp_path: Path) -> None:
    content = factories.write_instance(tmp_path / "t", sop_instance="1.2.3.4").read_bytes()
    (tmp_path / "t").unlink()
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(100_000):
        original = folder / str(number // 50_000 * 50_000)
        if original.exists():
            os.link(original, folder / str(number))
        else:
            original.write_bytes(content)
    entries = list(list_files(str(folder)))
    assert len({entry.relative_path for entry in entries}) == 100_000
    assert all(isinstance(entry, Entry) for entry in entries)
    for entry in entries[::500]:
        seen = scan(entry.path, relative_path=entry.relative_path)
        assert isinstance(seen, ScannedInstance)
