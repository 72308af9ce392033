"""C-STORE after C-STORE on one association; the next instance is read while the peer works.

This is the hot path: what is done here is done for each of millions of instances
(docs/performance.md). Whatever is rare is elsewhere.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sender.dicom import dimse
from sender.dicom.bulk import BLOCK, Framing, Loader, OpenFile, SourceFailed, StoreRequest
from sender.dicom.exchange import Ending, Exchange
from sender.dicom.pacers import Pacer
from sender.dicom.wire import Buffer, Patience
from sender.negotiation.outcomes import (
    AssociationKind,
    InstanceOutcome,
    Phase,
    StoreOutcome,
    classify_status,
)
from sender.negotiation.stalls import Awaited, Stall, explain_stall

HOLD_SECONDS = 0.5
"""How long the limit of a destination is kept without asking it again."""
PACED_BLOCK = 1 << 16
"""With a limit data go in small blocks, so that a peer never hears nothing for long."""
MOST_UNSENT = 1 << 16
"""Bytes of a file that is streamed which the system holds before it can send them."""

Loaded = memoryview | OpenFile | SourceFailed
Result = tuple[StoreRequest, StoreOutcome]


@dataclass(slots=True)
class _Store:
    """A C-STORE, from the moment its data were read.

    Attributes:
        buffers: the message, as far as it was made ready.
        success: the PDU with which a peer usually says 0000 to it.
        started: when it was begun.
        held: seconds of it in which we held back.
        was_early: the peer said something before it had the whole data set.
    """

    request: StoreRequest
    data: Loaded
    message_id: int = 0
    buffers: list[Buffer] = field(default_factory=list)
    success: bytes = b""
    started: float = 0.0
    bytes_sent: int = 0
    held: float = 0.0
    was_early: bool = False

    def ended(
        self, outcome: InstanceOutcome, status: int | None, *, detail: str = ""
    ) -> StoreOutcome:
        """Return what became of it, just now."""
        seconds = time.monotonic() - self.started - self.held
        return StoreOutcome(
            outcome, self.request.context_id, status, detail, "", (), self.bytes_sent, seconds
        )


class Storing:
    """The C-STORE requests of one association.

    Args:
        interrupted: set when another thread wants all of this to end.
    """

    def __init__(self, exchange: Exchange, framing: Framing, interrupted: threading.Event) -> None:
        self._exchange = exchange
        self.framing = framing
        self._interrupted = interrupted
        self._loader = Loader()
        self._patience = Patience(Awaited.ANSWER, exchange.timeouts.answer)
        self._ahead: _Store | None = None
        self._pacer: Pacer | None = None
        self._ours: tuple[Awaited, float] | None = None
        self._fault: Exception | None = None

    def run(
        self,
        requests: Iterator[StoreRequest],
        pacer: Pacer | None,
        meanwhile: Callable[[], None] | None,
        may_begin: Callable[[], bool] | None,
    ) -> Iterator[Result]:
        """Store instances until there are no more, or the association ends."""
        self._exchange.evidence.enter(Phase.TRANSFER)
        self._exchange.wire.meanwhile = meanwhile
        self._pacer = pacer
        self._draw(requests)
        try:
            while (store := self._ahead) is not None and self._exchange.is_open:
                if isinstance(store.data, SourceFailed):
                    self._draw(requests)
                    yield store.request, _not_sent(store.request, str(store.data))
                    continue
                if not self._may_begin() or (may_begin is not None and not may_begin()):
                    return
                self._ahead = None
                yield store.request, self._store(store, requests)
        finally:
            if self._ahead is not None and isinstance(self._ahead.data, OpenFile):
                self._ahead.data.close()
            self._ahead = None
            self._exchange.wire.meanwhile = None
        if self._fault is not None:
            raise self._fault

    def _draw(self, requests: Iterator[StoreRequest]) -> None:
        """Take the next request, read its data, and make its message ready.

        What goes wrong in `requests` is raised later: an instance may be under way, of which the
        peer's answer must not be lost.
        """
        self._ours = (Awaited.SOURCE, time.monotonic())
        self._ahead = None
        try:
            request = next(requests, None)
            if request is not None:
                self._ahead = _Store(request, self._loader.load(request))
                self._make_ready(self._ahead)
        except Exception as fault:
            self._fault = fault
        self._ours = None

    def _make_ready(self, store: _Store) -> None:
        request, framing = store.request, self.framing
        store.message_id = self._exchange.next_message_id()
        command, success = dimse.store_messages(
            store.message_id, request.sop_class, request.sop_instance
        )
        store.buffers = framing.command(request.context_id, command)
        store.success = framing.response(request.context_id, success)
        if self._pacer is None and isinstance(store.data, memoryview):
            framing.add_data(store.buffers, request.context_id, store.data, is_last=True)

    def _store(self, store: _Store, requests: Iterator[StoreRequest]) -> StoreOutcome:
        exchange, request = self._exchange, store.request
        store.started = time.monotonic()
        try:
            self._send_request(store)
            is_early = exchange.wire.has_unread
            self._draw(requests)
            outcome = self._await(store)
            is_early = is_early or exchange.wire.is_arriving
            if is_early and outcome.outcome is not InstanceOutcome.FAILED:
                exchange.distrust("it came before the data set was whole")
        except SourceFailed as failure:
            exchange.say_abort()
            exchange.finish(Ending(AssociationKind.ABORTED_BY_US, f"A file failed: {failure}."))
            outcome = _not_sent(request, str(failure), store.bytes_sent)
        except Ending as ending:
            exchange.finish(ending)
            outcome = store.ended(InstanceOutcome.UNKNOWN, None, detail=ending.detail)
        seconds = time.monotonic() - store.started
        exchange.evidence.count(request.context_id, store.bytes_sent, seconds)
        return outcome

    def _send_request(self, store: _Store) -> None:
        """Send a request whole."""
        if self._pacer is None and isinstance(store.data, memoryview):
            self._exchange.send(store.buffers)
            store.bytes_sent = len(store.data)
        else:
            self._send_blocks(store)

    def _await(self, store: _Store) -> StoreOutcome:
        exchange = self._exchange
        patience = self._patience.begin()
        pdu = exchange.read_pdu(patience)
        if pdu == store.success and not store.was_early:  # decoding it would tell nothing more
            return store.ended(InstanceOutcome.SENT, 0x0000)
        request = store.request
        expected = dimse.Expected(
            dimse.C_STORE_RSP, store.message_id, request.sop_class, request.sop_instance
        )
        response = exchange.decode_response(pdu, patience, request.context_id, expected)
        outcome = classify_status(response.status)
        if store.was_early and outcome is not InstanceOutcome.FAILED:
            exchange.abort_for("The peer called the instance stored before it had all of it.")
        ended = store.ended(outcome, response.status, detail=_detail(outcome, response.status))
        return ended._replace(
            error_comment=response.error_comment,
            offending_elements=response.offending_elements,
        )

    def _send_blocks(self, store: _Store) -> None:
        context_id, pacer, buffers = store.request.context_id, self._pacer, store.buffers
        for block, is_last in self._blocks(store.data):
            if pacer is not None and store.bytes_sent:
                store.held += self._hold(pacer, pacer.spend(0))
            if is_last:
                store.was_early = self._exchange.wire.has_input()
            self.framing.add_data(buffers, context_id, block, is_last=is_last)
            self._exchange.send(buffers)
            buffers = []
            store.bytes_sent += len(block)
            if pacer is not None:
                pacer.spend(len(block))

    def _blocks(self, data: Loaded) -> Iterator[tuple[memoryview, bool]]:
        """Yield the data in whole PDUs, each block with whether it is the last."""
        assert not isinstance(data, SourceFailed)
        length = self.framing.block_length(BLOCK if self._pacer is None else PACED_BLOCK)
        if isinstance(data, memoryview):
            for position in range(0, max(1, len(data)), length):
                yield data[position : position + length], position + length >= len(data)
            return
        with data:
            self._exchange.wire.queue_at_most(MOST_UNSENT)
            blocks = data.blocks(length)
            while True:
                self._ours = (Awaited.SOURCE, time.monotonic())
                block = next(blocks, None)
                self._ours = None
                if block is None:
                    break
                yield block
            self._exchange.wire.queue_at_most(0)

    # Holding back

    def _may_begin(self) -> bool:
        """Wait until the limit lets the next instance begin; False if the association is over.

        What was not begun by then stays as it was: nothing of it has been sent.
        """
        try:
            if self._pacer is not None:
                self._hold(self._pacer, self._pacer.before_instance())
            self._exchange.refuse_early_end()
        except Ending as ending:
            self._exchange.finish(ending)
            return False
        return True

    def _hold(self, pacer: Pacer, seconds: float) -> float:
        """Hold back for as long as the pacer wants; return the seconds that were waited.

        A peer that ends the association meanwhile is noticed.
        """
        if seconds <= 0:
            return 0.0
        since = time.monotonic()
        self._ours = (Awaited.LIMIT, since)
        try:
            while seconds > 0 and not self._exchange.has_ended():
                if self._interrupted.wait(min(seconds, HOLD_SECONDS)):
                    raise Ending(AssociationKind.ABORTED_BY_US, "We ended the connection.")
                if self._exchange.wire.meanwhile is not None:
                    self._exchange.wire.meanwhile()
                seconds = pacer.spend(0)
        finally:
            self._ours = None
        return time.monotonic() - since

    def stall(self, *, after: float) -> Stall | None:
        """Return the stall that is our own, if there is one; any thread may ask."""
        ours = self._ours
        if ours is None:
            return None
        awaited, since = ours
        spent = time.monotonic() - since
        return explain_stall(awaited, spent, None) if spent >= after else None


def _not_sent(request: StoreRequest, detail: str, bytes_sent: int = 0) -> StoreOutcome:
    """The peer never got the whole data set, so it can't have stored it."""
    return StoreOutcome(
        InstanceOutcome.FAILED, request.context_id, detail=detail, bytes_sent=bytes_sent
    )


def _detail(outcome: InstanceOutcome, status: int) -> str:
    if outcome is InstanceOutcome.SENT:
        return ""
    verb = "stored it with a warning" if outcome is InstanceOutcome.WARNING else "refused it"
    return f"the peer {verb}: status {status:04X}"
