"""The association requestor: associate, echo, store, release; everything a peer does is a value.

One thread, one socket, our own deadlines: no reactor that could lose an answer or hang
(docs/architecture.md says why this is not pynetdicom's Association).
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from sender.dicom import dimse, tls, upper_layer, wire
from sender.dicom.bulk import FileRange, Framing, Loader, OpenFile, SourceFailed, StoreRequest
from sender.dicom.wire import Wire
from sender.negotiation import codes
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    Connection,
    ContextOutcome,
    ContextTraffic,
    EchoOutcome,
    Ended,
    InstanceOutcome,
    Phase,
    RawPdu,
    Rejection,
    StoreOutcome,
    answered,
    classify_status,
    unanswered,
)
from sender.negotiation.peers import Peer, TlsSettings
from sender.negotiation.sop_classes import VERIFICATION

__all__ = ["Association", "FileRange", "NetworkRequestor", "Requestor", "StoreRequest"]

LONGEST_ANSWER = 1 << 20
"""Bytes that an answer's PDU may claim; a peer with 128 contexts needs some 10 KiB."""
LONGEST_COMMAND = 1 << 16
LONGEST_EVIDENCE = 1 << 12
MOST_PDUS_BEFORE_RELEASE = 64
GOODBYE_SECONDS = 1.0

