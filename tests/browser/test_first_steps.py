"""From the set-up link to the first send, as a newcomer does it."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PASSWORD, Running, Visitor, answers

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_set_up_link_leads_to_the_first_steps(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.processes import MANAGE, await_true, make_site

    site = make_site(tmp_path_factory.mktemp("fresh"))
    with site.running([*MANAGE, "up", "--workers", "1", "--no-demo"]):
        await_true(lambda: "Ctrl-C stops it." in site.output, "the greeting")
        link = next(line.strip() for line in site.output.splitlines() if "/setup/" in line)
        await_true(
            lambda: answers(f"http://{site.environment['CONCORDAT_BIND']}"), "the web server"
        )
        page = browser.new_page()
        page.goto(link)
        page.get_by_label("Name", exact=True).fill("ada")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("The same password again").fill(PASSWORD)
        page.get_by_role("button", name="Create the administrator").click()
        expect(page.get_by_role("heading", name="Get started")).to_be_visible()
        page.goto(link)
        expect(page.get_by_role("heading", name="There is no such page.")).to_be_visible()
        page.close()


def test_an_echo_shows_its_steps(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    visitor.go("/destinations/")
    visitor.page.get_by_role("link", name="Demo: modern archive", exact=True).click()
    visitor.page.get_by_role("button", name="Echo").click()
    expect(visitor.page.get_by_role("link", name=re.compile("Open association"))).to_be_visible()
    assert "C-ECHO status 0000" in visitor.text()


def test_an_echo_to_who_does_not_know_us_says_so(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    visitor.go("/destinations/")
    visitor.page.get_by_role("link", name="Demo: refuses us", exact=True).click()
    visitor.page.get_by_role("button", name="Echo").click()
    visitor.page.get_by_role("link", name=re.compile("Open association")).click()
    assert "not recognised" in visitor.text()


def test_a_negotiation_shows_what_the_receiver_answered(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    visitor.go("/destinations/")
    visitor.page.get_by_role("link", name="Demo: old archive", exact=True).click()
    visitor.page.get_by_role("button", name="Negotiate").click()
    visitor.page.get_by_role("link", name=re.compile("Open association")).click()
    assert "3 of 9 contexts accepted." in visitor.text()
    assert "4 · Transfer syntaxes not supported" in visitor.text()


def test_a_send_is_planned_started_and_accounted_for(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    visitor.go("/sends/new/")
    folder = visitor.page.locator("main code").nth(1).inner_text()
    visitor.page.get_by_label("Name", exact=True).fill("from the browser")
    visitor.page.get_by_label("Folders or files").fill(f"{folder}/test_files")
    visitor.page.get_by_label("Destination").select_option(label="Demo: modern archive")
    visitor.page.get_by_role("button", name="List the files and plan").click()
    start = visitor.page.get_by_role("button", name="Start the send")
    expect(start).to_be_visible()
    assert "CT Image Storage" in visitor.text()
    start.click()
    expect(visitor.page.get_by_text("Partly sent")).to_be_visible()
    assert "What was not sent, and why" in visitor.text()
    expect(visitor.page.locator(".heartbeat")).to_contain_text("Sender running")


def test_polling_ends_with_the_send(visitor: Visitor, people: Running) -> None:
    visitor.sign_in("operator")
    polled: list[str] = []
    visitor.page.on("request", lambda r: polled.append(r.url) if "/progress/" in r.url else None)
    visitor.go("/sends/1/")
    visitor.page.wait_for_load_state("networkidle")
    assert polled == []


def test_a_template_is_written_with_rows_added_on_the_way(visitor: Visitor) -> None:
    visitor.sign_in("administrator")
    visitor.go("/templates/add/")
    page = visitor.page
    page.get_by_label("Name", exact=True).fill("From the browser")
    page.get_by_label("Abstract syntax").fill("MR Image Storage")
    page.get_by_label("Add a transfer syntax to context 1").select_option("JPEG 2000 Lossless")
    page.get_by_role("button", name="Another context").click()
    page.get_by_label("Abstract syntax").nth(1).fill("MR Image Storage")
    page.get_by_label("Transfer syntaxes, one per line").nth(1).fill(
        "Explicit VR LE\nImplicit VR LE"
    )
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="From the browser")).to_be_visible()
    assert "2 of at most 128" in visitor.text()


def test_a_destination_is_added_and_a_wrong_one_is_told(visitor: Visitor) -> None:
    visitor.sign_in("administrator")
    visitor.go("/destinations/add/")
    page = visitor.page
    page.get_by_label("Name", exact=True).fill("From the browser")
    page.get_by_label("AE title", exact=True).fill("   ")
    page.get_by_label("Address").fill("192.0.2.1")
    page.get_by_label("Port").fill("104")
    page.get_by_role("button", name="Add").click()
    assert "Nothing was saved." in visitor.text()
    page.get_by_label("AE title", exact=True).fill("PACS")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="From the browser")).to_be_visible()


def start_slow_send(visitor: Visitor, name: str) -> None:
    """Start a send that goes on for a while, and leave its page open."""
    visitor.go("/sends/new/")
    folder = visitor.page.locator("main code").nth(1).inner_text()
    visitor.page.get_by_label("Name", exact=True).fill(name)
    visitor.page.get_by_label("Folders or files").fill(f"{folder}/test_files")
    visitor.page.get_by_label("Destination").select_option(label="Demo: slow")
    visitor.page.get_by_role("button", name="List the files and plan").click()
    visitor.page.get_by_role("button", name="Start the send").click()


def await_swap(page: Page) -> None:
    """Wait until the live part of a page was exchanged, and what follows that was done."""
    page.evaluate(
        "new Promise((done) => document.addEventListener("
        "'htmx:afterSwap', () => setTimeout(done), { once: true }))"
    )


def test_a_live_page_keeps_the_keyboards_place(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    start_slow_send(visitor, "watched by keyboard")
    cancel = visitor.page.get_by_role("link", name="Cancel…")
    cancel.focus()
    await_swap(visitor.page)
    expect(cancel).to_be_focused()
    pause = visitor.page.get_by_role("button", name="Pause", exact=True)
    pause.focus()
    await_swap(visitor.page)
    expect(pause).to_be_focused()
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.get_by_text("Paused by operator.").first).to_be_visible()
    visitor.page.get_by_role("link", name="Cancel…").click()
    visitor.page.get_by_role("button", name="Cancel the send").click()
    expect(visitor.page.get_by_text("Cancelled").first).to_be_visible()


CLICK_TWICE = """(button) => {
  let sent = 0;
  document.addEventListener("submit", (event) => {
    if (!event.defaultPrevented) sent += 1;
    event.preventDefault();
  });
  button.click();
  button.click();
  return sent;
}"""


def test_a_form_that_is_clicked_twice_is_sent_once(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    visitor.go("/sends/1/again/")
    visitor.page.get_by_label("Reason").fill("clicked twice")
    button = visitor.page.get_by_role("button", name="Send everything again")
    assert button.evaluate(CLICK_TWICE) == 1
