"""PDUs to and from a peer; whatever it does else than it should ends the association."""

from dataclasses import dataclass, field
from typing import NoReturn

from sender.dicom import dimse, trust, upper_layer, wire
from sender.dicom.evidence import Evidence
from sender.dicom.wire import Buffer, Patience, Wire
from sender.negotiation import codes
from sender.negotiation.outcomes import AssociationKind, Ended, RawPdu
from sender.negotiation.peers import Timeouts
from sender.negotiation.stalls import Awaited, Stall

LONGEST_ANSWER = 1 << 20
"""Bytes that an answer's PDU may claim; a peer with 128 contexts needs some 10 KiB."""
LONGEST_COMMAND = 1 << 16
MOST_PDUS_BEFORE_RELEASE = 64
GOODBYE_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Ending(Exception):
    """How the association ends; caught by whoever works on it.

    Attributes:
        detail: one sentence for people.
        stall: if it ends because nothing moved.
    """

    kind: AssociationKind
    detail: str
    stall: Stall | None = None

    def __post_init__(self) -> None:
        Exception.__init__(self, self.detail)

    @property
    def ended(self) -> Ended:
        """How an established association ends by this."""
        return _ENDED[self.kind]


_ENDED = {
    AssociationKind.TLS_FAILED: Ended.CONNECTION_LOST,
    AssociationKind.ESTABLISHED: Ended.RELEASED,
    AssociationKind.CONNECTION_LOST: Ended.CONNECTION_LOST,
    AssociationKind.TIMED_OUT: Ended.TIMED_OUT,
    AssociationKind.ABORTED_BY_US: Ended.ABORTED_BY_US,
    AssociationKind.ABORTED_BY_PEER: Ended.ABORTED_BY_PEER,
}
_KIND_OF_ERROR: dict[type[OSError], AssociationKind] = {
    trust.TlsFailed: AssociationKind.TLS_FAILED,
    wire.ConnectionLost: AssociationKind.CONNECTION_LOST,
    wire.NoProgress: AssociationKind.TIMED_OUT,
    wire.Interrupted: AssociationKind.ABORTED_BY_US,
    wire.Oversized: AssociationKind.ABORTED_BY_US,
    wire.NotDicom: AssociationKind.ABORTED_BY_US,
    wire.Spoken: AssociationKind.ABORTED_BY_US,
}


def ending_of(error: OSError) -> Ending:
    """Return what an error of the wire means for the association."""
    return Ending(_KIND_OF_ERROR[type(error)], str(error), getattr(error, "stall", None))


