"""One cluster of workers as a process: `python -m sender.process.cluster main --workers 8`.

The process forks the sentinel first and starts its threads and database connections after that.
The cluster `main` also keeps the sender's heartbeat and the engine's tick.
"""

import argparse
import gc
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sender.process.lifeline import Lifeline

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

STOP_SECONDS = 8.5
"""Tasks get 5 s for the current C-STORE; after this the whole group is killed."""
POLL_SECONDS = 0.25
logger = logging.getLogger("sender.process.cluster")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one cluster until it is told to end; return the exit code."""
    options = _parse(arguments)
    _prepare(options)
    import django  # noqa: PLC0415 - reads the environment that _prepare made

    django.setup()
    _load()
    lifeline = Lifeline(with_stdin=options.exit_with_stdin)
    stop_file = Path(os.environ["CONCORDAT_STOP_FILE"])
    stop_file.unlink(missing_ok=True)
    try:
        return _run(lifeline, stop_file, with_timers=options.name == "main")
    finally:
        stop_file.unlink(missing_ok=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One cluster of sender processes.")
    parser.add_argument("name", choices=("main", "ui"))
    parser.add_argument("--workers", type=int)
    parser.add_argument("--exit-with-stdin", action="store_true")
    return parser.parse_args(arguments)


def _prepare(options: argparse.Namespace) -> None:
    """Set what settings, django-q2 and the workers read from the environment."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dicomsite.settings")
    os.environ["Q_CLUSTER_NAME"] = options.name
    if options.workers:
        os.environ["CONCORDAT_WORKERS"] = str(options.workers)
    if method := os.environ.get("CONCORDAT_START_METHOD"):
        multiprocessing.set_start_method(method)
    from django.conf import settings  # noqa: PLC0415

    stop_file = settings.DATA_DIR / f"stop-{os.getpid()}"
    os.environ["CONCORDAT_STOP_FILE"] = str(stop_file)


def _load() -> None:
    """Import what tasks need before workers are forked: it is in memory once, and there at once.

    What is loaded stays, so that collections of garbage need not look at it.
    """
    importlib.import_module("sender.tasks")
    gc.collect()
    gc.freeze()


def _run(lifeline: Lifeline, stop_file: Path, *, with_timers: bool) -> int:
    from sender.process.pulse import Pulse  # noqa: PLC0415 - needs Django's settings
    from sender.process.sentinel import ABANDONED, GuardedSentinel  # noqa: PLC0415

    stop_event, start_event = multiprocessing.Event(), multiprocessing.Event()
    sentinel = multiprocessing.Process(
        target=GuardedSentinel, args=(stop_event, start_event, uuid.uuid4())
    )
    sentinel.start()
    lifeline.watch()
    pulse = Pulse() if with_timers else None
    while not lifeline.wait(POLL_SECONDS):
        if not sentinel.is_alive():
            logger.error("The cluster lost its sentinel (exit code %s).", sentinel.exitcode)
            _end_group(stop_file, ABANDONED)
        if pulse is not None:
            pulse.keep()
    stop_file.touch()
    stop_event.set()
    _await(sentinel, stop_file)
    if pulse is not None:
        pulse.end()
    return 0


def _await(sentinel: "BaseProcess", stop_file: Path) -> None:
    """Wait for an orderly end; past the time, end everything at once."""
    deadline = time.monotonic() + STOP_SECONDS
    while sentinel.is_alive() and time.monotonic() < deadline:
        sentinel.join(POLL_SECONDS)
    if sentinel.is_alive():
        logger.error("The cluster did not stop within %s s.", STOP_SECONDS)
        _end_group(stop_file, 1)


def _end_group(stop_file: Path, code: int) -> None:
    """End this process and whatever it started, at once."""
    stop_file.unlink(missing_ok=True)
    for child in multiprocessing.active_children():
        child.kill()
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        # The supervisor reads an exit by signal like any other failure.
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
