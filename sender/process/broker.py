"""The queue in the database, with a bell: a ticket issued on this host is taken at once.

django-q2's ORM broker asks for tickets every half second (`poll`), and so a send would begin, and
its further associations open, that much later. Here whoever issues a ticket rings for the clusters
of its own host; those of other hosts find it by asking.
"""

import contextlib
import errno
import os
import secrets
import select
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf


class Bell:
    """What a process waits for; others ring it by name. Where there is none, waits last their time.

    It is a named pipe in the data directory, which each host has for itself.

    Args:
        name: several processes may wait for the same one.
    """

    def __init__(self, name: str) -> None:
        self._descriptor: int | None = None
        path = _folder() / f"{name}.{secrets.token_hex(8)}"
        unheard = path.with_name(f".{path.name}")
        with contextlib.suppress(OSError, AttributeError):  # not all systems and disks have them
            path.parent.mkdir(mode=0o700, exist_ok=True)
            os.mkfifo(unheard, 0o600)
            # Open for writing too, so that it never reads as ended; before anybody rings it, for
            # what nobody has open is taken for left.
            self._descriptor = os.open(unheard, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            unheard.rename(path)

    def wait(self, seconds: float) -> None:
        """Wait until it has been rung, at most some seconds."""
        if self._descriptor is None:
            time.sleep(seconds)
        elif select.select([self._descriptor], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._descriptor, 4096)


def ring(name: str) -> None:
    """Wake all processes of this host that wait for a bell; what nobody waits at is removed."""
    for path in _folder().glob(f"{name}.*"):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:  # whoever made it has ended
                with contextlib.suppress(OSError):
                    path.unlink()
            continue
        with contextlib.suppress(OSError):  # it is full: rung often enough
            os.write(descriptor, b"!")
        os.close(descriptor)


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "bells"


class TicketBroker(ORM):  # type: ignore[misc] # django-q2 has no types
    """django-q2's ORM broker, whose waiting ends when a ticket is issued on this host."""

    _bell: Bell | None = None

    def enqueue(self, task: str) -> Any:
        """Write a ticket, outside of any transaction, and ring; return its id."""
        number = super().enqueue(task)
        ring(self.list_key)
        return number

    def dequeue(self) -> Any:
        """Return tickets, or None after a while without any."""
        if self._bell is None:
            self._bell = Bell(self.list_key)
        waiting = self.get_connection().filter(key=self.list_key, lock__lt=timezone.now())
        if waiting.exists():
            return super().dequeue()
        self._bell.wait(Conf.POLL)
        return None