Notice = Callable[[RawPdu], None]


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

    def store_many(
        self, requests: Iterator[StoreRequest]
    ) -> Iterator[tuple[StoreRequest, StoreOutcome]]:
        """Store instances one after another until there are no more or the association ends.

        Every request that was begun is yielded with its outcome. The next one is drawn and read
        while the peer works on the current one; a request drawn when the association ends, but
        not begun, is not yielded.
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


@dataclass(slots=True, eq=False)
class _Ending(Exception):
    """How the association ends; caught within this module."""

    kind: AssociationKind
    detail: str

    def __post_init__(self) -> None:
        Exception.__init__(self, self.detail)


@dataclass(slots=True)
class _Traffic:
    instances: int = 0
    bytes: int = 0


@dataclass
class NetworkAssociation:
    """An association over TCP. Use from one thread, but for `interrupt`."""

    peer: Peer
    proposal: Proposal
    notice: Notice | None = None
    _wire: Wire | None = field(default=None, init=False)
    _framing: Framing = field(default_factory=lambda: Framing(None), init=False)
    _loader: Loader = field(default_factory=Loader, init=False)
    _message_id: int = field(default=0, init=False)
    _traffic: dict[int, _Traffic] = field(default_factory=dict, init=False)
    _pdus: list[RawPdu] = field(default_factory=list, init=False)
    _seconds: dict[Phase, float] = field(default_factory=dict, init=False)
    _is_interrupted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._outcome = AssociationOutcome(
            kind=AssociationKind.INTERRUPTED,
            proposal=self.proposal,
            started_at=datetime.now(UTC),
            phase=Phase.RESOLVE,
            contexts=unanswered(self.proposal),
            local_maximum_length=self.peer.maximum_length,
        )

    @property
    def is_open(self) -> bool:
        return self._wire is not None and self._outcome.is_established

    @property
    def contexts(self) -> tuple[ContextOutcome, ...]:
        return self._outcome.contexts

    @property
    def moved(self) -> int:
        return self._wire.moved if self._wire else 0

    # Negotiation

    def negotiate(self) -> None:
        """Connect, propose and read the answer."""
        try:
            self._connect()
            with self._phase(Phase.NEGOTIATION):
                self._propose()
        except _Ending as ending:
            self._note(kind=ending.kind, detail=ending.detail)
            self._close()
        if self._outcome.kind is AssociationKind.NO_CONTEXT_ACCEPTED:
            self._leave()

    def _connect(self) -> None:
        timeout = self.peer.timeouts.connect
        started = time.monotonic()
        try:
            with self._phase(Phase.RESOLVE):
                addresses = wire.resolve(self.peer.address, self.peer.port, seconds=timeout)
            with self._phase(Phase.CONNECT):
                left = max(0.001, timeout - (time.monotonic() - started))
                connection = wire.connect(addresses, seconds=left)
        except wire.NameNotResolved as error:
            self._note(is_passing=error.is_passing)
            raise _Ending(AssociationKind.DNS_FAILED, str(error)) from error
        except OSError as error:
            raise _Ending(AssociationKind.TCP_FAILED, str(error)) from error
        (local, local_port), (peer, peer_port) = wire.addresses_of(connection)
        self._note(connection=Connection(local, local_port, peer, peer_port))
        settings = self.peer.tls
        self._wire = Wire(connection) if settings is None else self._secure(connection, settings)

    def _secure(self, connection: socket.socket, settings: TlsSettings) -> Wire:
        """Shake hands; return the wire through TLS."""
        seconds = self.peer.timeouts.tls
        try:
            with self._phase(Phase.TLS):
                secured = tls.secure(
                    connection, settings, address=self.peer.address, seconds=seconds
                )
        except OSError as error:
            connection.close()
            raise _Ending(_KIND_OF_ERROR[type(error)], str(error)) from error
        facts = tls.facts_of(secured)
        self._note(
            connection=replace(
                self._outcome.connection,
                tls_version=facts.version,
                tls_cipher=facts.cipher,
                peer_certificate_sha256=facts.certificate_sha256,
                peer_certificate_expires_at=facts.expires_at,
            )
        )
        return tls.TlsWire(secured)

    def _propose(self) -> None:
        assert self._wire is not None
        request = upper_layer.associate_request(self.peer, self.proposal)
        acse = self.peer.timeouts.acse
        try:
            self._send_proposal(request)
            answer = self._wire.read_pdu(seconds=acse, longest=LONGEST_ANSWER)
        except wire.Oversized as error:
            self._keep_unrecognised(self._wire.pending())
            self._abort_for(f"{error} That is no answer to an A-ASSOCIATE-RQ.")
        except OSError as error:
            if isinstance(error, wire.NoProgress):
                self._say_abort()
            raise _Ending(_KIND_OF_ERROR[type(error)], str(error)) from error
        self._take_answer(answer)

    def _send_proposal(self, request: bytes) -> None:
        assert self._wire is not None
        try:
            self._wire.send([request], stall=self.peer.timeouts.acse)
        except wire.ConnectionLost:
            if not self._last_words():
                raise
        self._keep(RawPdu("A-ASSOCIATE-RQ", True, request))

    def _last_words(self) -> bytes:
        """Return what a peer said before the connection broke: more than that it did."""
        assert self._wire is not None
        self._wire.has_input()
        return self._wire.pending()

    def _take_answer(self, answer: bytes) -> None:
        kind = answer[0]
        try:
            if kind == upper_layer.ASSOCIATE_AC:
                self._keep(RawPdu("A-ASSOCIATE-AC", False, answer))
                self._take_acceptance(upper_layer.parse_acceptance(answer))
            elif kind == upper_layer.ASSOCIATE_RJ:
                self._keep(RawPdu("A-ASSOCIATE-RJ", False, answer))
                self._take_rejection(upper_layer.parse_rejection(answer))
            elif kind == upper_layer.ABORT:
                self._take_abort(answer)
            else:
                self._keep_unrecognised(answer)
                name = upper_layer.PDU_NAMES.get(kind, f"a PDU of type {kind:02X}")
                self._abort_for(f"The peer answered the A-ASSOCIATE-RQ with {name}.")
        except upper_layer.Undecodable as error:
            self._abort_for(str(error))

    def _take_acceptance(self, acceptance: upper_layer.Acceptance) -> None:
        contexts, strays = answered(self.proposal, acceptance.answers, acceptance.roles)
        self._note(contexts=contexts, strays=strays, peer=acceptance.peer)
        self._framing = Framing(acceptance.peer.maximum_length)
        if not any(context.is_accepted for context in contexts):
            self._note(
                kind=AssociationKind.NO_CONTEXT_ACCEPTED,
                detail="The peer accepted none of the proposed presentation contexts.",
            )
            return
        if not self._framing.is_possible:
            self._abort_for(
                f"The peer receives at most {acceptance.peer.maximum_length} bytes at a time, "
                "which holds no data."
            )
        self._note(kind=AssociationKind.ESTABLISHED, phase=Phase.TRANSFER, detail="")

    def _take_rejection(self, found: Rejection) -> NoReturn:
        self._note(rejection=found)
        said = codes.say_rejection(found.result, found.source, found.reason)
        raise _Ending(AssociationKind.REJECTED, f"The peer rejected the association: {said}.")

    def _take_abort(self, pdu: bytes) -> NoReturn:
        self._keep(RawPdu("A-ABORT", False, pdu))
        found = upper_layer.parse_abort(pdu)
        self._note(abort=found)
        said = codes.say_abort(found.source, found.reason)
        raise _Ending(AssociationKind.ABORTED_BY_PEER, f"The peer aborted the association: {said}.")

    def _abort_for(self, detail: str) -> NoReturn:
        self._say_abort()
        raise _Ending(AssociationKind.ABORTED_BY_US, detail)

    # Evidence

    def _note(self, **changes: object) -> None:
        self._outcome = replace(self._outcome, **changes)  # type: ignore[arg-type]

    def _keep(self, pdu: RawPdu) -> None:
        self._pdus.append(pdu)
        if self.notice is not None:
            self.notice(pdu)

    def _keep_unrecognised(self, content: bytes) -> None:
        self._keep(RawPdu("unrecognised", False, content[:LONGEST_EVIDENCE]))

    @contextmanager
    def _phase(self, phase: Phase) -> Iterator[None]:
        self._note(phase=phase)
        started = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - started
            self._seconds[phase] = self._seconds.get(phase, 0.0) + spent

    def outcome(self) -> AssociationOutcome:
        return replace(
            self._outcome,
            seconds=dict(self._seconds),
            pdus=tuple(self._pdus),
            traffic=tuple(
                ContextTraffic(context_id, traffic.instances, traffic.bytes)
                for context_id, traffic in sorted(self._traffic.items())
            ),
        )

    # Transfer

    def echo(self) -> EchoOutcome:
        context = self._verification_context()
        if context is None or self._wire is None:
            return EchoOutcome(None, "The peer accepted no context for Verification.")
        message_id = self._next_message_id()
        expected = dimse.Expected(dimse.C_ECHO_RSP, message_id, VERIFICATION)
        command = dimse.echo_request(message_id, VERIFICATION)
        started = time.monotonic()
        try:
            with self._phase(Phase.TRANSFER):
                self._send(self._framing.command(context, command))
                response = self._read_response(context, expected)
        except _Ending as ending:
            self._finish(ending)
            return EchoOutcome(None, ending.detail, time.monotonic() - started)
        return EchoOutcome(response.status, "", time.monotonic() - started)

    def _verification_context(self) -> int | None:
        for context in self.contexts:
            if context.is_usable and context.proposed.abstract_syntax == VERIFICATION:
                return context.proposed.context_id
        return None

    def store_many(
        self, requests: Iterator[StoreRequest]
    ) -> Iterator[tuple[StoreRequest, StoreOutcome]]:
        upcoming = self._draw(requests)
        try:
            while upcoming is not None and self._may_begin():
                request, data = upcoming
                upcoming = None
                if isinstance(data, SourceFailed):
                    outcome = _not_sent(request, str(data))
                    upcoming = self._draw(requests)
                else:
                    store = _Store(request, time.monotonic(), self._next_message_id())
                    with self._phase(Phase.TRANSFER):
                        begun = self._begin(store, data)
                        if begun is None:
                            upcoming = self._draw(requests)
                        outcome = begun or self._await(store)
                    outcome = replace(outcome, seconds=time.monotonic() - store.started)
                    self._count(outcome)
                yield request, outcome
        finally:
            if upcoming is not None and isinstance(upcoming[1], OpenFile):
                upcoming[1].close()

    def _draw(
        self, requests: Iterator[StoreRequest]
    ) -> "tuple[StoreRequest, memoryview | OpenFile | SourceFailed] | None":
        request = next(requests, None)
        return None if request is None else (request, self._loader.load(request))

    def _begin(self, store: "_Store", data: "memoryview | OpenFile") -> StoreOutcome | None:
        """Send a request whole; an outcome if that failed already."""
        try:
            self._send_request(store, data)
            store.is_answered_early = bool(self._wire and self._wire.pending())
        except SourceFailed as failure:
            self._say_abort()
            self._finish(_Ending(AssociationKind.ABORTED_BY_US, f"A file failed: {failure}."))
            return _not_sent(store.request, str(failure), bytes_sent=store.bytes_sent)
        except _Ending as ending:
            self._finish(ending)
            return store.unknown(ending.detail)
        return None

    def _may_begin(self) -> bool:
        """Tell whether a request can be begun: the association stands, and the peer is silent."""
        if self._wire is None or not self.is_open:
            return False
        try:
            if self._wire.has_input():
                self._read_pdu(seconds=self.peer.timeouts.answer)
                self._abort_for("The peer sent a message that answers no request.")
        except _Ending as ending:
            self._finish(ending)
            return False
        return True

    def _send_request(self, store: "_Store", data: "memoryview | OpenFile") -> None:
        request = store.request
        command = dimse.store_request(store.message_id, request.sop_class, request.sop_instance)
        buffers = self._framing.command(request.context_id, command)
        if isinstance(data, memoryview):
            self._send(buffers + self._framing.data(request.context_id, data, is_last=True))
            store.bytes_sent = len(data)
            return
        try:
            for block, is_last in data.blocks(self._framing.block_length()):
                self._send(buffers + self._framing.data(request.context_id, block, is_last=is_last))
                store.bytes_sent += len(block)
                buffers = []
        finally:
            data.close()

    def _await(self, store: "_Store") -> StoreOutcome:
        request = store.request
        expected = dimse.Expected(
            dimse.C_STORE_RSP, store.message_id, request.sop_class, request.sop_instance
        )
        try:
            response = self._read_response(request.context_id, expected)
            outcome = classify_status(response.status)
            if store.is_answered_early and outcome is not InstanceOutcome.FAILED:
                self._distrust("it came before the data set was whole")
        except _Ending as ending:
            self._finish(ending)
            return store.unknown(ending.detail)
        return StoreOutcome(
            outcome=outcome,
            context_id=request.context_id,
            status=response.status,
            detail=_status_detail(outcome, response.status),
            error_comment=response.error_comment,
            offending_elements=response.offending_elements,
            bytes_sent=store.bytes_sent,
        )

    def _count(self, outcome: StoreOutcome) -> None:
        traffic = self._traffic.setdefault(outcome.context_id, _Traffic())
        traffic.instances += 1
        traffic.bytes += outcome.bytes_sent

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    def _send(self, buffers: list[bytes | memoryview]) -> None:
        assert self._wire is not None
        try:
            self._wire.send(buffers, stall=self.peer.timeouts.progress)
        except wire.Spoken as error:
            self._read_pdu(seconds=self.peer.timeouts.answer)
            self._end_for(error)
        except OSError as error:
            self._look_for_abort()
            self._end_for(error)

    def _end_for(self, error: OSError) -> NoReturn:
        if isinstance(error, wire.NoProgress | wire.Oversized):
            self._say_abort()
        raise _Ending(_KIND_OF_ERROR[type(error)], str(error)) from error

    def _look_for_abort(self) -> None:
        """A peer that aborted may have closed too: its A-ABORT says more than the broken send."""
        received = self._last_words()
        if received[:1] == bytes((upper_layer.ABORT,)):
            self._take_abort(received[:10])

    def _read_response(self, context_id: int, expected: dimse.Expected) -> dimse.Response:
        """Read the response to a request; one that can't be trusted ends the association."""
        command = bytearray()
        deadline = time.monotonic() + self.peer.timeouts.answer
        while True:
            pdu = self._read_pdu(seconds=max(0.0, deadline - time.monotonic()))
            try:
                if _gather(pdu, context_id, command):
                    return dimse.read_response(bytes(command), expected)
            except dimse.Untrusted as error:
                self._distrust(str(error))

    def _distrust(self, why: str) -> NoReturn:
        self._abort_for(f"The peer's answer can't be trusted: {why}.")

    def _read_pdu(self, *, seconds: float) -> bytes:  # noqa: RET503 - the rest never return
        """Read a P-DATA-TF PDU; whatever else comes ends the association."""
        assert self._wire is not None
        try:
            pdu = self._wire.read_pdu(seconds=seconds, longest=LONGEST_ANSWER)
        except OSError as error:
            self._end_for(error)
        if pdu[0] == upper_layer.P_DATA:
            return pdu
        if pdu[0] == upper_layer.ABORT:
            self._take_abort(pdu)
        if pdu[0] == upper_layer.RELEASE_RQ:
            self._try_send(upper_layer.RELEASE_RP_PDU)
            raise _Ending(AssociationKind.ESTABLISHED, "The peer released the association.")
        self._refuse(pdu, "in the middle of the transfer")

    def _refuse(self, pdu: bytes, when: str) -> NoReturn:
        self._keep_unrecognised(pdu)
        name = upper_layer.PDU_NAMES.get(pdu[0], f"a PDU of type {pdu[0]:02X}")
        self._abort_for(f"The peer sent {name} {when}.")

    # Ending

    def _finish(self, ending: _Ending) -> None:
        """End an established association otherwise than by our release."""
        self._note(ended=_ENDED[ending.kind], detail=ending.detail)
        self._close()

    def release(self) -> None:
        if not self.is_open:
            return
        if self._is_interrupted:
            self.abort()
            return
        with self._phase(Phase.RELEASE):
            try:
                self._exchange_release(self.peer.timeouts.acse)
                self._note(ended=Ended.RELEASED)
            except _Ending as ending:
                self._note(ended=_ENDED[ending.kind], detail=ending.detail)
        self._close()

    def _exchange_release(self, seconds: float) -> None:
        assert self._wire is not None
        deadline = time.monotonic() + seconds
        try:
            self._wire.send([upper_layer.RELEASE_RQ_PDU], stall=seconds)
            for _ in range(MOST_PDUS_BEFORE_RELEASE):
                left = max(0.0, deadline - time.monotonic())
                pdu = self._wire.read_pdu(seconds=left, longest=LONGEST_ANSWER)
                if pdu[0] == upper_layer.RELEASE_RP:
                    return
                if pdu[0] == upper_layer.ABORT:
                    self._take_abort(pdu)
                if pdu[0] == upper_layer.RELEASE_RQ:
                    self._try_send(upper_layer.RELEASE_RP_PDU)
                elif pdu[0] != upper_layer.P_DATA:
                    self._refuse(pdu, "instead of an A-RELEASE-RP")
        except OSError as error:
            self._look_for_abort()
            self._end_for(error)
        self._abort_for("The peer went on sending after our A-RELEASE-RQ.")

    def _leave(self) -> None:
        """Release an association that is of no use; how that ends is of no interest."""
        try:
            self._exchange_release(min(GOODBYE_SECONDS, self.peer.timeouts.acse))
        except _Ending:
            self._note(abort=None)
        self._close()

    def abort(self) -> None:
        if not self.is_open:
            return
        self._say_abort()
        self._note(ended=Ended.ABORTED_BY_US, detail="We aborted the association.")
        self._close()

    def interrupt(self) -> None:
        self._is_interrupted = True
        connection = self._wire
        if connection is not None:
            connection.interrupt()

    def _say_abort(self) -> None:
        if self._try_send(upper_layer.ABORT_PDU):
            self._keep(RawPdu("A-ABORT", True, upper_layer.ABORT_PDU))

    def _try_send(self, pdu: bytes) -> bool:
        if self._wire is None:
            return False
        try:
            self._wire.send([pdu], stall=GOODBYE_SECONDS)
        except OSError:
            return False
        return True

    def _close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None


