"""A-ASSOCIATE-ACs that are wrong, strange or endless, and what else answers a proposal.

PS3.8 section 9.3.3, PS3.7 annex D.3.3. Id 1 is CT in ELE, id 3 Verification in ILE.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

from sender.negotiation.outcomes import Ended, Verdict
from tests.acceptance import context_item, item, user_information
from tests.misbehaviour.catalogue import (
    ABORTED_BY_US,
    CT,
    DELIVERED,
    ELE,
    ILE,
    LOST,
    MR,
    NOTHING_ACCEPTED,
    ROLES_PROPOSAL,
    TIMED_OUT,
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
)

GOOD = (context_item(1, 0, ELE), context_item(3, 0, ILE))
VERIFICATION = GOOD[1]
APPLICATION_CONTEXT = item(0x10, b"1.2.840.10008.3.1.1.1")
INFORMATION = user_information()


@dataclass(frozen=True)
class Acceptance:
    """An A-ASSOCIATE-AC in its parts; the defaults are right.

    Attributes:
        claimed: the length in its header, beyond the true one.
    """

    contexts: tuple[bytes, ...] = GOOD
    information: bytes = INFORMATION
    application_context: bytes = APPLICATION_CONTEXT
    version: int = 1
    called: bytes = b"PEER".ljust(16)
    calling: bytes = b"CONCORDAT".ljust(16)
    reserved: bytes = bytes(32)
    second_byte: int = 0
    trailing: bytes = b""
    claimed: int = 0

    def encode(self) -> bytes:
        """Return the PDU."""
        body = struct.pack(
            ">HH16s16s32s", self.version, 0, self.called, self.calling, self.reserved
        )
        body += self.application_context + b"".join(self.contexts) + self.information
        body += self.trailing
        return struct.pack(">BBI", 2, self.second_byte, len(body) + self.claimed) + body


def answering(content: bytes) -> Act:
    """Answer the proposal with some bytes, then behave, as far as the requestor goes on."""

    def act(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        dialogue.send(content)
        dialogue.serve()

    return act


def answering_in_silence(content: bytes) -> Act:
    """Answer the proposal with some bytes, and nothing after them."""

    def act(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        dialogue.send(content)
        dialogue.drain()

    return act


def acceptances() -> Iterator[Misbehaviour]:
    """Yield everything that can stand in place of a good answer."""
    yield from _as_cases(context_answers())
    yield from _as_cases(harmless())
    yield from _as_cases(undecodable())
    for name, act, expected in (*other_answers(), *repeated()):
        yield Misbehaviour(name, Group.ACCEPT, act, expected)
    yield from slow()
    yield from roles()


def _as_cases(cases: Iterable[tuple[str, Acceptance, Expected]]) -> Iterator[Misbehaviour]:
    for name, acceptance, expected in cases:
        yield Misbehaviour(name, Group.ACCEPT, answering(acceptance.encode()), expected)


# Contexts


def _unusable(result: int | None, verdict: Verdict) -> Expected:
    """Return what is concluded when the context for CT is not accepted, but the other one is."""
    return replace(DELIVERED, instances=(), first_context=(result, verdict))


def context_answers() -> Iterator[tuple[str, Acceptance, Expected]]:
    """Yield answers with something wrong in their presentation contexts."""
    accepted = replace(DELIVERED, first_context=(0, Verdict.ACCEPTED))
    unanswered = _unusable(None, Verdict.NOT_ANSWERED)
    violation = _unusable(0, Verdict.VIOLATION)
    for name, first, expected in (
        ("CT left out", b"", unanswered),
        ("user rejection", context_item(1, 1, ILE), _unusable(1, Verdict.USER_REJECTED)),
        ("no reason", context_item(1, 2, None), _unusable(2, Verdict.PROVIDER_REJECTED)),
        ("no such SOP class", context_item(1, 3, ILE),
         _unusable(3, Verdict.REJECTED_ABSTRACT_SYNTAX)),
        ("no such syntax", context_item(1, 4, ELE), _unusable(4, Verdict.REJECTED_TRANSFER_SYNTAX)),
        ("rejected with a syntax that is none", context_item(1, 4, "junk"),
         _unusable(4, Verdict.REJECTED_TRANSFER_SYNTAX)),
        *((f"result {result}", context_item(1, result, ELE),
           _unusable(result, Verdict.VIOLATION)) for result in (5, 6, 127, 255)),
        ("a syntax never proposed", context_item(1, 0, ILE), violation),
        ("a private syntax never proposed", context_item(1, 0, "1.2.3.4"), violation),
        ("the SOP class as syntax", context_item(1, 0, CT), violation),
        ("an empty syntax", context_item(1, 0, ""), violation),
        ("a syntax of 60 000 bytes", context_item(1, 0, "1." * 30_000), violation),
        ("no syntax", context_item(1, 0, None), violation),
        ("a syntax that is no text", _context(1, item(0x40, b"\xff\xfe\0\x01")), violation),
        ("a syntax with a NUL inside", _context(1, item(0x40, ELE.encode() + b"\0.1")), violation),
        ("two different syntaxes", _context(1, item(0x40, ILE.encode()), item(0x40, ELE.encode())),
         violation),
        ("two different syntaxes, ours first",
         _context(1, item(0x40, ELE.encode()), item(0x40, ILE.encode())), violation),
        ("the same syntax twice", _context(1, *[item(0x40, ELE.encode())] * 2), accepted),
        ("a syntax padded with NUL", _context(1, item(0x40, ELE.encode() + b"\0")), accepted),
        ("a syntax padded with blanks", _context(1, item(0x40, ELE.encode() + b"  ")), accepted),
        ("an abstract syntax beside it",
         _context(1, item(0x30, CT.encode()), item(0x40, ELE.encode())), accepted),
        ("an unknown sub-item beside it",
         _context(1, item(0x99, b"?"), item(0x40, ELE.encode())), accepted),
        ("accepted twice alike", GOOD[0] * 2, accepted),
        ("accepted twice, syntaxes differ", GOOD[0] + context_item(1, 0, ILE), violation),
        ("accepted, then rejected", GOOD[0] + context_item(1, 4, ELE), violation),
        ("rejected, then accepted", context_item(1, 3, ELE) + GOOD[0],
         _unusable(3, Verdict.VIOLATION)),
        ("rejected twice", context_item(1, 3, None) * 2,
         _unusable(3, Verdict.REJECTED_ABSTRACT_SYNTAX)),
        ("rejected twice, reasons differ", context_item(1, 3, None) + context_item(1, 4, None),
         _unusable(3, Verdict.VIOLATION)),
        ("an id never proposed", GOOD[0] + context_item(77, 0, ELE), accepted),
        ("an even id", GOOD[0] + context_item(2, 0, ELE), accepted),
        ("only an even id", context_item(2, 0, ELE), unanswered),
        ("id 0", GOOD[0] + context_item(0, 0, ELE), accepted),
        ("id 255", GOOD[0] + context_item(255, 0, ELE), accepted),
        ("126 further ids", GOOD[0] + b"".join(context_item(i, 0, ELE) for i in range(5, 256, 2)),
         accepted),
        ("an item of the type for proposals", b"\x20" + GOOD[0][1:], unanswered),
        ("reserved bytes that are set", b"\x21\x09" + GOOD[0][2:5] + b"\x09\0\x09" + GOOD[0][8:],
         accepted),
    ):  # fmt: skip
        yield f"CT: {name}", Acceptance(contexts=(first, VERIFICATION)), expected
    yield "contexts in reverse order", Acceptance(contexts=GOOD[::-1]), accepted
    yield "no contexts at all", Acceptance(contexts=()), NOTHING_ACCEPTED
    rejected = (context_item(1, 4, None), context_item(3, 3, None))
    yield "everything rejected", Acceptance(contexts=rejected), NOTHING_ACCEPTED
    foreign = (context_item(1, 0, ILE), context_item(3, 0, ELE))
    yield "syntaxes of one another", Acceptance(contexts=foreign), NOTHING_ACCEPTED
    strangers = (context_item(5, 0, ELE), context_item(7, 0, ILE))
    yield "only ids never proposed", Acceptance(contexts=strangers), NOTHING_ACCEPTED


def _context(context_id: int, *subitems: bytes) -> bytes:
    return item(0x21, bytes((context_id, 0, 0, 0)) + b"".join(subitems))


# What must not matter

SYNC = item(0x53, b"\0\1\0\1")
CLASS_UID = item(0x52, b"1.2.3.4")


def harmless() -> Iterator[tuple[str, Acceptance, Expected]]:
    """Yield answers that are strange, and do no harm."""
    for name, information in (
        ("no user information", b""),
        ("empty user information", item(0x50, b"")),
        ("no maximum length", user_information(None, CLASS_UID)),
        ("a maximum length of two bytes", item(0x50, item(0x51, b"\x40\0"))),
        ("a maximum length of eight bytes", item(0x50, item(0x51, bytes(8)))),
        ("no implementation", user_information(16384)),
        ("an implementation that is no UID", user_information(16384, item(0x52, b"hello"))),
        ("an implementation of 300 bytes", user_information(16384, item(0x52, b"1" * 300))),
        ("a version of 100 bytes", user_information(16384, item(0x55, b"V" * 100))),
        ("an empty version", user_information(16384, item(0x55, b""))),
        ("a version in UTF-8 with control characters",
         user_information(16384, item(0x55, "Ünï\0\x1b[2J\r\n".encode()))),
        ("a version in markup", user_information(16384, item(0x55, b"<script>x</script>"))),
        ("an unknown sub-item", user_information(16384, item(0x77, b"?"))),
        ("an unknown sub-item first", item(0x50, item(0xFE, b"?" * 999) + INFORMATION[4:])),
        ("a window never asked for", user_information(16384, SYNC)),
        ("a window without limit", user_information(16384, item(0x53, bytes(4)))),
        ("a role never asked for", user_information(16384, role(CT, 0, 1))),
        ("a role that is cut off", user_information(16384, item(0x54, b"\0\x19" + CT.encode()))),
        ("extended negotiation never asked for",
         user_information(16384, item(0x56, struct.pack(">H", len(CT)) + CT.encode() + b"\1"))),
        ("common extended negotiation", user_information(16384, item(0x57, b"\0\0\0\0\0\0"))),
        ("a user identity never asked for", user_information(16384, item(0x59, b"\0\2ok"))),
        ("user information twice", user_information(16384) + user_information(32768)),
        ("the maximum length twice", user_information(16384, item(0x51, b"\0\0\x80\0"))),
    ):  # fmt: skip
        yield name, Acceptance(information=information), DELIVERED
    for name, context in (
        ("no application context", b""),
        ("an empty application context", item(0x10, b"")),
        ("another application context", item(0x10, b"1.2.840.10008.3.1.1.2")),
        ("the application context twice", APPLICATION_CONTEXT * 2),
    ):
        yield name, Acceptance(application_context=context), DELIVERED
    yield from (
        ("protocol version 0", Acceptance(version=0), DELIVERED),
        ("protocol version 2", Acceptance(version=2), DELIVERED),
        ("all protocol versions", Acceptance(version=0xFFFF), DELIVERED),
        ("other AE titles", Acceptance(called=b"X" * 16, calling=b"Y" * 16), DELIVERED),
        ("empty AE titles", Acceptance(called=bytes(16), calling=bytes(16)), DELIVERED),
        ("AE titles that are no text", Acceptance(called=b"\xff\0\n" * 5 + b"\1"), DELIVERED),
        ("reserved bytes that are set", Acceptance(reserved=b"\xaa" * 32), DELIVERED),
        ("a second byte that is set", Acceptance(second_byte=0x7F), DELIVERED),
        ("an unknown item at its end", Acceptance(trailing=item(0x88, b"more")), DELIVERED),
        ("zeros at its end", Acceptance(trailing=bytes(8)), DELIVERED),
        ("items in reverse order", Acceptance(
            application_context=INFORMATION, contexts=GOOD[::-1], information=APPLICATION_CONTEXT
        ), DELIVERED),
    )  # fmt: skip


def role(sop_class: str, scu: int, scp: int) -> bytes:
    """Return a role selection sub-item, PS3.7 annex D.3.3.4."""
    uid = sop_class.encode()
    return item(0x54, struct.pack(">H", len(uid)) + uid + bytes((scu, scp)))


# Bad lengths


def undecodable() -> Iterator[tuple[str, Acceptance, Expected]]:
    """Yield answers whose lengths do not fit."""
    too_long = struct.pack(">BBH", 0x21, 0, 0xFFFF) + GOOD[0][4:]
    syntax_too_long = _context(1, struct.pack(">BBH", 0x40, 0, 500) + ELE.encode())
    said_too_long = item(0x50, struct.pack(">BBH", 0x51, 0, 40) + b"\0\0\x40\0")
    for name, acceptance in (
        ("a context of four bytes less", Acceptance(contexts=(item(0x21, b"\1\0"), *GOOD))),
        ("an empty context", Acceptance(contexts=(item(0x21, b""), *GOOD))),
        ("a context beyond the end", Acceptance(contexts=(VERIFICATION, too_long))),
        ("a syntax beyond its context", Acceptance(contexts=(syntax_too_long, VERIFICATION))),
        ("a maximum length beyond its item", Acceptance(information=said_too_long)),
        ("user information beyond the end",
         Acceptance(information=struct.pack(">BBH", 0x50, 0, 500) + INFORMATION[4:])),
        ("half an item at its end", Acceptance(trailing=b"\x21\0\0")),
        ("one byte at its end", Acceptance(trailing=b"\x21")),
        ("a header that claims too little", Acceptance(claimed=-9)),
    ):  # fmt: skip
        yield name, acceptance, replace(ABORTED_BY_US, says="A-ASSOCIATE-AC")


# Other answers


def _header(kind: int, length: int) -> bytes:
    return struct.pack(">BBI", kind, 0, length)


def other_answers() -> Iterator[tuple[str, Act, Expected]]:
    """Yield what is no answer to a proposal, or none that can be read."""
    echo = command_set(element(0x0100, b"\x30\0") + element(0x0800, b"\1\1"))
    for name, content, says in (
        ("an A-ASSOCIATE-AC without content", _header(2, 0), "too short"),
        ("an A-ASSOCIATE-AC of 10 bytes", _header(2, 10) + bytes(10), "too short"),
        ("an A-ASSOCIATE-AC of 67 bytes", _header(2, 67) + bytes(67), "too short"),
        ("4 GiB", _header(2, 0xFFFFFFFF), "announced"),
        ("4 GiB, begun", _header(2, 0xFFFFFFFF) + bytes(4096), "announced"),
        ("2 GiB", _header(2, 0x7FFFFFFF), "announced"),
        ("16 MiB", _header(2, 1 << 24) + bytes(64), "announced"),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak DICOM"),
        ("SMTP", b"220 mail.example ESMTP\r\n", "begins with \"220 mail.example ESMTP\""),
        ("a TLS alert", b"\x15\x03\x01\0\x02\x02\x0a", ""),
        ("zeros", bytes(64), "type 00"),
        ("noise", b"\xff" * 64, "announced"),
        ("P-DATA", fragment(1, echo), "P-DATA-TF"),
        ("an empty P-DATA", _header(4, 0), "P-DATA-TF"),
        ("an A-RELEASE-RQ", RELEASE_RQ, "A-RELEASE-RQ"),
        ("an A-RELEASE-RP", RELEASE_RP, "A-RELEASE-RP"),
        *((f"a PDU of type {kind:02X}", _header(kind, 4) + bytes(4), f"{kind:02X}")
          for kind in (0x00, 0x08, 0x09, 0x7F, 0xFF)),
    ):  # fmt: skip
        yield name, answering_in_silence(content), replace(ABORTED_BY_US, says=says)
    yield "our own proposal", _mirror, replace(ABORTED_BY_US, says="A-ASSOCIATE-RQ")
    yield "a stream without end", _stream, ABORTED_BY_US
    cut = Acceptance().encode()[:-8]
    yield "an A-ASSOCIATE-AC cut off", _cut_off(cut), LOST


def _mirror(dialogue: Dialogue) -> None:
    dialogue.send(dialogue.read_pdu())
    dialogue.drain()


def _stream(dialogue: Dialogue) -> None:
    dialogue.read_proposal()
    dialogue.send(_header(2, 0xFFFFFFF0))
    for block in repeat(bytes(1 << 16)):
        dialogue.send(block)


def _cut_off(content: bytes) -> Act:
    def act(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        dialogue.send(content)
        dialogue.hang_up()

    return act


def repeated() -> Iterator[tuple[str, Act, Expected]]:
    """Yield good answers with something after them that nobody asked for."""
    good = Acceptance().encode()
    ended = broken(Ended.ABORTED_BY_US)
    uninvited = command_set(
        element(0x0002, b"1.2.840.10008.1.1") + element(0x0100, b"\x30\0")
        + element(0x0110, b"\1\0") + element(0x0800, b"\1\1")
    )  # fmt: skip
    early = command_set(
        element(0x0100, b"\x01\x80") + element(0x0120, b"\1\0")
        + element(0x0800, b"\1\1") + element(0x0900, b"\0\0")
    )  # fmt: skip
    for name, after in (
        ("accepted twice", good),
        ("a C-ECHO-RQ of its own", fragment(3, uninvited)),
        ("an answer before the request", fragment(1, early)),
        ("noise", b"\xff" * 32),
        ("a rejection", b"\x03\0\0\0\0\x04\0\1\1\1"),
    ):
        yield f"accepted, then {name}", answering_in_silence(good + after), ended


# Slowly


def slow() -> Iterator[Misbehaviour]:
    """Yield answers that come slowly, too slowly, or never whole."""

    def in_single_bytes(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        dialogue.drip(Acceptance().encode())
        dialogue.serve()

    def late(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        dialogue.ended.wait(0.3)
        dialogue.send(Acceptance().encode())
        dialogue.serve()

    def without_end(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        dialogue.send(_header(2, 1 << 19))
        dialogue.drip(b"\x21\0\0\x08\x01\0\0\0\x40\0\0\0" * 9999, size=12, pause=0.01)

    def without_type(dialogue: Dialogue) -> None:
        dialogue.read_proposal()
        dialogue.send(b"\2\0")
        dialogue.drain()

    yield Misbehaviour("in single bytes", Group.ACCEPT, in_single_bytes, DELIVERED)
    yield Misbehaviour("late, but in time", Group.ACCEPT, late, DELIVERED)
    for name, act in (
        ("dripping without end", without_end),
        ("two bytes only", without_type),
        ("a header only", answering_in_silence(_header(2, 100))),
        ("claims more than comes", answering_in_silence(Acceptance(claimed=64).encode())),
        ("a banner of four bytes", answering_in_silence(b"hi\r\n")),
    ):
        yield Misbehaviour(name, Group.ACCEPT, act, TIMED_OUT, hangs=True)
    left_over = answering_in_silence(Acceptance(claimed=-len(INFORMATION)).encode())
    expected = broken(Ended.TIMED_OUT)
    yield Misbehaviour("the rest left over", Group.ACCEPT, left_over, expected, hangs=True)


# Roles


def roles() -> Iterator[Misbehaviour]:
    """Yield answers to a role selection; what denies us the SCU role carries nothing."""
    denied = replace(DELIVERED, instances=(), first_context=(0, Verdict.ACCEPTED))
    for name, answers, expected in (
        ("both granted", role(CT, 1, 1), DELIVERED),
        ("SCU granted", role(CT, 1, 0), DELIVERED),
        ("not answered", b"", DELIVERED),
        ("answered for another SOP class", role(MR, 0, 0), DELIVERED),
        ("answer cut off", item(0x54, b"\0\x19" + CT.encode()), DELIVERED),
        ("SCP granted only", role(CT, 0, 1), denied),
        ("none granted", role(CT, 0, 0), denied),
        ("reserved values", role(CT, 2, 255), denied),
    ):
        acceptance = Acceptance(information=user_information(16384, answers))
        yield Misbehaviour(
            f"roles: {name}",
            Group.ACCEPT,
            answering(acceptance.encode()),
            expected,
            proposal=ROLES_PROPOSAL,
        )
