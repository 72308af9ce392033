"""What is recoverable ends delivered by itself, and only what was not acknowledged goes again."""

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.misbehaviour.catalogue import SMALL, Act, Group, Misbehaviour
from tests.misbehaviour.conftest import write_instances
from tests.misbehaviour.destinations import IMPATIENT, PATIENT, TEMPLATE, destination
from tests.misbehaviour.dialogue import Dialogue, account
from tests.misbehaviour.everything import BY_ID
from tests.misbehaviour.observing import listening, sop_instance
from tests.misbehaviour.sessions import Authority
from tests.misbehaviour.shell import SendResult, Shell
from tests.scripted_acceptor import abort, fragment, rejection, response

pytestmark = pytest.mark.slow
COUNT = 6
RETRIES = 3
ONCE = (
    "tcp: SSH speaks first",
    "reject: 2/1/1", "reject: 2/2/1", "reject: 2/3/1", "reject: 2/3/2", "reject: 2/3/7",
    "reject: 1/1/1", "reject: 1/2/1", "reject: 255/255/255", "reject: without codes",
    "accept: a context beyond the end", "accept: an A-RELEASE-RQ", "accept: 4 GiB",
    "accept: two bytes only", "accept: accepted, then noise",
    "abort: 0/0 after the connect", "abort: 2/2 after the A-ASSOCIATE-RQ",
    "abort: 2/2 after the A-ASSOCIATE-AC", "abort: 0/0 after the C-STORE-RQ",
    "abort: 2/2 after the second C-STORE-RQ", "abort: an A-ABORT and a reset in the data set",
    "loss: reset after the connect", "loss: closed after the A-ASSOCIATE-RQ",
    "loss: reset after the A-ASSOCIATE-AC", "loss: reset in the data set",
    "loss: closed after the C-STORE-RQ", "loss: reset in the answer", "loss: reset after an answer",
    "loss: noise after the second C-STORE-RQ",
    "hang: silent after the A-ASSOCIATE-RQ", "hang: silent in the data set",
    "hang: silent after the second C-STORE-RQ", "hang: silent after a fragment of the answer",
    "answer: message ID of the next request", "answer: another SOP instance", "answer: pending",
    "answer: no status", "answer: in another accepted context", "answer: twice",
    "answer: an A-ASSOCIATE-RJ", "answer: never the last fragment",
    "release: an A-RELEASE-RQ instead of an answer", "release: an A-RELEASE-RQ after an answer",
    "size: at most 6",
    "tls: silence", "tls: closed in the handshake",
)  # fmt: skip


def serve(dialogue: Dialogue) -> None:
    """Behave."""
    dialogue.accept_all()
    dialogue.serve()


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small instances."""
    return write_instances(tmp_path_factory.mktemp("six"), COUNT)


@pytest.fixture(scope="module")
def large_six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six, the first of them large."""
    return write_instances(tmp_path_factory.mktemp("large"), COUNT, large=1)


def check_delivered(
    result: SendResult, dialogues: Sequence[Dialogue], *, again: int, count: int = COUNT
) -> None:
    """All is sent; each instance acknowledged once, never sent after that, little sent twice.

    Args:
        again: how many transmissions may have been in vain.
    """
    assert (result.document["state"], result.code) == ("succeeded", 0), result.rows
    assert set(result.outcomes) == {sop_instance(number) for number in range(1, count + 1)}
    assert set(result.outcomes.values()) == {"sent"}
    answered = account(dialogues)
    for statuses in answered.values():
        assert [status for status in statuses if status == 0] == [0], "acknowledged once"
        assert statuses[-1] == 0, "not sent again after that"
    assert sum(map(len, answered.values())) <= count + again


