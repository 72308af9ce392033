"""Whatever a peer does is a value, in time, and nothing is called sent without its word."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path

import pytest

from sender.dicom.connecting import ConnectFailed, connect
from sender.dicom.requestor import FileRange, NetworkAssociation, NetworkRequestor, StoreRequest
from sender.negotiation import syntaxes
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.outcomes import (
    Abort,
    AssociationKind,
    AssociationOutcome,
    Ended,
    InstanceOutcome,
    Phase,
    Rejection,
    StoreOutcome,
)
from sender.negotiation.peers import Peer, Timeouts
from sender.negotiation.sop_classes import VERIFICATION
from tests.acceptance import acceptance_pdu, item, user_information
from tests.processes import ROOT
from tests.scripted_acceptor import (
    RELEASE_RP,
    RELEASE_RQ,
    Conversation,
    Request,
    Script,
    abort,
    acceptor,
    fragment,
    parse_command,
    rejection,
    response,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
ILE, ELE = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE
PROPOSAL = Proposal.of([ContextSpec(CT, (ELE,)), ContextSpec(VERIFICATION, (ILE,))])
ALL = ((1, 0, ELE), (3, 0, ILE))
QUICK = Timeouts(connect=0.3, tls=0.3, acse=0.3, progress=0.3, answer=0.3)
GRACE_SECONDS = 2.5
DATA = b"\x08\x00\x18\x00UI\x04\x001.2\x00" * 20


def associate(
    port: int, timeouts: Timeouts = QUICK, maximum_length: int = 16384
) -> NetworkAssociation:
    peer = Peer("127.0.0.1", port, "PEER", timeouts=timeouts, maximum_length=maximum_length)
    return NetworkRequestor().associate(peer, PROPOSAL)


def outcome_of(*scripts: Script) -> AssociationOutcome:
    """Negotiate with a script and release; make sure that it takes no longer than it may."""
    with acceptor(*scripts) as peer:
        began = time.monotonic()
        association = associate(peer.port)
        association.release()
        assert time.monotonic() - began < GRACE_SECONDS
        return association.outcome()


def request(number: int = 1, data: bytes = DATA) -> StoreRequest:
    return StoreRequest(CT, f"1.2.3.{number}", 1, data)


def store(
    script: Script, count: int = 1, **peer: object
) -> tuple[list[StoreOutcome], AssociationOutcome]:
    """Store some instances with a script that has accepted everything."""

    def whole(conversation: Conversation) -> None:
        conversation.accept(ALL)
        script(conversation)

    with acceptor(whole) as running:
        association = associate(running.port, **peer)  # type: ignore[arg-type]
        assert association.is_open
        requests = (request(number) for number in range(1, count + 1))
        began = time.monotonic()
        stored = [outcome for _, outcome in association.store_many(requests)]
        association.release()
        assert time.monotonic() - began < GRACE_SECONDS
        return stored, association.outcome()


def accepting(contexts: Sequence[tuple[int, int, str | None]]) -> Script:
    """Answer the proposal, then join in the release."""

    def script(conversation: Conversation) -> None:
        conversation.accept(contexts)
        conversation.finish()

    return script


def well_behaved(conversation: Conversation) -> None:
    """Answer every C-STORE with 0000, then the release."""
    while True:
        pdu_seen = len(conversation.received)
        try:
            asked = conversation.read_request()
        except ConnectionResetError:
            if conversation.received[pdu_seen:] and conversation.received[-1][0] == 5:
                conversation.send(RELEASE_RP)
            return
        conversation.answer(asked)


# Negotiation


def test_nobody_listens() -> None:
    with acceptor(lambda _: None) as peer:
        port = peer.port
    found = associate(port).outcome()
    assert (found.kind, found.phase, found.ended) == (
        AssociationKind.TCP_FAILED,
        Phase.CONNECT,
        None,
    )


def test_a_name_that_nobody_has() -> None:
    peer = Peer("no-such-host.invalid", 104, "PEER", timeouts=QUICK)
    found = NetworkRequestor().associate(peer, PROPOSAL).outcome()
    assert (found.kind, found.phase) == (AssociationKind.DNS_FAILED, Phase.RESOLVE)


@pytest.mark.parametrize(("code", "is_passing"), [(socket.EAI_AGAIN, True), (-2, False)])
def test_a_name_server_that_is_silent_may_answer_soon(
    code: int, is_passing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    found = NetworkRequestor().associate(Peer("pacs.test", 104, "PEER"), PROPOSAL).outcome()
    assert (found.kind, found.is_passing) == (AssociationKind.DNS_FAILED, is_passing)


def test_an_address_that_swallows_everything_ends_in_time() -> None:
    peer = Peer("192.0.2.1", 104, "PEER", timeouts=QUICK)
    began = time.monotonic()
    found = NetworkRequestor().associate(peer, PROPOSAL).outcome()
    assert time.monotonic() - began < GRACE_SECONDS
    assert found.kind in (AssociationKind.TCP_FAILED, AssociationKind.TIMED_OUT)


def test_how_long_was_waited_for_is_told_as_people_count_time() -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(full.getsockname())
        host, port = full.getsockname()
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with pytest.raises(ConnectFailed, match=r"no answer within 0\.3 s\."):
            connect(addresses, seconds=0.29999)


def test_everything_is_accepted() -> None:
    found = outcome_of(accepting(ALL))
    assert (found.kind, found.ended) == (AssociationKind.ESTABLISHED, Ended.RELEASED)
    assert [context.accepted for context in found.contexts] == [ELE, ILE]
    assert [pdu.name for pdu in found.pdus] == ["A-ASSOCIATE-RQ", "A-ASSOCIATE-AC"]
    assert set(found.seconds) >= {Phase.CONNECT, Phase.NEGOTIATION, Phase.RELEASE}


@pytest.mark.parametrize(
    "codes", [(1, 1, 1), (1, 1, 3), (1, 1, 7), (1, 2, 2), (2, 3, 1), (2, 3, 2), (1, 9, 200)]
)
def test_a_rejection_is_kept_with_its_codes(codes: tuple[int, int, int]) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_pdu()
        conversation.send(rejection(*codes))

    found = outcome_of(script)
    assert (found.kind, found.rejection) == (AssociationKind.REJECTED, Rejection(*codes))
    assert found.ended is None
    assert all(context.result is None for context in found.contexts)


def test_no_context_is_accepted() -> None:
    found = outcome_of(accepting(((1, 4, ELE), (3, 3, None))))
    assert found.kind is AssociationKind.NO_CONTEXT_ACCEPTED
    assert [context.result for context in found.contexts] == [4, 3]


@pytest.mark.parametrize(
    ("answer", "kind", "ended"),
    [
        (abort(0, 0), AssociationKind.ABORTED_BY_PEER, None),
        (abort(2, 6), AssociationKind.ABORTED_BY_PEER, None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", AssociationKind.ABORTED_BY_US, None),
        (RELEASE_RQ, AssociationKind.ABORTED_BY_US, None),
        (fragment(1, b"xx"), AssociationKind.ABORTED_BY_US, None),
        (struct.pack(">BBI", 2, 0, 0xFFFFFFFF), AssociationKind.ABORTED_BY_US, None),
        (struct.pack(">BBI", 2, 0, 10) + b"x" * 10, AssociationKind.ABORTED_BY_US, None),
        (struct.pack(">BBI", 9, 0, 4) + b"xxxx", AssociationKind.ABORTED_BY_US, None),
        (acceptance_pdu(ALL)[:40], AssociationKind.TIMED_OUT, None),
        (b"", AssociationKind.TIMED_OUT, None),
    ],
    ids=[
        "abort by the user", "abort by the provider", "HTTP", "release", "data", "4 GiB",
        "undecodable", "unknown type", "half an answer", "silence",
    ],
)  # fmt: skip
def test_a_strange_answer_ends_the_negotiation(
    answer: bytes, kind: AssociationKind, ended: Ended | None
) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_pdu()
        conversation.send(answer)
        conversation.stay_silent()

    found = outcome_of(script)
    assert (found.kind, found.ended, found.phase) == (kind, ended, Phase.NEGOTIATION)
    assert found.detail
    if kind is AssociationKind.ABORTED_BY_PEER:
        assert found.abort == Abort(answer[8], answer[9])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nDate: x\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "SSH-2.0-OpenSSH_9.2p1"),
        (b"<html>" * 100, ("<html>" * 7)[:40]),
    ],
)
def test_what_is_text_is_no_dicom(answer: bytes, said: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_pdu()
        conversation.send(answer)
        conversation.stay_silent()

    assert outcome_of(script).detail == (
        f'The peer does not speak DICOM: what came begins with "{said}".'
    )


def test_a_part_of_an_answer_is_kept_when_the_connection_breaks() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_pdu()
        conversation.send(acceptance_pdu(ALL)[:26])

    found = outcome_of(script)
    assert found.kind is AssociationKind.CONNECTION_LOST
    assert [(p.name, p.content) for p in found.pdus if not p.sent] == [
        ("unrecognised", acceptance_pdu(ALL)[:26])
    ]


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("after", ["connect", "request"])
def test_a_connection_that_breaks_is_lost(ending: str, after: str) -> None:
    def script(conversation: Conversation) -> None:
        if after == "request":
            conversation.read_pdu()
        if ending == "reset":
            conversation.reset()

    # A reset may come while the system still tells us that we are connected.
    early = {AssociationKind.TCP_FAILED} if (after, ending) == ("connect", "reset") else set()
    assert outcome_of(script).kind in {AssociationKind.CONNECTION_LOST} | early


def test_an_answer_without_end_is_given_up() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_pdu()
        conversation.send(struct.pack(">BBI", 2, 0, 1 << 19))
        for _ in repeat(None):
            conversation.send(b"\x21\0\0\x08\x01\0\0\0\x40\0\0\0")
            if conversation.ended.wait(0.01):
                return

    assert outcome_of(script).kind is AssociationKind.TIMED_OUT


def test_an_answer_in_single_bytes_is_read() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_pdu()
        for byte in acceptance_pdu(ALL):
            conversation.send(bytes((byte,)))
        conversation.finish()

    assert outcome_of(script).ended is Ended.RELEASED


@pytest.mark.parametrize(
    "information",
    [b"", user_information(None), user_information(0), user_information(0xFFFFFFFF),
     user_information(16384, item(0x55, "Ünïcode\0\x1b".encode()), item(0x77, b"?"))],
    ids=["none", "no length", "unlimited", "huge", "odd items"],
)  # fmt: skip
def test_strange_but_harmless_answers_are_taken(information: bytes) -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL, information=information)
        well_behaved(conversation)

    with acceptor(script) as peer:
        association = associate(peer.port)
        stored = [outcome for _, outcome in association.store_many(iter([request()]))]
        association.release()
    assert [outcome.outcome for outcome in stored] == [InstanceOutcome.SENT]
    assert association.outcome().ended is Ended.RELEASED


@pytest.mark.parametrize("length", [1, 2, 6])
def test_a_peer_that_receives_next_to_nothing_is_left(length: int) -> None:
    found = outcome_of(lambda c: c.accept(ALL, information=user_information(length)))
    assert found.kind is AssociationKind.ABORTED_BY_US
    plural = "" if length == 1 else "s"
    assert f"at most {length} byte{plural} at a time" in found.detail
    assert found.peer.maximum_length == length


@pytest.mark.parametrize(("limit", "size"), [(8, 300), (129, 5_000), (128, 1_000_001)])
def test_small_pdus_carry_everything(limit: int, size: int) -> None:
    received: list[bytes] = []
    lengths: set[int] = set()

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL, information=user_information(limit))
        asked = conversation.read_request()
        received.append(asked.data)
        lengths.update(len(pdu) for pdu in conversation.received[1:])
        conversation.answer(asked)
        conversation.finish()

    data = (DATA * (size // len(DATA) + 1))[:size]
    with acceptor(script) as peer:
        association = associate(peer.port, Timeouts())
        stored = [o for _, o in association.store_many(iter([request(data=data)]))]
        association.release()
    assert stored[0].outcome is InstanceOutcome.SENT
    assert received == [data]
    assert max(lengths) <= limit + 6
    assert max(lengths) % 2 == 0, "fragments are of even length"


@pytest.mark.slow
def test_answers_may_be_six_seconds_late() -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        asked = conversation.read_request()
        conversation.ended.wait(6)
        conversation.answer(asked)
        conversation.finish()

    with acceptor(script) as peer:
        association = associate(peer.port, Timeouts())
        stored = [o for _, o in association.store_many(iter([request()]))]
        association.release()
    assert stored[0].outcome is InstanceOutcome.SENT
    assert stored[0].seconds > 5
    assert association.outcome().ended is Ended.RELEASED


def test_extra_and_repeated_answers_are_kept_apart() -> None:
    answers = (*ALL, (1, 4, None), (77, 0, ELE))
    found = outcome_of(accepting(answers))
    assert found.is_established
    assert sorted(stray.answer.context_id for stray in found.strays) == [1, 77]


# C-STORE


def test_an_instance_is_sent_when_the_peer_said_0000() -> None:
    stored, found = store(well_behaved, count=5)
    assert [outcome.outcome for outcome in stored] == [InstanceOutcome.SENT] * 5
    assert (found.ended, found.traffic[0].instances) == (Ended.RELEASED, 5)
    assert found.traffic[0].bytes == 5 * len(DATA)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, InstanceOutcome.SENT),
        (0x0001, InstanceOutcome.WARNING),
        (0x0107, InstanceOutcome.WARNING),
        (0x0116, InstanceOutcome.WARNING),
        (0xB000, InstanceOutcome.WARNING),
        (0xB007, InstanceOutcome.WARNING),
        (0xBFFF, InstanceOutcome.WARNING),
        (0x0110, InstanceOutcome.FAILED),
        (0x0111, InstanceOutcome.FAILED),
        (0x0122, InstanceOutcome.FAILED),
        (0x0124, InstanceOutcome.FAILED),
        (0xA700, InstanceOutcome.FAILED),
        (0xA900, InstanceOutcome.FAILED),
        (0xC000, InstanceOutcome.FAILED),
        (0x1234, InstanceOutcome.FAILED),
    ],
)
def test_the_status_decides_what_became_of_it(status: int, outcome: InstanceOutcome) -> None:
    def script(conversation: Conversation) -> None:
        asked = conversation.read_request()
        conversation.answer(asked, status, comment="why\0", offending=b"\x10\x00\x20\x00")
        conversation.finish()

    stored, found = store(script)
    assert (stored[0].outcome, stored[0].status) == (outcome, status)
    assert stored[0].error_comment == "why"
    assert stored[0].offending_elements == ("0010,0020",)
    assert found.ended is Ended.RELEASED, "a status is no reason to end the association"


Change = Callable[[Conversation], None]


def answering(**changes: bytes | int | str | None) -> Change:
    def script(conversation: Conversation) -> None:
        asked = conversation.read_request()
        conversation.answer(asked, changes.pop("status", 0), **changes)  # type: ignore[arg-type]
        conversation.stay_silent()

    return script


def in_another_context(conversation: Conversation) -> None:
    asked = conversation.read_request()
    conversation.send(fragment(3, response(asked)))
    conversation.stay_silent()


def as_data(conversation: Conversation) -> None:
    asked = conversation.read_request()
    conversation.send(fragment(1, response(asked), control=2))
    conversation.stay_silent()


def cut_off(conversation: Conversation) -> None:
    asked = conversation.read_request()
    conversation.send(fragment(1, response(asked)[:-9]))
    conversation.stay_silent()


def of_the_request_before(conversation: Conversation) -> None:
    asked = conversation.read_request()
    conversation.answer(asked, message_id=asked.number(0x0110) - 1)
    conversation.stay_silent()


@pytest.mark.parametrize(
    "script",
    [
        answering(message_id=99),
        answering(message_id=None),
        answering(command=0x8030),
        answering(command=None),
        answering(sop_class="1.2.840.10008.5.1.4.1.1.4"),
        answering(sop_instance="1.2.3.99"),
        answering(status=None),
        answering(status=0xFF00),
        answering(data_set_type=0x0001),
        of_the_request_before,
        in_another_context,
        as_data,
        cut_off,
    ],
    ids=[
        "other message id", "no message id", "other command", "no command", "other SOP class",
        "other SOP instance", "no status", "pending", "announces data", "message id before",
        "other context", "as data", "cut off",
    ],
)  # fmt: skip
def test_an_answer_that_can_not_be_trusted_leaves_the_instance_unknown(script: Script) -> None:
    stored, found = store(script, count=3)
    assert [outcome.outcome for outcome in stored] == [InstanceOutcome.UNKNOWN]
    assert (found.kind, found.ended) == (AssociationKind.ESTABLISHED, Ended.ABORTED_BY_US)
    assert "trusted" in stored[0].detail


@pytest.mark.parametrize("left_out", ["sop_class", "sop_instance", "data_set_type"])
def test_an_answer_may_leave_out_what_is_optional(left_out: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.answer(conversation.read_request(), **{left_out: None})
        conversation.finish()

    stored, _ = store(script)
    assert stored[0].outcome is InstanceOutcome.SENT


def test_an_answer_in_many_fragments_is_read() -> None:
    def script(conversation: Conversation) -> None:
        asked = conversation.read_request()
        whole = response(asked)
        for index in range(0, len(whole), 7):
            last = index + 7 >= len(whole)
            conversation.send(fragment(1, whole[index : index + 7], control=3 if last else 1))
        conversation.finish()

    assert store(script)[0][0].outcome is InstanceOutcome.SENT


def hang_up(conversation: Conversation) -> None:
    conversation.read_request()


def reset(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.reset()


def say_abort(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(abort(2, 2))
    conversation.stay_silent()


def say_nothing(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.stay_silent()


def release_instead(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(RELEASE_RQ)
    conversation.stay_silent()


def noise(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(b"\xff" * 64)
    conversation.stay_silent()


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        (hang_up, Ended.CONNECTION_LOST),
        (reset, Ended.CONNECTION_LOST),
        (say_abort, Ended.ABORTED_BY_PEER),
        (say_nothing, Ended.TIMED_OUT),
        (release_instead, Ended.RELEASED),
        (noise, Ended.ABORTED_BY_US),
    ],
    ids=["hang up", "reset", "abort", "silence", "release", "noise"],
)
def test_without_an_answer_the_instance_is_unknown(script: Script, ended: Ended) -> None:
    stored, found = store(script, count=3)
    assert [outcome.outcome for outcome in stored] == [InstanceOutcome.UNKNOWN]
    assert (found.kind, found.ended) == (AssociationKind.ESTABLISHED, ended)


@pytest.mark.parametrize("ending", [hang_up, reset, say_abort, say_nothing, noise])
def test_what_was_answered_before_the_break_stays_sent(ending: Script) -> None:
    def script(conversation: Conversation) -> None:
        conversation.answer(conversation.read_request())
        conversation.answer(conversation.read_request(), 0xA700)
        ending(conversation)

    stored, _ = store(script, count=5)
    assert [outcome.outcome for outcome in stored] == [
        InstanceOutcome.SENT,
        InstanceOutcome.FAILED,
        InstanceOutcome.UNKNOWN,
    ]


@pytest.mark.slow
def test_a_peer_that_stops_reading_is_given_up_without_progress() -> None:
    def script(conversation: Conversation) -> None:
        conversation.stay_silent()

    def whole(conversation: Conversation) -> None:
        conversation.accept(ALL)
        script(conversation)

    with acceptor(whole) as peer:
        association = associate(peer.port)
        began = time.monotonic()
        large = request(data=bytes(64 << 20))
        stored = [outcome for _, outcome in association.store_many(iter([large]))]
        assert time.monotonic() - began < 6
    assert stored[0].outcome is InstanceOutcome.UNKNOWN
    assert association.outcome().ended is Ended.TIMED_OUT


@pytest.mark.slow
def test_a_slow_peer_that_goes_on_reading_is_waited_for() -> None:
    timeouts = Timeouts(connect=0.5, tls=0.5, acse=0.5, progress=0.4, answer=2)
    size = 3 << 20

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL, information=user_information(1 << 20))
        conversation.connection.settimeout(5)
        left = size
        while left > 0:
            left -= len(conversation.connection.recv(1 << 18))
            conversation.ended.wait(0.1)
        conversation.connection.recv(1 << 20)
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port, timeouts)
        began = time.monotonic()
        stored = [o for _, o in association.store_many(iter([request(data=bytes(size))]))]
        spent = time.monotonic() - began
    assert stored[0].bytes_sent == size, "sent whole in spite of its taking longer than 0.4 s"
    assert spent > 0.8


@pytest.mark.slow
def test_the_answer_is_due_once_the_peer_has_the_data() -> None:
    """What our system holds for a slow peer may take longer than an answer may."""
    size = 3 << 20

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        held = conversation.connection
        for _ in range(12):
            conversation.ended.wait(0.1)
            conversation.unread += held.recv(size // 12, socket.MSG_WAITALL)
        conversation.answer(conversation.read_request())
        conversation.finish()

    with acceptor(script, receive_buffer=1 << 16) as peer:
        association = associate(peer.port, Timeouts(progress=0.6, answer=0.6))
        began = time.monotonic()
        stored = [o for _, o in association.store_many(iter([request(data=bytes(size))]))]
        assert time.monotonic() - began > 1
        association.release()
    assert stored[0].outcome is InstanceOutcome.SENT


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_an_abort_that_comes_with_the_break_is_what_is_told(ending: str) -> None:
    """In the middle of a large request: our sending breaks before we read what it said."""

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_pdu()
        conversation.send(abort(2, 6))
        if ending == "reset":
            conversation.reset()

    with acceptor(script, receive_buffer=1 << 16) as peer:
        association = associate(peer.port, Timeouts())
        large = request(data=bytes(64 << 20))
        stored = [outcome for _, outcome in association.store_many(iter([large]))]
    assert stored[0].outcome is InstanceOutcome.UNKNOWN
    found = association.outcome()
    assert (found.ended, found.abort) == (Ended.ABORTED_BY_PEER, Abort(2, 6))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(0x0000, InstanceOutcome.UNKNOWN), (0xB000, InstanceOutcome.UNKNOWN),
     (0xA700, InstanceOutcome.FAILED)],
)  # fmt: skip
def test_an_answer_before_the_data_are_whole_can_only_be_a_refusal(
    status: int, outcome: InstanceOutcome, tmp_path: Path
) -> None:
    source = sparse(tmp_path / "x.dcm", LARGE_FILE)

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        command = conversation.read_pdu()[12:]
        asked = Request(1, parse_command(command), b"")
        conversation.answer(asked, status)
        conversation.unread = fragment(1, command)
        conversation.read_request()
        conversation.finish()

    with acceptor(script, receive_buffer=1 << 16) as peer:
        association = associate(peer.port, Timeouts())
        requests = iter([StoreRequest(CT, "1.2.3.1", 1, source)])
        stored = [o for _, o in association.store_many(requests)]
        association.release()
    assert stored[0].outcome is outcome
    if outcome is InstanceOutcome.UNKNOWN:
        assert "before it had all of it" in stored[0].detail
        assert association.outcome().ended is Ended.ABORTED_BY_US
    else:
        assert stored[0].status == status
        assert association.outcome().ended is Ended.RELEASED


def test_a_fresh_message_id_for_every_request() -> None:
    ids: list[int] = []

    def script(conversation: Conversation) -> None:
        for _ in range(4):
            asked = conversation.read_request()
            ids.append(asked.number(0x0110))
            conversation.answer(asked)
        conversation.finish()

    store(script, count=4)
    assert len(set(ids)) == 4


def test_an_unasked_message_before_a_request_ends_the_association() -> None:
    def script(conversation: Conversation) -> None:
        asked = conversation.read_request()
        conversation.answer(asked)
        conversation.answer(asked)
        conversation.stay_silent()

    stored, found = store(script, count=3)
    assert stored[0].outcome is InstanceOutcome.SENT
    assert InstanceOutcome.SENT not in [outcome.outcome for outcome in stored[1:]]
    assert found.ended is Ended.ABORTED_BY_US


# Files


def test_a_file_that_changed_since_the_scan_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(DATA)
    about = path.stat()
    source = FileRange(str(path), 0, about.st_size, about.st_mtime_ns)
    path.write_bytes(DATA + DATA)
    changed = StoreRequest(CT, "1.2.3.1", 1, source)

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        well_behaved(conversation)

    with acceptor(script) as peer:
        association = associate(peer.port)
        stored = [o for _, o in association.store_many(iter([changed, request(2)]))]
        association.release()
    assert [outcome.outcome for outcome in stored] == [
        InstanceOutcome.FAILED,
        InstanceOutcome.SENT,
    ]
    assert "changed" in stored[0].detail


def test_a_file_that_is_gone_is_not_sent_and_the_rest_is(tmp_path: Path) -> None:
    gone = StoreRequest(CT, "1.2.3.1", 1, FileRange(str(tmp_path / "gone"), 0, 10, 0))

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        well_behaved(conversation)

    with acceptor(script) as peer:
        association = associate(peer.port)
        stored = [o for _, o in association.store_many(iter([gone, request(2)]))]
        association.release()
    assert [outcome.outcome for outcome in stored] == [
        InstanceOutcome.FAILED,
        InstanceOutcome.SENT,
    ]


@pytest.mark.parametrize(
    ("replace", "said"),
    [
        (lambda path: path.symlink_to("other"),
         "the file can't be opened: it is a link now, which is not followed"),
        (os.mkfifo, "the file can't be read: it is no regular file any more"),
    ],
    ids=["link", "pipe"],
)  # fmt: skip
def test_what_has_replaced_a_file_is_named(
    replace: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    replace(tmp_path / "x.dcm")
    asked = StoreRequest(CT, "1.2.3.1", 1, FileRange(str(tmp_path / "x.dcm"), 0, 10, 0))
    with acceptor(accepting(ALL)) as peer:
        association = associate(peer.port)
        stored = [outcome for _, outcome in association.store_many(iter([asked]))]
        association.release()
    assert [(o.outcome, o.detail) for o in stored] == [(InstanceOutcome.FAILED, said)]


def sparse(path: Path, size: int) -> FileRange:
    """Make a file of zeros that takes no room, and return it as it was scanned."""
    with path.open("wb") as file:
        file.truncate(size)
    about = path.stat()
    return FileRange(str(path), 0, size, about.st_mtime_ns)


LARGE_FILE = 24 << 20
"""Streamed, and more than the systems of both sides take without the acceptor's reading."""


