"""Uploads: what is kept and under which names, every bound, and nothing left of what is refused."""

import errno
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from sender.models import (
    AuditEntry,
    ContextTemplate,
    Listing,
    Schedule,
    Send,
    SendState,
    Upload,
    UploadState,
)
from sender.services import path_lists, reception, sending, sources, uploads
from sender.services.reception import Receiving
from sender.services.uploads import Refused, UploadInUse
from tests import factories
from tests.archives import (
    entry,
    flagged,
    many_empty,
    overlapping,
    write_bomb,
    zipped,
)
from tests.holders import gone_holder

pytestmark = pytest.mark.django_db
BLOCK = 1 << 16


@pytest.fixture(autouse=True)
def _own_folders(settings: Settings, tmp_path: Path) -> None:
    """Each test has uploads of its own."""
    settings.DATA_DIR = tmp_path / "var"
    (tmp_path / "var" / "uploads").mkdir(parents=True)
    (tmp_path / "var" / "incoming").mkdir()


@pytest.fixture
def small(settings: Settings) -> None:
    """Limits that are soon reached: a million bytes, two unpacked, five files."""
    settings.UPLOAD_MEGABYTES, settings.UPLOAD_UNPACKED_MEGABYTES = 1, 2
    settings.UPLOAD_FILES = 5


def receive(*files: tuple[str, bytes], name: str = "") -> Upload:
    receiving = reception.receive(name, "ada")
    for called, content in files:
        take(receiving, called, content)
    return receiving.finish()


def take(receiving: Receiving, called: str, content: bytes) -> None:
    receiving.begin_file(called)
    for start in range(0, len(content), BLOCK):
        receiving.write(content[start : start + BLOCK])
    receiving.end_file()


def kept(upload: Upload) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(upload.path).iterdir())}


def nothing_is_left() -> bool:
    folders = [*uploads.folder().iterdir(), *uploads.incoming().iterdir()]
    return folders == [] and not Upload.objects.exists()


def refused(*files: tuple[str, bytes]) -> str:
    with pytest.raises(Refused) as refusal:
        receive(*files)
    assert nothing_is_left()
    entry = AuditEntry.objects.filter(action="upload.add").latest("id")
    assert (entry.result, entry.actor) == ("refused", "ada")
    return str(refusal.value)


def test_files_are_kept_under_names_of_our_own() -> None:
    upload = receive(("a.dcm", b"one"), ("a.dcm", b"two"), ("../../etc/passwd", b"three"))
    assert kept(upload) == {
        "000001-a.dcm": b"one", "000002-a.dcm": b"two", "000003-etc-passwd": b"three",
    }  # fmt: skip
    assert (upload.state, upload.files, upload.bytes) == (UploadState.READY, 3, 11)
    assert Path(upload.path).parent == uploads.folder()
    assert list(uploads.incoming().iterdir()) == []
    entry = AuditEntry.objects.get(action="upload.add")
    assert (entry.result, entry.subject) == ("done", upload.folder)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IM0001", "IM0001"),
        ("DICOM/ST1/SE2/IM3.dcm", "ST1-SE2-IM3.dcm"),
        ("C:\\data\\x.dcm", "C_-data-x.dcm"),
        ("../../x", "x"),
        ("/etc/passwd", "etc-passwd"),
        ("..", "file"),
        ("", "file"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("a b\n\0c;$(x)", "a_b_c_x_"),
        ("Müller^Jörg", "Muller_Jorg"),
        ("日本", "file"),
        ("x" * 300, "x" * 80),
        ("\u202egpj.exe", "gpj.exe"),
    ],
)
def test_names_keep_what_people_know_them_by_and_nothing_else(name: str, expected: str) -> None:
    assert reception.own_name(name) == expected