@pytest.mark.parametrize("name", ONCE)
def test_a_peer_that_is_wrong_once_gets_everything(
    name: str, shell: Shell, authority: Authority, six: Path, large_six: Path
) -> None:
    case = BY_ID[name]
    options = {"tls": True, "tls_ca": authority.ca_file} if case.asks_tls else {}
    afterwards = _through(authority, serve) if case.asks_tls else serve
    with listening(case, authority, afterwards) as (port, dialogues):
        patience = IMPATIENT if case.hangs else PATIENT
        to = destination(shell, port, patience=patience, **options)
        result = shell.send(six if case.size == SMALL else large_six, to=to)
    check_delivered(result, dialogues, again=1)
    assert len(result.history) == 2


def _through(authority: Authority, act: Act) -> Act:
    """Act through TLS on a connection that was taken plain."""

    def shake_hands(dialogue: Dialogue) -> None:
        context = authority.contexts["good"]
        dialogue.connection = context.wrap_socket(dialogue.connection, server_side=True)
        act(dialogue)

    return shake_hands


def _reject(*codes: int) -> Act:
    def act(dialogue: Dialogue) -> None:
        dialogue.read_pdu()
        dialogue.send(rejection(*codes))
        dialogue.drain()

    return act


def _serve_then(count: int, deed: Act) -> Act:
    """Answer some instances, read one more, and do something else then."""

    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        dialogue.serve(count)
        dialogue.read_request()
        deed(dialogue)

    return act


def _abort(dialogue: Dialogue) -> None:
    dialogue.send(abort(2, 0))
    dialogue.drain()


def _answer_another(dialogue: Dialogue) -> None:
    asked = dialogue.read_request()
    dialogue.send(fragment(1, response(asked, message_id=4711)))
    dialogue.drain()


