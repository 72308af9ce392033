"""A whole running site and a real browser: Chromium of the system, driven by Playwright.

The site is `manage.py up` in a data directory of its own, so that these tests see what a user
sees. Every page that a test opens is watched: an error in the console, a violation of the content
security policy or a request to another host fails the test.
"""

import shutil
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.processes import MANAGE, Site, await_true, make_site

PASSWORD = "correct horse battery"
ROLES = ("viewer", "operator", "auditor", "administrator")


@dataclass
class Running:
    """A running site: its address and the set-up link that it printed."""

    site: Site
    address: str
    setup_link: str


def answers(address: str) -> bool:
    """Tell whether a site's web server answers."""
    try:
        with urllib.request.urlopen(f"{address}/healthz/", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The product as `make run` starts it, with its demo data sent."""
    site = make_site(tmp_path_factory.mktemp("site"))
    with site.running([*MANAGE, "up", "--workers", "3"]) as up:
        await_true(lambda: "Ctrl-C stops it." in site.output, "the greeting")
        address = f"http://{site.environment['CONCORDAT_BIND']}"
        link = next(line.strip() for line in site.output.splitlines() if "/setup/" in line)
        yield Running(site, address, link)
        up.send_signal(signal.SIGTERM)
        assert up.wait(10) == 0, site.output


@pytest.fixture(scope="session")
def people(running: Running) -> Running:
    """The running site with a user per role, named like it."""
    for role in ROLES:
        command = ("user", "add", role, "--role", role, "--password-stdin")
        done = running.site.run(*command, text=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stderr
    return running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield chromium
        chromium.close()


@dataclass
class Visitor:
    """A browser window on the site."""

    page: Page
    context: BrowserContext
    address: str
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Note whatever a page should not do."""
        page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._check(request.url))

    def _check(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "about:")):
            self.complaints.append(f"a request to {url}")

    def go(self, path: str) -> None:
        """Open a page of the site."""
        self.page.goto(f"{self.address}{path}")

    def sign_in(self, name: str) -> None:
        """Sign in."""
        self.go("/sign-in/")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self.address}/")

    def text(self) -> str:
        """Return what the page says."""
        return self.page.locator("main").inner_text()


@pytest.fixture
def visitor(browser: Browser, people: Running) -> Iterator[Visitor]:
    """A window of somebody who has not signed in yet."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    made = Visitor(context.new_page(), context, people.address)
    made.watch(made.page)
    yield made
    context.close()
    assert made.complaints == []
