"""A schedule made, checked and run in a real browser."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.samples import FOLDER

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PATIENCE_MS = 90_000


def accessible(visitor: Visitor) -> None:
    """Hold the page to the rules, light and dark, wide and narrow."""
    for theme in ("light", "dark"):
        visitor.context.add_cookies([{"name": "theme", "value": theme, "url": visitor.address}])
        for width in (1400, 390):
            visitor.page.set_viewport_size({"width": width, "height": 1000})
            visitor.page.reload()
            overflows = "document.documentElement.scrollWidth > innerWidth"
            assert not visitor.page.evaluate(overflows), (theme, width)
            violations = Axe().run(visitor.page).response["violations"]
            assert [violation["id"] for violation in violations] == [], (theme, width)
    visitor.page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_schedule_is_made_checked_and_run(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    page = visitor.page
    visitor.go("/schedules/add/")
    accessible(visitor)
    page.get_by_label("Name", exact=True).fill("Nightly")
    page.get_by_label("When", exact=True).fill("15 4 * * *")
    page.get_by_label("Time zone").select_option("Asia/Tokyo")
    expect(page.locator("#times")).to_contain_text(" 04:15")
    expect(page.locator("#times")).to_contain_text("19:15")
    page.get_by_label("When", exact=True).fill("15 4 * *")
    expect(page.locator("#times")).to_contain_text("five fields")
    page.get_by_label("When", exact=True).fill("15 4 * * *")
    page.get_by_label("Folders or files, one per line").fill("/etc")
    page.get_by_label("Destination", exact=True).select_option(label="Demo: modern archive")
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.get_by_text("outside the allowed source roots")).to_be_visible()
    page.get_by_label("Folders or files, one per line").fill(str(FOLDER))
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.get_by_role("heading", name="Nightly", exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Next runs")).to_contain_text(" 04:15")
    page.get_by_role("button", name="Check now").click()
    page.get_by_text("Nothing was sent.").wait_for(timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", name="Plan for Demo: modern archive")).to_be_visible()
    accessible(visitor)
    page.get_by_role("button", name="Run now").click()
    run = page.locator("#run")
    run.get_by_text("instances were already there, left out").first.wait_for(timeout=PATIENCE_MS)
    expect(run.get_by_text("Running")).to_have_count(0, timeout=PATIENCE_MS)
    page.get_by_role("link", name="Nightly", exact=True).click()
    accessible(visitor)
    visitor.go("/schedules/")
    accessible(visitor)
    page.get_by_role("link", name="Nightly", exact=True).click()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_text("It does not run at its times.")).to_be_visible()
    page.get_by_role("link", name="Delete…").click()
    accessible(visitor)
    page.get_by_role("button", name="Delete the schedule").click()
    expect(page.get_by_text("Nightly was deleted.")).to_be_visible()


def test_a_viewer_sees_schedules_and_no_buttons(visitor: Visitor) -> None:
    visitor.sign_in("viewer")
    visitor.page.keyboard.press("g")
    visitor.page.keyboard.press("c")
    expect(visitor.page.get_by_role("heading", name="Schedules")).to_be_visible()
    assert visitor.page.get_by_role("link", name="New schedule").count() == 0


def test_the_next_times_are_shown_without_scripts(visitor: Visitor) -> None:
    visitor.sign_in("operator")
    browser = visitor.context.browser
    assert browser is not None
    context = browser.new_context(
        java_script_enabled=False, storage_state=visitor.context.storage_state()
    )
    page = context.new_page()
    page.goto(f"{visitor.address}/schedules/add/")
    page.get_by_label("When", exact=True).fill("15 4 * * *")
    page.get_by_role("button", name="Show the next times").click()
    expect(page.locator("#times").get_by_text(" 04:15").nth(4)).to_be_visible()
    context.close()