BUSY = _reject(2, 3, 2)
SEVERAL_TIMES: dict[str, tuple[tuple[Act, ...], int]] = {
    "busy three times": ((BUSY, BUSY, BUSY), 0),
    "reset three times": ((Dialogue.reset,) * 3, 0),
    "busy, reset, aborted": ((BUSY, Dialogue.reset, _serve_then(0, _abort)), 1),
    "one instance at a time, then a reset": ((_serve_then(1, Dialogue.reset),) * 4, 4),
    "one instance at a time, then an abort": ((_serve_then(1, _abort),) * 4, 4),
    "two, busy, one, hung up": (
        (_serve_then(2, Dialogue.reset), BUSY, _serve_then(1, Dialogue.hang_up), BUSY), 2,
    ),
    "reset at each second connect": (
        (Dialogue.reset, _serve_then(2, Dialogue.reset), Dialogue.reset, _serve_then(1, _abort),
         Dialogue.reset), 2,
    ),
    "noise, silence, a wrong answer": (
        (_serve_then(1, lambda dialogue: dialogue.send(b"\xff" * 99)),
         _serve_then(1, Dialogue.stay_silent), _serve_then(0, _answer_another)), 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL_TIMES)
def test_a_peer_that_is_wrong_again_and_again_gets_everything(
    name: str, shell: Shell, authority: Authority, six: Path
) -> None:
    acts, again = SEVERAL_TIMES[name]
    first = Misbehaviour(name, Group.TCP, acts[0])
    with listening(first, authority, *acts[1:], serve) as (port, dialogues):
        result = shell.send(six, to=destination(shell, port, patience=IMPATIENT))
    check_delivered(result, dialogues, again=again)


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0210])
@pytest.mark.parametrize("which", ["all", "one"])
def test_what_a_peer_can_not_take_now_is_sent_again(
    status: int, which: str, shell: Shell, authority: Authority, six: Path
) -> None:
    refused: set[str] = set()

    def refuse_once(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        while True:
            asked = dialogue.read_request()
            instance = asked.text(0x1000)
            refuses = instance not in refused and (which == "all" or not refused)
            refused.add(instance)
            dialogue.answer(asked, status if refuses else 0, comment="Disk full")

    def act(dialogue: Dialogue) -> None:
        try:
            refuse_once(dialogue)
        except ConnectionResetError:
            if dialogue.released:
                dialogue.send(b"\x06\0\0\0\0\x04\0\0\0\0")

    with listening(Misbehaviour("refuses", Group.STATUS, act), authority) as (port, dialogues):
        result = shell.send(six, to=destination(shell, port))
    check_delivered(result, dialogues, again=COUNT if which == "all" else 1)
    assert {row.attempts for row in result.rows} == ({2} if which == "all" else {1, 2})


def test_a_peer_that_listens_only_later_gets_everything(
    shell: Shell, authority: Authority, six: Path
) -> None:
    """A port that is bound refuses; it listens as soon as that was seen by a first attempt."""
    with socket.socket() as listening_socket:
        listening_socket.bind(("127.0.0.1", 0))
        port = listening_socket.getsockname()[1]
        to = destination(shell, port, retries=9)
        began = threading.Timer(0.4, listening_socket.listen)
        dialogues: list[Dialogue] = []
        ended = threading.Event()

        def take() -> None:
            began.join()
            listening_socket.settimeout(20)
            connection, _ = listening_socket.accept()
            with connection:
                connection.settimeout(20)
                dialogues.append(Dialogue(connection, ended))
                serve(dialogues[-1])

        taking = threading.Thread(target=take)
        began.start()
        taking.start()
        result = shell.send(six, to=to)
        taking.join()
    check_delivered(result, dialogues, again=0)
    assert result.history[-1]["outcome"] == "established"


def test_an_instance_that_breaks_the_peer_keeps_no_other_back(
    shell: Shell, authority: Authority, six: Path
) -> None:
    poison = sop_instance(2)

    def act(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        while True:
            asked = dialogue.read_request()
            if asked.text(0x1000) == poison:
                return dialogue.reset()
            dialogue.answer(asked)

    with listening(Misbehaviour("poisoned", Group.LOSS, act), authority) as (port, dialogues):
        result = shell.send(six, to=destination(shell, port), retries=RETRIES)
    outcomes = result.outcomes
    assert outcomes.pop(poison) == "unknown", "nobody knows whether it is stored"
    assert set(outcomes.values()) == {"sent"}
    answered = account(dialogues)
    assert len(answered[poison]) == 3, "three tries, by the table of retries"
    assert all(answered[iuid] == [0] for iuid in outcomes)


@pytest.mark.parametrize("deed", [_abort, Dialogue.reset, Dialogue.stay_silent])
def test_what_a_peer_may_have_stored_is_never_called_failed(
    deed: Act, shell: Shell, authority: Authority, six: Path
) -> None:
    """Every instance was read whole, and none answered: all are unknown in the end."""
    case = Misbehaviour("never answers", Group.ABORT, _serve_then(0, deed))
    with listening(case, authority) as (port, dialogues):
        to = destination(shell, port, patience=IMPATIENT)
        result = shell.send(six, to=to, retries=RETRIES)
    read = set(account(dialogues))
    assert len(read) > 1
    assert {iuid for iuid, outcome in result.outcomes.items() if outcome == "unknown"} == read
    rest = {outcome for iuid, outcome in result.outcomes.items() if iuid not in read}
    assert rest <= {"failed"}


HARMLESS = (
    "accept: CT: accepted twice alike", "accept: CT: id 0", "accept: empty user information",
    "accept: a maximum length of two bytes", "accept: a version of 100 bytes",
    "accept: a role never asked for", "accept: the application context twice",
    "accept: all protocol versions", "accept: AE titles that are no text",
    "accept: an unknown item at its end", "accept: in single bytes",
    "answer: neither SOP class nor instance", "answer: no group length",
    "answer: after an empty P-DATA", "answer: in pieces",
    "release: a collision, the answer first", "release: an A-RELEASE-RP that is too long",
    "size: at most 8", "size: at most 4294967295",
)  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_a_strange_but_harmless_peer_gets_everything_at_once(
    name: str, shell: Shell, authority: Authority, six: Path
) -> None:
    with listening(BY_ID[name], authority) as (port, dialogues):
        result = shell.send(six, to=destination(shell, port), template=TEMPLATE)
    check_delivered(result, dialogues, again=0)
    assert len(result.history) == 1
