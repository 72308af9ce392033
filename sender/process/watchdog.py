"""Tells a sender that lives but does nothing: its heartbeat stands still."""

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
        self._last: object = None
        self._moved_at = 0.0
        self._look_at = 0.0

    def is_stuck(self, pid: int) -> bool:
        """Tell whether the sender with this process number has stopped beating."""
        now = time.monotonic()
        if pid != self._pid:
            self._pid, self._last, self._moved_at = pid, None, now
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        try:
            seen = heartbeat.last_seen(heartbeat_name(pid))
        except (DatabaseError, InterfaceError):
            connection.close()
            self._moved_at = now
            return False
        if seen != self._last:
            self._last, self._moved_at = seen, now
        return now - self._moved_at > STILL_SECONDS