@pytest.mark.parametrize(
    "change", ["cut", "longer", "rewritten", "rewritten unseen", "gone", "replaced"]
)
def test_a_large_file_that_changes_while_it_is_sent(change: str, tmp_path: Path) -> None:
    """What was sent of it is never called sent, unless it was what had been listed."""
    path, other = tmp_path / "x.dcm", tmp_path / "y.dcm"
    source = sparse(path, LARGE_FILE)

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        held = conversation.connection
        conversation.unread = held.recv(1 << 20, socket.MSG_WAITALL)  # it is under way now
        if change in ("cut", "longer"):
            os.truncate(path, LARGE_FILE // 2 if change == "cut" else LARGE_FILE * 2)
        elif change.startswith("rewritten"):
            with path.open("r+b") as file:
                file.seek(LARGE_FILE - 100)
                file.write(b"x" * 100)
            if change == "rewritten unseen":
                os.utime(path, ns=(0, source.mtime_ns))
        elif change == "gone":
            path.unlink()
        else:
            other.write_bytes(b"y" * LARGE_FILE)
            other.replace(path)
        asked = conversation.read_request()
        assert asked.data == bytes(LARGE_FILE), "nothing else is ever sent whole"
        conversation.answer(asked)
        conversation.finish()

    with acceptor(script, receive_buffer=1 << 16) as peer:
        association = associate(peer.port, Timeouts())
        requests = iter([StoreRequest(CT, "1.2.3.1", 1, source), request(2)])
        stored = [outcome for _, outcome in association.store_many(requests)]
        association.release()
    if change in ("gone", "replaced"):  # the file that was opened is still the one listed
        assert stored[0].outcome is InstanceOutcome.SENT
        return
    assert [outcome.outcome for outcome in stored] == [InstanceOutcome.FAILED]
    assert "changed after it was listed" in stored[0].detail
    assert association.outcome().ended is Ended.ABORTED_BY_US


def test_a_pipe_in_place_of_a_file_hangs_nobody(tmp_path: Path) -> None:
    source = sparse(tmp_path / "x.dcm", 100)
    os.unlink(source.path)
    os.mkfifo(source.path)
    linked = sparse(tmp_path / "z.dcm", 100)
    (tmp_path / "link").symlink_to(linked.path)
    link = linked._replace(path=str(tmp_path / "link"))

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        well_behaved(conversation)

    with acceptor(script) as peer:
        association = associate(peer.port)
        requests = [StoreRequest(CT, "1.2.3.1", 1, s) for s in (source, link)]
        stored = [o.outcome for _, o in association.store_many(iter([*requests, request(3)]))]
        association.release()
    assert stored == [InstanceOutcome.FAILED, InstanceOutcome.FAILED, InstanceOutcome.SENT]


def test_a_fault_of_the_source_loses_no_answer() -> None:
    def requests() -> Iterator[StoreRequest]:
        yield request(1)
        raise RuntimeError("the database is gone")

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        well_behaved(conversation)

    stored: list[InstanceOutcome] = []
    with acceptor(script) as peer:
        association = associate(peer.port)
        with pytest.raises(RuntimeError, match="the database is gone"):
            stored.extend(o.outcome for _, o in association.store_many(requests()))
        association.abort()
    assert stored == [InstanceOutcome.SENT]


def test_a_file_that_was_read_ahead_is_given_back(tmp_path: Path) -> None:
    """Also when the association ends before its turn, or nobody wants the rest."""
    source = sparse(tmp_path / "x.dcm", LARGE_FILE)
    requests = [request(1), StoreRequest(CT, "1.2.3.2", 1, source)]

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_request()

    with acceptor(script) as peer:
        before = len(os.listdir("/proc/self/fd"))
        association = associate(peer.port)
        stored = association.store_many(iter(requests))
        assert next(stored)[1].outcome is InstanceOutcome.UNKNOWN
        assert list(stored) == []
        association.release()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the acceptor's own end


@pytest.mark.slow
def test_a_very_large_instance_needs_little_memory(tmp_path: Path) -> None:
    """2.1 GB in a process of its own, with all that a sender imports (goal: 200 MB)."""
    source = sparse(tmp_path / "huge.dcm", 2_100_000_000)
    received: list[int] = []

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        asked = conversation.read_request(keep=False)
        received.append(asked.length)
        conversation.answer(asked)
        conversation.finish()

    code = f"""
import sys
from sender.dicom.requestor import FileRange, NetworkRequestor, StoreRequest
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.peers import Peer
peer = Peer("127.0.0.1", int(sys.argv[1]), "PEER")
proposal = Proposal.of([ContextSpec({CT!r}, ({ELE!r},)), ContextSpec({VERIFICATION!r}, ({ILE!r},))])
association = NetworkRequestor().associate(peer, proposal)
source = FileRange({source.path!r}, 0, {source.size}, {source.mtime_ns})
(_, outcome), = association.store_many(iter([StoreRequest({CT!r}, "1.2.3", 1, source)]))
association.release()
status = open("/proc/self/status").read()  # ru_maxrss would count pytest, which forked this
print(status.split("VmHWM:")[1].split()[0], outcome.outcome, outcome.detail)
"""
    with acceptor(script) as peer:
        done = subprocess.run(
            [sys.executable, "-c", code, str(peer.port)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
    kilobytes, outcome = done.stdout.strip().split(" ", 1)
    assert (outcome, received) == ("sent", [2_100_000_000])
    assert int(kilobytes) < 200_000


# Ending


def test_a_release_without_an_answer_ends_in_time() -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_pdu()
        conversation.stay_silent()

    found = outcome_of(script)
    assert (found.kind, found.ended) == (AssociationKind.ESTABLISHED, Ended.TIMED_OUT)
    assert found.phase is Phase.RELEASE


def test_a_release_collision_is_a_release() -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_pdu()
        conversation.send(RELEASE_RQ)
        conversation.send(RELEASE_RP)
        conversation.stay_silent()

    assert outcome_of(script).ended is Ended.RELEASED


def test_an_interruption_from_another_thread_ends_a_wait() -> None:
    asked = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_request()
        asked.set()
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port, Timeouts(answer=20))

        def interrupt() -> None:
            assert asked.wait(5)
            association.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        began = time.monotonic()
        stored = [outcome for _, outcome in association.store_many(iter([request()]))]
        assert time.monotonic() - began < 5
        thread.join()
    assert stored[0].outcome is InstanceOutcome.UNKNOWN


def test_an_echo_is_answered_or_not() -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.answer(conversation.read_request())
        conversation.answer(conversation.read_request(), message_id=77)
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port)
        assert association.echo().status == 0
        second = association.echo()
    assert second.status is None
    assert association.outcome().ended is Ended.ABORTED_BY_US


def junk(conversation: Conversation) -> None:
    conversation.read_pdu()
    conversation.send(b"\x02\x00\x00\x00\x00\x04junk")


def reject(conversation: Conversation) -> None:
    conversation.read_pdu()
    conversation.send(rejection(1, 1, 7))


def close_at_once(_: Conversation) -> None:
    pass


def reset_at_once(conversation: Conversation) -> None:
    conversation.reset()


def after_acceptance(script: Script) -> Script:
    def whole(conversation: Conversation) -> None:
        conversation.accept(ALL)
        script(conversation)

    return whole


FAULTS: tuple[Script, ...] = (
    junk, reject, close_at_once, reset_at_once,
    *map(after_acceptance, (hang_up, reset, say_abort, release_instead, noise, cut_off)),
)  # fmt: skip


@pytest.mark.slow
def test_500_faulty_attempts_leave_nothing_behind(tmp_path: Path) -> None:
    """Of each kind of fault 50, in turn; and 30 that hang (goal: less than 50 MB more)."""
    source = sparse(tmp_path / "x.dcm", LARGE_FILE)

    def attempt(port: int) -> None:
        association = associate(port)
        requests = [request(1), StoreRequest(CT, "1.2.3.2", 1, source)]
        stored = [o.outcome for _, o in association.store_many(iter(requests))]
        association.release()
        assert InstanceOutcome.SENT not in stored
        assert not association.is_open
        assert association.outcome().detail

    def run(count: int, *scripts: Script) -> None:
        with acceptor(*scripts * (count // len(scripts))) as peer:
            for _ in range(count):
                attempt(peer.port)

    run(20, *FAULTS)
    threads, files, memory = threading.active_count(), open_files(), resident_memory()
    run(500, *FAULTS)
    run(30, after_acceptance(say_nothing), lambda c: c.stay_silent())
    assert threading.active_count() <= threads
    assert open_files() <= files
    assert resident_memory() - memory < 50_000_000


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_memory() -> int:
    """Return the bytes of memory that this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
