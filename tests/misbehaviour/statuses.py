"""Every class of status of a C-STORE-RSP, with comments and offending elements of all kinds.

PS3.4 table B.2-1, PS3.7 annex C.
"""

from collections.abc import Iterator
from dataclasses import replace

from sender.negotiation.outcomes import InstanceOutcome
from tests.misbehaviour.catalogue import (
    DELIVERED,
    FAILED,
    INSTANCES,
    SENT,
    WARNING,
    Act,
    Expected,
    Group,
    Misbehaviour,
)
from tests.misbehaviour.dialogue import Dialogue
from tests.scripted_acceptor import RELEASE_RP

WARNINGS = (0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xB123, 0xBFFF)
FAILURES = (
    0x0002, 0x0105, 0x0106, 0x0110, 0x0111, 0x0112, 0x0113, 0x0114, 0x0115, 0x0117, 0x0118,
    0x0119, 0x0120, 0x0121, 0x0122, 0x0123, 0x0124, 0x0210, 0x0211, 0x0212, 0x0213,
    0x1234, 0x9999, 0xA700, 0xA701, 0xA7FF, 0xA800, 0xA900, 0xA9FF, 0xAFFF,
    0xC000, 0xC123, 0xCFFF, 0xD000, 0xFE00, 0xFF02, 0xFFFF,
)  # fmt: skip
COMMENTS: dict[str, bytes] = {
    "plain": b"Disk full",
    "padded with NUL": b"Disk full\0",
    "with NUL inside": b"Disk\0full",
    "with control characters": b"Disk \x1b[31mfull\x07\r\nSent: 0000",
    "4 KB": b"Disk full " * 410,
    "markup": b"Disk full <script>alert(1)</script>",
    "a formula": b"=cmd|'/c calc'!A1 Disk full",
    "UTF-8": "Disk full: Ünïcødé ☃".encode(),
    "Latin-1": "Disk full: café".encode("latin-1"),
    "no text": b"Disk full \xff\xfe\x80\x81",
    "right to left": "Disk full \u202ecod.exe".encode(),
    "empty": b"",
    "blanks": b"    ",
    "quotes and commas": b"Disk full, \"quoted\", 'more'; --",
}
"""Error Comments; those that say anything begin with what people must find again."""
OFFENDING: dict[str, bytes] = {
    "one": b"\x10\0\x20\0",
    "two": b"\x10\0\x20\0\x08\0\x18\0",
    "300": b"\x10\0\x20\0" * 300,
    "of three bytes": b"\x10\0\x20",
    "of six bytes": b"\x10\0\x20\0\x08\0",
    "empty": b"",
}


def _answering(status: int, comment: bytes | None = None, offending: bytes | None = None) -> Act:
    def act(dialogue: Dialogue) -> None:
        """Answer all; a requestor may release before: 0122 and 0124 are about the rest too."""
        dialogue.accept_all()
        while True:
            try:
                request = dialogue.read_request()
            except ConnectionResetError:
                if not dialogue.released:
                    raise
                return dialogue.send(RELEASE_RP)
            dialogue.answer(request, status, comment=comment, offending=offending)

    return act


def _expected(outcome: InstanceOutcome, status: int) -> Expected:
    return replace(
        DELIVERED,
        instances=(outcome,) * INSTANCES,
        statuses=(status,) * INSTANCES,
        instance_says="" if outcome is SENT else f"{status:04X}",
    )


def statuses() -> Iterator[Misbehaviour]:
    """Yield every status, and every comment with a failure and with a warning."""
    for outcome, codes in ((SENT, (0x0000,)), (WARNING, WARNINGS), (FAILED, FAILURES)):
        for code in codes:
            yield Misbehaviour(
                f"{code:04X}", Group.STATUS, _answering(code), _expected(outcome, code)
            )
    for name, comment in COMMENTS.items():
        yield Misbehaviour(
            f"C000, comment {name}", Group.STATUS, _answering(0xC000, comment),
            _expected(FAILED, 0xC000),
        )  # fmt: skip
    for name, offending in OFFENDING.items():
        yield Misbehaviour(
            f"B007, offending element {name}", Group.STATUS,
            _answering(0xB007, b"Disk full", offending), _expected(WARNING, 0xB007),
        )  # fmt: skip
