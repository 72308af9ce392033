"""What a peer can do wrong, as data: a name, a group, a script, and what must be concluded.

Every entry is negotiated with PROPOSAL; a requestor wants to store three instances of CT in its
first context. `Expected` says how that has to end, as PS3.7, PS3.8 and RELIABILITY.md have it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sender.negotiation import syntaxes
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.outcomes import AssociationKind, Ended, InstanceOutcome, Phase, Verdict
from sender.negotiation.sop_classes import VERIFICATION
from tests.misbehaviour.dialogue import Dialogue

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ILE, ELE = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE
PROPOSAL = Proposal.of([ContextSpec(CT, (ELE,)), ContextSpec(VERIFICATION, (ILE,))])
ROLES_PROPOSAL = Proposal.of(
    [ContextSpec(CT, (ELE,), scu_role=True, scp_role=True), ContextSpec(VERIFICATION, (ILE,))]
)
INSTANCES = 3
SMALL = 400
LARGE = 24 << 20
"""Bytes of a data set that no buffers between two programs hold."""

SENT, WARNING = InstanceOutcome.SENT, InstanceOutcome.WARNING
FAILED, UNKNOWN = InstanceOutcome.FAILED, InstanceOutcome.UNKNOWN

Act = Callable[[Dialogue], None]


class Group(StrEnum):
    """What goes wrong, as RELIABILITY.md R1 groups it."""

    TCP = "tcp"
    TLS = "tls"
    REJECT = "reject"
    ACCEPT = "accept"
    ABORT = "abort"
    LOSS = "loss"
    HANG = "hang"
    ANSWER = "answer"
    STATUS = "status"
    RELEASE = "release"
    SIZE = "size"


@dataclass(frozen=True)
class Expected:
    """What the product has to conclude; the defaults are those of a perfect peer.

    Attributes:
        instances: the outcome of each request that was begun, in order.
        or_else: another possibility, where the peer can't know how far the requestor got.
        statuses: the status of each instance, where that matters.
        says: what the association's detail has to name.
        instance_says: what the last instance's detail has to name.
        first_context: result and verdict of the context for CT, where that matters.
    """

    kind: AssociationKind = AssociationKind.ESTABLISHED
    ended: Ended | None = Ended.RELEASED
    phase: Phase = Phase.RELEASE
    instances: tuple[InstanceOutcome, ...] = (SENT,) * INSTANCES
    or_else: "Expected | None" = None
    statuses: tuple[int | None, ...] | None = None
    rejection: tuple[int, int, int] | None = None
    abort: tuple[int, int] | None = None
    says: str = ""
    instance_says: str = ""
    first_context: tuple[int | None, Verdict] | None = None

    @property
    def is_in_order(self) -> bool:
        """Nothing has to be said of how the association ended."""
        return self.ended is Ended.RELEASED and self.phase is Phase.RELEASE

    @property
    def is_harmless(self) -> bool:
        """Everything is delivered, and the association ends in order."""
        return self.instances == (SENT,) * INSTANCES and self.is_in_order


@dataclass(frozen=True)
class Misbehaviour:
    """One thing that a peer does wrong, the same at every association.

    Attributes:
        act: what the acceptor does with one connection.
        hangs: the requestor has to run out of patience, so it gets little.
        size: bytes of each instance's data set.
        proposal: what the requestor proposes.
        receive_buffer: as `acceptor`.
        tls: the acceptor's side of TLS, by its name in sessions.py; "": none.
        asks_tls: the requestor wants TLS.
    """

    name: str
    group: Group
    act: Act
    expected: Expected = field(default_factory=Expected)
    hangs: bool = False
    size: int = SMALL
    proposal: Proposal = PROPOSAL
    receive_buffer: int | None = None
    tls: str = ""
    asks_tls: bool = False

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name}"


DELIVERED = Expected()
NEGOTIATING = Expected(ended=None, phase=Phase.NEGOTIATION, instances=())
"""The negotiation came to nothing; `kind` has to be said."""
ABORTED_BY_US = replace(NEGOTIATING, kind=AssociationKind.ABORTED_BY_US)
LOST = replace(NEGOTIATING, kind=AssociationKind.CONNECTION_LOST)
TIMED_OUT = replace(NEGOTIATING, kind=AssociationKind.TIMED_OUT)
NOTHING_ACCEPTED = replace(
    NEGOTIATING, kind=AssociationKind.NO_CONTEXT_ACCEPTED, says="accepted none"
)


def broken(
    ended: Ended,
    *instances: InstanceOutcome,
    phase: Phase = Phase.TRANSFER,
    abort: tuple[int, int] | None = None,
    says: str = "",
) -> Expected:
    """Return what has to be concluded of an association that was established and then broke."""
    return Expected(ended=ended, phase=phase, instances=instances, abort=abort, says=says)
