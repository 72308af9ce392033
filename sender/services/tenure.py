"""Leases held for as long as a worker needs them: extended by a thread, whatever it waits for.

It begins before the association is opened, since a peer may take its time to answer a proposal. If
the leases are lost, or could not be extended for so long that others may come, the association has
to end: two hosts that both hold a slot would call the destination twice. A second thread sees to
that, which asks the database nothing: one that does not answer may keep the first for minutes.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection

from sender.services import recording
from sender.services.leases import BatchLease, SlotLease, extend_batch, extend_slot
from sender.services.vigil import EXTEND_SECONDS, FENCE_SECONDS

BEAT_SECONDS = 1.0
logger = logging.getLogger(__name__)


class Tenure:
    """The leases of a worker; use as a context manager around all that needs them.

    Attributes:
        slot: the right to the association.
        batch: the batch at work; None where there is none.
        attempt: uid of the association, once its attempt is committed.
        companion: called each second, in the thread that extends the leases; once these have to
            be let go, in another thread too, and then it must not touch the database.
        let_go: ends the association, from another thread; may be called again and again.
        is_lost: somebody else has a lease now.
    """

    def __init__(self, slot: SlotLease, batch: BatchLease | None = None) -> None:
        self.slot = slot
        self.batch = batch
        self.attempt: UUID | None = None
        self.companion: Callable[[], None] = lambda: None
        self.let_go: Callable[[], None] = lambda: None
        self.is_lost = False
        self._is_over = False
        self._extended_at = time.monotonic()
        self._is_cut_off = False
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._keep, self._guard)
        ]

    def __enter__(self) -> "Tenure":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.end()

    def hold_attempt(self, uid: UUID) -> None:
        """Hold the lease of an association's attempt too."""
        self.attempt = uid

    def end(self) -> None:
        """Extend nothing any more. Safe to call twice."""
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    @property
    def must_let_go(self) -> bool:
        """Others may hold the leases, or soon will."""
        is_late = time.monotonic() - self._extended_at >= FENCE_SECONDS
        return self.is_lost or self._is_over or is_late

    def _guard(self) -> None:
        """Have the association end once it has to, whatever the database does."""
        while not self._ended.wait(BEAT_SECONDS):
            if self.must_let_go:
                self._is_over = True  # for good: what is being ended can't go on
                self.companion()
                self.let_go()

    def _keep(self) -> None:
        try:
            while not self._ended.wait(BEAT_SECONDS):
                self._beat()
        finally:
            connection.close()

    def _beat(self) -> None:
        try:
            if time.monotonic() - self._extended_at >= EXTEND_SECONDS:
                self._extend()
            self._is_cut_off = False
        except (DatabaseError, InterfaceError) as error:
            self._note_outage(error)
        try:
            self.companion()
        except (DatabaseError, InterfaceError) as error:
            self._note_outage(error)

    def _extend(self) -> None:
        began, batch = time.monotonic(), self.batch
        if self.attempt is not None:
            recording.extend_lease(self.attempt)
        is_held = extend_slot(self.slot)
        if batch is not None and not extend_batch(batch):
            # It may have been settled, and another begun, meanwhile.
            is_held = is_held and self.batch is not batch
        if is_held:
            self._extended_at = began
        self.is_lost = not is_held

    def _note_outage(self, error: Exception) -> None:
        connection.close()
        if not self._is_cut_off:
            logger.warning("Leases can't be extended: %s", str(error).strip())
        self._is_cut_off = True
