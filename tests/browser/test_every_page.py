"""Every page, light and dark, wide and narrow: accessible, within its width, quiet."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PAGES = (
    "/", "/?days=90&supported=1", "/get-started/", "/destinations/", "/destinations/1/",
    "/destinations/add/", "/destinations/2/change/", "/templates/", "/templates/3/",
    "/templates/add/", "/templates/3/clone/", "/templates/import/", "/sends/", "/sends/1/",
    "/sends/2/instances/", "/sends/new/", "/sends/2/cancelling/", "/sends/2/retry-part/",
    "/sends/2/studies/", "/schedules/", "/schedules/add/", "/history/", "/pause/",
    "/destinations/2/pause/", "/sends/2/again/",
    "/history/?answer=rejected&outcome=nope", "/history/1/", "/search/?q=demo", "/password/",
)  # fmt: skip
MOST_REQUESTS = 6
MOST_BYTES = 80_000


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_is_accessible_and_fits(theme: str, width: int, visitor: Visitor) -> None:
    visitor.sign_in("administrator")
    visitor.context.add_cookies([{"name": "theme", "value": theme, "url": visitor.address}])
    visitor.page.set_viewport_size({"width": width, "height": 900})
    problems = []
    for path in PAGES:
        visitor.go(path)
        root = visitor.page.locator("html")
        assert root.get_attribute("data-theme") == theme
        if visitor.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            problems.append(f"{path} is wider than the window")
        for violation in Axe().run(visitor.page).response["violations"]:
            nodes = [node["html"][:120] for node in violation["nodes"][:3]]
            problems.append(f"{path}: {violation['id']} {nodes}")
    assert problems == []


@pytest.mark.parametrize("path", ["/sends/5/", "/sends/5/studies/?incomplete=1"])
def test_what_can_be_done_about_a_row_is_in_reach_on_a_phone(path: str, visitor: Visitor) -> None:
    visitor.sign_in("operator")
    visitor.page.set_viewport_size({"width": 390, "height": 900})
    visitor.go(path)
    buttons = visitor.page.locator("td.act button")
    expect(buttons.first).to_be_visible()
    for button in buttons.all():
        box = button.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= 390
        assert min(box["width"], box["height"]) >= 24
        assert button.inner_text().strip(), "it is read aloud as it is on a wide screen"
    for cell in visitor.page.locator("td.act").all():
        space = cell.bounding_box()
        assert space is not None
        assert space["width"] <= 64, "the rows themselves need the room"
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_sign_in_page_is_accessible(visitor: Visitor) -> None:
    visitor.go("/sign-in/")
    assert Axe().run(visitor.page).response["violations"] == []


def test_the_dashboard_is_light(visitor: Visitor) -> None:
    visitor.sign_in("viewer")
    sizes: list[int] = []
    visitor.page.on("response", lambda r: sizes.append(int(r.headers.get("content-length") or 0)))
    visitor.go("/")
    visitor.page.wait_for_load_state("networkidle")
    assert len(sizes) <= MOST_REQUESTS
    assert sum(sizes) <= MOST_BYTES


def test_the_chart_has_one_tab_stop_and_arrows_move_in_it(visitor: Visitor) -> None:
    visitor.sign_in("viewer")
    page = visitor.page
    links = page.locator(".chart a[data-tip]")
    assert links.count() >= 2
    assert page.locator(".chart a[tabindex='0']").count() == 1
    links.first.focus()
    expect(page.locator(".tip")).to_be_visible()
    page.keyboard.press("ArrowRight")
    assert page.locator(".chart a[tabindex='0']").get_attribute("href") == links.nth(
        1
    ).get_attribute("href")
    page.keyboard.press("Escape")
    expect(page.locator(".tip")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Negotiation history")).to_be_visible()
    expect(page.locator(".chips")).to_contain_text("Transfer syntax")


def test_keys_search_and_move(visitor: Visitor) -> None:
    visitor.sign_in("viewer")
    visitor.page.keyboard.press("/")
    assert visitor.page.evaluate("document.activeElement.name") == "q"
    visitor.page.keyboard.type("DEMO_OLD")
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.get_by_role("heading", name="Demo: old archive")).to_be_visible()
    visitor.page.keyboard.press("g")
    visitor.page.keyboard.press("h")
    expect(visitor.page.get_by_role("heading", name="Negotiation history")).to_be_visible()


def test_a_filter_stands_in_the_address_and_in_a_chip(visitor: Visitor) -> None:
    visitor.sign_in("viewer")
    visitor.go("/history/")
    visitor.page.get_by_label("Outcome").select_option("rejected")
    visitor.page.wait_for_url("**outcome=rejected**")
    expect(visitor.page.locator(".chips")).to_contain_text("Outcome: Association rejected")
    visitor.page.locator(".chips a").first.click()
    expect(visitor.page.locator(".chips")).to_have_count(0)


def test_pages_can_be_read_and_used_without_scripts(visitor: Visitor) -> None:
    visitor.sign_in("viewer")
    state = visitor.context.storage_state()
    browser = visitor.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False, storage_state=state)
    page = context.new_page()
    for path in ("/", "/history/", "/history/1/"):
        page.goto(f"{visitor.address}{path}")
        assert page.locator("main h1").count() == 1
    page.goto(f"{visitor.address}/")
    page.locator(".chart a").first.click()
    assert page.locator(".chips").count() == 1
    context.close()


@pytest.mark.parametrize(
    ("role", "shown"),
    [("viewer", False), ("auditor", False), ("operator", True), ("administrator", True)],
)
def test_buttons_that_a_role_can_not_use_are_not_shown(
    role: str, shown: bool, visitor: Visitor
) -> None:
    visitor.sign_in(role)
    visitor.go("/destinations/1/")
    assert (visitor.page.get_by_role("button", name="Echo").count() == 1) is shown
    is_admin = role == "administrator"
    assert (visitor.page.get_by_role("link", name="Edit").count() == 1) is is_admin


def test_times_can_be_shown_in_the_sites_zone_and_colours_stay(visitor: Visitor) -> None:
    visitor.sign_in("viewer")
    visitor.page.get_by_role("button", name="Dark colours").click()
    assert visitor.page.locator("html").get_attribute("data-theme") == "dark"
    visitor.page.reload()
    assert visitor.page.locator("html").get_attribute("data-theme") == "dark"
