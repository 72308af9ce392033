"""The association requestor: associate, echo, store, release; everything a peer does is a value.

One thread, one socket, our own deadlines: no reactor that could lose an answer or hang
(docs/architecture.md says why this is not pynetdicom's Association).
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from sender.dicom import dimse
from sender.dicom.bulk import StoreRequest
from sender.dicom.evidence import Evidence, Notice
from sender.dicom.exchange import GOODBYE_SECONDS, Ending, Exchange
from sender.dicom.listed import FileRange
from sender.dicom.opening import open_wire, propose
from sender.dicom.pacers import LimitPacer, Pacer
from sender.dicom.storing import Storing
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    ContextOutcome,
    EchoOutcome,
    Ended,
    Phase,
    StoreOutcome,
)
from sender.negotiation.peers import Peer
from sender.negotiation.sop_classes import VERIFICATION
from sender.negotiation.stalls import Stall

__all__ = [
    "Association",
    "FileRange",
    "LimitPacer",
    "NetworkAssociation",
    "NetworkRequestor",
    "Notice",
    "Pacer",
    "Requestor",
    "StoreRequest",
]

STALLED_AFTER_SECONDS = 2.0


class Association(Protocol):
    """An association, open or failed; nothing here raises for what a peer or a file does."""

    @property
    def is_open(self) -> bool:
        """Established, and still usable."""
        ...

    @property
    def contexts(self) -> tuple[ContextOutcome, ...]:
        """The proposed contexts with the peer's answers."""
        ...

    @property
    def moved(self) -> int:
        """Bytes moved so far, for a watchdog."""
        ...

    def echo(self) -> EchoOutcome:
        """Send a C-ECHO in the first accepted context of the Verification SOP class."""
        ...

    def stall(self, *, after: float = STALLED_AFTER_SECONDS) -> Stall | None:
        """Tell any thread who keeps the transfer waiting, if nothing has moved for so long.

        The waiting thread goes on; its own timeouts decide. None: things move, or nobody waits.
        """
        ...

    def store_many(
        self,
        requests: Iterator[StoreRequest],
        *,
        pacer: Pacer | None = None,
        meanwhile: Callable[[], None] | None = None,
        may_begin: Callable[[], bool] | None = None,
    ) -> Iterator[tuple[StoreRequest, StoreOutcome]]:
        """Store instances one after another until there are no more or the association ends.

        Every request that was begun is yielded with its outcome. The next one is drawn and read
        while the peer works on the current one; a request drawn when the association ends, but
        not begun, is not yielded.

        Args:
            pacer: how fast this may go; None: as fast as it can. Waiting for it is no stall of
                the peer's, and no timeout runs meanwhile.
            meanwhile: called again and again, by the thread that draws, while the peer or the
                pacer keeps it waiting; what it takes counts as no time of the peer's.
            may_begin: asked right before each instance; once it says no, nothing more is begun.
        """
        ...

    def release(self) -> None:
        """End the association in order, or by abort if the peer does not join in."""
        ...

    def abort(self) -> None:
        """End the association at once."""
        ...

    def interrupt(self) -> None:
        """Wake whoever is blocked in this association, from another thread, and end it."""
        ...

    def outcome(self) -> AssociationOutcome:
        """Return everything learnt so far; final once the association has ended."""
        ...


class Requestor(Protocol):
    """Opens associations."""

    def associate(
        self, peer: Peer, proposal: Proposal, *, notice: Notice | None = None
    ) -> Association:
        """Propose contexts to a peer.

        Args:
            notice: told of each association control PDU as soon as it is sent or read.
        """
        ...


class NetworkRequestor:
    """Opens associations over TCP."""

    def associate(
        self, peer: Peer, proposal: Proposal, *, notice: Notice | None = None
    ) -> "NetworkAssociation":
        """Propose contexts to a peer; see `Requestor`."""
        association = NetworkAssociation(peer, proposal, notice)
        association.negotiate()
        return association


