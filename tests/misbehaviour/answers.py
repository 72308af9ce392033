"""C-STORE-RSPs that answer something else, or nothing, or can't be read (PS3.7 section 9.3.1).

What names another request, or is not well-formed, leaves the instance unknown; what only lacks an
optional element, or is cut into odd fragments, is an answer.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from sender.negotiation.outcomes import Ended
from tests.misbehaviour.catalogue import (
    CT,
    DELIVERED,
    MR,
    UNKNOWN,
    Act,
    Group,
    Misbehaviour,
    broken,
)
from tests.misbehaviour.dialogue import Dialogue
from tests.scripted_acceptor import (
    RELEASE_RP,
    Request,
    command_set,
    element,
    fragment,
    response,
)

UNTRUSTED = replace(
    broken(Ended.ABORTED_BY_US, UNKNOWN, says="trusted"), instance_says="can't be trusted"
)
Make = Callable[[Request], bytes]


def answers() -> Iterator[Misbehaviour]:
    """Yield every kind of answer; when it comes is in out_of_turn.py."""
    for name, make in (*other_requests(), *undecodable(), *fragments()):
        yield Misbehaviour(name, Group.ANSWER, _always(make), UNTRUSTED)
    for name, make in harmless():
        yield Misbehaviour(name, Group.ANSWER, _always(make, trusted=True), DELIVERED)


def _always(make: Make, *, trusted: bool = False) -> Act:
    """Answer every request with what `make` makes of it."""

    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        while True:
            try:
                asked = dialogue.read_request()
            except ConnectionResetError:
                if dialogue.released:
                    dialogue.send(RELEASE_RP)
                    return
                raise
            dialogue.send(make(asked))
            if trusted:
                dialogue.acknowledged(asked)

    return act


def _with(**changes: bytes | int | str | None) -> Make:
    """Answer 0000 with some elements changed; `None` leaves one out."""
    status = changes.pop("status", 0)
    assert not isinstance(status, bytes | str)
    return lambda asked: fragment(asked.context_id, response(asked, status, **changes))


def _as(change: Callable[[bytes, Request], bytes]) -> Make:
    """Answer 0000 with the command set's bytes changed."""
    return lambda asked: fragment(asked.context_id, change(response(asked), asked))


def _message_id(make: Callable[[int], bytes]) -> Make:
    return lambda asked: fragment(
        asked.context_id, response(asked, message_id=make(asked.number(0x0110)))
    )


def _us(value: int) -> bytes:
    return struct.pack("<H", value % 0x10000)


# Answers to something else


def other_requests() -> Iterator[tuple[str, Make]]:
    """Yield well-formed answers that do not answer our request, or do not say what came of it."""
    yield "message ID 0", _message_id(lambda n: _us(0))
    yield "message ID of the next request", _message_id(lambda n: _us(n + 1))
    yield "message ID of the request before", _message_id(lambda n: _us(n - 1))
    yield "message ID with its bytes swapped", _message_id(lambda n: struct.pack(">H", n))
    yield "message ID of four bytes", _message_id(lambda n: struct.pack("<I", n))
    yield "message ID of two values", _message_id(lambda n: _us(n) * 2)
    yield (
        "message ID in the wrong element",
        _as(lambda command, _: command.replace(b"\0\0\x20\x01", b"\0\0\x10\x01")),
    )
    yield "no message ID", _with(message_id=None)
    yield "an empty message ID", _with(message_id=b"")
    for name, command in (
        ("C-STORE-RQ", 0x0001), ("C-ECHO-RSP", 0x8030), ("C-ECHO-RQ", 0x0030),
        ("C-FIND-RSP", 0x8020), ("C-GET-RSP", 0x8010), ("C-MOVE-RSP", 0x8021),
        ("C-CANCEL-RQ", 0x0FFF), ("N-EVENT-REPORT-RQ", 0x0100), ("N-CREATE-RSP", 0x8140),
        ("0000", 0), ("FFFF", 0xFFFF),
    ):  # fmt: skip
        yield f"command field {name}", _with(command=command)
    yield "no command field", _with(command=None)
    yield "another SOP class", _with(sop_class=MR)
    yield "a SOP class that is no text", _with(sop_class=b"\xff\xfe")
    yield "a SOP class that begins like ours", _with(sop_class=CT + ".1")
    yield "another SOP instance", _with(sop_instance="1.2.3.99")
    yield (
        "a SOP instance that begins like ours",
        _as(lambda command, asked: response(asked, sop_instance=asked.text(0x1000) + "0")),
    )
    yield "the SOP class as SOP instance", _with(sop_instance=CT)
    yield "no status", _with(status=None)
    yield "an empty status", _changed_status(b"")
    yield "a status of four bytes", _changed_status(b"\0\0\0\0")
    yield "a status of one byte", _changed_status(b"\0", pad=False)
    yield "a status of two values", _changed_status(b"\0\0\0\xa7")
    yield "pending", _with(status=0xFF00)
    yield "pending with warnings", _with(status=0xFF01)
    yield "a data set announced", _with(data_set_type=0x0001)
    yield "a data set announced with 0", _with(data_set_type=0x0000)
    yield "a data set announced and sent", _with_data_set
    yield (
        "two statuses that differ",
        _as(lambda command, _: _without_length(command) + element(0x0900, b"\0\xa7")),
    )
    yield (
        "two message IDs that differ",
        _as(lambda command, _: element(0x0120, b"\x63\0") + _without_length(command)),
    )


