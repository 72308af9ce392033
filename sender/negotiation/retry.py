"""What follows when something did not work: one table (NEGOTIATION.md section 5).

Delays are in units of the base delay (CONTRACT.md: 60 s), so that an installation can scale them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

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
PROBE_UNITS = 15.0
"""Between the negotiations that ask whether a paused destination is mended, in base delays."""
TOGETHER_UNITS = 0.5
"""Instances of a batch that are due so soon after the first wait for each other, in base delays."""
DEFAULT_BASE_SECONDS = 60.0
JITTER = 0.2


class Stops(StrEnum):
    """What is not worth trying any more within a batch."""

    NOTHING = "nothing"
    SOP_CLASS = "sop_class"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What follows, and by which rule.

    Attributes:
        rule: the rule's name, as it is recorded.
        reason: what happened, one sentence.
        attempts_allowed: automatic attempts after the first.
        delays: the pause before each of them, in units of the base delay; the last one repeats.
        pause_destination: nobody's work for this destination can succeed until it is mended. Once
            no attempt is left it is paused, never for good: one prober negotiates every
            `PROBE_UNITS`, and sending goes on when it succeeds.
        breaker: the destination as a whole does not answer: until the delay is over nobody else
            calls it, then one prober does.
        isolate: the next attempt comes after all other instances, alone in its association and
            with no other open to the destination.
        stops: what else of the batch the peer would refuse for the same reason.
        new_message_id: the next attempt must have another Message ID (0000,0110).
    """

    rule: str
    retry: bool
    reason: str
    attempts_allowed: int = 0
    delays: tuple[float, ...] = ()
    pause_destination: bool = False
    breaker: bool = False
    isolate: bool = False
    stops: Stops = Stops.NOTHING
    new_message_id: bool = False


_BY_NAME: dict[str, RetryDecision] = {}
RULES: Mapping[str, RetryDecision] = _BY_NAME
"""All rules by name, instances first."""


def _never(
    rule: str, reason: str, *, pause_destination: bool = False, stops: Stops = Stops.NOTHING
) -> RetryDecision:
    return _known(
        RetryDecision(rule, False, reason, pause_destination=pause_destination, stops=stops)
    )


def _again(
    rule: str,
    reason: str,
    delays: tuple[float, ...],
    *,
    attempts_allowed: int = 0,
    breaker: bool = False,
    isolate: bool = False,
) -> RetryDecision:
    """Make a rule that tries again, as often as there are delays unless it is said otherwise."""
    attempts = attempts_allowed or len(delays)
    return _known(
        RetryDecision(rule, True, reason, attempts, delays, breaker=breaker, isolate=isolate)
    )


def _known(decision: RetryDecision) -> RetryDecision:
    assert decision.rule not in _BY_NAME
    _BY_NAME[decision.rule] = decision
    return decision


_DOUBLING = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_DELAY)

