"""What one association taught us, as values. Peers' answers are kept as received, odd ones too.

The words are those of PS3.8 (association negotiation) and PS3.7 (DIMSE statuses).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

from sender.negotiation.contexts import Proposal, ProposedContext
from sender.negotiation.stalls import Stall


class ContextResult(IntEnum):
    """Result/Reason of one presentation context, PS3.8 table 9-18."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class Verdict(StrEnum):
    """What became of one transfer syntax within one presentation context."""

    ACCEPTED = "accepted"
    NOT_CHOSEN = "not_chosen"
    REJECTED_TRANSFER_SYNTAX = "rejected_transfer_syntax"
    REJECTED_ABSTRACT_SYNTAX = "rejected_abstract_syntax"
    USER_REJECTED = "user_rejected"
    PROVIDER_REJECTED = "provider_rejected"
    NOT_ANSWERED = "not_answered"
    VIOLATION = "violation"
    UNKNOWN = "unknown"


REJECTIONS: Mapping[int, Verdict] = {
    ContextResult.USER_REJECTION: Verdict.USER_REJECTED,
    ContextResult.NO_REASON: Verdict.PROVIDER_REJECTED,
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: Verdict.REJECTED_ABSTRACT_SYNTAX,
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: Verdict.REJECTED_TRANSFER_SYNTAX,
}


class AssociationKind(StrEnum):
    """How the negotiation ended; `outcome` of the command line."""

    ESTABLISHED = "established"
    NO_CONTEXT_ACCEPTED = "no_context_accepted"
    REJECTED = "rejected"
    ABORTED_BY_PEER = "aborted_by_peer"
    ABORTED_BY_US = "aborted_by_us"
    CONNECTION_LOST = "connection_lost"
    TIMED_OUT = "timed_out"
    TCP_FAILED = "tcp_failed"
    DNS_FAILED = "dns_failed"
    TLS_FAILED = "tls_failed"
    REFUSED_LOCALLY = "refused_locally"
    INTERRUPTED = "interrupted"


NEGOTIATED_KINDS = (AssociationKind.ESTABLISHED, AssociationKind.NO_CONTEXT_ACCEPTED)
"""The peer answered the proposal, whatever it accepted."""


class Ended(StrEnum):
    """How an association that was established ended."""

    RELEASED = "released"
    ABORTED_BY_PEER = "aborted_by_peer"
    ABORTED_BY_US = "aborted_by_us"
    CONNECTION_LOST = "connection_lost"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


class Phase(StrEnum):
    """The step of an association in which it ended, or a duration was measured."""

    LOCAL = "local"
    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    NEGOTIATION = "negotiation"
    TRANSFER = "transfer"
    RELEASE = "release"


class StrayKind(StrEnum):
    """Why an answer stands in the list of answers that fit no proposed context once."""

    UNKNOWN_ID = "unknown_id"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """One presentation context item of an A-ASSOCIATE-AC as received, PS3.8 section 9.3.3.2.

    Attributes:
        result: the Result/Reason byte, 0 to 255.
        transfer_syntax: the text of the transfer syntax sub-item, None if absent. It is only
            significant when `result` is 0.
    """

    context_id: int
    result: int
    transfer_syntax: str | None = None


@dataclass(frozen=True, slots=True)
class StrayAnswer:
    """An answer for an id that was never proposed, or a further one for an id already answered."""

    kind: StrayKind
    answer: ContextAnswer


