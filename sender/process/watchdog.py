"""Tells a sender that lives but does nothing: its heartbeat stands still.

The supervisor asks, and must hear of a stop meanwhile: a thread of its own looks at the database,
which may not answer for minutes.
"""

import threading
import time

from django.db import DatabaseError, InterfaceError, connection

from sender.process.pulse import heartbeat_name
from sender.services import heartbeat

STILL_SECONDS = 120.0
LOOK_SECONDS = 10.0


class Watchdog:
    """Watches the heartbeat row of one sender; while the database is away it says nothing."""

    def __init__(self) -> None:
        self._pid = 0
        self._look: _Look | None = None
        self._last: object = None
        self._moved_at = 0.0
        self._look_at = 0.0

    def is_stuck(self, pid: int) -> bool:
        """Tell, without waiting, whether the sender with this process number stopped beating."""
        now = time.monotonic()
        if pid != self._pid:
            self._pid, self._look, self._last, self._moved_at = pid, None, None, now
        if self._look is not None:
            return self._is_still(self._look, now)
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look = _Look(heartbeat_name(pid))
        return False

    def _is_still(self, look: "_Look", now: float) -> bool:
        if look.is_going_on:
            return False
        self._look = None
        if look.is_in_vain:
            self._moved_at = now
        elif look.seen != self._last:
            self._last, self._moved_at = look.seen, now
        return now - self._moved_at > STILL_SECONDS


class _Look:
    """One look at a heartbeat, in a thread of its own."""

    def __init__(self, name: str) -> None:
        self.seen: object = None
        self._seconds: float | None = None
        self._thread = threading.Thread(target=self._ask, args=(name,), daemon=True)
        self._thread.start()

    @property
    def is_going_on(self) -> bool:
        """The database has not answered yet."""
        return self._thread.is_alive()

    @property
    def is_in_vain(self) -> bool:
        """The database was away, or took so long that the sender could not beat either."""
        return self._seconds is None or self._seconds > LOOK_SECONDS

    def _ask(self, name: str) -> None:
        began = time.monotonic()
        try:
            self.seen = heartbeat.last_seen(name)
            self._seconds = time.monotonic() - began
        except (DatabaseError, InterfaceError):
            return
        finally:
            connection.close()