# Instances.
DONE = _never("done", "The peer stored the instance.")
UNKNOWN = _again(
    "unknown",
    "No answer that can be trusted came, so the instance may be stored or not.",
    (0.0, 0.25),
    attempts_allowed=3,
)
UNKNOWN_TWICE = _again(
    "unknown_twice",
    "No answer that can be trusted came for a second time, to this very instance.",
    (0.25,),
    attempts_allowed=3,
    isolate=True,
)
POISON = _never(
    "poison",
    "No answer that can be trusted came, not even when the instance was sent alone; it stays "
    "unknown.",
)
OUT_OF_RESOURCES = _again(
    "out_of_resources", "The peer is out of resources (A7xx).", (1.0, 5.0, 30.0)
)
PROCESSING_FAILURE = _again(
    "processing_failure", "The peer failed to process the instance (0110).", (1.0, 5.0)
)
DUPLICATE_INVOCATION = _known(
    RetryDecision(
        "duplicate_invocation",
        True,
        "The peer takes the message ID for one in use (0210).",
        attempts_allowed=1,
        delays=(0.0,),
        new_message_id=True,
    )
)
NOT_IN_PARALLEL = _again(
    "not_in_parallel",
    "The peer refused the instance (Cxxx) while several associations were open, which may have "
    "been too many for it.",
    (0.25,),
    isolate=True,
)
NOT_THIS_OBJECT = _never(
    "not_this_object", "The peer refuses this instance (A9xx, Cxxx, 0117 or 0212)."
)
DUPLICATE_INSTANCE = _never(
    "duplicate_instance",
    "The peer has an instance with this UID already (0111). One whose answer never came before "
    "stays unknown, for it may be that.",
)
NOT_THIS_SOP_CLASS = _never(
    "not_this_sop_class", "The peer does not support this SOP class (0122).", stops=Stops.SOP_CLASS
)
NOT_AUTHORISED = _never(
    "not_authorised", "The peer does not authorise us to store (0124).", stops=Stops.BATCH
)
UNRECOGNISED_OPERATION = _never("unrecognised_operation", "The peer does not know C-STORE (0211).")
UNKNOWN_STATUS = _never(
    "unknown_status", "The peer answered with a status that is not in the standard."
)
NOT_SENT = _never("not_sent", "The file can't be sent as it is.")
INTERRUPTED = _again(
    "interrupted",
    "We ended the association in the middle of the instance, because sending was paused, its time "
    "was over, or the sender was stopped; that counts as no attempt.",
    (0.0,),
)
ASKED_AGAIN = _again(
    "asked_again",
    "No answer that can be trusted came, so the instance may be stored; somebody had it tried "
    "again.",
    (0.0,),
)
OUT_OF_SIGHT = _again(
    "out_of_sight",
    "The host that was to send the instance does not see its folder, so it is left to other hosts; "
    "that counts as no attempt.",
    (0.0,),
)
AT_ONCE = frozenset(decision.rule for decision in RULES.values() if decision.delays[:1] == (0.0,))
"""Rules of instances that wait for no others, however soon those are due."""
UNANSWERED = frozenset({UNKNOWN.rule, UNKNOWN_TWICE.rule, INTERRUPTED.rule, ASKED_AGAIN.rule})
"""Rules of instances that wait for another attempt though the peer may hold them already."""

# Associations.
APPLICATION_CONTEXT = _never(
    "application_context",
    "The peer rejects the application context name (1/1/2): is it a DICOM peer?",
    pause_destination=True,
)
CALLING_AE_TITLE = _never(
    "calling_ae_title",
    "The peer does not know our AE title (1/1/3): it must be entered there.",
    pause_destination=True,
)
CALLED_AE_TITLE = _never(
    "called_ae_title",
    "The peer does not have the AE title that we call (1/1/7): correct it here or there.",
    pause_destination=True,
)
PROTOCOL_VERSION = _never(
    "protocol_version",
    "The peer does not support our protocol version (1/2/2).",
    pause_destination=True,
)
UNKNOWN_HOST = _never(
    "unknown_host",
    "No name server knows the host name: correct it here or there.",
    pause_destination=True,
)
TLS_REFUSED = _never(
    "tls_refused",
    "TLS was not agreed: a certificate or its name does not hold, or no version is common.",
    pause_destination=True,
)
CATCH_ALL_REJECTION = _known(
    RetryDecision(
        "rejected_no_reason",
        True,
        "The peer rejects for good without a reason (1/1/1 or 1/2/1), as some do when busy.",
        attempts_allowed=1,
        delays=(PROBE_UNITS,),
        pause_destination=True,
        breaker=True,
    )
)
BUSY = _again("busy", "The peer can't take an association now (2/x/x).", _DOUBLING, breaker=True)
RESERVED_REJECTION = _again(
    "rejected_reserved", "The peer rejects with a reason that the standard reserves.", (1.0, 5.0)
)
NO_CONTEXT = _never(
    "no_context",
    "No presentation context that fits was accepted; nothing changes until the peer or the "
    "template does.",
)
UNREACHABLE = _again("unreachable", "The peer could not be reached.", _DOUBLING, breaker=True)
NAME_SERVER = _again("name_server", "The name server did not answer.", _DOUBLING, breaker=True)
TLS_SILENT = _again(
    "tls_silent", "The peer did not finish the TLS handshake in time.", _DOUBLING, breaker=True
)
NO_ANSWER = _again(
    "no_answer",
    "The peer did not finish an answer to the proposal in time, or ended the connection before.",
    _DOUBLING,
    breaker=True,
)
BROKEN = _again("broken", "The association ended before its time.", (0.25, 1.0, 5.0))
ABORTED_EARLY = _again(
    "aborted_early", "The peer aborted before it answered the proposal.", (0.25, 1.0)
)
HELD = _never("held", "Sending was paused or outside its times, and an inline send does not wait.")
LOCAL = _again(
    "local",
    "All associations that the destination allows are in use.",
    (0.25,),
    attempts_allowed=9,
)

