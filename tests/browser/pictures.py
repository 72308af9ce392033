"""Make the pictures of the documentation: `python -m tests.browser.pictures [FOLDER]`.

Starts the product with its demo in a new data directory, gives it work of every kind, and takes
pictures of its pages in Chromium: light and dark at 1280 px, and at 390 px as phones have it.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.processes import ROOT, await_true, free_port

DOCUMENTED = ROOT / "docs" / "screenshots"
PASSWORD = "correct horse battery"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
Pages = Mapping[str, str]


def main(folder: Path) -> None:
    """Take all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="concordat-pictures-") as work:
        site = Demo(Path(work))
        with site.running() as link, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            state = _become_administrator(browser, link)
            pages = site.work(_signed_in(browser, state, "light", WIDE))
            for scheme, size, suffix in (
                ("light", WIDE, "light"),
                ("dark", WIDE, "dark"),
                ("light", NARROW, "narrow"),
            ):
                page = _signed_in(browser, state, scheme, size)
                for name, path in pages.items():
                    page.goto(site.base + path)
                    page.screenshot(path=folder / f"{name}-{suffix}.png")
            browser.close()


class Demo:
    """An installation of its own, with its demo."""

    def __init__(self, work: Path) -> None:
        self.base = f"http://127.0.0.1:{free_port()}"
        self.demo_port = free_port()
        self._work = work
        self._source = work / "export"
        self._waiting: subprocess.Popen[bytes] | None = None
        self.environment = {
            **os.environ,
            "CONCORDAT_DATA_DIR": str(work / "var"),
            "CONCORDAT_BIND": self.base.removeprefix("http://"),
            "CONCORDAT_DEMO_PORT": str(self.demo_port),
            "CONCORDAT_SOURCE_ROOTS": os.pathsep.join((str(self._source), str(_samples()))),
        }

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run it; yield the link that makes the first administrator."""
        shutil.copytree(_samples(), self._source)
        log = (self._work / "log").open("w")
        command = [sys.executable, "manage.py", "up"]
        up = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        try:
            await_true(lambda: self._link() is not None, "the link of the first administrator", 90)
            link = self._link()
            assert link is not None
            await_true(lambda: _is_listening(self.base), "the web server", 60)
            yield link
        finally:
            for process in (self._waiting, up):
                if process is not None:
                    process.terminate()
                    process.wait(30)
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
        if done.stderr:
            sys.stderr.write(f"{' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None

    def work(self, page: Page) -> Pages:
        """Send to peers of every kind; return the paths of the pages to be taken."""
        source, samples = str(self._source), str(_samples())
        nobody = str(free_port())
        add = ("destination", "add")
        here = ("--address", "127.0.0.1", "--port", str(self.demo_port))
        self.manage(*add, "archive", "--ae-title", "DEMO_SCP", *here)
        self.manage(*add, "old-archive", "--ae-title", "DEMO_OLD", *here)
        self.manage(*add, "research", "--ae-title", "DEMO_SLOW", *here, "--max-associations", "2")
        self.manage(
            *add, "away", "--ae-title", "AWAY", "--address", "127.0.0.1", "--port", nobody
        )  # fmt: skip
        for name in ("archive", "old-archive"):
            self.manage("echo", name)
            self.manage("negotiate", name, "--template", "Derived from files")
        whole = self.manage("send", source, "--to", "archive", "--inline", "--json")
        partial = self.manage("send", source, "--to", "old-archive", "--inline", "--json")
        self.manage("send", samples, "--to", "away", "--inline", "--json", "--retries", "0")
        self.manage(
            "schedule", "add", "nightly", "--source", source, "--to", "archive",
            "--cron", "0 20 * * MON-FRI", "--windows", "mon-fri 20:00-06:00",
        )  # fmt: skip
        self.manage(
            "schedule", "add", "hourly", "--source", source, "--to", "old-archive", "--every", "1h"
        )
        self.manage("schedule", "run", "hourly", "--wait")
        self._waiting = subprocess.Popen(
            [sys.executable, "manage.py", "send", source, "--to", "research", "--json"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )
        page.goto(f"{self.base}/sends/")
        running = _await_link(page, f"{self.base}/sends/", r"^/sends/\d+/$", "research")
        return {
            "dashboard": "/",
            "sends": "/sends/",
            "send": f"/sends/{partial['send']}/",
            "send-running": running,
            "send-whole": f"/sends/{whole['send']}/",
            "schedules": "/schedules/",
            "schedule": _first(page, f"{self.base}/schedules/", r"^/schedules/\d+/$"),
            "study": _first(page, f"{self.base}/sends/{whole['send']}/studies/", r"^/studies/.+$"),
            "destinations": "/destinations/",
            "destination": _first(page, f"{self.base}/destinations/", r"^/destinations/\d+/$"),
            "template": _first(page, f"{self.base}/templates/", r"^/templates/\d+/$"),
            "history": "/history/",
            "association": _first(page, f"{self.base}/history/", r"^/history/\d+/$"),
        }


def _is_listening(base: str) -> bool:
    host, port = base.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _samples() -> Path:
    """Return a folder of real files that ship inside pydicom."""
    import pydicom.data

    return Path(pydicom.data.__file__).parent / "test_files"


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


def _await_link(page: Page, at: str, pattern: str, word: str) -> str:
    """Return a link beside which a word stands, as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        page.goto(at)
        found = [href for href, text in _links(page, pattern) if word in text]
        if found:
            return found[0]
    raise TimeoutError(f"{at} never had a link beside {word}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTED)
