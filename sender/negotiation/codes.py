"""The codes of A-ASSOCIATE-RJ and A-ABORT in words (PS3.8 tables 9-21 and 9-26)."""

from sender.negotiation.outcomes import Rejection

REJECTION_RESULTS: dict[int, str] = {1: "permanent", 2: "transient"}
REJECTION_SOURCES: dict[int, str] = {
    1: "service user",
    2: "service provider (ACSE)",
    3: "service provider (presentation)",
}
REJECTION_REASONS: dict[tuple[int, int], str] = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""Source and reason of an A-ASSOCIATE-RJ."""
ABORT_SOURCES: dict[int, str] = {0: "service user", 2: "service provider"}
ABORT_REASONS: dict[int, str] = {
    0: "no reason given",
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
"""Reasons of an A-ABORT by the service provider; the service user gives none."""


def say_rejection(found: Rejection) -> str:
    """Say in a sentence what an A-ASSOCIATE-RJ says, the numbers of its codes included."""
    kind = REJECTION_RESULTS.get(found.result, "reserved result")
    who = REJECTION_SOURCES.get(found.source, "reserved source")
    why = REJECTION_REASONS.get((found.source, found.reason), "reserved reason")
    numbers = f"{found.result}/{found.source}/{found.reason}"
    return f"The peer rejected the association: {why} ({kind}, by the {who}, {numbers})."


def say_abort(source: int, reason: int) -> str:
    """Say the two codes of an A-ABORT in words, numbers included."""
    who = ABORT_SOURCES.get(source, "reserved source")
    why = "no reason given" if source == 0 else "reserved reason"
    if source == 2:
        why = ABORT_REASONS.get(reason, why)
    return f"{why} (by the {who}, {source}/{reason})"
