"""A ticket wakes whoever waits for it on this host; without bells it is found by asking."""

import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django_q.conf import Conf

from sender.process import broker
from sender.process.broker import Bell, TicketBroker, ring

LONG_SECONDS = 30.0


@pytest.fixture(autouse=True)
def bells(tmp_path: Path, settings: Any) -> Path:
    """A data directory of its own; return where its bells are."""
    settings.DATA_DIR = tmp_path
    return tmp_path / "bells"


def seconds_of(waiting: Callable[[], object], meanwhile: Callable[[], object]) -> float:
    """Wait in a thread while something else is done; return how long the wait took."""
    took: list[float] = []

    def wait() -> None:
        began = time.monotonic()
        waiting()
        took.append(time.monotonic() - began)

    thread = threading.Thread(target=wait)
    thread.start()
    meanwhile()
    thread.join(LONG_SECONDS * 2)
    return took[0]


def test_a_ring_ends_a_wait() -> None:
    bell = Bell("main")
    assert seconds_of(lambda: bell.wait(LONG_SECONDS), lambda: ring("main")) < LONG_SECONDS


def test_a_ring_before_the_wait_counts_and_counts_once() -> None:
    bell = Bell("main")
    ring("main")
    ring("main")
    assert seconds_of(lambda: bell.wait(LONG_SECONDS), lambda: None) < LONG_SECONDS
    assert seconds_of(lambda: bell.wait(0.05), lambda: None) >= 0.05


def test_each_name_has_its_own() -> None:
    bell = Bell("main")
    ring("ui")
    assert seconds_of(lambda: bell.wait(0.05), lambda: None) >= 0.05


def test_a_bell_that_rang_unheard_for_long_takes_more(bells: Path) -> None:
    bell = Bell("main")
    for path in bells.iterdir():
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        while select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, bytes(4096))
        os.close(descriptor)
    ring("main")
    assert seconds_of(lambda: bell.wait(LONG_SECONDS), lambda: None) < LONG_SECONDS


def test_what_nobody_waits_at_is_removed(bells: Path) -> None:
    bell = Bell("main")
    left = bells / "main.1"
    os.mkfifo(left)
    ring("main")
    assert not left.exists()
    assert seconds_of(lambda: bell.wait(LONG_SECONDS), lambda: None) < LONG_SECONDS


def test_where_none_can_be_made_a_wait_lasts_its_time(
    bells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "mkfifo")
    bell = Bell("main")
    ring("main")
    assert seconds_of(lambda: bell.wait(0.05), lambda: None) >= 0.05
    assert list(bells.iterdir()) == []


def test_ringing_where_nobody_ever_waited_does_nothing(bells: Path) -> None:
    ring("main")
    assert not bells.exists()


@pytest.mark.usefixtures("live_db")
def test_a_ticket_ends_the_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conf, "POLL", LONG_SECONDS)
    waiting = TicketBroker(list_key="main")

    def issue() -> None:
        TicketBroker(list_key="ui").enqueue("another's")
        TicketBroker(list_key="main").enqueue("ours")
        connection.close()

    thread, began = threading.Timer(0.1, issue), time.monotonic()
    thread.start()
    found = None
    while found is None and time.monotonic() - began < LONG_SECONDS:
        found = waiting.dequeue()
    thread.join()
    assert found is not None
    assert [payload for _, payload in found] == ["ours"]
    assert time.monotonic() - began < LONG_SECONDS


def test_the_queue_in_the_database_has_a_bell(settings: Any) -> None:
    name = f"{broker.__name__}.{TicketBroker.__name__}"
    assert settings.Q_CLUSTER["broker_class"] == name
