"""Uploads through the real web server: streamed, bounded, and swept up after a kill."""

import http.client
import re
import signal
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Site, await_true, make_site

pytestmark = pytest.mark.slow
PASSWORD = "correct horse battery"
BOUNDARY = "0123456789abcdef"
MEGABYTE = bytes(range(256)) * 4096


class Browser:
    """Somebody signed in, without a browser."""

    def __init__(self, site: Site) -> None:
        self._bind = site.environment["CONCORDAT_BIND"]
        self.cookies: dict[str, str] = {}

    def request(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, str, str]:
        """Return status, page and where the answer leads."""
        connection = http.client.HTTPConnection(self._bind, timeout=60)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body, {"Cookie": cookie, **headers})  # type: ignore[arg-type]
            response = connection.getresponse()
            for line in response.headers.get_all("Set-Cookie") or ():
                name, value = line.split(";")[0].split("=", 1)
                self.cookies[name] = value
            return response.status, response.read().decode(), response.headers.get("Location", "")
        finally:
            connection.close()

    def token(self, path: str) -> str:
        """Return the token of a form."""
        _, page, _ = self.request("GET", path)
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found is not None, page
        return found.group(1)

    def sign_in(self, name: str) -> None:
        form = {
            "csrfmiddlewaretoken": self.token("/sign-in/"),
            "name": name,
            "password": PASSWORD,
        }
        kind = "application/x-www-form-urlencoded"
        body = urllib.parse.urlencode(form)
        status, page, _ = self.request("POST", "/sign-in/", body, **{"Content-Type": kind})
        assert status == 302, page

    def upload(self, megabytes: int, *, stop_after: int | None = None) -> tuple[int, str, str]:
        """Upload one file of many megabytes, streamed."""
        head = (
            f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=csrfmiddlewaretoken\r\n\r\n"
            f"{self.token('/uploads/')}\r\n--{BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="files"; filename="a.dcm"\r\n\r\n'
        ).encode()
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield head
            for number in range(megabytes):
                if number == stop_after:
                    raise ConnectionAbortedError
                yield MEGABYTE
            yield tail

        return self.request(
            "POST",
            "/uploads/",
            body(),
            **{
                "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
                "Content-Length": str(len(head) + megabytes * len(MEGABYTE) + len(tail)),
            },
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose uploads may have 200 MB."""
    made = make_site(tmp_path_factory.mktemp("site"), CONCORDAT_UPLOAD_MEGABYTES="200")
    assert made.run("migrate", "-v", "0").returncode == 0
    command = ("user", "add", "ada", "--role", "operator", "--password-stdin")
    assert made.run(*command, text=f"{PASSWORD}\n").returncode == 0
    return made


def web(site: Site) -> list[str]:
    bind = site.environment["CONCORDAT_BIND"]
    return [sys.executable, "-m", "sender.process.web", "--bind", bind]


def answers(site: Site) -> bool:
    try:
        return Browser(site).request("GET", "/healthz/")[0] == 200
    except OSError:
        return False


def peak_megabytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) // 1024


def folders(site: Site) -> dict[str, list[str]]:
    data = Path(site.environment["CONCORDAT_DATA_DIR"])
    return {
        name: sorted(path.name for path in (data / name).iterdir())
        for name in ("uploads", "incoming")
    }


def test_uploads_are_streamed_bounded_and_swept_up(site: Site) -> None:
    with site.running(web(site)) as server:
        await_true(lambda: answers(site), "the web server")
        ada = Browser(site)
        ada.sign_in("ada")
        before = peak_megabytes(server.pid)
        status, page, address = ada.upload(150)
        assert status == 302, page
        assert re.fullmatch(r"/sends/new/\?upload=\d+", address)
        assert peak_megabytes(server.pid) < before + 40
        (folder,) = folders(site)["uploads"]
        file = Path(site.environment["CONCORDAT_DATA_DIR"], "uploads", folder, "000001-a.dcm")
        assert file.stat().st_size == 150 << 20

        status, page, _ = ada.upload(201)
        assert status in (400, 413)
        assert "200 MB" in page
        assert folders(site) == {"uploads": [folder], "incoming": []}

        stranger = Browser(site)
        stranger.cookies = {"sessionid": "x"}
        status, page, _ = stranger.request("POST", "/uploads/", MEGABYTE * 20)
        assert status == 413

        with pytest.raises(ConnectionAbortedError):
            ada.upload(100, stop_after=50)
        assert ada.request("GET", "/uploads/")[0] == 200
        assert folders(site) == {"uploads": [folder], "incoming": []}


def test_what_a_killed_server_was_receiving_is_swept_up_at_its_next_start(site: Site) -> None:
    data = Path(site.environment["CONCORDAT_DATA_DIR"])
    script = (
        "import django, os; django.setup()\n"
        "from sender.services import reception\n"
        "receiving = reception.receive('killed', 'ada')\n"
        "receiving.begin_file('a'); receiving.write(b'x' * 100)\n"
        "os.kill(os.getpid(), 9)"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "dicomsite.settings"}
    killed = Site(site.directory, site.environment | environment)
    with killed.running([sys.executable, "-c", script]) as process:
        assert process.wait(60) == -signal.SIGKILL, killed.output
    assert len(list((data / "incoming").iterdir())) == 1
    with site.running(web(site)):
        await_true(lambda: answers(site), "the web server")
        assert folders(site)["incoming"] == []
        ada = Browser(site)
        ada.sign_in("ada")
        assert "killed" not in ada.request("GET", "/uploads/")[1]
