"""Uploads in the browser: taken, listed, refused in words, deleted."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from sender.models import ContextTemplate, Destination, Listing, ScheduleRun, Send, Upload
from sender.services import upload_passes, uploads
from tests import factories
from tests.archives import entry, zipped

SignIn = Callable[[str], Client]


@pytest.fixture(autouse=True)
def _own_folders(settings: Settings, tmp_path: Path) -> None:
    """Each test has uploads of its own."""
    settings.DATA_DIR = tmp_path
    for name in ("uploads", "incoming"):
        (tmp_path / name).mkdir()


def post(client: Client, *files: tuple[str, bytes], **fields: str) -> Any:
    sent = [SimpleUploadedFile(name, content) for name, content in files]
    return client.post("/uploads/", fields | {"files": sent})


def problem(response: Any) -> str:
    found = re.search(r'role="alert"><span>(.*?)</span>', response.content.decode())
    assert found is not None
    return found.group(1)


def nothing_is_left() -> bool:
    folders = [*uploads.folder().iterdir(), *uploads.incoming().iterdir()]
    return folders == [] and not Upload.objects.exists()


def test_files_are_taken_and_offered_to_be_sent(as_role: SignIn) -> None:
    client = as_role("operator")
    response = post(client, ("a.dcm", b"one"), ("b.zip", zipped([("c", b"x")])), name="Study 5")
    upload = Upload.objects.get()
    assert response["Location"] == f"/sends/new/?upload={upload.pk}"
    assert (upload.name, upload.files, upload.uploaded_by) == ("Study 5", 2, "operator")
    assert sorted(path.name for path in Path(upload.path).iterdir()) == ["000001-a.dcm", "000002-c"]
    page = client.get(response["Location"]).content.decode()
    assert "Study 5: 2 files, ready to be sent." in page
    page = client.get("/uploads/").content.decode()
    assert "Study 5" in page
    assert upload.path in page


def test_what_was_left_out_is_told(as_role: SignIn) -> None:
    content = zipped([(entry("link<b>", mode=0o120777), b"/etc/passwd"), ("a", b"x")])
    client = as_role("operator")
    post(client, ("x.zip", content))
    page = client.get("/uploads/").content.decode()
    assert "<code>link&lt;b&gt;</code>: it is a link" in page


def test_a_refusal_says_why_and_leaves_nothing(as_role: SignIn, settings: Settings) -> None:
    settings.UPLOAD_MEGABYTES = 1
    client = as_role("operator")
    response = post(client, ("a.dcm", b"one"), ("x.zip", zipped([("a", bytes(99))])[:-30]))
    assert response.status_code == 400
    assert problem(response) == (
        "x.zip can&#x27;t be unpacked: it is cut off. Nothing of this upload was kept."
    )
    assert nothing_is_left()
    response = post(client, ("large.dcm", bytes(1_100_000)), ("more.dcm", b"x"))
    assert problem(response).startswith("This upload is larger than 1 MB")
    assert nothing_is_left()
    assert problem(post(client)) == "No file was chosen."
    assert nothing_is_left()


def test_more_files_than_a_form_may_have_are_refused(as_role: SignIn, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = settings.UPLOAD_FILES = 3
    response = post(as_role("operator"), *[("a", b"x")] * 5)
    assert problem(response).startswith("This upload holds more than 3 files")
    assert nothing_is_left()


def test_a_form_that_did_not_come_whole_is_refused(as_role: SignIn) -> None:
    client = as_role("operator")
    response = client.post(
        "/uploads/", b"--x\r\ngarbage", content_type="multipart/form-data; boundary="
    )
    assert problem(response) == "This upload did not come whole. Nothing of it was kept."
    assert nothing_is_left()


def test_an_upload_without_the_token_of_its_form_is_refused(people: dict[str, Any]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people["operator"])
    response = post(client, ("a", b"x"))
    assert response.status_code == 403
    assert nothing_is_left()


@pytest.mark.parametrize("role", ["anonymous", "viewer", "auditor"])
def test_who_may_not_send_may_not_upload(role: str, as_role: SignIn) -> None:
    assert post(as_role(role), ("a", b"x")).status_code in (302, 403)
    assert nothing_is_left()


def test_uploads_that_could_not_be_sent_are_not_taken(as_role: SignIn, settings: Settings) -> None:
    settings.SOURCE_ROOTS = [Path("/data")]
    client = as_role("operator")
    page = client.get("/uploads/").content.decode()
    assert "outside the allowed source roots" in page
    assert 'type="file"' not in page
    assert "outside the allowed source roots" in problem(post(client, ("a", b"x")))


def test_the_page_gives_a_pass_for_large_bodies(as_role: SignIn) -> None:
    cookie = as_role("operator").get("/uploads/").cookies[upload_passes.COOKIE]
    assert upload_passes.is_held({upload_passes.COOKIE: cookie.value})
    assert not upload_passes.is_held({upload_passes.COOKIE: f"{cookie.value}x"})
    assert not upload_passes.is_held({})
    assert cookie["path"] == "/uploads/"
    assert cookie["httponly"]


def test_an_upload_is_deleted_after_a_question(as_role: SignIn) -> None:
    client = as_role("operator")
    post(client, ("a", b"x"), name="old")
    upload = Upload.objects.get()
    address = f"/uploads/{upload.pk}/delete/"
    assert "Delete old?" in client.get(address).content.decode()
    assert Path(upload.path).exists()
    assert client.post(address)["Location"] == "/uploads/"
    assert nothing_is_left()


def test_an_upload_that_a_send_needs_is_not_deleted(as_role: SignIn, destination: Any) -> None:
    from sender.models import ContextTemplate

    client = as_role("operator")
    post(client, ("a", b"x"))
    upload = Upload.objects.get()
    send = Send.objects.create(
        destination=destination,
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        requested_by="test",
        listing=Listing.objects.create(sources=[upload.path]),
    )
    page = client.get(f"/uploads/{upload.pk}/delete/").content.decode()
    assert f"Still needed by send {send.pk}" in page
    assert "Delete the files" not in page
    response = client.post(f"/uploads/{upload.pk}/delete/", follow=True)
    assert "still needs it" in response.content.decode()
    assert Path(upload.path).exists()


def test_an_upload_is_called_by_its_name_wherever_sources_are_told(
    as_role: SignIn, destination: Destination, settings: Settings
) -> None:
    client = as_role("operator")
    post(client, ("a.dcm", b"one"), name="Study <5>")
    upload = Upload.objects.get()
    settings.SOURCE_ROOTS = [uploads.folder()]
    nightly = factories.schedule(upload.path, destination)
    listing = Listing.objects.create(
        sources=[upload.path, f"{upload.path}/000001-a.dcm", "/data/x"],
        state="failed",
        detail=f"{upload.path} holds no files.",
        expected=[{"level": "source", "uid": upload.path, "instances": None, "found": 0}],
        finished_at=timezone.now(),
    )
    send = Send.objects.create(
        destination=destination,
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        requested_by="test",
        state="failed",
        listing=listing,
        detail=f"{upload.path} holds no files.",
    )
    run = ScheduleRun.objects.create(
        schedule=nightly, intended_at=timezone.now(), trigger="time", state="failed",
        detail=f"{upload.path} holds no files.", listing=listing,
    )  # fmt: skip
    pages = [
        f"/sends/{send.pk}/",
        f"/listings/{listing.pk}/",
        f"/schedules/{nightly.pk}/",
        f"/schedules/{nightly.pk}/runs/{run.pk}/",
    ]
    for address in pages:
        page = client.get(address).content.decode()
        assert "upload “Study &lt;5&gt;”" in page, address
        assert upload.folder not in page, address
    page = client.get(pages[0]).content.decode()
    assert "<code>upload “Study &lt;5&gt;”/000001-a.dcm</code>, <code>/data/x</code>" in page
    assert "upload “Study &lt;5&gt;” holds no files." in page
    Upload.objects.all().delete()
    assert "a deleted upload holds no files." in client.get(pages[0]).content.decode()
    assert "upload" not in as_role("viewer").get(f"/sends/{send.pk}/progress/").content.decode()
