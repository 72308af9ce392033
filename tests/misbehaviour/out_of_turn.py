"""Right answers at the wrong time, and PDUs that have no place in a transfer (PS3.8)."""

import struct
from collections.abc import Iterator
from dataclasses import replace

from sender.negotiation.outcomes import Ended
from tests.misbehaviour.answers import UNTRUSTED
from tests.misbehaviour.catalogue import (
    DELIVERED,
    FAILED,
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
from tests.scripted_acceptor import (
    RELEASE_RP,
    RELEASE_RQ,
    command_set,
    element,
    fragment,
    rejection,
    response,
)


def answers_out_of_turn() -> Iterator[Misbehaviour]:
    """Yield what comes at the wrong time, or instead of an answer."""
    for name, act, expected in (*out_of_turn(), *other_pdus()):
        yield Misbehaviour(name, Group.ANSWER, act, expected)
    yield from slow()
    yield from early()


def out_of_turn() -> Iterator[tuple[str, Act, Expected]]:
    """Yield right answers at the wrong time, or more of them than there were requests."""
    once = broken(Ended.ABORTED_BY_US, SENT)
    yield "twice", _then_again(0), once
    yield "twice, the second time a failure", _then_again(0xA700), once
    yield "the next answer before its request", _in_advance, once
    yield (
        "the second request by the first answer again",
        _stale,
        broken(Ended.ABORTED_BY_US, SENT, UNKNOWN),
    )
    yield "a C-ECHO-RQ of its own instead", _ask_ourselves, broken(Ended.ABORTED_BY_US, UNKNOWN)


def _then_again(status: int) -> Act:
    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        asked = dialogue.read_request()
        with dialogue.holding_back():
            dialogue.answer(asked)
        dialogue.send(fragment(asked.context_id, response(asked, status)))
        dialogue.see_out()

    return act


def _in_advance(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    asked = dialogue.read_request()
    with dialogue.holding_back():
        dialogue.answer(asked)
    follower = asked.number(0x0110) + 1
    dialogue.send(fragment(1, response(asked, message_id=follower, sop_instance=None)))
    dialogue.see_out()


def _stale(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    first = dialogue.read_request()
    dialogue.answer(first)
    dialogue.read_request()
    dialogue.send(fragment(1, response(first)))
    dialogue.drain()


def _ask_ourselves(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.read_request()
    dialogue.send(
        fragment(
            3,
            command_set(
                element(0x0002, b"1.2.840.10008.1.1")
                + element(0x0100, b"\x30\0")
                + element(0x0110, b"\1\0")
                + element(0x0800, b"\1\1")
            ),
        )
    )
    dialogue.drain()


def other_pdus() -> Iterator[tuple[str, Act, Expected]]:
    """Yield PDUs that have no place in the middle of a transfer."""
    left = broken(Ended.ABORTED_BY_US, UNKNOWN)
    for name, content in (
        ("an A-ASSOCIATE-RQ", b"\x01\0" + struct.pack(">I", 68) + bytes(68)),
        ("an A-ASSOCIATE-AC", b"\x02\0" + struct.pack(">I", 68) + bytes(68)),
        ("an A-ASSOCIATE-RJ", rejection(1, 1, 1)),
        ("an A-RELEASE-RP never asked for", RELEASE_RP),
        ("a PDU of an unknown type", b"\x0b\0\0\0\0\x02??"),
        ("4 GiB of P-DATA", struct.pack(">BBI", 4, 0, 0xFFFFFFFF)),
        ("HTTP", b"HTTP/1.1 500 Internal Server Error\r\n\r\n"),
        ("zeros", bytes(64)),
    ):
        yield name, _instead(content), left
    yield "an A-RELEASE-RQ", _instead(RELEASE_RQ), broken(Ended.RELEASED, UNKNOWN)


def _instead(content: bytes) -> Act:
    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        dialogue.read_request()
        dialogue.send(content)
        dialogue.drain()

    return act


def slow() -> Iterator[Misbehaviour]:
    """Yield answers that come slowly, too slowly, or never whole."""

    def drip(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        asked = dialogue.read_request()
        dialogue.drip(fragment(1, response(asked)), size=20, pause=0.01)
        dialogue.acknowledged(asked)
        dialogue.serve()

    def late(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        asked = dialogue.read_request()
        dialogue.ended.wait(0.3)
        dialogue.answer(asked)
        dialogue.serve()

    def pieces(content: bytes, *, pause: float) -> Act:
        def act(dialogue: Dialogue) -> None:
            dialogue.accept_all()
            dialogue.read_request()
            dialogue.drip(content * 9999, size=len(content), pause=pause)

        return act

    yield Misbehaviour("in pieces", Group.ANSWER, drip, DELIVERED)
    yield Misbehaviour("late, but in time", Group.ANSWER, late, DELIVERED)
    for name, act in (
        ("an empty P-DATA again and again", pieces(struct.pack(">BBI", 4, 0, 0), pause=0.01)),
        ("an empty fragment again and again", pieces(fragment(1, b"", control=1), pause=0.01)),
        ("a P-DATA without end", pieces(b"\x04\0\0\0\xff\xff", pause=0.02)),
        ("never the last fragment", _instead(fragment(1, bytes(8), control=1))),
        ("a header of P-DATA only", _instead(struct.pack(">BBI", 4, 0, 200))),
    ):
        expected = broken(Ended.TIMED_OUT, UNKNOWN)
        yield Misbehaviour(name, Group.ANSWER, act, expected, hangs=True)


def early() -> Iterator[Misbehaviour]:
    """Yield answers to large requests of which the acceptor has not read all."""
    refused = replace(DELIVERED, instances=(FAILED,) * INSTANCES, statuses=(0xA700,) * INSTANCES)
    not_yet = replace(UNTRUSTED, instance_says="before")
    stuck = broken(Ended.TIMED_OUT, UNKNOWN)
    flooded = broken(Ended.ABORTED_BY_US, UNKNOWN)
    for name, act, expected in (
        ("A700 before the data set", _refuse_early, refused),
        ("0000 before the data set", _confirm_early, not_yet),
        ("0000 before the data set, which is never read", _confirm_unread, stuck),
        ("a flood while we send", _flood, flooded),
    ):
        yield Misbehaviour(
            name,
            Group.ANSWER,
            act,
            expected,
            hangs=expected is stuck,
            size=2_000_000 if expected is refused else LARGE,
            receive_buffer=1 << 16,
        )


def _refuse_early(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    for _ in range(INSTANCES):
        asked = dialogue.read_command()
        dialogue.send(fragment(1, response(asked, 0xA700)))
        dialogue.read_data_set(asked)
        dialogue.acknowledged(asked, 0xA700)
    dialogue.serve()


def _confirm_unread(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    asked = dialogue.read_command()
    dialogue.send(fragment(1, response(asked)))
    dialogue.stay_silent()


def _confirm_early(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    asked = dialogue.read_command()
    dialogue.send(fragment(1, response(asked)))
    for _ in range(50):  # long enough for the requestor to hear it while it still sends
        dialogue.read_some(1 << 15)
        dialogue.ended.wait(0.02)
    dialogue.drain()


def _flood(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.read_command()
    while True:
        dialogue.send(fragment(1, bytes(1 << 16), control=1))