def _changed_status(value: bytes, *, pad: bool = True) -> Make:
    def make(asked: Request) -> bytes:
        status = element(0x0900, value) if pad else struct.pack("<HHI", 0, 0x0900, 1) + value
        return fragment(asked.context_id, command_set(response(asked, None)[12:] + status))

    return make


def _with_data_set(asked: Request) -> bytes:
    answer = fragment(asked.context_id, response(asked, data_set_type=0x0001))
    return answer + fragment(asked.context_id, b"\x08\0\x18\0\x02\0\0\x001.", control=2)


def _without_length(command: bytes) -> bytes:
    """Return a command set without its group length, which is optional to who reads it."""
    return command[12:]


# Answers that can't be read


def undecodable() -> Iterator[tuple[str, Make]]:
    """Yield answers that are no command set."""
    yield "an empty command", lambda asked: fragment(asked.context_id, b"")
    yield "a command cut off in a value", _as(lambda command, _: command[:-1])
    yield "a command cut off in a header", _as(lambda command, _: command + b"\0\0\0\x10")
    yield (
        "a value beyond the end",
        _as(lambda command, _: command + struct.pack("<HHI", 0, 0x0902, 5000) + b"why"),
    )
    yield (
        "a value of 4 GiB",
        _as(lambda command, _: command + struct.pack("<HHI", 0, 0x0902, 0xFFFFFFFF)),
    )
    yield (
        "an element of another group",
        _as(lambda command, _: command + struct.pack("<HHI", 8, 0x18, 2) + b"1."),
    )
    yield "big endian", _as(lambda command, asked: _reordered(command, ">HHI", big=True))
    yield "explicit VR", _as(lambda command, asked: _explicit(command))
    yield "text", lambda asked: fragment(asked.context_id, b"0000 Success, thank you.\r\n")
    yield "a command of zeros", lambda asked: fragment(asked.context_id, bytes(64))


def _reordered(command: bytes, header: str, *, big: bool = False) -> bytes:
    found, position = b"", 0
    while position < len(command):
        group, number, length = struct.unpack_from("<HHI", command, position)
        value = command[position + 8 : position + 8 + length]
        found += struct.pack(header, group, number, length)
        found += value[::-1] if big and length in (2, 4) else value
        position += 8 + length
    return found


def _explicit(command: bytes) -> bytes:
    found, position = b"", 0
    vrs = {0x0000: b"UL", 0x0002: b"UI", 0x1000: b"UI"}
    while position < len(command):
        group, number, length = struct.unpack_from("<HHI", command, position)
        vr = vrs.get(number, b"US")
        found += struct.pack("<HH2sH", group, number, vr, length)
        found += command[position + 8 : position + 8 + length]
        position += 8 + length
    return found