@dataclass(frozen=True, slots=True)
class ContextOutcome:
    """A proposed presentation context and what the peer said of it.

    Attributes:
        negotiated: False if no A-ASSOCIATE-AC came for this association at all.
        result: the byte as received, None if the context was not answered.
        accepted: the transfer syntax that the peer returned with result 0, else None.
        conflicting: the peer answered this context twice, differently.
        scu_role, scp_role: our roles as the peer granted them, None: no role item (we are SCU).
    """

    proposed: ProposedContext
    negotiated: bool = False
    result: int | None = None
    accepted: str | None = None
    conflicting: bool = False
    scu_role: bool | None = None
    scp_role: bool | None = None

    @property
    def violation(self) -> bool:
        """The answer breaks the standard: undefined result, or a syntax that was not proposed."""
        if self.result is None:
            return False
        if self.conflicting or self.result > max(ContextResult):
            return True
        return self.result == 0 and self.accepted not in self.proposed.transfer_syntaxes

    @property
    def is_accepted(self) -> bool:
        """The peer accepted the context with one of the proposed transfer syntaxes."""
        return self.result == 0 and not self.violation

    @property
    def is_usable(self) -> bool:
        """Accepted, and with us in the SCU role."""
        return self.is_accepted and self.scu_role is not False

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict for each proposed transfer syntax, in the order of the proposal."""
        return {uid: self._verdict(uid) for uid in self.proposed.transfer_syntaxes}

    def _verdict(self, transfer_syntax: str) -> Verdict:
        if not self.negotiated:
            return Verdict.UNKNOWN
        if self.result is None:
            return Verdict.NOT_ANSWERED
        if self.violation:
            return Verdict.VIOLATION
        if self.result == 0:
            chosen = transfer_syntax == self.accepted
            return Verdict.ACCEPTED if chosen else Verdict.NOT_CHOSEN
        return REJECTIONS[self.result]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ as received, PS3.8 section 9.3.4."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Source and reason of a received A-ABORT as received, PS3.8 section 9.3.8."""

    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """What the acceptor said of itself, PS3.7 annexes D.3.3.1 and D.3.3.2.

    Attributes:
        maximum_length: the P-DATA-TF length it receives, in bytes; 0: no limit; None: not said.
    """

    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    maximum_length: int | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """The transport connection as it really was.

    Attributes:
        peer_chain: the certificates that the peer presented, DER, its own first; also those of
            a handshake that failed.
    """

    local_address: str = ""
    local_port: int | None = None
    peer_address: str = ""
    peer_port: int | None = None
    tls_version: str = ""
    tls_cipher: str = ""
    peer_certificate_sha256: str = ""
    peer_certificate_expires_at: datetime | None = None
    peer_chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class RawPdu:
    """The bytes of one association control PDU; user identity blanked.

    Attributes:
        name: A-ASSOCIATE-RQ, A-ASSOCIATE-AC, A-ASSOCIATE-RJ, A-ABORT, or "unrecognised".
        sent: by us; otherwise received.
    """

    name: str
    sent: bool
    content: bytes


@dataclass(frozen=True, slots=True)
class ContextTraffic:
    """What travelled in one presentation context: instances answered or not, data set bytes."""

    context_id: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True)
class AssociationOutcome:
    """Everything learnt from one association.

    Attributes:
        kind: how the negotiation ended.
        ended: how the association ended, None if it was never established.
        phase: the last step reached.
        detail: one sentence in the user's words on how it ended; no patient data.
        started_at: just before the TCP connect, UTC.
        contexts: one per proposed context, in order.
        strays: answers that fit no proposed context.
        seconds: durations of the phases that were finished or broken off.
        pdus: the control PDUs in the order in which they travelled.
        local_maximum_length: ours, bytes.
        is_passing: what failed may well work soon without anybody's doing (a name server that is
            silent, where an unknown name is not).
        stall: whose it was that a wait took too long, if that ended it.
    """

    kind: AssociationKind
    proposal: Proposal
    started_at: datetime
    phase: Phase
    detail: str = ""
    ended: Ended | None = None
    contexts: tuple[ContextOutcome, ...] = ()
    strays: tuple[StrayAnswer, ...] = ()
    rejection: Rejection | None = None
    abort: Abort | None = None
    peer: PeerIdentity = field(default_factory=PeerIdentity)
    connection: Connection = field(default_factory=Connection)
    seconds: Mapping[Phase, float] = field(default_factory=dict)
    pdus: tuple[RawPdu, ...] = ()
    traffic: tuple[ContextTraffic, ...] = ()
    local_maximum_length: int = 0
    is_passing: bool = False
    stall: Stall | None = None

    @property
    def is_established(self) -> bool:
        return self.kind is AssociationKind.ESTABLISHED

    @property
    def is_negotiated(self) -> bool:
        """The peer answered the proposal, whatever it accepted."""
        return self.kind in NEGOTIATED_KINDS


def unanswered(proposal: Proposal) -> tuple[ContextOutcome, ...]:
    """Return the contexts of an association that had no answer: every verdict is unknown."""
    return tuple(ContextOutcome(context) for context in proposal.contexts)


