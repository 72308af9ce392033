"""The words and marks of pages: what people read for the states and answers of the core."""

import re
from dataclasses import dataclass

from sender.analytics.schedules import RunOutcome
from sender.analytics.sends import NO_INSTANCE, FailureGroup
from sender.models import SendState
from sender.negotiation.codes import REJECTION_REASONS, REJECTION_RESULTS, REJECTION_SOURCES
from sender.negotiation.outcomes import (
    AssociationKind,
    ContextResult,
    Ended,
    InstanceOutcome,
    Verdict,
)
from sender.negotiation.stalls import Whose


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state looks: a word, an icon (of heroicons) and a tone (a class of the style sheet)."""

    word: str
    icon: str
    tone: str


ACCEPTED = Mark("Accepted", "check", "accepted")
NOT_CHOSEN = Mark("Not chosen", "minus", "not-chosen")
REJECTED = Mark("Rejected", "x-mark", "rejected")
NOT_NEGOTIATED = Mark("Not negotiated", "bolt", "failed")

VERDICTS: dict[Verdict, Mark] = {
    Verdict.ACCEPTED: ACCEPTED,
    Verdict.NOT_CHOSEN: NOT_CHOSEN,
    Verdict.REJECTED_TRANSFER_SYNTAX: REJECTED,
    Verdict.REJECTED_ABSTRACT_SYNTAX: REJECTED,
    Verdict.USER_REJECTED: REJECTED,
    Verdict.PROVIDER_REJECTED: REJECTED,
    Verdict.NOT_ANSWERED: NOT_NEGOTIATED,
    Verdict.VIOLATION: NOT_NEGOTIATED,
    Verdict.UNKNOWN: NOT_NEGOTIATED,
}

ANSWERS: dict[str, tuple[str, tuple[Verdict, ...]]] = {
    "accepted": ("Accepted", (Verdict.ACCEPTED,)),
    "not_chosen": ("Not chosen", (Verdict.NOT_CHOSEN,)),
    "rejected": (
        "Rejected",
        (
            Verdict.REJECTED_TRANSFER_SYNTAX,
            Verdict.REJECTED_ABSTRACT_SYNTAX,
            Verdict.USER_REJECTED,
            Verdict.PROVIDER_REJECTED,
        ),
    ),
    "not_negotiated": (
        "Not negotiated",
        (Verdict.NOT_ANSWERED, Verdict.VIOLATION, Verdict.UNKNOWN),
    ),
}
"""The four outcomes as a filter: its value, its word, the exact verdicts."""

RESULTS: dict[int, str] = {
    ContextResult.ACCEPTANCE: "Acceptance",
    ContextResult.USER_REJECTION: "User rejection",
    ContextResult.NO_REASON: "No reason (provider rejection)",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "Abstract syntax not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "Transfer syntaxes not supported",
}

REMEDIES: dict[int, str] = {
    ContextResult.USER_REJECTION: "The peer chose not to take it now; ask its administrator.",
    ContextResult.NO_REASON: "Ask the peer's administrator what its log says.",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: (
        "The peer does not take this SOP class at all: ask whether it can be enabled there."
    ),
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: (
        "Propose an uncompressed transfer syntax in a context of its own."
    ),
}

ASSOCIATIONS: dict[AssociationKind, Mark] = {
    AssociationKind.ESTABLISHED: Mark("Established", "check", "accepted"),
    AssociationKind.NO_CONTEXT_ACCEPTED: Mark("No context accepted", "x-mark", "rejected"),
    AssociationKind.REJECTED: Mark("Association rejected", "x-mark", "rejected"),
    AssociationKind.ABORTED_BY_PEER: Mark("Aborted by the peer", "bolt", "failed"),
    AssociationKind.ABORTED_BY_US: Mark("Aborted by us", "bolt", "failed"),
    AssociationKind.CONNECTION_LOST: Mark("Connection lost", "bolt", "failed"),
    AssociationKind.TIMED_OUT: Mark("Timed out", "clock", "failed"),
    AssociationKind.TCP_FAILED: Mark("No TCP connection", "bolt", "failed"),
    AssociationKind.DNS_FAILED: Mark("Name not resolved", "bolt", "failed"),
    AssociationKind.TLS_FAILED: Mark("TLS failed", "bolt", "failed"),
    AssociationKind.REFUSED_LOCALLY: Mark("Not attempted", "minus", "quiet"),
    AssociationKind.INTERRUPTED: Mark("Interrupted", "bolt", "failed"),
}

ENDED: dict[str, str] = {
    Ended.RELEASED: "released",
    Ended.ABORTED_BY_PEER: "aborted by the peer",
    Ended.ABORTED_BY_US: "aborted by us",
    Ended.CONNECTION_LOST: "connection lost",
    Ended.TIMED_OUT: "timed out",
    Ended.INTERRUPTED: "interrupted",
    "": "never established",
}

SEND_STATES: dict[SendState, Mark] = {
    SendState.DRAFT: Mark("Draft", "pencil-square", "quiet"),
    SendState.PLANNING: Mark("Planning", "arrow-path", "running"),
    SendState.QUEUED: Mark("Queued", "clock", "quiet"),
    SendState.RUNNING: Mark("Running", "arrow-path", "running"),
    SendState.PAUSED: Mark("Paused", "pause", "quiet"),
    SendState.CANCELLING: Mark("Cancelling", "stop", "quiet"),
    SendState.SUCCEEDED: Mark("Succeeded", "check", "accepted"),
    SendState.PARTIAL: Mark("Partly sent", "exclamation-triangle", "rejected"),
    SendState.FAILED: Mark("Failed", "bolt", "failed"),
    SendState.ERRORED: Mark("Error of ours", "bug-ant", "failed"),
    SendState.CANCELLED: Mark("Cancelled", "stop", "quiet"),
}

RUN_OUTCOMES: dict[RunOutcome, Mark] = {
    RunOutcome.STARTING: Mark("Starting", "arrow-path", "running"),
    RunOutcome.WAITING: Mark("Waiting for the last run", "clock", "quiet"),
    RunOutcome.RUNNING: Mark("Running", "arrow-path", "running"),
    RunOutcome.CHECKING: Mark("Checking", "arrow-path", "running"),
    RunOutcome.CHECKED: Mark("Checked", "check", "quiet"),
    RunOutcome.SUCCEEDED: Mark("Succeeded", "check", "accepted"),
    RunOutcome.NOTHING_NEW: Mark("Nothing new", "check", "accepted"),
    RunOutcome.PARTIAL: Mark("Partly sent", "exclamation-triangle", "rejected"),
    RunOutcome.FAILED: Mark("Failed", "bolt", "failed"),
    RunOutcome.ERRORED: Mark("Error of ours", "bug-ant", "failed"),
    RunOutcome.CANCELLED: Mark("Cancelled", "stop", "quiet"),
    RunOutcome.SKIPPED: Mark("Skipped", "forward", "warning"),
    RunOutcome.ENDED: Mark("Ended", "minus", "quiet"),
}

INSTANCES: dict[InstanceOutcome, Mark] = {
    InstanceOutcome.SENT: Mark("Sent", "check", "accepted"),
    InstanceOutcome.WARNING: Mark("Warning", "exclamation-triangle", "warning"),
    InstanceOutcome.FAILED: Mark("Failed", "bolt", "failed"),
    InstanceOutcome.UNSENDABLE: Mark("Not sent", "x-mark", "rejected"),
    InstanceOutcome.UNKNOWN: Mark("Unknown", "question-mark-circle", "unknown"),
    InstanceOutcome.CANCELLED: Mark("Cancelled", "stop", "quiet"),
    InstanceOutcome.PENDING: Mark("To send", "clock", "to-send"),
}

STALLS: dict[Whose, Mark] = {
    Whose.NETWORK: Mark("Network", "signal-slash", "failed"),
    Whose.PEER_NOT_READING: Mark("Peer does not read", "no-symbol", "warning"),
    Whose.PEER_SILENT: Mark("Peer is silent", "speaker-x-mark", "warning"),
    Whose.PEER_UNFINISHED: Mark("Answer unfinished", "speaker-x-mark", "warning"),
    Whose.OURS: Mark("Ours", "pause", "quiet"),
    Whose.UNKNOWN: Mark("Nothing moves", "question-mark-circle", "unknown"),
}
"""Who keeps an association waiting."""

NO_CONNECTION = Mark("No connection", "signal-slash", "warning")
NO_ANSWER = Mark("No answer yet", "clock", "warning")
"""What an association waits for that has not been opened for some time."""

CONVERSIONS: dict[str, str] = {
    "none": "Sent unchanged",
    "convert": "Converted",
    "decompress": "Decompressed",
    "": "",
}

TRIGGERS: dict[str, str] = {
    "send": "Send",
    "echo": "Echo",
    "negotiate": "Negotiate only",
    "probe": "Capability probe",
}

REJECTION_REMEDIES: dict[tuple[int, int], str] = {
    (1, 3): "Ask the other side to add our calling AE title to its list.",
    (1, 7): "Check the called AE title with the other side: it does not know this one.",
    (3, 1): "The peer is busy; a later attempt may succeed.",
    (3, 2): "The peer allows no further association now; lower ours or wait.",
}


def say_rejection(result: int, source: int, reason: int) -> str:
    """Say the three codes of an A-ASSOCIATE-RJ in words, numbers included."""
    kind = REJECTION_RESULTS.get(result, "reserved result")
    who = REJECTION_SOURCES.get(source, "reserved source")
    why = REJECTION_REASONS.get((source, reason), "reserved reason")
    return f"{kind}, by the {who}: {why} ({result}/{source}/{reason})"


def say_remedy(group: FailureGroup) -> str:
    """Say what helps where nothing can be tried again."""
    if group.outcome in _OF_OUTCOMES:
        return _OF_OUTCOMES[group.outcome]
    if group.reason == NO_INSTANCE:
        return "Each row says what is wrong with its file."
    if group.outcome == InstanceOutcome.UNSENDABLE:
        return "Have a template propose it, then send again."
    return ""


def say_nothing_to_send(*, excluded: int, already_there: int) -> str:
    """Say why a send that succeeded has no rows."""
    why = [f"{excluded:,} excluded by rule"] if excluded else []
    why += [f"{already_there:,} there already"] if already_there else []
    return f"Nothing to send: {', '.join(why)}" if why else "Nothing to send"


def say_nothing_planned(*, excluded: int, already_there: int, unreadable: int) -> str:
    """Say why a plan holds no kind of data at all."""
    if not excluded and not already_there:
        return "The source holds no instance that can be sent."
    said = say_nothing_to_send(excluded=excluded, already_there=already_there)
    if unreadable:
        said += f", {unreadable:,} without a sendable instance"
    return f"{said}."


_OF_OUTCOMES: dict[str, str] = {
    InstanceOutcome.WARNING: "None is needed: the peer stored it.",
    InstanceOutcome.CANCELLED: "Send again.",
}

HIDDEN = "A source can't be used. Who may read source paths sees which, and why."
_PATH = re.compile(r"(?<![^\s'\"“(:,])/\S")
"""A whole path begins a word, unlike other strokes (0/1, and/or)."""


def without_paths(text: str) -> str:
    """Return a remark for those who may not read source paths; another one where it names one."""
    return HIDDEN if _PATH.search(text) else text


REASONS = {
    "conflict": "conflict: another file has the same SOP Instance UID and other data",
}
"""What pages say instead of reasons that are one word."""