def fragments() -> Iterator[tuple[str, Make]]:
    """Yield P-DATA-TFs that are wrong in their items or their control header (PS3.8 annex E)."""
    good = response
    yield "in another accepted context", lambda asked: fragment(3, good(asked))
    yield "in a context never proposed", lambda asked: fragment(77, good(asked))
    yield "in context 0", lambda asked: fragment(0, good(asked))
    yield "in an even context", lambda asked: fragment(2, good(asked))
    yield "as data", lambda asked: fragment(1, good(asked), control=2)
    yield "as data not finished", lambda asked: fragment(1, good(asked), control=0)
    yield (
        "its second half in another context",
        lambda asked: fragment(1, good(asked)[:40], control=1) + fragment(3, good(asked)[40:]),
    )
    yield (
        "its second half as data",
        lambda asked: (
            fragment(1, good(asked)[:40], control=1) + fragment(1, good(asked)[40:], control=2)
        ),
    )
    yield (
        "data before the command",
        lambda asked: fragment(1, b"\x08\0\x18\0", control=2) + fragment(1, good(asked)),
    )
    yield "an item without context", lambda asked: _data(struct.pack(">I", 0))
    yield "an item of one byte", lambda asked: _data(struct.pack(">IB", 1, 1))
    yield (
        "an item beyond its PDU",
        lambda asked: _data(struct.pack(">IBB", 5000, 1, 3) + good(asked)),
    )
    yield (
        "an item of 4 GiB",
        lambda asked: _data(struct.pack(">IBB", 0xFFFFFFFF, 1, 3) + good(asked)),
    )
    yield "half an item's length", lambda asked: _data(b"\0\0")
    yield "a byte after the last item", lambda asked: _data(_item(good(asked)) + b"\0")
    yield "two answers in one PDU", lambda asked: _data(_item(good(asked)) * 2)
    yield (
        "a command of 100 000 bytes",
        lambda asked: fragment(
            1, command_set(response(asked)[12:] + element(0x0902, b"x" * 100_000))
        ),
    )


def _item(content: bytes, *, control: int = 3) -> bytes:
    return struct.pack(">IBB", len(content) + 2, 1, control) + content


def _data(body: bytes) -> bytes:
    return struct.pack(">BBI", 4, 0, len(body)) + body


# Strange, but answers


def harmless() -> Iterator[tuple[str, Make]]:
    """Yield answers that leave out what is optional, or are cut into odd pieces."""
    yield "no SOP class", _with(sop_class=None)
    yield "no SOP instance", _with(sop_instance=None)
    yield "neither SOP class nor instance", _with(sop_class=None, sop_instance=None)
    yield "an empty SOP class", _with(sop_class="")
    yield "an empty SOP instance", _with(sop_instance="")
    yield (
        "a SOP instance padded with blanks",
        _as(lambda command, asked: response(asked, sop_instance=asked.text(0x1000) + "  ")),
    )
    yield "no data set type", _with(data_set_type=None)
    yield "an Error Comment with 0000", _with(comment="all is well")
    yield "no group length", _as(lambda command, _: _without_length(command))
    yield "a wrong group length", _as(lambda command, _: command[:8] + b"\xff\0\0\0" + command[12:])
    yield (
        "unknown elements",
        _as(lambda command, _: command_set(_without_length(command) + element(0x5010, b"????"))),
    )
    yield (
        "its own message ID too",
        _as(lambda command, _: command_set(element(0x0110, b"\x07\0") + _without_length(command))),
    )
    yield "elements in another order", _as(
        lambda command, asked: command_set(
            b"".join(
                element(number, value)
                for number, value in reversed(
                    ((0x0002, CT.encode()), (0x0100, b"\x01\x80"),
                     (0x0120, asked.command[0x0110]), (0x0800, b"\1\1"), (0x0900, b"\0\0"))
                )
            )
        )
    )  # fmt: skip
    yield (
        "the same status twice",
        _as(lambda command, _: command_set(_without_length(command) + element(0x0900, b"\0\0"))),
    )
    yield "in fragments of seven bytes", partial(_cut, size=7)
    yield "in fragments of one byte", partial(_cut, size=1)
    yield (
        "in many items of one PDU",
        lambda asked: _data(_item(response(asked)[:30], control=1) + _item(response(asked)[30:])),
    )
    yield (
        "in fragments, an empty one last",
        lambda asked: fragment(1, response(asked), control=1) + fragment(1, b""),
    )
    yield "after an empty P-DATA", lambda asked: _data(b"") + fragment(1, response(asked))
    yield (
        "after empty fragments",
        lambda asked: fragment(1, b"", control=1) * 3 + fragment(1, response(asked)),
    )
    yield (
        "reserved bits of the control header",
        lambda asked: fragment(1, response(asked), control=0xFF),
    )
    yield (
        "a reserved byte that is set",
        lambda asked: b"\x04\x55" + fragment(1, response(asked))[2:],
    )


def _cut(asked: Request, *, size: int) -> bytes:
    whole = response(asked)
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    last = len(pieces) - 1
    return b"".join(
        fragment(1, piece, control=3 if number == last else 1)
        for number, piece in enumerate(pieces)
    )
