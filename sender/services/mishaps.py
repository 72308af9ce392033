"""Our own mistakes: what fails in one part of a round holds up no other part, and is told.

A mistake that is made again in every round is told at full length when it is new, and once an hour.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sender.services.patience import OUTAGES

REPEAT_SECONDS = 3600
logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class Mishaps:
    """What one process has told of its mistakes.

    Args:
        clock: seconds that never step.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, tuple[type[Exception], float]] = {}

    def contain(self, part: str, work: Callable[[], Result], *, otherwise: Result) -> Result:
        """Do a part of a round; return what it returns, or `otherwise` if it fails.

        Args:
            part: what is done, in words for the log; each part is told by itself.

        Raises:
            OperationalError, InterfaceError: the database can't be used: no part can be done.
        """
        try:
            result = work()
        except OUTAGES:
            raise
        except Exception as error:  # whatever it is, the other parts are to be done
            self._tell(part, error)
            return otherwise
        if self._told.pop(part, None):
            logger.warning("%s works again.", part)
        return result

    def _tell(self, part: str, error: Exception) -> None:
        kind, at = self._told.get(part, (None, 0.0))
        if kind is type(error) and self._clock() < at + REPEAT_SECONDS:
            return
        self._told[part] = (type(error), self._clock())
        logger.error("%s fails; all else goes on without it.", part, exc_info=error)


MISHAPS = Mishaps()
"""The mistakes of this process."""
