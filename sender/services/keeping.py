"""Leases kept while something takes long: a slow file system, many bytes to be read."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connection

logger = logging.getLogger(__name__)
EXTEND_EVERY_SECONDS = 15.0


@contextmanager
def kept(*extend: Callable[[], object]) -> Iterator[None]:
    """Call what extends leases again and again, in a thread of its own, until the block is left.

    Whoever works in the block still finds out by its own conditional updates if it lost a lease.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(extend, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _keep(extend: tuple[Callable[[], object], ...], ended: threading.Event) -> None:
    try:
        while not ended.wait(EXTEND_EVERY_SECONDS):
            for call in extend:
                try:
                    call()
                except (DatabaseError, InterfaceError) as error:
                    connection.close()
                    logger.warning("A lease could not be extended: %s", str(error).strip())
    finally:
        connection.close()