_KIND_OF_ERROR: dict[type[OSError], AssociationKind] = {
    tls.TlsFailed: AssociationKind.TLS_FAILED,
    wire.ConnectionLost: AssociationKind.CONNECTION_LOST,
    wire.NoProgress: AssociationKind.TIMED_OUT,
    wire.Interrupted: AssociationKind.ABORTED_BY_US,
    wire.Oversized: AssociationKind.ABORTED_BY_US,
    wire.Spoken: AssociationKind.ABORTED_BY_US,
}
_ENDED = {
    AssociationKind.TLS_FAILED: Ended.CONNECTION_LOST,
    AssociationKind.ESTABLISHED: Ended.RELEASED,
    AssociationKind.CONNECTION_LOST: Ended.CONNECTION_LOST,
    AssociationKind.TIMED_OUT: Ended.TIMED_OUT,
    AssociationKind.ABORTED_BY_US: Ended.ABORTED_BY_US,
    AssociationKind.ABORTED_BY_PEER: Ended.ABORTED_BY_PEER,
}


@dataclass(slots=True)
class _Store:
    """A C-STORE under way."""

    request: StoreRequest
    started: float
    message_id: int
    bytes_sent: int = 0
    is_answered_early: bool = False

    def unknown(self, detail: str) -> StoreOutcome:
        return StoreOutcome(
            InstanceOutcome.UNKNOWN,
            self.request.context_id,
            detail=detail,
            bytes_sent=self.bytes_sent,
        )


