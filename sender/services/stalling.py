"""Whose a stall is, on record while it lasts: for pages, for commands, for the log."""

import logging
from datetime import datetime, timedelta

from django.utils import timezone

from sender.negotiation.stalls import Whose
from sender.services import recording
from sender.services.associating import RecordedAssociation

logger = logging.getLogger(__name__)
SAME_WITHIN = timedelta(seconds=1)
"""Two looks at one stall differ by less."""


class StallWatch:
    """Looks, each second, whether an association stalls; writes only when that changes."""

    def __init__(self, opened: RecordedAssociation) -> None:
        self._opened = opened
        self._noted: Whose | None = None
        self._since: datetime | None = None

    def look(self) -> None:
        """Note who keeps the association waiting; what is ours, or moves, is none."""
        stall, attempt = self._opened.association.stall(), self._opened.attempt
        if stall is None or stall.whose is Whose.OURS:
            if self._noted is not None:
                self._note(None, None)
            return
        since = timezone.now() - timedelta(seconds=stall.seconds)
        is_new = self._since is None or abs(since - self._since) > SAME_WITHIN
        if is_new:
            logger.warning("An association with %s stalls. %s", attempt.destination, stall.detail)
        if is_new or stall.whose is not self._noted:
            self._note(stall.whose, since)

    def _note(self, whose: Whose | None, since: datetime | None) -> None:
        recording.note_stall(self._opened.attempt.uid, whose, since)
        self._noted, self._since = whose, since
