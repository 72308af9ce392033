"""Maximum lengths of all kinds, and data sets at the borders of PDUs (PS3.7 annex D.3.3.1)."""

from collections.abc import Iterator
from dataclasses import replace

from tests.acceptance import acceptance_pdu, user_information
from tests.misbehaviour.catalogue import (
    ABORTED_BY_US,
    DELIVERED,
    ELE,
    ILE,
    Act,
    Group,
    Misbehaviour,
)
from tests.misbehaviour.dialogue import Dialogue

TOO_SMALL = (1, 2, 5, 6, 7)
TAKEN = (8, 9, 10, 16, 64, 127, 128, 129, 1000, 16383, 16384, 131071, 1 << 20, 0x7FFFFFFF)
UNLIMITED = (0, 0xFFFFFFFF)
PDU = 128 - 12
"""Bytes of a data set in one PDU of 128 bytes, header and item included."""


def accepting(maximum_length: int) -> Act:
    """Say a maximum length and make sure that it is kept, in fragments of even length."""

    def act(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        answers = [(1, 0, ELE), (3, 0, ILE)]
        dialogue.send(acceptance_pdu(answers, information=user_information(maximum_length)))
        try:
            dialogue.serve()
        finally:
            check_pdus(dialogue, maximum_length)

    return act


def check_pdus(dialogue: Dialogue, maximum_length: int) -> None:
    """Make sure that every P-DATA-TF is as long as allowed, and every fragment of even length.

    PS3.8 annex D.1.1 (maximum length), PS3.7 annex F of old and PS3.8 section 9.3.5 (even length).
    """
    for pdu in dialogue.received:
        if pdu[0] == 4:
            length = len(pdu) - 6
            assert length <= (maximum_length or length), f"{length} bytes are more than allowed"
            fragment_length = int.from_bytes(pdu[6:10], "big") - 2
            assert fragment_length % 2 == 0, f"a fragment of {fragment_length} bytes"


def sizes() -> Iterator[Misbehaviour]:
    """Yield every maximum length, and data sets of every size at a small one."""
    for length in TOO_SMALL:
        yield Misbehaviour(
            f"at most {length}", Group.SIZE, accepting(length),
            replace(ABORTED_BY_US, says=f"at most {length} byte"),
        )  # fmt: skip
    for length in (*TAKEN, *UNLIMITED):
        yield Misbehaviour(f"at most {length}", Group.SIZE, accepting(length), DELIVERED)
    for size in (0, 2, PDU - 2, PDU, PDU + 2, 2 * PDU, 2 * PDU + 2, 40_000):
        yield Misbehaviour(
            f"{size} bytes at most 128 at a time", Group.SIZE, accepting(128), DELIVERED, size=size
        )
    yield Misbehaviour(
        "500 000 bytes at most 16384 at a time", Group.SIZE, accepting(16384), DELIVERED,
        size=500_000,
    )  # fmt: skip
