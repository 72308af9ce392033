"""django-q2's sentinel, guarded against the two ways in which it hangs (QUEUE.md, section 5).

Stock django-q2 1.11.1 hangs for good when a worker is killed while it waits for work (it dies
holding the queue's read lock), and never ends when its process group gets SIGTERM. Here the first
ends the whole cluster, so that its supervisor starts a new one, and the second is ignored by all
but the main process, which stops the cluster in order.

This reaches into private parts, so the version is pinned, and what is used is asserted at import.
"""

import inspect
import multiprocessing
import os
import signal
from typing import Any

from django_q import VERSION
from django_q.cluster import Sentinel
from django_q.conf import Conf
from django_q.worker import worker

ABANDONED = 75
"""Exit code (EX_TEMPFAIL) of a cluster that has to be started anew."""
LOCK_SECONDS = 5.0
"""A worker that dies inside its timer's lock leaves it locked; nobody holds it that long alive."""
IDLE = -1

assert tuple(VERSION[:3]) == (1, 11, 1), f"written for django-q2 1.11.1, found {VERSION}"
_PARAMETERS = ["self", "stop_event", "start_event", "cluster_id", "broker", "timeout", "start"]
assert list(inspect.signature(Sentinel.__init__).parameters) == _PARAMETERS
assert all(hasattr(Sentinel, name) for name in ("guard", "reincarnate", "spawn_process", "stop"))


class GuardedSentinel(Sentinel):  # type: ignore[misc] # django-q2 has no types
    """Starts and watches the workers of one cluster; runs in a process of its own."""

    def __init__(self, stop_event: Any, start_event: Any, cluster_id: Any) -> None:
        super().__init__(stop_event, start_event, cluster_id, start=False)
        _ignore_group_signals()
        self.start()

    def spawn_process(self, target: Any, *args: Any) -> Any:
        """Start a process by the method of this process (django-q2 would prefer fork)."""
        process: Any = multiprocessing.Process(target=target, args=args, daemon=True)
        if target is worker:
            process.timer = args[2]
            self.pool.append(process)
        process.start()
        return process

    def guard(self) -> None:
        """Watch the processes until told to stop, or until the main process is gone."""
        self.start_event.set()
        while not self.stop_event.wait(Conf.GUARD_CYCLE):
            parent = multiprocessing.parent_process()
            if parent is not None and not parent.is_alive():
                self.abandon()
            for process in list(self.pool):
                self._look_after(process)
            for process in (self.monitor, self.pusher):
                if not process.is_alive():
                    self.reincarnate(process)
        self.stop()

    def _look_after(self, process: Any) -> None:
        lock = process.timer.get_lock()
        if not lock.acquire(timeout=LOCK_SECONDS):
            if not process.is_alive():
                self.abandon()
            return
        try:
            seconds = process.timer.value
            if not process.is_alive() or seconds == 0:
                self._replace(process, seconds)
            elif seconds > 0:
                process.timer.value = max(seconds - Conf.GUARD_CYCLE, 0)
        finally:
            lock.release()

    def _replace(self, process: Any, seconds: float) -> None:
        if seconds == IDLE and process.exitcode not in (0, None):
            self.abandon()
        if process.is_alive():
            process.kill()
        self.reincarnate(process)

    def abandon(self) -> None:
        """End this cluster at once: its queue can't be trusted any more."""
        for process in [*self.pool, self.monitor, self.pusher]:
            if process is not None and process.is_alive():
                process.kill()
        os._exit(ABANDONED)


def _ignore_group_signals() -> None:
    """Leave signals that the whole group gets to the main process; children inherit this."""
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
