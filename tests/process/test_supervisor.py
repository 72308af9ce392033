"""The supervisor keeps its children running, and leaves nobody behind."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sender.process.supervisor import Child, Supervisor
from tests.processes import await_true

pytestmark = pytest.mark.slow


@contextmanager
def supervising(children: list[Child], directory: Path) -> Iterator[list[str]]:
    """Run a supervisor in a thread; yield what it reports; stop it at the end."""
    reports: list[str] = []
    supervisor = Supervisor(
        children, log_directory=directory, report=reports.append, grace_seconds=2.0
    )
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield reports
    finally:
        supervisor.stop()
        thread.join(10)
        assert not thread.is_alive()


def child(script: str, **options: object) -> Child:
    return Child("child", [sys.executable, "-c", script], **options)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_child_that_dies_is_restarted_later_each_time(tmp_path: Path) -> None:
    with supervising([child("raise SystemExit(3)")], tmp_path) as reports:
        await_true(lambda: len(reports) >= 3, "three restarts")
    assert "exit code 3" in reports[0]
    assert ["0.5 s" in reports[0], "1 s" in reports[1], "2 s" in reports[2]] == [True] * 3


def test_what_a_child_writes_goes_to_its_log(tmp_path: Path) -> None:
    with supervising([child("print('hello', flush=True); input()")], tmp_path):
        await_true(lambda: "hello" in _read(tmp_path / "child.log"), "a line in the log")


def test_children_find_our_modules_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "sender.process.supervisor"]
    with supervising([Child("child", command)], tmp_path) as reports:
        await_true(lambda: bool(reports), "the child's end")
    assert "exit code 0" in reports[0]


def test_a_child_ends_when_its_standard_input_does(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"sys.stdin.read(); open({str(tmp_path / 'ended')!r}, 'w').close()"
    )
    subject = child(script)
    with supervising([subject], tmp_path):
        await_true(lambda: subject.process is not None, "the start")
        time.sleep(0.3)  # let the interpreter reach its read; a loss here fails the assertion
    assert (tmp_path / "ended").exists()


def test_grandchildren_are_ended_with_a_child_that_ignores_everything(tmp_path: Path) -> None:
    script = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pid = os.fork()\n"
        f"open({str(tmp_path)!r} + f'/{{os.getpid()}}.pid', 'w').close()\n"
        "while True: time.sleep(1)"
    )
    with supervising([child(script)], tmp_path) as reports:
        await_true(lambda: len(list(tmp_path.glob("*.pid"))) == 2, "both processes")
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    await_true(lambda: not any(is_alive(pid) for pid in pids), "the end of both")
    assert "did not end in time" in reports[-1]


def test_a_child_without_a_sign_of_life_is_started_anew(tmp_path: Path) -> None:
    looked: list[int] = []

    def is_stuck(pid: int) -> bool:
        looked.append(pid)
        return len(looked) == 1

    with supervising([child("input()", is_stuck=is_stuck)], tmp_path) as reports:
        await_true(lambda: len(set(looked)) >= 2, "a second process")
    assert "no sign of life" in reports[0]
    assert not is_alive(looked[0])


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
