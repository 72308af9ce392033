"""One `up` per data directory: a lock that the operating system gives back when its holder dies."""

import os
from pathlib import Path
from typing import IO

if os.name == "nt":
    import msvcrt
else:
    import fcntl


class AlreadyRunning(Exception):
    """Another process holds the lock."""


class DirectoryLock:
    """Holds `<directory>/up.lock` from `acquire` to the end of the process or `release`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "up.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            AlreadyRunning: another process has it.
            OSError: the file can't be written.
        """
        file = self.path.open("a+", encoding="ascii")
        try:
            _lock(file)
        except OSError:
            file.seek(1)
            holder = file.read().strip() or "unknown"
            file.close()
            raise AlreadyRunning(
                f"Concordat is already running with the data directory {self.path.parent} "
                f"(process {holder})."
            ) from None
        file.truncate(0)
        file.write(f"\n{os.getpid()}")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(file: IO[str]) -> None:
    """Lock the first byte (which is why the process number stands behind it)."""
    if os.name == "nt":
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
