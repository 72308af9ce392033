"""A part of a send's rows, by what became of them and what they are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet, Sum

from sender.models import Send, SendItem, StudyPart
from sender.negotiation.outcomes import InstanceOutcome

NOT_ARRIVED = frozenset({InstanceOutcome.FAILED, InstanceOutcome.UNKNOWN})
MAY_RETRY = NOT_ARRIVED | {InstanceOutcome.UNSENDABLE, InstanceOutcome.CANCELLED}
Items = QuerySet[SendItem]


@dataclass(frozen=True, slots=True)
class Subset:
    """A part of a send's rows; None: whatever it is.

    Attributes:
        outcomes: of failed, unknown, unsendable and cancelled; rows that no plan ever put into an
            association (conflicts, files that hold no instance) can't be retried.
        study: Study Instance UID, "" for rows without one.
        sop_class, transfer_syntax: UIDs, as stored.
    """

    outcomes: frozenset[InstanceOutcome] = NOT_ARRIVED
    reason: str | None = None
    rule: str | None = None
    study: str | None = None
    sop_class: str | None = None
    transfer_syntax: str | None = None

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "Subset":
        """Return what facts were told of."""
        outcomes = frozenset(map(InstanceOutcome, facts["outcomes"]))
        return cls(**{**facts, "outcomes": outcomes})

    @property
    def facts(self) -> dict[str, object]:
        """What was chosen, for the audit log."""
        chosen = {
            "outcomes": sorted(self.tried_again),
            "reason": self.reason,
            "rule": self.rule,
            "study": self.study,
            "sop_class": self.sop_class,
            "transfer_syntax": self.transfer_syntax,
        }
        return {name: value for name, value in chosen.items() if value is not None}

    @property
    def tried_again(self) -> frozenset[InstanceOutcome]:
        """Those of its outcomes with which rows can be tried again."""
        return self.outcomes & MAY_RETRY

    def rows(self, send: Send) -> Items:
        """Return the rows of a send that belong to it."""
        found = SendItem.objects.filter(send=send, batch__isnull=False)
        return found.filter(outcome__in=self.tried_again, **self._conditions())

    def rows_in(self, batches: Collection[int]) -> Items:
        """Return the rows of some batches that belong to it, whatever became of them."""
        # Not by send or outcome: both databases would look at all that has it.
        return SendItem.objects.filter(batch__in=batches, **self._conditions())

    def count(self, send: Send) -> int:
        """Return how many rows of a send belong to it, by the counts of its parts where they tell.

        They don't know reasons, nor what was never put into an association.
        """
        if self.reason is not None or self.rule is not None:
            return self.rows(send).count()
        if InstanceOutcome.UNSENDABLE in self.outcomes:
            return self.rows(send).count()
        parts = StudyPart.objects.filter(send=send, **self._conditions(of_parts=True))
        sums = (Sum(outcome.value, default=0) for outcome in sorted(self.tried_again))
        return sum(parts.aggregate(*sums).values())

    def _conditions(self, *, of_parts: bool = False) -> dict[str, object]:
        part = "" if of_parts else "part__"
        conditions = {
            f"{part}study_instance_uid": self.study,
            f"{part}kind__sop_class_uid": self.sop_class,
            f"{part}kind__transfer_syntax_uid": self.transfer_syntax,
        }
        if not of_parts:
            conditions |= {"reason": self.reason, "rule": self.rule}
        return {name: value for name, value in conditions.items() if value is not None}
