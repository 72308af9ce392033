"""What is on record of one association, gathered while it is under way."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    ContextTraffic,
    Phase,
    RawPdu,
    unanswered,
)
from sender.negotiation.peers import Peer

LONGEST_EVIDENCE = 1 << 12
"""Bytes that are kept of what is no PDU."""

Notice = Callable[[RawPdu], None]


@dataclass(slots=True)
class _Traffic:
    instances: int = 0
    bytes: int = 0


class Evidence:
    """The outcome of an association so far.

    Attributes:
        outcome: what is known, but for durations, PDUs and traffic.
        seconds: durations of the phases.
    """

    def __init__(self, peer: Peer, proposal: Proposal, notice: Notice | None) -> None:
        self.outcome = AssociationOutcome(
            kind=AssociationKind.INTERRUPTED,
            proposal=proposal,
            started_at=datetime.now(UTC),
            phase=Phase.RESOLVE,
            contexts=unanswered(proposal),
            local_maximum_length=peer.maximum_length,
        )
        self.seconds: dict[Phase, float] = {}
        self._notice = notice
        self._pdus: list[RawPdu] = []
        self._traffic: dict[int, _Traffic] = {}

    def note(self, **changes: object) -> None:
        """Change fields of the outcome."""
        self.outcome = replace(self.outcome, **changes)  # type: ignore[arg-type]

    def keep(self, pdu: RawPdu) -> None:
        """Keep a control PDU, and tell whoever wants to know."""
        self._pdus.append(pdu)
        if self._notice is not None:
            self._notice(pdu)

    def keep_unrecognised(self, content: bytes) -> None:
        """Keep the beginning of what is no PDU that belongs here; it answers nothing."""
        self._pdus.append(RawPdu("unrecognised", False, content[:LONGEST_EVIDENCE]))

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Note the phase, and how long it took."""
        self.enter(phase)
        started = time.monotonic()
        try:
            yield
        finally:
            self.spend(phase, time.monotonic() - started)

    def enter(self, phase: Phase) -> None:
        """Note the phase."""
        if self.outcome.phase is not phase:
            self.note(phase=phase)

    def spend(self, phase: Phase, seconds: float) -> None:
        """Add to the duration of a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    def count(self, context_id: int, length: int, seconds: float) -> None:
        """Count an instance of `length` bytes that travelled in a presentation context."""
        self.seconds[Phase.TRANSFER] = self.seconds.get(Phase.TRANSFER, 0.0) + seconds
        traffic = self._traffic.get(context_id)
        if traffic is None:
            traffic = self._traffic[context_id] = _Traffic()
        traffic.instances += 1
        traffic.bytes += length

    def whole(self) -> AssociationOutcome:
        """Return everything learnt so far."""
        return replace(
            self.outcome,
            seconds=dict(self.seconds),
            pdus=tuple(self._pdus),
            traffic=tuple(
                ContextTraffic(context_id, traffic.instances, traffic.bytes)
                for context_id, traffic in sorted(self._traffic.items())
            ),
        )
