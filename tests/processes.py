"""Starts the product's processes as a user would, each with a data directory of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANAGE = [sys.executable, str(ROOT / "manage.py")]
PATIENCE_SECONDS = 120.0
"""Of a busy machine; whoever promises less is held to it by the test in question."""


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def await_true(check: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a check holds.

    Raises:
        AssertionError: it did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


def children_of(pid: int) -> set[int]:
    """Return the numbers of the processes that one has started, and that run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def check_children_end(script: str, *arguments: str) -> None:
    """Kill a process once it has run a script; the children that it has by then must end soon."""
    waiting = "\nprint('ready', flush=True)\nimport time; time.sleep(600)\n"
    with subprocess.Popen(
        [sys.executable, "-c", script + waiting, *arguments], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        orphans = children_of(parent.pid)
        assert orphans
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    await_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), "their end", 20)


@dataclass(frozen=True)
class Site:
    """A data directory, its environment, and what runs with it."""

    directory: Path
    environment: dict[str, str]

    def run(self, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run one command to its end."""
        return subprocess.run(
            [*MANAGE, *arguments],
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def running(self, command: list[str]) -> Iterator["subprocess.Popen[str]"]:
        """Run a long command in a session of its own; whatever is left is killed."""
        log = (self.directory / "output.txt").open("w+")
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
            log.close()

    @property
    def output(self) -> str:
        """What the long command has written so far."""
        return (self.directory / "output.txt").read_text()

    def processes(self, words: str = "") -> list[int]:
        """Return the processes of this site whose command line contains some words."""
        mark = f"CONCORDAT_DATA_DIR={self.environment['CONCORDAT_DATA_DIR']}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                is_ours = mark in (folder / "environ").read_bytes()
            except OSError:
                continue
            if is_ours and words in line and line:
                found.append(int(folder.name))
        return found


def make_site(directory: Path, **environment: str) -> Site:
    """Return a site with free ports; nothing is started and nothing migrated."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("CONCORDAT_")}
    own.pop("DATABASE_URL", None)
    return Site(
        directory,
        {
            **own,
            "CONCORDAT_DATA_DIR": str(directory / "var"),
            "CONCORDAT_BIND": f"127.0.0.1:{free_port()}",
            "CONCORDAT_DEMO_PORT": str(free_port()),
            "CONCORDAT_RETRY_BASE_SECONDS": "0.1",
            **environment,
        },
    )


def make_migrated_site(directory: Path, **environment: str) -> Site:
    """Return a site with a migrated SQLite database, a copy of the one that all tests share."""
    from tests.databases import migrated_file

    site = make_site(directory, **environment)
    target = Path(site.environment["CONCORDAT_DATA_DIR"])
    target.mkdir(mode=0o750, exist_ok=True)
    shutil.copy(migrated_file(), target / "concordat.sqlite3")
    return site
