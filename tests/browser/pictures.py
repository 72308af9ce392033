"""Make the pictures of the documentation: `python -m tests.browser.pictures [FOLDER]`.

Starts the product with its demo in a new data directory, gives it work of every kind, and takes
pictures in Chromium. Without a folder: those of docs/screenshots. With one: of every page, whole,
light and dark at 1280 px and at 390 px as phones have it, for somebody to look at.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import scenes
from tests.browser.conftest import PASSWORD, answers
from tests.processes import ROOT, await_true, free_port
from tests.samples import FOLDER

SCREENSHOTS = ROOT / "docs" / "screenshots"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOKS = (
    ("light", WIDE, "light"),
    ("dark", WIDE, "dark"),
    ("light", NARROW, "narrow"),
    ("dark", NARROW, "narrow-dark"),
)
DOCUMENTED = frozenset(
    f"{name}.png"
    for name in (
        "dashboard-light", "dashboard-dark", "history-light", "association-light",
        "template-light", "send-dark", "bulk-send-light", "bulk-send-dark", "listing-light",
        "schedules-light", "schedule-light", "study-light", "destination-light",
        "destination-dark", "stall-light",
    )
)  # fmt: skip
WHILE_PAUSED = ("destination", "send-waiting")
"""Pages that are about a pause; the others are taken after it, or all would show it."""
FAILING = ("Old archive", "Research", "TLS archive", "Away")
Pages = Mapping[str, str]


def main(folder: Path | None) -> None:
    """Take the pictures of the documentation, or those of all pages into a folder."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="concordat-pictures-")))
        site = Demo(work)
        peers = stack.enter_context(scenes.peers(work))
        link = stack.enter_context(site.running())
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        state = _become_administrator(browser, link)
        page = _signed_in(browser, state, "light", WIDE)
        pages = site.work(page, peers)
        camera = Camera(browser, state, site.base, pages, folder)
        camera.take(WHILE_PAUSED)
        site.resume(page)
        camera.take([name for name in pages if name not in WHILE_PAUSED])
        browser.close()


@dataclass(frozen=True, slots=True)
class Camera:
    """Takes pictures of pages.

    Attributes:
        folder: for those of every page; None: only what docs/screenshots has.
    """

    browser: Browser
    state: Any
    base: str
    pages: Pages
    folder: Path | None

    def take(self, names: Sequence[str]) -> None:
        """Take the pictures of these pages."""
        for scheme, size, suffix in LOOKS:
            page = _signed_in(self.browser, self.state, scheme, size)
            for name in names:
                picture = f"{name}-{suffix}.png"
                if self.folder is None and picture not in DOCUMENTED:
                    continue
                page.goto(self.base + self.pages[name])
                path = (self.folder or SCREENSHOTS) / picture
                page.screenshot(path=path, full_page=self.folder is not None)
            page.context.close()