def test_an_archive_is_unpacked_and_not_kept() -> None:
    content = zipped(
        [("ST1/IM1", b"one"), ("ST2/IM1", b"two"), ("inner.zip", zipped([("x", b"")]))]
    )
    upload = receive(("study.zip", content), ("b.dcm", b"three"), name=" My study\n")
    assert list(kept(upload)) == [
        "000001-ST1-IM1", "000002-ST2-IM1", "000003-inner.zip", "000004-b.dcm",
    ]  # fmt: skip
    assert upload.name == "My study"


def test_two_archives_may_hold_the_same_names() -> None:
    content = zipped([("IM1", b"one")])
    upload = receive(("a.zip", content), ("b.zip", content))
    assert list(kept(upload)) == ["000001-IM1", "000002-IM1"]


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/etc/evil", "..\\..\\evil", "a/../../evil", "evil\0.dcm", "//evil", "./evil"],
)
def test_no_path_of_an_archive_is_used(name: str, tmp_path: Path) -> None:
    upload = receive(("x.zip", zipped([(name, b"x")])))
    (only,) = Path(upload.path).iterdir()
    assert only.name.startswith("000001-")
    assert "evil" in only.name
    assert [path for path in tmp_path.rglob("*evil*") if path != only] == []


def test_the_same_name_twice_is_two_files() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped([("a", b"one"), ("a", b"two")])
    assert sorted(kept(receive(("x.zip", content))).values()) == [b"one", b"two"]


def test_links_and_encrypted_members_are_left_out_and_told(tmp_path: Path) -> None:
    content = zipped([(entry("to-passwd", mode=0o120777), b"/etc/passwd"), ("a", b"x")])
    upload = receive(("x.zip", content))
    assert list(kept(upload)) == ["000001-a"]
    assert upload.left_out == [["to-passwd", "it is a link"]]
    secret = flagged(zipped([("a", b"x"), ("b", b"y")]), 1)
    upload = receive(("x.zip", secret), ("c", b"z"))
    assert upload.left_out_files == 2
    assert list(kept(upload)) == ["000001-c"]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_an_archive_of_which_nothing_can_be_unpacked_is_refused() -> None:
    said = refused(("x.zip", flagged(zipped([("a", b"x")]), 1)))
    assert said == "No file of this upload can be unpacked: a: it is encrypted."


def test_what_is_left_out_is_told_up_to_a_bound() -> None:
    members = [(entry(f"l{n}", mode=0o120777), b"x") for n in range(150)]
    upload = receive(("x.zip", zipped([*members, ("a", b"x")])))
    assert (upload.left_out_files, len(upload.left_out)) == (150, 100)


def test_nothing_at_all_is_refused() -> None:
    assert refused() == "No file was chosen."
    assert refused(("x.zip", zipped([]))) == (
        "x.zip is an empty archive. Nothing of this upload was kept."
    )


@pytest.mark.parametrize("cut", [1, 30, 5000])
def test_a_damaged_archive_is_refused_whole(cut: int) -> None:
    content = zipped([("a", os.urandom(10_000)), ("b", b"x")])[:-cut]
    said = refused(("a.dcm", b"fine"), ("x.zip", content))
    assert said == "x.zip can't be unpacked: it is cut off. Nothing of this upload was kept."


@pytest.mark.usefixtures("small")
def test_an_upload_over_its_size_is_refused_as_it_comes() -> None:
    receiving = reception.receive("", "ada")
    receiving.begin_file("large.dcm")
    for _ in range(15):
        receiving.write(bytes(BLOCK))
    with pytest.raises(Refused, match=r"larger than 1 MB, the most that is allowed"):
        receiving.write(bytes(BLOCK))
    assert nothing_is_left()
    receiving.abandon()


@pytest.mark.usefixtures("small")
def test_many_small_files_add_up() -> None:
    half = bytes(499_000)
    assert "larger than 1 MB" in refused(("a", half), ("b", half), ("c", half))