HEALTHY_KINDS = frozenset({AssociationKind.NO_CONTEXT_ACCEPTED})
"""Kinds after which every instance has its outcome already."""

_SINGLE_CODES = {
    0x0110: PROCESSING_FAILURE,
    0x0111: DUPLICATE_INSTANCE,
    0x0117: NOT_THIS_OBJECT,
    0x0122: NOT_THIS_SOP_CLASS,
    0x0124: NOT_AUTHORISED,
    0x0210: DUPLICATE_INVOCATION,
    0x0211: UNRECOGNISED_OPERATION,
    0x0212: NOT_THIS_OBJECT,
}
_CODE_RANGES = (
    (range(0xA700, 0xA800), OUT_OF_RESOURCES),
    (range(0xA900, 0xAA00), NOT_THIS_OBJECT),
    (range(0xC000, 0xD000), NOT_THIS_OBJECT),
)
_REJECTIONS = {
    (1, 1, 1): CATCH_ALL_REJECTION,
    (1, 1, 2): APPLICATION_CONTEXT,
    (1, 1, 3): CALLING_AE_TITLE,
    (1, 1, 7): CALLED_AE_TITLE,
    (1, 2, 1): CATCH_ALL_REJECTION,
    (1, 2, 2): PROTOCOL_VERSION,
}


def after_status(status: int, *, parallel: int = 1) -> RetryDecision:
    """Decide on an instance by the status of its C-STORE-RSP, 0 to FFFF.

    Args:
        parallel: associations that were open to the destination, the instance's own included.
    """
    if classify_status(status) is not InstanceOutcome.FAILED:
        return DONE
    if status in _SINGLE_CODES:
        return _SINGLE_CODES[status]
    if parallel > 1 and 0xC000 <= status <= 0xCFFF:
        return NOT_IN_PARALLEL
    found = (decision for codes, decision in _CODE_RANGES if status in codes)
    return next(found, UNKNOWN_STATUS)


def after_store(outcome: StoreOutcome, *, unanswered: int = 1, parallel: int = 1) -> RetryDecision:
    """Decide on an instance by all that is known of its C-STORE.

    Args:
        unanswered: how often a C-STORE of this instance to this destination ended unknown, this
            one included if it did.
        parallel: associations that were open to the destination, the instance's own included.
    """
    if outcome.outcome is InstanceOutcome.UNKNOWN:
        return (UNKNOWN, UNKNOWN_TWICE, POISON)[min(max(unanswered, 1), 3) - 1]
    if outcome.status is not None:
        return after_status(outcome.status, parallel=parallel)
    return NOT_SENT


def ends_so(decision: RetryDecision, outcome: InstanceOutcome, status: int | None) -> bool:
    """Tell whether an earlier attempt, as it is on record, was such a one as a rule is for."""
    if outcome is InstanceOutcome.UNKNOWN:
        return decision.rule in UNANSWERED
    if decision is NOT_IN_PARALLEL:
        return status is not None and after_status(status, parallel=2) is decision
    return status is not None and after_status(status) is decision


def after_rejection(rejection: Rejection | None) -> RetryDecision:
    """Decide on an association by its A-ASSOCIATE-RJ (PS3.8 table 9-21)."""
    if rejection is None:
        return RESERVED_REJECTION
    codes = (rejection.result, rejection.source, rejection.reason)
    if codes in _REJECTIONS:
        return _REJECTIONS[codes]
    return BUSY if rejection.result == 2 else RESERVED_REJECTION


def after_association(outcome: AssociationOutcome) -> RetryDecision:
    """Decide on an association that carried nothing, or not all that it should."""
    if outcome.kind is AssociationKind.REJECTED:
        return after_rejection(outcome.rejection)
    if outcome.kind is AssociationKind.ESTABLISHED:
        by_us = outcome.ended is Ended.RELEASED and outcome.phase is Phase.RELEASE
        return DONE if by_us else BROKEN
    if outcome.is_passing:
        return _PASSING.get(outcome.kind, UNREACHABLE)
    return after_kind(outcome.kind, phase=outcome.phase)