def _not_sent(request: StoreRequest, detail: str, *, bytes_sent: int = 0) -> StoreOutcome:
    """The peer never got the whole data set, so it can't have stored it."""
    return StoreOutcome(
        InstanceOutcome.FAILED, request.context_id, detail=detail, bytes_sent=bytes_sent
    )


def _status_detail(outcome: InstanceOutcome, status: int) -> str:
    if outcome is InstanceOutcome.SENT:
        return ""
    verb = "stored it with a warning" if outcome is InstanceOutcome.WARNING else "refused it"
    return f"the peer {verb}: status {status:04X}"


def _gather(pdu: bytes, context_id: int, command: bytearray) -> bool:
    """Add the command fragments of a P-DATA-TF to `command`; tell whether it is whole.

    PS3.8 section 9.3.5.1 and annex E.

    Raises:
        Untrusted: the PDU holds anything else than fragments of a command in this context.
    """
    position = upper_layer.HEADER_LENGTH
    is_whole = False
    while position < len(pdu):
        length = int.from_bytes(pdu[position : position + 4], "big")
        end = position + 4 + length
        if length < 2 or end > len(pdu) or is_whole:
            raise dimse.Untrusted("its P-DATA-TF can't be decoded")
        if pdu[position + 4] != context_id:
            raise dimse.Untrusted("it came in another presentation context")
        if not pdu[position + 5] & 0x01:
            raise dimse.Untrusted("it holds data")
        command += pdu[position + 6 : end]
        is_whole = bool(pdu[position + 5] & 0x02)
        position = end
    if len(command) > LONGEST_COMMAND:
        raise dimse.Untrusted("its command set is too long")
    return is_whole
