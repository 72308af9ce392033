"""Which batch a row of a plan travels in: joined, or begun where it fits in none."""

from dataclasses import dataclass
from typing import Any

from sender.models import AssociationScope, Send

BATCH_INSTANCES = 2000
"""So many instances of several studies travel as one batch; a study is never cut for it."""
SHARED_INSTANCES = 500
SHARED_BYTES = 64_000_000
"""Batches may be so small, by one of both, where several associations share a send: what happens
between two takes some 15 ms, so that smaller ones would cost more than an even share gains."""
SHARES = 4
"""Batches for each association, at least, where there are enough instances."""


@dataclass(slots=True)
class OpenBatch:
    """A batch that more instances may join.

    Attributes:
        group: study, and series where the destination wants one per association.
    """

    number: int
    instances: int
    group: list[int | None]


class Batches:
    """The batches of a send while its rows are planned, one open for each proposal.

    Attributes:
        new: proposal by number of batches that were begun since the page was turned.
        grown: how many instances batches have that were joined since then.
    """

    def __init__(self, send: Send) -> None:
        """Go on where `send.plan_cursor` says."""
        cursor: dict[str, Any] = send.plan_cursor
        self.new: dict[int, int] = {}
        self.grown: dict[int, int] = {}
        self._scope = send.destination.association_scope
        self._largest = send.destination.instances_per_association or 0
        self._most = _most_instances(send)
        self._number = int(cursor.get("batch", 0))
        self._open = {
            int(proposal): OpenBatch(*facts) for proposal, facts in cursor.get("open", {}).items()
        }

    def join(
        self, proposal: int, study_id: int | None, series_id: int | None, *, study_files: int
    ) -> int:
        """Return the number of the batch in which a row travels, a new one if it fits in none.

        A study is cut only where the destination limits the instances of an association.

        Args:
            study_files: how many rows the study has.
        """
        group = [study_id, series_id if self._scope == AssociationScope.SERIES else None]
        batch = self._open.get(proposal)
        if batch is None or not self._fits(batch, group, study_files):
            self._number += 1
            batch = OpenBatch(self._number, 0, group)
            self._open[proposal] = batch
            self.new[batch.number] = proposal
        batch.group = group
        batch.instances += 1
        self.grown[batch.number] = batch.instances
        return batch.number

    def _fits(self, batch: OpenBatch, group: list[int | None], study_files: int) -> bool:
        if self._largest and batch.instances >= self._largest:
            return False
        if batch.group == group:
            return True
        if self._scope != AssociationScope.STUDIES:
            return False
        return batch.instances + study_files <= min(self._most, self._largest or self._most)

    def cursor(self) -> dict[str, Any]:
        """Return what another process needs to go on, for `send.plan_cursor`."""
        return {
            "batch": self._number,
            "open": {p: [b.number, b.instances, b.group] for p, b in self._open.items()},
        }

    def turn_page(self) -> None:
        """Forget what was written."""
        self.new, self.grown = {}, {}


def _most_instances(send: Send) -> int:
    """Return how many instances of several studies make a batch full.

    One association gains nothing by many batches; several need some each, lest one goes on alone.
    """
    associations, listing = send.destination.max_associations, send.listing
    if associations == 1 or listing is None:
        return BATCH_INSTANCES
    share = listing.files // (associations * SHARES)
    weighty = SHARED_BYTES * listing.files // max(listing.bytes, 1)
    return min(BATCH_INSTANCES, max(share, min(SHARED_INSTANCES, weighty)))
