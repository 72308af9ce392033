"""What programs take: time, CPU and memory of a process and its children, read from /proc."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.03
RESET_PEAK = "5"
"""Written to /proc/PID/clear_refs, it makes VmHWM start anew (proc(5))."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has run to its end.

    Attributes:
        code: its exit code; negative: the signal that ended it.
        cpu_seconds: user and system time, of its children too.
        peak_bytes: the most memory that its largest process had resident.
        strange_seconds: CPU that everything else on the machine used meanwhile.
    """

    output: str
    code: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    strange_seconds: float


class Tree:
    """A process with all that descend from it."""

    def __init__(self, pid: int) -> None:
        self._root = pid

    def pids(self) -> list[int]:
        """Return the processes that are there now, the root first."""
        found, position = [self._root], 0
        while position < len(found):
            found += _children(found[position])
            position += 1
        return found

    def cpu_seconds(self) -> float:
        """Return what all of them have used, those that have ended included."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / TICKS

    def reset_peaks(self) -> dict[int, int]:
        """Let the peaks of memory start from what is resident now, and return that by process."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)
        return {pid: _peak(pid) for pid in self.pids()}

    def growth_bytes(self, before: Mapping[int, int]) -> int:
        """Return how far the process that grew most has grown; a new one grows from the smallest.

        Args:
            before: what `reset_peaks` returned.
        """
        smallest = min(before.values())
        return max(_peak(pid) - before.get(pid, smallest) for pid in self.pids())

    def peak_bytes(self) -> int:
        """Return the peak of the largest process."""
        return max((_peak(pid) for pid in self.pids()), default=0)

    def kill(self) -> None:
        """End them all at once."""
        for pid in reversed(self.pids()):
            _kill(pid)


def run(
    command: Sequence[str], environment: Mapping[str, str], *, limit_seconds: float
) -> Finished:
    """Run a program to its end, or kill it when it takes longer than the limit."""
    with tempfile.TemporaryFile() as output:
        began, busy = time.perf_counter(), busy_seconds()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        watcher = _Watcher(process.pid, began + limit_seconds)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            Tree(process.pid).kill()
            process.wait()
            watcher.end()
            raise
        seconds, busy = time.perf_counter() - began, busy_seconds() - busy
        peak = watcher.end()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
        cpu_seconds = used.ru_utime + used.ru_stime
        return Finished(text, process.returncode, seconds, cpu_seconds, peak, busy - cpu_seconds)


class _Watcher:
    """Samples the peak of a process until it has ended, and ends it if it takes too long.

    wait4() tells a peak too, but Linux counts the memory of the process that started it as well.
    """

    def __init__(self, pid: int, deadline: float) -> None:
        self._tree = Tree(pid)
        self._deadline = deadline
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, self._tree.peak_bytes())
            if time.perf_counter() > self._deadline:
                self._tree.kill()

    def end(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak


def busy_seconds() -> float:
    """Return the time that all CPUs were not idle since the start, stolen time included."""
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{task}/children").read_text()
            found += map(int, text.split())
    except OSError:
        return found
    return found


def _cpu_ticks(pid: int) -> int:
    """Return utime, stime, cutime and cstime of proc(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return sum(map(int, text.rpartition(")")[2].split()[11:15]))


def _peak(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
