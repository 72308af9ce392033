"""`manage.py up`: one command, one process tree."""

import os
import re
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.processes import MANAGE, Site, await_true, make_migrated_site, make_site

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def answers(site: Site) -> bool:
    address = f"http://{site.environment['CONCORDAT_BIND']}/healthz/"
    try:
        with urllib.request.urlopen(address, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def sends(site: Site) -> list[str]:
    path = Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"
    database = sqlite3.connect(path)
    rows = database.execute("SELECT state FROM sender_send ORDER BY id").fetchall()
    database.close()
    return [row[0] for row in rows]


def test_the_first_start_shows_a_link_and_sends_real_files(site: Site) -> None:
    with site.running([*MANAGE, "up", "--workers", "4"]) as up:
        await_true(lambda: answers(site), "the web server")
        assert re.search(r"/setup/[\w-]{20,}/", site.output), site.output
        key = Path(site.environment["CONCORDAT_DATA_DIR"]) / "secret.key"
        assert key.stat().st_mode & 0o777 == 0o600
        await_true(
            lambda: {"partial", "failed"} <= set(sends(site)), "two kinds of sends that ended"
        )
        second = site.run("up")
        assert second.returncode == 2
        assert "already running" in second.stderr
        up.send_signal(signal.SIGTERM)
        assert up.wait(10) == 0, site.output
        assert site.processes() == []
    with site.running([*MANAGE, "up", "--no-demo"]) as up:
        await_true(lambda: answers(site), "the web server again")
        assert len(sends(site)) == 5, "the second start sends nothing of its own"
        up.send_signal(signal.SIGINT)
        assert up.wait(10) == 0, site.output


def test_children_that_are_killed_come_back(tmp_path: Path) -> None:
    site = make_migrated_site(tmp_path)
    with site.running([*MANAGE, "up", "--no-demo", "--workers", "1"]) as up:
        await_true(lambda: answers(site), "the web server")
        web = site.processes("sender.process.web")[0]
        environment = Path(f"/proc/{web}/environ").read_bytes().split(b"\0")
        assert b"CONCORDAT_WORKERS=1" in environment, "pages know how many workers there are"
        os.kill(web, signal.SIGKILL)
        await_true(lambda: "The web server ended (SIGKILL)" in site.output, "the report")
        await_true(lambda: answers(site), "the web server again")
        up.send_signal(signal.SIGTERM)
        assert up.wait(10) == 0


def test_nothing_is_left_when_up_itself_was_killed(tmp_path: Path) -> None:
    site = make_migrated_site(tmp_path)
    with site.running([*MANAGE, "up", "--workers", "1"]) as up:
        await_true(lambda: answers(site) and site.processes("cluster main"), "the tree")
        os.kill(up.pid, signal.SIGKILL)
        up.wait(5)
        await_true(lambda: not site.processes(), "the end of all", 12)


@pytest.mark.parametrize(
    ("variable", "remedy"),
    [("CONCORDAT_BIND", "--bind"), ("CONCORDAT_DEMO_PORT", "--no-demo")],
)
def test_a_port_in_use_is_one_sentence(site: Site, variable: str, remedy: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(site.environment[variable].rpartition(":")[2])))
        other.listen()
        done = site.run("up")
    assert done.returncode == 2
    assert "Address already in use" in done.stderr
    assert remedy in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_missing_database_is_one_sentence(tmp_path: Path) -> None:
    site = make_site(tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    done = site.run("up")
    assert done.returncode == 2
    assert "DATABASE_URL" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    site = make_migrated_site(tmp_path)
    path = Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"
    database = sqlite3.connect(path)
    database.execute(
        "INSERT INTO django_migrations (app, name, applied) VALUES ('sender', '9999_later', '')"
    )
    database.commit()
    database.close()
    done = site.run("up")
    assert done.returncode == 2
    assert "newer Concordat" in done.stderr
    assert "9999_later" in done.stderr


def test_a_data_directory_that_can_not_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    site = make_site(tmp_path, CONCORDAT_DATA_DIR=str(tmp_path / "file" / "var"))
    done = site.run("up")
    assert done.returncode == 2
    assert "CONCORDAT_DATA_DIR" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_setting_is_told_with_its_remedy(tmp_path: Path) -> None:
    done = make_site(tmp_path, CONCORDAT_RETRY_BASE_SECONDS="soon").run("up")
    assert done.returncode == 2
    assert "concordat.E001" in done.stderr
    assert "CONCORDAT_RETRY_BASE_SECONDS" in done.stderr


def test_a_senders_stop_is_in_order(tmp_path: Path) -> None:
    site = make_migrated_site(tmp_path)
    with site.running([*MANAGE, "sender", "--workers", "1"]) as sender:
        await_true(lambda: site.processes("cluster ui"), "the clusters")
        sender.send_signal(signal.SIGTERM)
        assert sender.wait(10) == 0
        assert site.processes() == []


def test_a_sender_does_not_migrate(site: Site) -> None:
    done = site.run("sender")
    assert done.returncode == 2
    assert "manage.py migrate" in done.stderr