class Demo:
    """An installation of its own, with its demo."""

    def __init__(self, work: Path) -> None:
        self.base = f"http://127.0.0.1:{free_port()}"
        self.demo_port = free_port()
        self._work = work
        self._source = work / "export"
        self._uid_list = work / "wanted.csv"
        self.environment = {
            **os.environ,
            "CONCORDAT_DATA_DIR": str(work / "var"),
            "CONCORDAT_BIND": self.base.removeprefix("http://"),
            "CONCORDAT_DEMO_PORT": str(self.demo_port),
            "CONCORDAT_SOURCE_ROOTS": os.pathsep.join((str(work), str(FOLDER / "test_files"))),
        }

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run it; yield the link that makes the first administrator."""
        self._in_django(f"write_export(pathlib.Path({str(self._source)!r}))")
        scenes.write_uid_list(self._uid_list)
        log = (self._work / "log").open("w")
        command = [sys.executable, "manage.py", "up"]
        up = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        try:
            await_true(lambda: self._link() is not None, "the link of the first administrator", 90)
            link = self._link()
            assert link is not None
            await_true(lambda: answers(self.base), "the web server", 60)
            yield link
        finally:
            up.terminate()
            up.wait(30)
            log.close()

    def _link(self) -> str | None:
        found = re.search(r"http\S+/setup/\S+", (self._work / "log").read_text())
        return found.group(0) if found else None

    def manage(self, *arguments: str) -> Any:
        """Run a command; return the JSON it prints, if any."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode > 1:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None

    def work(self, page: Page, peers: scenes.Peers) -> Pages:
        """Send to peers of every kind; return the paths of the pages to be taken."""
        self._add_destinations(peers)
        self._write_past()
        source = str(self._source)
        page.set_default_timeout(60_000)
        whole = self.manage("send", source, "--to", "Main archive", "--inline", "--json")
        partial = self.manage("send", source, "--to", "Old archive", "--inline", "--json")
        choosy = self._order(page, "Ward export to everybody", "Main archive", *FAILING)
        listing = self._listing_of(page, choosy["Research"])
        for send in choosy.values():
            self._await_end(page, send)
        listed = self.manage(
            "send", source, "--to", "TLS archive", "--uid-list", str(self._uid_list), "--inline",
            "--json",
        )  # fmt: skip
        draft = self._order(page, "Draft", "Main archive", "Old archive", start=False)
        self._upload(page)
        self._schedules(page)
        self._pause(page, "Night archive")
        waiting = self._order(page, "For the night", "Night archive")["Night archive"]
        crowded = self._order(page, "To a full storage", "Full storage")["Full storage"]
        running = self._order(page, "Urgent export", "Slow archive")["Slow archive"]
        stalled = self._order(page, "Stalls", "Silent PACS")["Silent PACS"]
        self._await_text(page, stalled, "Associations at work")
        return {
            "dashboard": "/",
            "sends": "/sends/",
            "send": "/sends/2/",
            "send-partial": f"/sends/{partial['send']}/",
            "bulk-send": choosy["Research"],
            "send-running": running,
            "stall": stalled,
            "send-waiting": waiting,
            "send-attempts": crowded,
            "send-whole": f"/sends/{whole['send']}/",
            "send-listed": f"/sends/{listed['send']}/",
            "send-away": choosy["Away"],
            "send-cancelling": f"{running}cancelling/",
            "send-again": f"{choosy['Research']}again/",
            "send-retry-part": f"{choosy['Research']}retry-part/",
            "send-new": "/sends/new/",
            "send-draft": draft["Main archive"],
            "listing": listing,
            "listing-draft": self._listing_of(page, draft["Main archive"]),
            "instances": f"{choosy['Research']}instances/",
            "instances-failed": f"{choosy['Research']}instances/?outcome=failed",
            "studies": f"{choosy['Research']}studies/",
            "study": f"/studies/{scenes.study_uid(1)}/",
            "uploads": "/uploads/",
            "upload-delete": _first(page, f"{self.base}/uploads/", r"^/uploads/\d+/delete/$"),
            "schedules": "/schedules/",
            "schedule": self._beside(page, "/schedules/", "Nightly", r"^/schedules/\d+/$"),
            "schedule-failing": self._beside(page, "/schedules/", "Hourly", r"^/schedules/\d+/$"),
            "schedule-run": self._beside(page, "/schedules/", "Hourly", r"/runs/\d+/$"),
            "schedule-add": "/schedules/add/",
            "destinations": "/destinations/",
            "destination": self._destination(page, "Night archive"),
            "destination-tls": self._destination(page, "TLS archive"),
            "destination-untrusted": self._destination(page, "Untrusted archive"),
            "destination-away": self._destination(page, "Away"),
            "destination-old": self._destination(page, "Demo: old archive"),
            "destination-add": "/destinations/add/",
            "destination-change": f"{self._destination(page, 'Night archive')}change/",
            "destination-pause": f"{self._destination(page, 'Main archive')}pause/",
            "pause": "/pause/",
            "templates": "/templates/",
            "template": self._beside(page, "/templates/", "Starter", r"^/templates/\d+/$"),
            "template-add": "/templates/add/",
            "template-import": "/templates/import/",
            "history": "/history/",
            "history-rejected": "/history/?answer=rejected",
            "association": self._association(page, 2),
            "association-partial": self._association(page, partial["send"]),
            "association-failures": self._association(page, int(choosy["Research"].split("/")[2])),
            "association-away": self._association(page, int(choosy["Away"].split("/")[2])),
            "association-tls": self._association(page, listed["send"]),
            "search": "/search/?q=archive",
            "get-started": "/get-started/",
            "password": "/password/",
            "not-found": "/sends/99999/",
        }

    def _add_destinations(self, peers: scenes.Peers) -> None:
        here, tls = ("--address", "127.0.0.1"), ("--tls", "--tls-ca", str(peers.ca_file))
        of_demo = (*here, "--port", str(self.demo_port), "--ae-title")
        nobody = str(free_port())
        for name, *options in (
            ("Main archive", *of_demo, "DEMO_SCP", "--max-associations", "4"),
            ("Old archive", *of_demo, "DEMO_OLD"),
            ("Slow archive", *of_demo, "DEMO_SLOW", "--instances-per-second", "1"),
            (
                "Night archive", *of_demo, "DEMO_SCP", "--max-associations", "3", "--window",
                "mon-fri 20:00-06:00; sat,sun 00:00-24:00", "--bytes-per-second", "20000000",
                "--instances-per-second", "50", "--association-scope", "study", "--profile",
                "mon-fri 07:00-19:00: 2 MB/s, 10/s, 1 association",
            ),
            ("Research", *here, "--port", str(peers.choosy), "--ae-title", "RESEARCH"),
            ("Full storage", *here, "--port", str(peers.crowded), "--ae-title", "FULL"),
            (
                "Silent PACS", *here, "--port", str(peers.silent), "--ae-title", "SILENT",
                "--answer-timeout", "600", "--progress-timeout", "600",
            ),
            ("TLS archive", *here, "--port", str(peers.secure), "--ae-title", "SECURE", *tls),
            (
                "Untrusted archive", *here, "--port", str(peers.untrusted), "--ae-title", "SECURE",
                *tls,
            ),
            ("Away", *here, "--port", nobody, "--ae-title", "AWAY", "--retries", "0"),
        ):  # fmt: skip
            self.manage("destination", "add", name, *options)
        for name in ("Main archive", "Old archive", "TLS archive", "Untrusted archive", "Research"):
            self.manage("echo", name)

    def _write_past(self) -> None:
        self._in_django("write_past()")

    def _in_django(self, call: str) -> None:
        code = f"import pathlib; from tests.browser import scenes; scenes.{call}"
        self.manage("shell", "--no-imports", "-c", code)

    def _order(self, page: Page, called: str, *names: str, start: bool = True) -> dict[str, str]:
        """Order a send of the export in the browser; return the path of each destination's."""
        page.goto(f"{self.base}/sends/new/")
        page.get_by_label("Folders or files, one per line").fill(str(self._source))
        for row, name in enumerate(names):
            if row:
                page.get_by_role("button", name="Another destination").click()
            page.get_by_label("Destination", exact=True).nth(row).select_option(label=name)
        page.get_by_label("Name", exact=True).fill(called)
        page.get_by_text("Times, urgency, attempts").click()
        if len(names) > 1:
            page.get_by_label("Automatic attempts after the first").fill("0")
        page.get_by_role("button", name="List the files and plan").click()
        page.wait_for_url(re.compile(r"/(sends|listings)/\d+/$"))
        button = page.get_by_role("button", name=re.compile("^Start (the send|all)"))
        expect(button).to_be_enabled()
        found = [page.url.removeprefix(self.base)]
        if len(names) > 1:
            found = [self._beside(page, "", name, r"^/sends/\d+/$") for name in names]
        if start:
            button.click()
            page.wait_for_load_state()
        return dict(zip(names, found, strict=True))

    def _beside(self, page: Page, at: str, word: str, pattern: str) -> str:
        """Return the first link that fits and is, or stands in a row with, a word."""
        if at:
            page.goto(self.base + at)
        named = page.locator("main a").filter(has_text=re.compile(f"^\\s*{re.escape(word)}\\s*$"))
        for address in named.evaluate_all("all => all.map(a => new URL(a.href).pathname)"):
            if re.search(pattern, address):
                return str(address)
        for href, text in _links(page, pattern):
            if word in text:
                return href
        raise LookupError(f"{page.url} has no link like {pattern} beside {word}.")

    def _destination(self, page: Page, name: str) -> str:
        return self._beside(page, "/destinations/", name, r"^/destinations/\d+/$")

    def _listing_of(self, page: Page, send: str) -> str:
        return _first(page, self.base + send, r"^/listings/\d+/$")

    def _association(self, page: Page, send: int) -> str:
        return _first(page, f"{self.base}/history/?send={send}", r"^/history/\d+/$")

    def _await_text(self, page: Page, at: str, text: str) -> None:
        page.goto(self.base + at)
        expect(page.locator("main")).to_contain_text(text, timeout=90_000)

    def _await_end(self, page: Page, send: str) -> None:
        page.goto(self.base + send)
        ended = re.compile("Partly sent|Succeeded|Failed")
        expect(page.locator("#send .badge").first).to_have_text(ended, timeout=120_000)

    def _upload(self, page: Page) -> None:
        page.goto(f"{self.base}/uploads/")
        page.get_by_label("Name").fill("From a ward")
        files = [str(self._source / "study1" / f"{number:04}.dcm") for number in range(1, 9)]
        page.set_input_files("#upload-files", [*files, str(self._source / "readme.txt")])
        page.get_by_role("button", name="Upload").click()
        page.wait_for_url("**/sends/new/?upload=*")

    def _schedules(self, page: Page) -> None:
        source = ("--source", str(self._source))
        add = ("schedule", "add")
        self.manage(
            *add, "Nightly", *source, "--to", "Main archive", "--cron", "0 20 * * MON-FRI",
            "--zone", "Europe/Berlin", "--windows", "mon-fri 20:00-06:00", "--finish-within",
            "10", "--note", "Agreed with the archive's team.",
        )  # fmt: skip
        self.manage(
            *add,
            "Hourly",
            *source,
            "--to",
            "Research",
            "--every",
            "1h",
            "--again",
            "--retries",
            "0",
        )
        self.manage(
            *add, "Weekly", *source, "--to", "Old archive", "--cron", "0 3 * * SUN", "--disabled"
        )
        self.manage(*add, "To the slow one", *source, "--to", "Slow archive", "--every", "1m")
        self.manage("schedule", "run", "Hourly", "--wait")
        self.manage("schedule", "run", "To the slow one")
        for name in ("Nightly", "Hourly"):
            page.goto(self.base + self._beside(page, "/schedules/", name, r"^/schedules/\d+/$"))
            page.get_by_role("button", name="Check now").click()
            expect(page.locator("main")).to_contain_text("Nothing was sent.", timeout=90_000)

    def resume(self, page: Page) -> None:
        """Let what is paused go on."""
        page.goto(f"{self.base}/")
        page.get_by_role("button", name="Resume").click()
        page.wait_for_load_state()

    def _pause(self, page: Page, name: str) -> None:
        page.goto(f"{self.base}{self._destination(page, name)}pause/")
        page.get_by_label("Reason").fill("Maintenance of the archive, call 4711")
        page.get_by_label("How long").select_option("12")
        page.get_by_role("button", name="Pause").click()
        page.wait_for_load_state()


def _become_administrator(browser: Browser, link: str) -> Any:
    context = browser.new_context(viewport=WIDE)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(link)
    page.fill("[name=name]", "ada")
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=again]", PASSWORD)
    page.click("main button")
    page.wait_for_load_state()
    return context.storage_state()


def _signed_in(browser: Browser, state: Any, scheme: str, size: Mapping[str, int]) -> Page:
    context = browser.new_context(
        storage_state=state,
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport=size,  # type: ignore[arg-type]
    )
    return context.new_page()


_LINKS = "all => all.map(a => [new URL(a.href).pathname, (a.closest('tr,li') || a).innerText])"


def _links(page: Page, pattern: str) -> list[tuple[str, str]]:
    found = page.eval_on_selector_all("main a[href]", _LINKS)
    return [(href, text) for href, text in found if re.search(pattern, href)]


def _first(page: Page, at: str, pattern: str) -> str:
    """Return the first link of a page that fits."""
    page.goto(at)
    found = _links(page, pattern)
    if not found:
        raise LookupError(f"{at} has no link like {pattern}.")
    return found[0][0]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
