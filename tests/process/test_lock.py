"""One `up` per data directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from sender.process.lock import AlreadyRunning, DirectoryLock
from tests.processes import ROOT

HOLD = (
    "import sys; from pathlib import Path; from sender.process.lock import DirectoryLock\n"
    "lock = DirectoryLock(Path(sys.argv[1])); lock.acquire()\n"
    "print('held', flush=True); sys.stdin.read()"
)


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning, match=f"process {holder.pid}"):
            DirectoryLock(tmp_path).acquire()
        holder.kill()
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    lock.release()


def test_a_lock_that_was_given_back_can_be_taken(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path)
    first.acquire()
    first.release()
    second = DirectoryLock(tmp_path)
    second.acquire()
    second.release()
