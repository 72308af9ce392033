"""A-ASSOCIATE-RJ with every result, source and reason, and malformed ones (PS3.8 9.3.4)."""

import struct
from collections.abc import Iterator
from dataclasses import replace

from sender.negotiation.outcomes import AssociationKind
from tests.misbehaviour.catalogue import (
    ABORTED_BY_US,
    NEGOTIATING,
    TIMED_OUT,
    Act,
    Expected,
    Group,
    Misbehaviour,
)
from tests.misbehaviour.dialogue import Dialogue
from tests.scripted_acceptor import rejection

RESULTS = (1, 2)
REASONS = {1: range(1, 11), 2: range(1, 3), 3: range(8)}
"""Reasons by source, PS3.8 table 9-21, the reserved ones among them."""
RESERVED = (
    (0, 1, 1), (3, 1, 1), (255, 1, 1), (1, 0, 1), (1, 4, 1), (2, 255, 1), (1, 1, 0), (2, 1, 11),
    (1, 1, 255), (1, 2, 0), (2, 2, 3), (1, 2, 255), (2, 3, 8), (2, 3, 255), (0, 0, 0),
    (255, 255, 255),
)  # fmt: skip


def _answering(content: bytes) -> Act:
    def act(dialogue: Dialogue) -> None:
        dialogue.read_pdu()
        dialogue.send(content)
        dialogue.drain()

    return act


def _expected(*codes: int) -> Expected:
    result, source, reason = codes
    return replace(
        NEGOTIATING,
        kind=AssociationKind.REJECTED,
        rejection=(result, source, reason),
        says=f"{result}/{source}/{reason}",
    )


def rejections() -> Iterator[Misbehaviour]:
    """Yield every rejection."""
    listed = [
        (result, source, reason)
        for result in RESULTS
        for source, reasons in REASONS.items()
        for reason in reasons
    ]
    for codes in (*listed, *RESERVED):
        yield Misbehaviour(
            "/".join(map(str, codes)), Group.REJECT, _answering(rejection(*codes)),
            _expected(*codes),
        )  # fmt: skip
    yield from malformed()


def _before_the_proposal(dialogue: Dialogue) -> None:
    dialogue.send(rejection(2, 3, 2))
    dialogue.drain()


def _then_reset(dialogue: Dialogue) -> None:
    dialogue.read_pdu()
    dialogue.send(rejection(1, 1, 7))
    dialogue.reset()


def _unread_and_closed(dialogue: Dialogue) -> None:
    """Say no without reading the proposal, as a peer at its limit does."""
    dialogue.send(rejection(2, 3, 2))
    dialogue.connection.close()


def _then_silent(dialogue: Dialogue) -> None:
    dialogue.read_pdu()
    dialogue.send(rejection(1, 1, 3))
    dialogue.stay_silent()


def _rejected(length: int, body: bytes) -> bytes:
    return struct.pack(">BBI", 3, 0, length) + body


def malformed() -> Iterator[Misbehaviour]:
    """Yield rejections of the wrong length, or at the wrong time."""
    for name, act, codes in (
        ("before the A-ASSOCIATE-RQ", _before_the_proposal, (2, 3, 2)),
        ("and the A-ASSOCIATE-RQ is never read", _unread_and_closed, (2, 3, 2)),
        ("and a reset", _then_reset, (1, 1, 7)),
        ("and the connection stays open", _then_silent, (1, 1, 3)),
        ("longer than it may be", _answering(_rejected(8, bytes((0, 2, 3, 1, 9, 9, 9, 9)))),
         (2, 3, 1)),
        ("with a reserved byte", _answering(b"\x03\x09" + rejection(1, 1, 7)[2:6] + b"\x09\1\1\7"),
         (1, 1, 7)),
    ):  # fmt: skip
        yield Misbehaviour(name, Group.REJECT, act, _expected(*codes))
    for name, content in (
        ("without codes", _rejected(0, b"")),
        ("with half its codes", _rejected(2, b"\0\1")),
        ("that claims 4 GiB", _rejected(0xFFFFFFFF, b"\0\1\1\7")),
    ):
        yield Misbehaviour(name, Group.REJECT, _answering(content), ABORTED_BY_US)
    yield Misbehaviour(
        "that claims more than comes",
        Group.REJECT,
        _answering(_rejected(40, b"\0\1\1\7")),
        TIMED_OUT,
        hangs=True,
    )
