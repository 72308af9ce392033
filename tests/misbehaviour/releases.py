"""Releases that collide, come in the middle, or are answered oddly (PS3.8 section 7.2)."""

import struct
from collections.abc import Iterator
from itertools import repeat

from sender.negotiation.outcomes import Ended, Phase
from tests.misbehaviour.catalogue import (
    DELIVERED,
    INSTANCES,
    LARGE,
    SENT,
    UNKNOWN,
    Act,
    Expected,
    Group,
    Misbehaviour,
    broken,
)
from tests.misbehaviour.dialogue import Dialogue
from tests.scripted_acceptor import RELEASE_RP, RELEASE_RQ, fragment, rejection, response

ALL_SENT = (SENT,) * INSTANCES


def at_the_release(*contents: bytes) -> Act:
    """Answer our A-RELEASE-RQ with these, one after another."""

    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        dialogue.await_release()
        for content in contents:
            dialogue.send(content)
        dialogue.drain()

    return act


def releases() -> Iterator[Misbehaviour]:
    """Yield everything that can happen around a release."""
    for name, act, expected in (*odd_answers(), *in_the_middle()):
        yield Misbehaviour(name, Group.RELEASE, act, expected)
    yield Misbehaviour(
        "an A-RELEASE-RQ in the data set", Group.RELEASE, _release_in_data,
        broken(Ended.RELEASED, UNKNOWN), size=LARGE, receive_buffer=1 << 16,
    )  # fmt: skip
    for name, act in (
        ("a collision without an A-RELEASE-RP", at_the_release(RELEASE_RQ)),
        ("an A-RELEASE-RP of which half comes", at_the_release(RELEASE_RP[:7])),
        ("answers without an A-RELEASE-RP", at_the_release(fragment(1, b"xx") * 3)),
    ):
        expected = broken(Ended.TIMED_OUT, *ALL_SENT, phase=Phase.RELEASE)
        yield Misbehaviour(name, Group.RELEASE, act, expected, hangs=True)


def odd_answers() -> Iterator[tuple[str, Act, Expected]]:
    """Yield what may answer our A-RELEASE-RQ."""
    left = broken(Ended.ABORTED_BY_US, *ALL_SENT, phase=Phase.RELEASE)
    lost = broken(Ended.CONNECTION_LOST, *ALL_SENT, phase=Phase.RELEASE)
    for name, contents in (
        ("an A-RELEASE-RP without content", (b"\x06\0\0\0\0\0",)),
        ("an A-RELEASE-RP that is too long", (b"\x06\0\0\0\0\x64" + bytes(100),)),
        ("an A-RELEASE-RP in single bytes", tuple(bytes((byte,)) for byte in RELEASE_RP)),
        ("two A-RELEASE-RPs", (RELEASE_RP, RELEASE_RP)),
        ("a collision", (RELEASE_RQ, RELEASE_RP)),
        ("a collision, the answer first", (RELEASE_RP, RELEASE_RQ)),
        ("a late answer first", (fragment(1, b"xx"), RELEASE_RP)),
    ):
        yield name, at_the_release(*contents), DELIVERED
    yield "a collision as the standard has it", _collide, DELIVERED
    yield "the last answer twice", _answer_last_twice, DELIVERED
    for name, content in (
        ("an A-ASSOCIATE-AC", struct.pack(">BBI", 2, 0, 68) + bytes(68)),
        ("an A-ASSOCIATE-RJ", rejection(1, 1, 1)),
        ("a PDU of an unknown type", b"\x0b\0\0\0\0\x02??"),
        ("noise", b"\xff" * 64),
        ("zeros", bytes(60)),
        ("4 GiB", struct.pack(">BBI", 6, 0, 0xFFFFFFFF)),
    ):
        yield f"{name} for the A-RELEASE-RP", at_the_release(content), left
    yield "answers without end for the A-RELEASE-RP", _flood, left
    yield "a collision, then closed", _collide_and_close, lost


def _collide(dialogue: Dialogue) -> None:
    """Say A-RELEASE-RQ at the same time, and answer ours once ours to theirs has come."""
    dialogue.accept_all()
    dialogue.await_release()
    dialogue.send(RELEASE_RQ)
    assert dialogue.read_pdu()[0] == 6, "the requestor of the association answers first"
    dialogue.send(RELEASE_RP)
    dialogue.drain()


def _collide_and_close(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.await_release()
    dialogue.send(RELEASE_RQ)
    dialogue.hang_up()


def _answer_last_twice(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.serve(INSTANCES - 1)
    asked = dialogue.read_request()
    dialogue.answer(asked)
    assert dialogue.read_pdu()[0] == 5
    dialogue.send(fragment(1, response(asked)) + RELEASE_RP)
    dialogue.drain()


def _flood(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.await_release()
    for content in repeat(fragment(1, bytes(1000))):
        dialogue.send(content)


def in_the_middle() -> Iterator[tuple[str, Act, Expected]]:
    """Yield releases by the acceptor, which it may ask for at any time."""
    yield "an A-RELEASE-RQ after the A-ASSOCIATE-AC", _release_at_once, broken(Ended.RELEASED)
    yield "an A-RELEASE-RQ after an answer", _release_after_one, broken(Ended.RELEASED, SENT)
    yield "an A-RELEASE-RQ instead of an answer", _release_instead, broken(Ended.RELEASED, UNKNOWN)


def _release_at_once(dialogue: Dialogue) -> None:
    dialogue.read_proposal()
    with dialogue.holding_back():
        dialogue.send(dialogue.acceptance())
    dialogue.ask_for_release()
    dialogue.see_out()


def _release_after_one(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    asked = dialogue.read_request()
    with dialogue.holding_back():
        dialogue.answer(asked)
    dialogue.ask_for_release()
    dialogue.see_out()


def _release_instead(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.read_request()
    dialogue.ask_for_release()
    dialogue.see_out()


def _release_in_data(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.read_command()
    dialogue.send(RELEASE_RQ)
    dialogue.drain()
