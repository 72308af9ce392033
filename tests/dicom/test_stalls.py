"""Whose a stall is, seen at real connections that stall."""

import ctypes
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sender.dicom import stalls
from sender.dicom.requestor import (
    FileRange,
    NetworkAssociation,
    NetworkRequestor,
    StoreRequest,
)
from sender.negotiation.outcomes import (
    AssociationKind,
    Ended,
    InstanceOutcome,
    RawPdu,
    StoreOutcome,
)
from sender.negotiation.peers import Peer, Timeouts
from sender.negotiation.stalls import Awaited, Stall, TransportFigures, Whose
from tests.acceptance import acceptance_pdu
from tests.dicom.test_requestor import ALL, CT, PROPOSAL, associate, request, well_behaved
from tests.processes import await_true
from tests.scripted_acceptor import Conversation, acceptor, fragment, response

PATIENT = Timeouts(connect=5, tls=5, acse=5, progress=60, answer=60)
LARGE = 64 << 20
SO_ATTACH_FILTER = 26

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose it is")


def go_deaf(connection: socket.socket) -> None:
    """Have the system drop all that comes for a connection, as a network does that is cut.

    A classic BPF program of one instruction, "return 0": keep nothing (socket(7)).
    """
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(code))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


@contextmanager
def storing(
    association: NetworkAssociation, *requests: StoreRequest
) -> Iterator[list[StoreOutcome]]:
    """Store in a thread of its own; end it at the end."""
    stored: list[StoreOutcome] = []

    def run() -> None:
        stored.extend(outcome for _, outcome in association.store_many(iter(requests)))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stored
    finally:
        association.interrupt()
        thread.join(10)
        assert not thread.is_alive()


def await_stall(
    association: NetworkAssociation, is_right: Callable[[Stall], bool], after: float = 0.3
) -> Stall:
    """Ask until the stall is one that is looked for."""
    found: list[Stall] = []

    def ask() -> bool:
        stall = association.stall(after=after)
        if stall is not None and is_right(stall):
            found.append(stall)
        return bool(found)

    await_true(ask, "the stall", seconds=15)
    return found[0]


@linux_only
def test_a_peer_that_stops_reading_is_told_by_its_window() -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port, PATIENT)
        assert association.stall(after=0) is None, "nobody waits"
        with storing(association, request(data=bytes(LARGE))):
            stall = await_stall(association, lambda s: s.whose is Whose.PEER_NOT_READING)
    assert stall.awaited is Awaited.ROOM
    assert "it stopped reading (zero window)" in stall.detail
    assert stall.figures is not None
    assert stall.figures.undelivered > 0
    assert stall.figures.window == 0


@linux_only
def test_a_peer_that_is_silent_has_everything() -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_request()
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port, PATIENT)
        with storing(association, request()):
            stall = await_stall(association, lambda s: s.whose is Whose.PEER_SILENT)
    assert stall.awaited is Awaited.ANSWER
    assert stall.detail.endswith("it has received everything and is silent.")
    assert stall.figures is not None
    assert stall.figures.undelivered == 0


@linux_only
def test_a_network_that_is_cut_under_the_data_is_told_by_what_is_not_acknowledged() -> None:
    ready = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        go_deaf(conversation.connection)
        ready.set()
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port, PATIENT)
        assert ready.wait(5)
        with storing(association, request()):
            stall = await_stall(
                association,
                lambda s: s.figures is not None and s.figures.retransmissions >= 2,
            )
    assert stall.whose is Whose.NETWORK
    assert "the network has not delivered" in stall.detail
    assert "sent again" in stall.detail


@linux_only
@pytest.mark.slow
def test_a_network_that_is_cut_while_the_answer_is_awaited_is_told_by_probes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sender.dicom.connecting.PROBE_SECONDS", 1)

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.read_request()
        go_deaf(conversation.connection)
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port, PATIENT)
        with storing(association, request()):
            stall = await_stall(association, lambda s: s.whose is Whose.NETWORK)
    assert stall.figures is not None
    assert stall.figures.undelivered == 0, "it has everything, so only probes tell"
    assert "probes without an answer" in stall.detail


