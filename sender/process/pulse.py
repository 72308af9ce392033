"""The sender's timers: its sign of life, and the engine's tick."""

import logging
import os
import time

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from sender.services import engine, heartbeat, vigil

BEAT_SECONDS = 5.0
TICK_SECONDS = 5.0
SLOW_SECONDS = 10.0
"""A database that takes longer to write a sign of life was as good as away."""
logger = logging.getLogger("sender.process.pulse")


def heartbeat_name(pid: int) -> str:
    """Return the name under which the sender process of this host beats."""
    return f"{settings.SENDER_HOST}:{pid}"


class Pulse:
    """Beats and ticks whenever it is time; a database that is away is told once and awaited."""

    def __init__(self) -> None:
        self._name = heartbeat_name(os.getpid())
        self._beat_at = 0.0
        self._tick_at = 0.0
        self._is_cut_off = False

    def keep(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + BEAT_SECONDS
            self._attempt_beat()
        if now >= self._tick_at and not self._is_cut_off:
            self._tick_at = now + TICK_SECONDS
            self._attempt_tick()

    def end(self) -> None:
        """Take back the sign of life."""
        try:
            heartbeat.retire(self._name)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The heartbeat could not be taken back: %s", error)

    def _attempt_beat(self) -> None:
        began = time.monotonic()
        try:
            close_old_connections()
            heartbeat.beat(self._name, kind="sender")
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            if not self._is_cut_off:
                logger.error("The database is away: %s", str(error).strip())
            self._is_cut_off = True
            return
        if self._is_cut_off:
            logger.warning("The database is back.")
        if self._is_cut_off or time.monotonic() - began > SLOW_SECONDS:
            vigil.WATCH.forget()  # nobody could extend a lease: that they stood still tells nothing
        self._is_cut_off = False

    def _attempt_tick(self) -> None:
        try:
            engine.tick(self._name)
        except (DatabaseError, InterfaceError):
            connection.close()
            logger.exception("A tick failed; the next one comes in %s s.", TICK_SECONDS)
