"""Work with the database that must not be lost: one that is away, locked or full is awaited."""

import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

OUTAGES = (OperationalError, InterfaceError)
"""What a database raises that is away, shutting down, locked by others, or out of disk."""
PAUSE_SECONDS = 0.5
logger = logging.getLogger(__name__)
Result = TypeVar("Result")


def is_stopping() -> bool:
    """Tell whether the sender of this process is about to stop."""
    path = os.environ.get("CONCORDAT_STOP_FILE", "")
    return bool(path) and os.path.exists(path)


def persist(
    work: Callable[[], Result],
    *,
    meanwhile: Callable[[], None] = lambda: None,
    gives_up: Callable[[], bool] = is_stopping,
) -> Result:
    """Write or read something; while the database can't be used, try again until it can.

    Args:
        work: must do no harm when done twice: a commit may succeed without our being told.
        meanwhile: called after each try that failed.
        gives_up: asked after each try that failed.

    Raises:
        OperationalError, InterfaceError: `gives_up` said so, or a transaction was open.
    """
    failed_at: float | None = None
    while True:
        try:
            result = work()
        except OUTAGES as error:
            if connection.in_atomic_block or gives_up():
                raise
            if failed_at is None:
                failed_at = time.monotonic()
                logger.error(
                    "The database can't be used (%s). Nothing is lost: it is awaited.",
                    str(error).strip(),
                )
            connection.close()
            meanwhile()
            time.sleep(PAUSE_SECONDS)
            continue
        if failed_at is not None:
            waited = time.monotonic() - failed_at
            logger.warning("The database can be used again, after %.0f s.", waited)
        return result