@pytest.mark.parametrize(
    ("size", "said", "whose"),
    [
        (LARGE, "The peer took no data for 0.4 s: it stopped reading (zero window).",
         Whose.PEER_NOT_READING),
        (100, "The peer did not answer for 0.4 s: it has received everything and is silent.",
         Whose.PEER_SILENT),
    ],
    ids=["not reading", "silent"],
)  # fmt: skip
@linux_only
def test_a_timeout_says_whose_it_is(size: int, said: str, whose: Whose) -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.stay_silent()

    timeouts = Timeouts(progress=0.4, answer=0.4)
    with acceptor(script) as peer:
        association = associate(peer.port, timeouts)
        stored = [o for _, o in association.store_many(iter([request(data=bytes(size))]))]
    assert (stored[0].outcome, stored[0].detail) == (InstanceOutcome.UNKNOWN, said)
    found = association.outcome()
    assert (found.ended, found.detail) == (Ended.TIMED_OUT, said)
    assert found.stall is not None
    assert found.stall.whose is whose


@linux_only
def test_a_negotiation_without_an_answer_says_whose_it_is() -> None:
    with acceptor(lambda conversation: conversation.stay_silent()) as peer:
        found = associate(peer.port).outcome()
    assert found.detail == (
        "The peer did not answer for 0.3 s: it has received everything and is silent."
    )
    assert found.stall is not None


@pytest.mark.parametrize("pause", [0.0, 0.02], ids=["26 bytes", "byte after byte"])
@linux_only
def test_a_negotiation_that_is_answered_in_part_says_so_and_keeps_the_part(pause: float) -> None:
    whole = acceptance_pdu(ALL)

    def script(conversation: Conversation) -> None:
        conversation.read_pdu()
        conversation.send(whole[:26])
        for number in range(26, len(whole) if pause else 26):
            if conversation.ended.wait(pause):
                return
            conversation.send(whole[number : number + 1])
        conversation.stay_silent()

    heard: list[RawPdu] = []
    with acceptor(script) as peer:
        to = Peer("127.0.0.1", peer.port, "PEER", timeouts=Timeouts(acse=0.4))
        association = NetworkRequestor().associate(to, PROPOSAL, notice=heard.append)
        found = association.outcome()
    assert (found.kind, found.detail) == (
        AssociationKind.TIMED_OUT,
        "The peer began an answer and did not finish it in 0.4 s.",
    )
    assert found.stall is not None
    assert found.stall.whose is Whose.PEER_UNFINISHED
    kept = [pdu.content for pdu in found.pdus if pdu.name == "unrecognised"]
    assert len(kept) == 1
    assert whole.startswith(kept[0])
    assert len(kept[0]) >= 26
    assert [pdu.name for pdu in heard if not pdu.sent] == [], "it is no answer"


def in_one_pdu(conversation: Conversation, answer: bytes) -> None:
    conversation.send(fragment(1, answer)[:100])


def in_several_pdus(conversation: Conversation, answer: bytes) -> None:
    conversation.send(fragment(1, answer[:60], control=1))


@pytest.mark.parametrize("say", [in_one_pdu, in_several_pdus])
@linux_only
def test_a_response_that_comes_in_part_is_no_silence(
    say: Callable[[Conversation, bytes], None],
) -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.answer(conversation.read_request())
        say(conversation, response(conversation.read_request()))
        conversation.stay_silent()

    said = "The peer began an answer and did not finish it in 0.4 s."
    with acceptor(script) as peer:
        association = associate(peer.port, Timeouts(progress=0.4, answer=0.4))
        requests = iter([request(1), request(2)])
        stored = [(o.outcome, o.detail) for _, o in association.store_many(requests)]
    assert stored == [(InstanceOutcome.SENT, ""), (InstanceOutcome.UNKNOWN, said)]
    assert association.outcome().detail == said


@linux_only
def test_silence_after_an_answer_in_parts_is_silence() -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        asked = conversation.read_request()
        answer = response(asked)
        conversation.send(fragment(1, answer[:60], control=1))
        conversation.ended.wait(0.1)
        conversation.send(fragment(1, answer[60:]))
        conversation.read_request()
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port, Timeouts(progress=0.4, answer=0.4))
        requests = iter([request(1), request(2)])
        stored = [o.outcome for _, o in association.store_many(requests)]
    assert stored == [InstanceOutcome.SENT, InstanceOutcome.UNKNOWN]
    assert association.outcome().detail == (
        "The peer did not answer for 0.4 s: it has received everything and is silent."
    )


