"""Whose a stall is: the network's, the peer's or ours, and what to say of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

UNANSWERED_PROBES = 2
"""From so many on the network is to blame; one may be left out by a peer that saves answers."""


class Awaited(StrEnum):
    """What a transfer waits for."""

    ROOM = "room"
    """The system takes no more of our data before the peer has taken some."""
    ANSWER = "answer"
    REST = "rest"
    """What is missing of an answer that has begun."""
    HANDSHAKE = "handshake"
    SOURCE = "source"
    """A file, or the next instance."""
    LIMIT = "limit"
    """The rate that this destination may be sent to."""


class Whose(StrEnum):
    """Who keeps a transfer waiting."""

    NETWORK = "network"
    PEER_NOT_READING = "peer_not_reading"
    PEER_SILENT = "peer_silent"
    PEER_UNFINISHED = "peer_unfinished"
    OURS = "ours"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TransportFigures:
    """What the system knows of the connection (Linux: SIOCOUTQ and TCP_INFO).

    Attributes:
        undelivered: bytes handed to the system that the peer has not acknowledged.
        segments_unacknowledged: of these, how many segments are on their way.
        retransmissions: how often in a row the oldest one was sent again without an answer.
        retransmitted: segments sent again since the connection began.
        probes: keep-alive and window probes in a row without an answer.
        window: bytes that the peer takes at the moment; None: an old system does not say.
        heard_seconds: since the peer's system acknowledged anything.
    """

    undelivered: int
    segments_unacknowledged: int = 0
    retransmissions: int = 0
    retransmitted: int = 0
    probes: int = 0
    window: int | None = None
    heard_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A transfer in which nothing moves.

    Attributes:
        seconds: since anything moved.
        detail: one sentence for people.
        figures: None where the system does not tell, or nobody but us is concerned.
    """

    whose: Whose
    awaited: Awaited
    seconds: float
    detail: str
    figures: TransportFigures | None = None


def explain_stall(awaited: Awaited, seconds: float, figures: TransportFigures | None) -> Stall:
    """Say whose a stall is.

    Args:
        awaited: what is waited for.
        seconds: since anything moved.
    """
    whose = _whose(awaited, figures)
    cause = _cause(whose, figures)
    sentence = _SENTENCES[awaited].format(_seconds(seconds))
    detail = f"{sentence}: {cause}." if cause else f"{sentence}."
    return Stall(whose, awaited, seconds, detail, figures)


SAID: Mapping[Whose, str] = {
    Whose.NETWORK: "The network does not deliver: the peer's system acknowledges nothing.",
    Whose.PEER_NOT_READING: "The peer has stopped reading: it takes no more data.",
    Whose.PEER_SILENT: "The peer has received everything and does not answer.",
    Whose.PEER_UNFINISHED: "The peer has begun an answer and does not finish it.",
    Whose.OURS: "We hold back, or the source keeps us waiting.",
    Whose.UNKNOWN: "Nothing moves; this system does not tell who keeps it waiting.",
}
"""One sentence for as long as a stall lasts, without figures that change."""
assert set(SAID) == set(Whose)
_SENTENCES = {
    Awaited.ROOM: "The peer took no data for {} s",
    Awaited.ANSWER: "The peer did not answer for {} s",
    Awaited.REST: "The peer began an answer and did not finish it in {} s",
    Awaited.HANDSHAKE: "The peer did not finish the TLS handshake in {} s",
    Awaited.SOURCE: "Nothing could be read from the source for {} s",
    Awaited.LIMIT: "We have held back for {} s to keep within the limit of this destination",
}


def _whose(awaited: Awaited, figures: TransportFigures | None) -> Whose:
    """Decide by what the peer's system has acknowledged, and whether it takes more."""
    if awaited in (Awaited.SOURCE, Awaited.LIMIT):
        return Whose.OURS
    if figures is None:
        return Whose.UNKNOWN
    if figures.probes >= UNANSWERED_PROBES:
        return Whose.NETWORK
    if figures.undelivered == 0:
        return Whose.PEER_UNFINISHED if awaited is Awaited.REST else Whose.PEER_SILENT
    if figures.window == 0 or figures.segments_unacknowledged == 0:
        return Whose.PEER_NOT_READING  # a window too small to be used is as good as none
    return Whose.NETWORK


def _cause(whose: Whose, figures: TransportFigures | None) -> str:
    if figures is None or whose in (Whose.OURS, Whose.PEER_UNFINISHED):
        return ""
    if whose is Whose.PEER_NOT_READING:
        return "it stopped reading (zero window)"
    if whose is Whose.PEER_SILENT:
        return "it has received everything and is silent"
    if figures.probes >= UNANSWERED_PROBES:
        return f"the network is silent ({figures.probes} probes without an answer)"
    again = f", sent again {figures.retransmissions} times" if figures.retransmissions else ""
    return f"the network has not delivered {figures.undelivered:,} bytes{again}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 1 else f"{seconds:.1f}"
