"""A sender that stopped beating is told, and nobody waits for a database that does not answer."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import OperationalError

from sender.process import watchdog
from sender.process.supervisor import Child
from sender.process.watchdog import Watchdog
from sender.services import heartbeat
from tests.process.test_supervisor import supervising
from tests.processes import await_true


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(watchdog, "STILL_SECONDS", 0.5)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A database that does not answer before this is set."""
    goes_on = threading.Event()
    monkeypatch.setattr(heartbeat, "last_seen", lambda _name: goes_on.wait(30))
    yield goes_on
    goes_on.set()


def told_within(seconds: float) -> bool:
    """Tell whether a sender is called stuck within some time."""
    dog, ends_at = Watchdog(), time.monotonic() + seconds
    while time.monotonic() < ends_at:
        if dog.is_stuck(1):
            return True
        time.sleep(0.01)
    return False


def test_a_sender_whose_heartbeat_stands_still_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "last_seen", lambda _name: "then")
    assert told_within(20)


def _away(_name: str) -> object:
    raise OperationalError("away")


@pytest.mark.parametrize("last_seen", [itertools.count().__next__, _away])
def test_nothing_is_told_while_it_moves_or_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, last_seen: Callable[..., object]
) -> None:
    seen = last_seen if last_seen is _away else lambda _name: last_seen()
    monkeypatch.setattr(heartbeat, "last_seen", seen)
    assert not told_within(1.5)


def test_nothing_is_told_of_a_database_that_does_not_answer(answers: threading.Event) -> None:
    assert not told_within(1.5)
    answers.set()


@pytest.mark.slow
def test_a_stop_is_heard_while_the_database_does_not_answer(
    tmp_path: Path, answers: threading.Event
) -> None:
    child = Child("sender", [sys.executable, "-c", "input()"], Watchdog().is_stuck)
    with supervising([child], tmp_path):
        await_true(lambda: child.process is not None, "the start")
        time.sleep(0.5)  # let it ask; `supervising` stops it, and awaits its end
    assert child.process is not None
    assert child.process.poll() is not None
    assert not answers.is_set()
