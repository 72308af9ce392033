"""Whose a stall is, by the figures of the system alone."""

import pytest

from sender.negotiation.stalls import Awaited, TransportFigures, Whose, explain_stall

F = TransportFigures


@pytest.mark.parametrize(
    ("awaited", "figures", "whose", "detail"),
    [
        (
            Awaited.ROOM,
            F(4_075_008, window=0),
            Whose.PEER_NOT_READING,
            "The peer took no data for 60 s: it stopped reading (zero window).",
        ),
        (
            Awaited.ANSWER,
            F(9_000, segments_unacknowledged=0, window=12),
            Whose.PEER_NOT_READING,
            "The peer did not answer for 60 s: it stopped reading (zero window).",
        ),
        (
            Awaited.ANSWER,
            F(0, window=70_656),
            Whose.PEER_SILENT,
            "The peer did not answer for 60 s: it has received everything and is silent.",
        ),
        (
            Awaited.ROOM,
            F(123_456, segments_unacknowledged=3, retransmissions=7, window=70_656),
            Whose.NETWORK,
            "The peer took no data for 60 s: "
            "the network has not delivered 123,456 bytes, sent again 7 times.",
        ),
        (
            Awaited.ANSWER,
            F(1_000, segments_unacknowledged=1, window=70_656),
            Whose.NETWORK,
            "The peer did not answer for 60 s: the network has not delivered 1,000 bytes.",
        ),
        (
            Awaited.ANSWER,
            F(0, probes=5, window=70_656),
            Whose.NETWORK,
            "The peer did not answer for 60 s: the network is silent (5 probes without an answer).",
        ),
        (
            Awaited.ROOM,
            F(4_075_008, probes=4, window=0),
            Whose.NETWORK,
            "The peer took no data for 60 s: the network is silent (4 probes without an answer).",
        ),
        (
            Awaited.HANDSHAKE,
            F(0, window=70_656),
            Whose.PEER_SILENT,
            "The peer did not finish the TLS handshake in 60 s: "
            "it has received everything and is silent.",
        ),
        (Awaited.ANSWER, None, Whose.UNKNOWN, "The peer did not answer for 60 s."),
        (
            Awaited.REST,
            F(0, window=70_656),
            Whose.PEER_UNFINISHED,
            "The peer began an answer and did not finish it in 60 s.",
        ),
        (
            Awaited.REST,
            F(0, probes=5, window=70_656),
            Whose.NETWORK,
            "The peer began an answer and did not finish it in 60 s: "
            "the network is silent (5 probes without an answer).",
        ),
        (
            Awaited.SOURCE,
            None,
            Whose.OURS,
            "Nothing could be read from the source for 60 s.",
        ),
        (
            Awaited.LIMIT,
            None,
            Whose.OURS,
            "We have held back for 60 s to keep within the limit of this destination.",
        ),
    ],
)
def test_a_stall_has_an_owner_and_a_sentence(
    awaited: Awaited, figures: TransportFigures | None, whose: Whose, detail: str
) -> None:
    stall = explain_stall(awaited, 60.0, figures)
    assert (stall.whose, stall.detail) == (whose, detail)
    assert (stall.awaited, stall.seconds, stall.figures) == (awaited, 60.0, figures)


def test_one_probe_without_an_answer_accuses_nobody() -> None:
    """A peer with a closed window leaves out an answer that would come too soon after another."""
    figures = F(4_075_008, probes=1, window=0)
    assert explain_stall(Awaited.ROOM, 2.0, figures).whose is Whose.PEER_NOT_READING


def test_an_old_system_that_does_not_tell_the_window_is_understood() -> None:
    held = F(9_000, segments_unacknowledged=0, window=None)
    assert explain_stall(Awaited.ROOM, 2.0, held).whose is Whose.PEER_NOT_READING
    moving = F(9_000, segments_unacknowledged=4, window=None)
    assert explain_stall(Awaited.ROOM, 2.0, moving).whose is Whose.NETWORK