@pytest.mark.usefixtures("small")
def test_more_files_than_allowed_are_refused(settings: Settings) -> None:
    settings.UPLOAD_MEGABYTES = 100
    said = "This upload holds more than 5 files, the most that is allowed here."
    assert refused(*[("a", b"x")] * 6) == said
    assert refused(("x.zip", many_empty(100_000))) == said


@pytest.mark.usefixtures("small")
def test_what_unpacks_to_too_much_is_refused_while_it_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "bomb.zip"
    write_bomb(bomb, 50_000_000)
    written = watch_writes(monkeypatch)
    said = refused(("bomb.zip", bomb.read_bytes()))
    assert said == (
        "bomb.zip unpacks to more than 2 MB, the most that is allowed here. "
        "Nothing of this upload was kept."
    )
    assert sum(written) < 3_000_000


def watch_writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    written: list[int] = []
    real = Receiving._put

    def put(self: Receiving, file: Any, block: bytes) -> None:
        written.append(len(block))
        real(self, file, block)

    monkeypatch.setattr(Receiving, "_put", put)
    return written


def test_what_grows_as_no_real_data_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "UNSUSPICIOUS_BYTES", 5_000_000)
    bomb = tmp_path / "bomb.zip"
    write_bomb(bomb, 50_000_000)
    said = refused(("bomb.zip", bomb.read_bytes()))
    assert said.startswith("bomb.zip unpacks to more than 250 times its size")
    many = overlapping(1000, bytes(100_000))
    assert "250 times its size" in refused(("many.zip", many))