@dataclass(slots=True)
class Exchange:
    """What travels on one connection. Everything here raises `Ending` for what a peer does."""

    wire: Wire
    evidence: Evidence
    timeouts: Timeouts
    is_open: bool = field(default=True, init=False)
    _message_id: int = field(default=0, init=False)

    def next_message_id(self) -> int:
        """Return a fresh message ID."""
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    def send(self, buffers: list[Buffer]) -> None:
        """Send the buffers of a message.

        A peer that aborted may have closed too: its A-ABORT says more than the broken send.
        """
        try:
            self.wire.send(buffers, stall=self.timeouts.progress)
        except wire.Spoken as error:
            self.read_pdu(Patience(Awaited.ANSWER, self.timeouts.answer))
            self.end_for(error)
        except wire.ConnectionLost as error:
            cause = self._hear_out(error)
            self.look_for_abort()
            self.end_for(cause)
        except OSError as error:
            self.look_for_abort()
            self.end_for(error)

    def _hear_out(self, error: OSError) -> OSError:
        """Take in what a peer said before it broke the connection; return why it did.

        A TLS alert that came says more than the broken send.
        """
        last = self.wire.collect()
        return last if isinstance(last, trust.TlsFailed) else error

    def look_for_abort(self) -> None:
        """End if an A-ABORT has come; what else has come stays to be read."""
        received = self.wire.pending()
        if received[:1] == bytes((upper_layer.ABORT,)):
            self.take_abort(received[: len(upper_layer.ABORT_PDU)])

    def read_answer(self, request: bytes, seconds: float) -> bytes:
        """Send an A-ASSOCIATE-RQ and return the PDU that answers it, whatever it is.

        What came of an answer that is none, or never ends, is kept.
        """
        try:
            self._send_proposal(request, seconds)
            return self.wire.read_pdu(Patience(Awaited.ANSWER, seconds), longest=LONGEST_ANSWER)
        except OSError as error:
            if self.wire.pending():
                self.evidence.keep_unrecognised(self.wire.pending())
            if type(error) is wire.Oversized:
                self.abort_for(f"{error} That is no answer to an A-ASSOCIATE-RQ.")
            self.end_for(error)

    def _send_proposal(self, request: bytes, seconds: float) -> None:
        """Send an A-ASSOCIATE-RQ; a peer that answered before it broke off was heard out."""
        try:
            self.wire.send([request], stall=seconds)
        except wire.Spoken:
            pass  # it has answered already
        except wire.ConnectionLost as error:
            cause = self._hear_out(error)
            if not self.wire.pending():
                raise cause from error
        self.evidence.keep(RawPdu("A-ASSOCIATE-RQ", True, request))

    def read_response(self, context_id: int, expected: dimse.Expected) -> dimse.Response:
        """Read the response to a request; one that can't be trusted ends the association."""
        patience = Patience(Awaited.ANSWER, self.timeouts.answer)
        return self.decode_response(self.read_pdu(patience), patience, context_id, expected)

    def decode_response(
        self, pdu: bytes, patience: Patience, context_id: int, expected: dimse.Expected
    ) -> dimse.Response:
        """Return the response that begins with a PDU, reading on as long as it is not whole."""
        command = bytearray()
        try:
            while not _gather(pdu, context_id, command):
                patience.awaited = Awaited.REST
                pdu = self.read_pdu(patience)
            return dimse.read_response(bytes(command), expected)
        except dimse.Untrusted as error:
            self.distrust(str(error))

    def distrust(self, why: str) -> NoReturn:
        """End because of an answer that can't be what it says."""
        self.abort_for(f"The peer's answer can't be trusted: {why}.")

    def has_ended(self) -> bool:
        """Tell, without waiting, whether the peer has ended the association."""
        return self.wire.has_input() and self.wire.pending()[:1] != _P_DATA

    def refuse_early_end(self) -> None:
        """See whether the peer has ended the association before a request is begun."""
        if self.wire.has_input():
            self.read_pdu(Patience(Awaited.ANSWER, self.timeouts.answer))
            self.abort_for("The peer sent a message that answers no request.")

    def read_pdu(self, patience: Patience) -> bytes:
        """Read a P-DATA-TF PDU; whatever else comes ends the association."""
        try:
            pdu = self.wire.read_pdu(patience, longest=LONGEST_ANSWER)
        except OSError as error:
            self.end_for(error)
        if pdu[0] != upper_layer.P_DATA:
            self._end_by(pdu)
        return pdu

    def _end_by(self, pdu: bytes) -> NoReturn:
        if pdu[0] == upper_layer.ABORT:
            self.take_abort(pdu)
        if pdu[0] == upper_layer.RELEASE_RQ:
            self._try_send(upper_layer.RELEASE_RP_PDU)
            raise Ending(AssociationKind.ESTABLISHED, "The peer released the association.")
        self._refuse(pdu, "in the middle of the transfer")

    def _refuse(self, pdu: bytes, when: str) -> NoReturn:
        self.evidence.keep_unrecognised(pdu)
        name = upper_layer.PDU_NAMES.get(pdu[0], f"a PDU of type {pdu[0]:02X}")
        self.abort_for(f"The peer sent {name} {when}.")

    def release(self, seconds: float) -> None:
        """Release in order (PS3.8 section 7.2), a release collision included."""
        patience = Patience(Awaited.ANSWER, seconds)
        try:
            self.wire.send([upper_layer.RELEASE_RQ_PDU], stall=seconds)
            for _ in range(MOST_PDUS_BEFORE_RELEASE):
                pdu = self.wire.read_pdu(patience, longest=LONGEST_ANSWER)
                if pdu[0] == upper_layer.RELEASE_RP:
                    return
                if pdu[0] == upper_layer.ABORT:
                    self.take_abort(pdu)
                if pdu[0] == upper_layer.RELEASE_RQ:
                    self._try_send(upper_layer.RELEASE_RP_PDU)
                elif pdu[0] != upper_layer.P_DATA:
                    self._refuse(pdu, "instead of an A-RELEASE-RP")
        except OSError as error:
            cause = self._hear_out(error)
            self.look_for_abort()
            self.end_for(cause)
        self.abort_for("The peer went on sending after our A-RELEASE-RQ.")

    def take_abort(self, pdu: bytes) -> NoReturn:
        """End by the peer's A-ABORT."""
        self.evidence.keep(RawPdu("A-ABORT", False, pdu))
        found = upper_layer.parse_abort(pdu)
        self.evidence.note(abort=found)
        said = codes.say_abort(found.source, found.reason)
        raise Ending(AssociationKind.ABORTED_BY_PEER, f"The peer aborted the association: {said}.")

    def abort_for(self, detail: str) -> NoReturn:
        """End by our A-ABORT."""
        self.say_abort()
        raise Ending(AssociationKind.ABORTED_BY_US, detail)

    def end_for(self, error: OSError) -> NoReturn:
        """End by an error of the wire; a peer that still listens is told."""
        if isinstance(error, wire.NoProgress | wire.Oversized):
            self.say_abort()
        raise ending_of(error) from error

    def say_abort(self) -> None:
        """Send an A-ABORT if the system takes it soon."""
        if self._try_send(upper_layer.ABORT_PDU):
            self.evidence.keep(RawPdu("A-ABORT", True, upper_layer.ABORT_PDU))

    def finish(self, ending: Ending) -> None:
        """End an established association otherwise than by our release."""
        self.evidence.note(ended=ending.ended, detail=ending.detail, stall=ending.stall)
        self.close()

    def close(self) -> None:
        """Give the connection back. Safe to call twice."""
        self.is_open = False
        self.wire.close()

    def _try_send(self, pdu: bytes) -> bool:
        try:
            self.wire.send([pdu], stall=GOODBYE_SECONDS)
        except OSError:
            return False
        return True


_P_DATA = bytes((upper_layer.P_DATA,))


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
