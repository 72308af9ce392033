"""Workers and the tick as the cluster runs them, in threads: tickets are taken from the queue."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pydoc import locate

from django.db import connection
from django_q.models import OrmQ

from sender.models import Send
from sender.services import engine

PATIENCE_SECONDS = 20.0


@contextmanager
def background(*, workers: int = 2, ticks: bool = True) -> Iterator[None]:
    """Run tickets, and tick, until the block is left; what goes wrong fails the test."""
    stop_file = Path(tempfile.mkdtemp(prefix="concordat-stop-")) / "stop"
    os.environ["CONCORDAT_STOP_FILE"] = str(stop_file)  # conftest takes it back
    ended = threading.Event()
    faults: list[BaseException] = []
    threads = [
        threading.Thread(target=_run, args=(task, ended, faults), daemon=True)
        for task in (*[_tick] * ticks, *[_take_ticket] * workers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        stop_file.touch()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        shutil.rmtree(stop_file.parent)
    assert not any(thread.is_alive() for thread in threads), "a worker did not come back"
    if faults:
        raise faults[0]


def run_inline(send_id: int) -> None:
    """Send a planned send in this thread, as a command would, and give the connection back."""
    try:
        engine.run_inline(Send.objects.get(pk=send_id))
    finally:
        connection.close()


def _run(task: Callable[[], None], ended: threading.Event, faults: list[BaseException]) -> None:
    try:
        while not ended.wait(0.1):
            task()
    except BaseException as fault:
        faults.append(fault)
    finally:
        connection.close()


def _tick() -> None:
    engine.tick("test")


def _take_ticket() -> None:
    """Run one ticket; whoever deletes its row has it."""
    row = OrmQ.objects.order_by("id").first()
    if row is None or not OrmQ.objects.filter(pk=row.pk).delete()[0]:
        return
    task = row.task
    function = locate(task["func"])
    assert callable(function)
    function(*task["args"])
