"""The supervisor of `up` and `sender`: one process tree, restarted with back-off, ended whole."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

LONGEST_BACK_OFF_SECONDS = 30.0
SHORTEST_BACK_OFF_SECONDS = 0.5
STEADY_SECONDS = 60.0
"""A child that ran this long was fine: the next back-off starts from the shortest again."""
GRACE_SECONDS = 9.0
"""After this the children's process groups are killed."""
POLL_SECONDS = 0.1
LARGEST_LOG_BYTES = 10 << 20
_ROOT = str(Path(__file__).resolve().parent.parent.parent)


@dataclass(slots=True)
class Child:
    """One supervised process: what to run, and how it is doing.

    Attributes:
        name: what people call it.
        command: program and arguments; the child ends when its standard input does.
        is_stuck: asked again and again with the child's process number, and must not keep the
            supervisor waiting; True has the child restarted.
    """

    name: str
    command: Sequence[str]
    is_stuck: Callable[[int], bool] = field(default=lambda _pid: False)
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    due_at: float = 0.0
    back_off_seconds: float = SHORTEST_BACK_OFF_SECONDS


class Supervisor:
    """Keeps children running until it is told to stop.

    Args:
        children: what to run, in the order of starting.
        log_directory: where the children's output goes, one file each.
        report: writes one line for people.
        grace_seconds: how long children may take to end before they are killed.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        log_directory: Path,
        report: Callable[[str], None],
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._children = list(children)
        self._log_directory = log_directory
        self._report = report
        self._grace_seconds = grace_seconds
        self._stopping = threading.Event()

    def catch_signals(self) -> None:
        """Let SIGINT, SIGTERM and SIGHUP stop the supervisor."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._on_signal)

    def stop(self) -> None:
        """Have `run` end; callable from any thread or signal handler."""
        self._stopping.set()

    def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Keep the children running until stopped, or until `until` answers True; end them all."""
        try:
            while not self._stopping.is_set() and not until():
                for child in self._children:
                    self._keep(child)
                self._stopping.wait(POLL_SECONDS)
        finally:
            self._end_all()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stop()

    def _keep(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.due_at:
                self._start(child)
            return
        code = child.process.poll()
        if code is None:
            if child.is_stuck(child.process.pid):
                self._report(f"The {child.name} shows no sign of life; it is started anew.")
                _kill_group(child.process)
            return
        self._plan_restart(child, code, now)

    def _start(self, child: Child) -> None:
        with _open_log(self._log_directory / f"{child.name.replace(' ', '-')}.log") as log:
            child.process = subprocess.Popen(  # noqa: S603 - our own commands
                child.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=os.name != "nt",
                env=_with_our_modules(os.environ),
            )
        child.started_at = time.monotonic()

    def _plan_restart(self, child: Child, code: int, now: float) -> None:
        assert child.process is not None
        _kill_group(child.process)
        _close_input(child.process)
        child.process = None
        if now - child.started_at >= STEADY_SECONDS:
            child.back_off_seconds = SHORTEST_BACK_OFF_SECONDS
        child.due_at = now + child.back_off_seconds
        self._report(
            f"The {child.name} ended ({_say_code(code)}); it is started anew in "
            f"{child.back_off_seconds:g} s. Its last words: "
            f"{self._log_directory / child.name.replace(' ', '-')}.log"
        )
        child.back_off_seconds = min(child.back_off_seconds * 2, LONGEST_BACK_OFF_SECONDS)

    def _end_all(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            _close_input(process)
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + self._grace_seconds
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._report(f"Process {process.pid} did not end in time and was killed.")
            _kill_group(process)
            process.wait()


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules with this Python."""
    return [sys.executable, "-m", module, *arguments]


def _with_our_modules(environment: Mapping[str, str]) -> dict[str, str]:
    """Let children find our modules from whatever folder this was started in."""
    path = os.pathsep.join(filter(None, [_ROOT, environment.get("PYTHONPATH", "")]))
    return {**environment, "PYTHONPATH": path}


def _close_input(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None and not process.stdin.closed:
        process.stdin.close()


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill whatever is left of a child's process session, grandchildren included."""
    if os.name == "nt":
        process.kill()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _open_log(path: Path) -> IO[bytes]:
    """Open a child's log; one that has grown large becomes the previous one."""
    if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def _say_code(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
