"""The product as its command line shows it: a site, a shell in it, and what a send came to."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import ROOT, Site, make_migrated_site


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    said: str

    @property
    def document(self) -> Any:
        """The JSON on standard output."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Row:
    """One row of the account of a send."""

    iuid: str
    outcome: str
    status: str
    attempts: int
    reason: str


@dataclass(frozen=True)
class SendResult:
    """What a send came to.

    Attributes:
        document: the JSON of `send`.
        rows: the CSV of `export_send`.
        history: the JSON of `history` for the destination, oldest first.
    """

    code: int
    document: dict[str, Any]
    rows: tuple[Row, ...]
    history: tuple[dict[str, Any], ...]

    @property
    def outcomes(self) -> dict[str, str]:
        """Outcomes by SOP Instance UID."""
        return {row.iuid: row.outcome for row in self.rows}


@dataclass(frozen=True)
class Shell:
    """A process in which commands of a site run one after another."""

    site: Site
    process: "subprocess.Popen[str]"

    def run(self, *words: str) -> Done:
        """Run a command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["code"] != 3, answer["said"]
        return Done(**answer)

    def add_destination(self, name: str, port: int, **options: object) -> None:
        """Add a destination on this host; options are those of the command line."""
        words = ["destination", "add", name, "--ae-title", "PEER", "--address", "127.0.0.1"]
        words += ["--port", str(port)]
        for option, value in options.items():
            words.append(f"--{option.replace('_', '-')}")
            words += [] if value is True else [str(value)]
        done = self.run(*words)
        assert done.code == 0, done.said

    def send(self, *paths: Path, to: str, **options: object) -> SendResult:
        """Send inline, and read all that is told of it."""
        words = ["send", *map(str, paths), "--to", to, "--inline", "--json"]
        for option, value in options.items():
            words += [f"--{option}", str(value)]
        done = self.run(*words)
        assert done.code in (0, 1), done.said
        return self.result(done, to)

    def result(self, done: Done, destination: str) -> SendResult:
        """Read what is told of a send whose command has ended."""
        account = self.run("export_send", str(done.document["send"]))
        history = self.run("history", "--json", "--destination", destination, "--limit", "1000")
        rows = tuple(
            Row(row["iuid"], row["outcome"], row["status"], int(row["attempts"]), row["reason"])
            for row in csv.DictReader(io.StringIO(account.out))
        )
        return SendResult(done.code, done.document, rows, tuple(reversed(history.document)))

    @property
    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    @property
    def files(self) -> list[str]:
        """What its open files are: paths, sockets, pipes."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        return [os.readlink(entry) for entry in folder.iterdir()]

    @property
    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    @property
    def children(self) -> str:
        tasks = Path(f"/proc/{self.process.pid}/task")
        return "".join((task / "children").read_text() for task in tasks.iterdir()).strip()


@contextmanager
def open_shell(directory: Path, **environment: str) -> Iterator[Shell]:
    """Make a site with its database, and open a shell in it."""
    directory.mkdir(parents=True, exist_ok=True)
    site = make_migrated_site(directory, **{"CONCORDAT_RETRY_BASE_SECONDS": "0.02", **environment})
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.misbehaviour.command_loop"],
        cwd=ROOT,
        env=site.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Shell(site, process)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