def answered(
    proposal: Proposal,
    answers: tuple[ContextAnswer, ...],
    roles: Mapping[str, tuple[bool, bool]],
) -> tuple[tuple[ContextOutcome, ...], tuple[StrayAnswer, ...]]:
    """Lay the answers of an A-ASSOCIATE-AC beside the proposal.

    Args:
        roles: SCP/SCU role selection items of the answer: SOP class UID to (scu, scp) as granted.

    Returns:
        one outcome per proposed context, in order, and the answers that fit none.
    """
    first: dict[int, ContextAnswer] = {}
    conflicting: Counter[int] = Counter()
    strays: list[StrayAnswer] = []
    for answer in answers:
        if proposal.context(answer.context_id) is None:
            strays.append(StrayAnswer(StrayKind.UNKNOWN_ID, answer))
        elif answer.context_id in first:
            strays.append(StrayAnswer(StrayKind.DUPLICATE, answer))
            conflicting[answer.context_id] += not _agree(first[answer.context_id], answer)
        else:
            first[answer.context_id] = answer
    outcomes = tuple(
        _outcome(
            context,
            first.get(context.context_id),
            roles=roles.get(context.abstract_syntax),
            conflicting=conflicting[context.context_id] > 0,
        )
        for context in proposal.contexts
    )
    return outcomes, tuple(strays)


def _agree(one: ContextAnswer, other: ContextAnswer) -> bool:
    """Two answers for one context say the same; a rejection's transfer syntax says nothing."""
    if one.result != other.result:
        return False
    return one.result != 0 or one.transfer_syntax == other.transfer_syntax


def _outcome(
    context: ProposedContext,
    answer: ContextAnswer | None,
    *,
    roles: tuple[bool, bool] | None,
    conflicting: bool,
) -> ContextOutcome:
    if answer is None:
        return ContextOutcome(context, negotiated=True)
    asked = context.scu_role is not None or context.scp_role is not None
    scu, scp = roles if roles is not None and asked else (None, None)
    return ContextOutcome(
        context,
        negotiated=True,
        result=answer.result,
        accepted=answer.transfer_syntax if answer.result == 0 else None,
        conflicting=conflicting,
        scu_role=scu,
        scp_role=scp,
    )


class InstanceOutcome(StrEnum):
    """What became of one instance of a send; the words of the command line and the pages."""

    SENT = "sent"
    WARNING = "warning"
    FAILED = "failed"
    UNSENDABLE = "unsendable"
    UNKNOWN = "unknown"
    PENDING = "pending"
    CANCELLED = "cancelled"


class StoreOutcome(NamedTuple):
    """What became of one C-STORE request, PS3.4 annex B.2.3 and PS3.7 section 9.1.1.

    Attributes:
        outcome: sent, warning, failed or unknown.
        status: the status code of a trusted C-STORE-RSP, else None.
        detail: why it is failed or unknown, in the user's words; no patient data.
        error_comment: Error Comment (0000,0902) of the peer, cleaned; may hold patient data.
        offending_elements: tags of Offending Element (0000,0901), like "0010,0020".
        context_id: the presentation context used.
        bytes_sent: bytes of the data set that were handed to the transport.
        seconds: from the first byte of the request to the answer.
    """

    outcome: InstanceOutcome
    context_id: int
    status: int | None = None
    detail: str = ""
    error_comment: str = ""
    offending_elements: tuple[str, ...] = ()
    bytes_sent: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EchoOutcome:
    """What became of one C-ECHO request (PS3.7 section 9.1.5); no answer, no `status`."""

    status: int | None
    detail: str = ""
    seconds: float = 0.0


def classify_status(status: int) -> InstanceOutcome:
    """Sort a C-STORE status code: 0000 sent; Bxxx, 0001, 0107, 0116 warning; all else failed.

    PS3.4 table B.2-1 and PS3.7 annex C.
    """
    if status == 0x0000:
        return InstanceOutcome.SENT
    if 0xB000 <= status <= 0xBFFF or status in (0x0001, 0x0107, 0x0116):
        return InstanceOutcome.WARNING
    return InstanceOutcome.FAILED
