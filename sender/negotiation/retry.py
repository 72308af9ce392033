"""What follows when something did not work: one table (NEGOTIATION.md section 5).

Delays are in units of the base delay (CONTRACT.md: 60 s), so that an installation can scale them.
"""

from dataclasses import dataclass

from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    Ended,
    InstanceOutcome,
    Phase,
    Rejection,
    StoreOutcome,
    classify_status,
)

LONGEST_DELAY = 60.0
"""An hour, at the default base of 60 s."""
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What follows, and by which rule.

    Attributes:
        rule: the rule's name, as it is recorded.
        attempts_allowed: automatic attempts after the first.
        delays: the pause before each of them, in units of the base delay; the last one repeats.
        pause_destination: nobody's work for this destination can succeed until it is mended.
    """

    rule: str
    retry: bool
    reason: str
    attempts_allowed: int = 0
    delays: tuple[float, ...] = ()
    pause_destination: bool = False


def _never(rule: str, reason: str, *, pause_destination: bool = False) -> RetryDecision:
    return RetryDecision(rule, False, reason, pause_destination=pause_destination)


def _again(
    rule: str, reason: str, attempts_allowed: int, delays: tuple[float, ...]
) -> RetryDecision:
    return RetryDecision(rule, True, reason, attempts_allowed, delays)


_DOUBLING = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_DELAY)

DONE = _never("done", "it was stored")
UNKNOWN = _again(
    "unknown", "no trusted answer came; stored or not, it is sent again", 3, (0.0, 0.25)
)
OUT_OF_RESOURCES = _again("out_of_resources", "the peer is out of resources", 3, (1.0, 5.0, 30.0))
PROCESSING_FAILURE = _again("processing_failure", "the peer failed to process it", 2, (1.0, 5.0))
DUPLICATE_INVOCATION = _again(
    "duplicate_invocation", "the peer takes the message ID for a used one", 1, (0.0,)
)
NOT_THIS_OBJECT = _never("not_this_object", "the peer refuses this instance")
NOT_THIS_DESTINATION = _never(
    "not_this_destination", "the peer refuses this SOP class or this sender"
)
UNRECOGNISED_OPERATION = _never("unrecognised_operation", "the peer does not know C-STORE")
UNKNOWN_STATUS = _never("unknown_status", "the status is not in the standard")
NOT_SENT = _never("not_sent", "the file can't be sent as it is")

CONFIGURATION = _never(
    "configuration", "the peer does not know us, or we do not know it", pause_destination=True
)
CATCH_ALL_REJECTION = RetryDecision(
    "rejected_no_reason",
    True,
    "rejected for good without a reason, which some peers say when they are busy",
    1,
    (15.0,),
    pause_destination=True,
)
BUSY = _again("busy", "the peer can't take more now", 9, _DOUBLING)
RESERVED_REJECTION = _again("rejected_reserved", "rejected with a reserved reason", 2, (1.0, 5.0))
NO_CONTEXT = _never("no_context", "nothing changes until the peer or the template does")
UNREACHABLE = _again("unreachable", "the peer could not be reached", 9, _DOUBLING)
BROKEN = _again("broken", "the association ended before its time", 3, (0.25, 1.0, 5.0))
ABORTED_EARLY = _again(
    "aborted_early", "the peer aborted before it answered the proposal", 2, (0.25, 1.0)
)
LOCAL = _again("local", "all associations that the destination allows are in use", 9, (0.25,))

HEALTHY_KINDS = frozenset({AssociationKind.NO_CONTEXT_ACCEPTED})
"""Kinds after which every instance has its outcome already."""

_PERMANENT_CODES = {0x0117, 0x0212}
_DESTINATION_CODES = {0x0122, 0x0124}
_SINGLE_CODES = {
    0x0110: PROCESSING_FAILURE,
    0x0210: DUPLICATE_INVOCATION,
    0x0211: UNRECOGNISED_OPERATION,
}
_CONFIGURATION_REASONS = {(1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 2)}
_CATCH_ALL_REASONS = {(1, 1, 1), (1, 2, 1)}


def after_status(status: int) -> RetryDecision:
    """Decide on an instance by the status of its C-STORE-RSP, 0 to FFFF."""
    if classify_status(status) is not InstanceOutcome.FAILED:
        return DONE
    if status in _SINGLE_CODES:
        return _SINGLE_CODES[status]
    if 0xA700 <= status <= 0xA7FF:
        return OUT_OF_RESOURCES
    if 0xA900 <= status <= 0xA9FF or 0xC000 <= status <= 0xCFFF or status in _PERMANENT_CODES:
        return NOT_THIS_OBJECT
    return NOT_THIS_DESTINATION if status in _DESTINATION_CODES else UNKNOWN_STATUS


def after_store(outcome: StoreOutcome) -> RetryDecision:
    """Decide on an instance by all that is known of its C-STORE."""
    if outcome.status is not None and outcome.outcome is not InstanceOutcome.UNKNOWN:
        return after_status(outcome.status)
    return UNKNOWN if outcome.outcome is InstanceOutcome.UNKNOWN else NOT_SENT


def after_rejection(rejection: Rejection | None) -> RetryDecision:
    """Decide on an association by its A-ASSOCIATE-RJ (PS3.8 table 9-21)."""
    if rejection is None:
        return RESERVED_REJECTION
    codes = (rejection.result, rejection.source, rejection.reason)
    if codes in _CONFIGURATION_REASONS:
        return CONFIGURATION
    if codes in _CATCH_ALL_REASONS:
        return CATCH_ALL_REJECTION
    return BUSY if rejection.result == 2 else RESERVED_REJECTION


def after_association(outcome: AssociationOutcome) -> RetryDecision:
    """Decide on an association that carried nothing, or not all that it should."""
    if outcome.kind is AssociationKind.REJECTED:
        return after_rejection(outcome.rejection)
    if outcome.kind is AssociationKind.ESTABLISHED:
        by_us = outcome.ended is Ended.RELEASED and outcome.phase is Phase.RELEASE
        return DONE if by_us else BROKEN
    if outcome.is_passing:
        return UNREACHABLE
    return after_kind(outcome.kind, phase=outcome.phase)


_KINDS = {
    AssociationKind.ESTABLISHED: DONE,
    AssociationKind.NO_CONTEXT_ACCEPTED: NO_CONTEXT,
    AssociationKind.REJECTED: RESERVED_REJECTION,
    AssociationKind.DNS_FAILED: CONFIGURATION,
    AssociationKind.TLS_FAILED: CONFIGURATION,
    AssociationKind.TCP_FAILED: UNREACHABLE,
    AssociationKind.TIMED_OUT: BROKEN,
    AssociationKind.REFUSED_LOCALLY: LOCAL,
    AssociationKind.ABORTED_BY_PEER: ABORTED_EARLY,
    AssociationKind.ABORTED_BY_US: BROKEN,
    AssociationKind.CONNECTION_LOST: BROKEN,
    AssociationKind.INTERRUPTED: BROKEN,
}
assert set(_KINDS) == set(AssociationKind)


def after_kind(kind: AssociationKind, *, phase: Phase = Phase.NEGOTIATION) -> RetryDecision:
    """Decide on an association by how its negotiation ended."""
    if kind is AssociationKind.TIMED_OUT and phase is not Phase.NEGOTIATION:
        return UNREACHABLE
    return _KINDS[kind]


def delay(decision: RetryDecision, attempt: int, *, base_seconds: float, jitter: float) -> float:
    """Return the seconds to wait before an attempt.

    Args:
        attempt: which automatic attempt it will be, from 1.
        base_seconds: the base delay.
        jitter: a random number from 0 to 1; it lengthens the pause by up to a fifth.
    """
    if not decision.delays:
        return 0.0
    units = decision.delays[min(attempt, len(decision.delays)) - 1]
    return units * base_seconds * (1 + JITTER * jitter)