@dataclass
class NetworkAssociation:
    """An association over TCP. Use from one thread, but for `interrupt` and `stall`."""

    peer: Peer
    proposal: Proposal
    notice: Notice | None = None
    _exchange: Exchange | None = field(default=None, init=False)
    _storing: Storing | None = field(default=None, init=False)
    _interrupted: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        self._evidence = Evidence(self.peer, self.proposal, self.notice)

    @property
    def is_open(self) -> bool:
        return self._open_exchange() is not None

    @property
    def contexts(self) -> tuple[ContextOutcome, ...]:
        return self._evidence.outcome.contexts

    @property
    def moved(self) -> int:
        return self._exchange.wire.moved if self._exchange else 0

    def _open_exchange(self) -> Exchange | None:
        exchange = self._exchange
        if exchange is None or not exchange.is_open or not self._evidence.outcome.is_established:
            return None
        return exchange

    def negotiate(self) -> None:
        """Connect, propose and read the answer."""
        evidence = self._evidence
        try:
            wire = open_wire(self.peer, evidence)
            self._exchange = exchange = Exchange(wire, evidence, self.peer.timeouts)
            with evidence.phase(Phase.NEGOTIATION):
                framing = propose(exchange, self.peer, self.proposal)
        except Ending as ending:
            evidence.note(kind=ending.kind, detail=ending.detail, stall=ending.stall)
            self._close()
            return
        self._storing = Storing(exchange, framing, self._interrupted)
        if evidence.outcome.kind is AssociationKind.NO_CONTEXT_ACCEPTED:
            self._leave(exchange)

    def _leave(self, exchange: Exchange) -> None:
        """Release an association that is of no use; how that ends is of no interest."""
        try:
            exchange.release(min(GOODBYE_SECONDS, self.peer.timeouts.acse))
        except Ending:
            self._evidence.note(abort=None)
        exchange.close()

    def outcome(self) -> AssociationOutcome:
        return self._evidence.whole()

    def stall(self, *, after: float = STALLED_AFTER_SECONDS) -> Stall | None:
        exchange, storing = self._exchange, self._storing
        if exchange is None or not exchange.is_open:
            return None
        waiting = exchange.wire.stall(after=after)
        if waiting is None and storing is not None:
            waiting = storing.stall(after=after)
        return waiting

    def echo(self) -> EchoOutcome:
        context, exchange = self._verification_context(), self._open_exchange()
        if context is None or exchange is None or self._storing is None:
            return EchoOutcome(None, "The peer accepted no context for Verification.")
        message_id = exchange.next_message_id()
        expected = dimse.Expected(dimse.C_ECHO_RSP, message_id, VERIFICATION)
        command = dimse.echo_request(message_id, VERIFICATION)
        started = time.monotonic()
        try:
            with self._evidence.phase(Phase.TRANSFER):
                exchange.send(self._storing.framing.command(context, command))
                response = exchange.read_response(context, expected)
        except Ending as ending:
            exchange.finish(ending)
            return EchoOutcome(None, ending.detail, time.monotonic() - started)
        return EchoOutcome(response.status, "", time.monotonic() - started)

    def _verification_context(self) -> int | None:
        for context in self.contexts:
            if context.is_usable and context.proposed.abstract_syntax == VERIFICATION:
                return context.proposed.context_id
        return None

    def store_many(
        self,
        requests: Iterator[StoreRequest],
        *,
        pacer: Pacer | None = None,
        meanwhile: Callable[[], None] | None = None,
        may_begin: Callable[[], bool] | None = None,
    ) -> Iterator[tuple[StoreRequest, StoreOutcome]]:
        if self._storing is None or not self.is_open:
            return iter(())
        return self._storing.run(requests, pacer, meanwhile, may_begin)

    def release(self) -> None:
        exchange = self._open_exchange()
        if exchange is None:
            return
        if self._interrupted.is_set():
            self.abort()
            return
        with self._evidence.phase(Phase.RELEASE):
            try:
                exchange.release(self.peer.timeouts.acse)
                self._evidence.note(ended=Ended.RELEASED)
            except Ending as ending:
                exchange.finish(ending)
        exchange.close()

    def abort(self) -> None:
        exchange = self._open_exchange()
        if exchange is None:
            return
        exchange.say_abort()
        self._evidence.note(ended=Ended.ABORTED_BY_US, detail="We aborted the association.")
        exchange.close()

    def interrupt(self) -> None:
        self._interrupted.set()
        exchange = self._exchange
        if exchange is not None:
            exchange.wire.interrupt()

    def _close(self) -> None:
        if self._exchange is not None:
            self._exchange.close()
