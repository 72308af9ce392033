"""From files on somebody's computer to sends at several destinations, as a person does it."""

import io
import re
import zipfile
from pathlib import Path

import pydicom.data
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, expect

from tests.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def archive() -> FilePayload:
    """A zip of three of pydicom's files and a link."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm"):
            made.write(folder / name, f"DICOM/ST1/{name}")
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        made.writestr(link, "/etc/passwd")
    return {"name": "study.zip", "mimeType": "application/zip", "buffer": buffer.getvalue()}


def violations(visitor: Visitor) -> list[str]:
    found = Axe().run(visitor.page).response["violations"]
    wide = visitor.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return [v["id"] for v in found] + (["wider than the window"] if wide else [])


def test_an_upload_goes_to_two_destinations(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    page = visitor.page
    visitor.go("/uploads/")
    page.get_by_label("Name").fill("From the ward")
    page.get_by_label("Files", exact=True).set_input_files(archive())
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(re.compile(r"/sends/new/\?upload=\d+"))
    expect(page.get_by_text("From the ward: 3 files, ready to be sent.")).to_be_visible()
    expect(page.get_by_label("From the ward")).to_be_checked()

    page.get_by_label("Destination", exact=True).select_option(label="Demo: modern archive")
    page.get_by_role("button", name="Another destination").click()
    page.get_by_label("Destination", exact=True).nth(1).select_option(label="Demo: old archive")
    page.get_by_text("Rules: only some of the files").click()
    page.get_by_label("Modalities").fill("CT, MR")
    page.get_by_label("UIDs of studies").fill("1.2.826.0.1.999,12\nbad")
    page.set_viewport_size({"width": 390, "height": 900})
    assert violations(visitor) == []
    page.get_by_role("button", name="List the files and plan").click()
    expect(page.get_by_text("Line 2: “bad” is no UID.")).to_be_visible()
    assert page.get_by_label("Destination", exact=True).count() == 2

    page.get_by_label("UIDs of studies").fill("")
    page.get_by_role("button", name="List the files and plan").click()
    start = page.get_by_role("button", name="Start all 2 sends")
    expect(start).to_be_enabled()
    expect(page.get_by_role("region", name="Plans side by side")).to_contain_text(
        "CT Image Storage"
    )
    assert violations(visitor) == []
    page.set_viewport_size({"width": 1400, "height": 900})
    assert violations(visitor) == []
    start.click()
    page.get_by_role("link", name="Demo: modern archive", exact=True).click()
    expect(page.locator("main .badge").first).to_contain_text("Succeeded")

    visitor.go("/uploads/")
    expect(page.get_by_text("1 file", exact=True)).to_be_visible()
    assert violations(visitor) == []


def test_a_file_that_is_too_large_is_told_before_it_travels(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    visitor.go("/uploads/")
    page = visitor.page
    page.evaluate("document.querySelector('[data-upload]').dataset.most = '100'")
    page.get_by_label("Files", exact=True).set_input_files(archive())
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("at most 0.0 MB can be taken")).to_be_visible()
    assert "POST" not in sent


def test_a_damaged_archive_is_refused_in_words(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    visitor.go("/uploads/")
    page = visitor.page
    whole = archive()
    page.get_by_label("Files", exact=True).set_input_files(
        {"name": "cut.zip", "mimeType": "application/zip", "buffer": whole["buffer"][:-40]}
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert").first).to_contain_text("cut.zip can't be unpacked")
    visitor.complaints[:] = [text for text in visitor.complaints if "400" not in text]