_KINDS = {
    AssociationKind.ESTABLISHED: DONE,
    AssociationKind.NO_CONTEXT_ACCEPTED: NO_CONTEXT,
    AssociationKind.REJECTED: RESERVED_REJECTION,
    AssociationKind.DNS_FAILED: UNKNOWN_HOST,
    AssociationKind.TLS_FAILED: TLS_REFUSED,
    AssociationKind.TCP_FAILED: UNREACHABLE,
    AssociationKind.TIMED_OUT: NO_ANSWER,
    AssociationKind.REFUSED_LOCALLY: LOCAL,
    AssociationKind.ABORTED_BY_PEER: ABORTED_EARLY,
    AssociationKind.ABORTED_BY_US: BROKEN,
    AssociationKind.CONNECTION_LOST: NO_ANSWER,
    AssociationKind.INTERRUPTED: BROKEN,
}
assert set(_KINDS) == set(AssociationKind)
_PASSING = {
    AssociationKind.DNS_FAILED: NAME_SERVER,
    AssociationKind.TLS_FAILED: TLS_SILENT,
}
_TIMEOUTS = {
    Phase.RESOLVE: UNREACHABLE,
    Phase.CONNECT: UNREACHABLE,
    Phase.TLS: TLS_SILENT,
}


def after_kind(kind: AssociationKind, *, phase: Phase = Phase.NEGOTIATION) -> RetryDecision:
    """Decide on an association by how its negotiation ended."""
    if kind is AssociationKind.TIMED_OUT:
        return _TIMEOUTS.get(phase, NO_ANSWER)
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


def meaning(rule: str) -> str:
    """Say in a sentence what a rule means; "" for none, and for one that is not known."""
    decision = RULES.get(rule)
    return decision.reason if decision else ""


def describe(rule: str, *, base_seconds: float = DEFAULT_BASE_SECONDS) -> str:
    """Say in sentences what a rule means and what follows from it.

    Args:
        rule: a name as recorded; one that this version does not know is told as such.
        base_seconds: the base delay of the installation.
    """
    decision = RULES.get(rule)
    if decision is None:
        return f'This version does not know the rule "{rule}".'
    sentences = [decision.reason]
    if decision.retry:
        sentences.append(f"It is tried again {_times(decision, base_seconds)}.")
    elif not decision.pause_destination and decision is not DONE:
        sentences.append("It is not tried again.")
    sentences += [sentence for applies, sentence in _CONSEQUENCES if applies(decision)]
    if decision.pause_destination:
        probe = _in_words(PROBE_UNITS * base_seconds) or "0 s"
        sentences.append(
            f"{'Then the' if decision.retry else 'The'} destination is paused: one negotiation "
            f"every {probe} asks whether it is mended, and sending goes on by itself when it is."
        )
    return " ".join(sentences)


_CONSEQUENCES: tuple[tuple[Callable[[RetryDecision], bool], str], ...] = (
    (lambda decision: decision.isolate, "It is then sent after all others, alone."),
    (lambda decision: decision.new_message_id, "It then has another message ID."),
    (lambda decision: decision.breaker, "Meanwhile nobody else calls the destination."),
    (
        lambda decision: decision.stops is Stops.SOP_CLASS,
        "Nothing more of this SOP class is sent in this batch.",
    ),
    (lambda decision: decision.stops is Stops.BATCH, "Nothing more of this batch is sent."),
)


def _times(decision: RetryDecision, base_seconds: float) -> str:
    """Say how often and when, like "up to 3 times, after 1 min, 5 min and 30 min"."""
    attempts = range(1, decision.attempts_allowed + 1)
    waits = [
        _in_words(delay(decision, attempt, base_seconds=base_seconds, jitter=0)) or "at once"
        for attempt in attempts
    ]
    often = "once" if len(waits) == 1 else f"up to {len(waits)} times"
    first, *others = dict.fromkeys(waits)
    if first == "at once":
        often = "" if len(waits) == 1 else f"{often}, "
        return f"{often}at once" + (f", then after {' and '.join(others)}" if others else "")
    if len(others) > 2:
        return f"{often}, after {first} at first and {others[-1]} in the end"
    return f"{often}, after {', '.join([first, *others[:-1]])}" + (
        f" and {others[-1]}" if others else ""
    )


def _in_words(seconds: float) -> str:
    """Write a duration; "" for none."""
    if seconds <= 0:
        return ""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