def test_a_source_that_does_not_come_is_ours() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def requests() -> Iterator[StoreRequest]:
        yield request(1)
        asked.set()
        assert go_on.wait(10)

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        well_behaved(conversation)

    with acceptor(script) as peer:
        association = associate(peer.port, PATIENT)
        stored: list[StoreOutcome] = []

        def run() -> None:
            stored.extend(outcome for _, outcome in association.store_many(requests()))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert asked.wait(5)
            stall = await_stall(association, lambda s: s.whose is Whose.OURS)
        finally:
            go_on.set()
            thread.join(5)
        association.release()
    assert stall.awaited is Awaited.SOURCE
    assert [outcome.outcome for outcome in stored] == [InstanceOutcome.SENT]
    assert association.stall(after=0) is None


def test_a_transfer_that_moves_does_not_stall(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(32 << 20)
    about = path.stat()
    source = FileRange(str(path), 0, about.st_size, about.st_mtime_ns)
    seen: list[Stall | None] = []

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        asked = conversation.read_request()
        seen.append(association.stall())
        conversation.answer(asked)
        conversation.finish()

    with acceptor(script) as peer:
        association = associate(peer.port, PATIENT)
        requests = iter([StoreRequest(CT, "1.2.3.1", 1, source)])
        stored = [outcome.outcome for _, outcome in association.store_many(requests)]
        association.release()
    assert stored == [InstanceOutcome.SENT]
    assert seen == [None]


def info(length: int = 280, **fields: int) -> bytes:
    """Return a struct tcp_info of Linux with some fields set, of which the rest is zero."""
    offsets = {"unacked": 24, "last_ack_recv": 56, "total_retrans": 100, "snd_wnd": 228}
    content = bytearray(280)
    content[2], content[3] = fields.pop("retransmits", 0), fields.pop("probes", 0)
    for name, value in fields.items():
        struct.pack_into("=I", content, offsets[name], value)
    return bytes(content[:length])


def test_the_figures_are_decoded() -> None:
    found = stalls.decode_figures(
        12345,
        info(
            unacked=7, last_ack_recv=2500, total_retrans=9, snd_wnd=65536, retransmits=3, probes=2
        ),
    )
    assert found == TransportFigures(
        undelivered=12345,
        segments_unacknowledged=7,
        retransmissions=3,
        retransmitted=9,
        probes=2,
        window=65536,
        heard_seconds=2.5,
    )


def test_the_figures_of_an_older_system_are_decoded_as_far_as_they_go() -> None:
    assert stalls.decode_figures(0, info(104)) == TransportFigures(0, window=None)
    assert stalls.decode_figures(0, info(100)) is None


def retransmitted(connection: socket.socket) -> int:
    figures = stalls.read_figures(connection)
    return figures.retransmitted if figures else 0


@linux_only
def test_the_offsets_are_those_of_this_system() -> None:
    """Bytes are put on their way and left there: the system's figures must say so."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
        with client, server:
            quiet = stalls.read_figures(client)
            go_deaf(server)
            client.send(bytes(1000))
            await_true(lambda: retransmitted(client), "sending again", seconds=5)
            cut = stalls.read_figures(client)
    assert quiet is not None
    assert cut is not None
    assert (quiet.undelivered, quiet.segments_unacknowledged) == (0, 0)
    assert quiet.window is None or quiet.window > 1000
    assert (cut.undelivered, cut.segments_unacknowledged) == (1000, 1)
    assert cut.heard_seconds > 0


def test_a_connection_that_is_gone_has_no_figures() -> None:
    connection = socket.socket()
    connection.close()
    assert stalls.read_figures(connection) is None


def test_where_the_system_tells_nothing_a_stall_is_nobodys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stalls, "_TCP_INFO", None)

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.stay_silent()

    with acceptor(script) as peer:
        association = associate(peer.port)
        stored = [o for _, o in association.store_many(iter([request()]))]
    assert stored[0].detail == "The peer did not answer for 0.3 s."
    stall = association.outcome().stall
    assert stall is not None
    assert (stall.whose, stall.awaited, stall.figures) == (Whose.UNKNOWN, Awaited.ANSWER, None)


@linux_only
def test_what_is_done_while_a_peer_is_silent_takes_none_of_its_time() -> None:
    worked: list[float] = []

    def work() -> None:
        worked.append(time.monotonic())
        time.sleep(0.8)

    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        received = conversation.read_request()
        time.sleep(2)
        conversation.answer(received)
        well_behaved(conversation)

    hasty = replace(PATIENT, answer=1.5)
    with acceptor(script) as peer:
        association = associate(peer.port, hasty)
        requests = iter([request()])
        stored = [o.outcome for _, o in association.store_many(requests, meanwhile=work)]
        association.release()
    assert stored == [InstanceOutcome.SENT], "the peer itself took 2 s, of which 0.8 s were ours"
    assert worked