@pytest.mark.slow
def test_memory_stays_bounded_whatever_an_archive_holds(tmp_path: Path) -> None:
    import tracemalloc

    bomb = tmp_path / "bomb.zip"
    write_bomb(bomb, 200_000_000)
    content = bomb.read_bytes()
    tracemalloc.start()
    upload = receive(("bomb.zip", content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert upload.bytes == 200_000_000
    assert peak < 8 << 20


@pytest.mark.parametrize("step", ["begin_file", "write", "unpack"])
def test_a_full_disk_is_told_and_leaves_nothing(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "begin_file":
        monkeypatch.setattr(Path, "open", full)
    else:
        monkeypatch.setattr(Receiving, "_put" if step == "write" else "_next", full)
    said = refused(("x.zip", zipped([("a", b"x")])))
    assert said == "The disk of this server has no room for this upload. Nothing of it was kept."


def test_the_disk_is_not_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(uploads.incoming())
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: usage._replace(free=uploads.KEPT_FREE_BYTES + 1000)
    )
    assert "has no room for this upload" in refused(("a", bytes(2000)))
    assert uploads.free_bytes() == 1000


def test_other_trouble_with_the_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Receiving, "_put", denied)
    assert refused(("a", b"x")) == (
        "This upload could not be stored (permission denied). Nothing of it was kept."
    )


def test_nothing_can_be_sent_of_what_is_not_complete() -> None:
    receiving = reception.receive("", "ada")
    take(receiving, "a", b"x")
    assert list(uploads.folder().iterdir()) == []
    receiving.abandon()
    assert nothing_is_left()


def test_uploads_outside_the_allowed_roots_are_refused(settings: Settings, tmp_path: Path) -> None:
    settings.SOURCE_ROOTS = [tmp_path / "data"]
    assert not uploads.are_allowed()
    with pytest.raises(Refused, match="outside the allowed source roots"):
        reception.receive("", "ada")
    settings.SOURCE_ROOTS = [tmp_path / "var"]
    assert uploads.are_allowed()


def test_what_a_killed_process_left_is_swept_up(tmp_path: Path) -> None:
    ours = reception.receive("ours", "ada")
    dead = reception.receive("dead", "ada")
    restarted = reception.receive("restarted", "ada")
    silent = reception.receive("silent", "ada")
    for receiving in (ours, dead, restarted, silent):
        take(receiving, "a", b"x")
    host, pid, _, *rest = ours.upload.owner.split(":")
    Upload.objects.filter(name="dead").update(owner=gone_holder())
    Upload.objects.filter(name="restarted").update(owner=":".join((host, pid, "0", *rest)))
    long_ago = timezone.now() - timedelta(minutes=11)
    Upload.objects.filter(name="silent").update(owner="elsewhere:1:0:0", seen_at=long_ago)
    uploads.sweep()
    assert [upload.name for upload in Upload.objects.all()] == ["ours"]
    assert [path.name for path in uploads.incoming().iterdir()] == [ours.upload.folder]
    assert ours.finish().files == 1


@pytest.fixture
def upload() -> Upload:
    """An upload of one instance."""
    path = factories.write_instance(uploads.incoming() / "a.dcm", sop_instance="1.2.1")
    content = path.read_bytes()
    path.unlink()
    return receive(("a.dcm", content))


def ordered(path: str, state: SendState, **facts: Any) -> Send:
    listing = Listing.objects.create(sources=[path])
    return Send.objects.create(
        destination=factories.destination(f"d{Send.objects.count()}"),
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        requested_by="test",
        listing=listing,
        state=state,
        **facts,
    )


@pytest.mark.parametrize("state", list(SendState))
def test_an_upload_stays_while_a_send_that_has_not_ended_names_it(
    state: SendState, upload: Upload
) -> None:
    send = ordered(f"{upload.path}/000001-a.dcm", state)
    if send.is_ended:
        uploads.delete_upload(upload, "ada")
        assert not Path(upload.path).exists()
        assert not Upload.objects.exists()
        return
    with pytest.raises(UploadInUse, match=rf"send {send.pk} still needs it"):
        uploads.delete_upload(upload, "ada")
    assert Path(upload.path).exists()


def test_an_upload_stays_while_a_list_of_paths_or_a_schedule_names_it(upload: Upload) -> None:
    send = ordered("/data", SendState.RUNNING)
    assert send.listing is not None
    lines = path_lists.read_path_list(f"{upload.path}/000001-a.dcm\n".encode())
    path_lists.keep(send.listing, lines)
    Schedule.objects.create(
        name="nightly", kind="cron", expression="0 3 * * *", zone="UTC", sources=[upload.path],
        created_by="test",
    )  # fmt: skip
    assert uploads.users_of(upload) == [f"send {send.pk}", "the schedule nightly"]
    other = receive(("b", b"x"))
    assert uploads.users_of(other) == []


def test_a_deletion_is_on_record_and_not_done_twice(upload: Upload) -> None:
    uploads.delete_upload(upload, "bob")
    entry = AuditEntry.objects.get(action="upload.delete")
    assert (entry.actor, entry.subject, entry.facts["files"]) == ("bob", upload.folder, 1)
    with pytest.raises(UploadInUse):
        uploads.delete_upload(upload, "bob")


def test_what_can_not_be_deleted_stays_and_says_why(
    upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", denied)
    with pytest.raises(UploadInUse, match="permission denied"):
        uploads.delete_upload(upload, "ada")
    assert Upload.objects.get().state == UploadState.READY


def test_a_send_of_an_upload_finds_its_files(upload: Upload) -> None:
    from sender.services import planner

    version = ContextTemplate.objects.get(name="Derived from files").newest
    order = sending.SendOrder(
        factories.destination(), version, [upload.path], "test", roots=sources.web_roots()
    )
    send = sending.create_send(order, start=False)
    planner.plan_send(send.pk)
    assert send.items.get().file.sop_instance_uid == "1.2.1"


def test_no_send_is_made_of_an_upload_that_is_being_deleted(upload: Upload) -> None:
    Upload.objects.filter(pk=upload.pk).update(state=UploadState.DELETING)
    version = ContextTemplate.objects.get(name="Derived from files").newest
    order = sending.SendOrder(
        factories.destination(), version, [upload.path], "test", roots=sources.web_roots()
    )
    with pytest.raises(sending.InvalidSource, match="is being deleted"):
        sending.create_send(order, start=False)
    assert not Send.objects.exists()
