"""Slow but alive peers get everything; hundreds of faulty attempts leave nothing behind."""

import shutil
from pathlib import Path

import pytest

from tests import factories
from tests.acceptance import user_information
from tests.misbehaviour.catalogue import INSTANCES, Act, Group, Misbehaviour
from tests.misbehaviour.conftest import write_instances
from tests.misbehaviour.destinations import IMPATIENT, TEMPLATE, destination
from tests.misbehaviour.dialogue import Dialogue, account
from tests.misbehaviour.everything import BY_ID
from tests.misbehaviour.observing import listening, sop_instance
from tests.misbehaviour.sessions import Authority
from tests.misbehaviour.shell import Shell
from tests.misbehaviour.sizes import check_pdus

pytestmark = pytest.mark.slow

# R5: slow but alive

SLOW_ROWS = 3200
"""Rows of an image of 20.5 MB."""
BYTES_PER_SECOND = 4_000_000
LESS_THAN_THE_WHOLE_TAKES = 3.5
"""Seconds of every timeout; the image takes more than five."""
STEP = 1 << 18


def read_slowly(dialogue: Dialogue, count: int) -> bytes:
    """Read so many bytes, no faster than BYTES_PER_SECOND."""
    found = bytearray()
    while len(found) < count:
        part = dialogue.connection.recv(min(STEP, count - len(found)))
        if not part:
            raise ConnectionResetError("the requestor gave up")
        found += part
        dialogue.ended.wait(len(part) / BYTES_PER_SECOND)
    return bytes(found)


def take_slowly(dialogue: Dialogue) -> None:
    """Accept, and read each PDU of data slowly."""
    dialogue.accept_all(user_information(1 << 17))
    dialogue._read = lambda length: read_slowly(dialogue, length)  # type: ignore[method-assign]
    dialogue.serve()


def test_a_peer_that_takes_longer_than_every_timeout_gets_everything(
    tmp_path: Path, shell: Shell, authority: Authority
) -> None:
    """32 MB at 250 kB/s, scaled: the whole takes longer than any timeout, no step of it does."""
    path = factories.write_instance(
        tmp_path / "i.dcm", sop_instance=sop_instance(1), rows=SLOW_ROWS
    )
    assert path.stat().st_size / BYTES_PER_SECOND > LESS_THAN_THE_WHOLE_TAKES
    case = Misbehaviour("slow", Group.SIZE, take_slowly, receive_buffer=STEP)
    with listening(case, authority) as (port, dialogues):
        to = destination(shell, port, patience=LESS_THAN_THE_WHOLE_TAKES)
        result = shell.send(path, to=to)
    assert result.outcomes == {sop_instance(1): "sent"}
    assert account(dialogues) == {sop_instance(1): [0]}, "at the first attempt"


def test_a_peer_that_answers_late_gets_everything(
    shell: Shell, authority: Authority, folder: Path
) -> None:
    """Together the answers take longer than one answer may."""

    def answer_late(dialogue: Dialogue) -> None:
        dialogue.accept_all()
        for _ in range(INSTANCES):
            asked = dialogue.read_request()
            dialogue.ended.wait(0.5)
            dialogue.answer(asked)
        dialogue.serve()

    with listening(Misbehaviour("late", Group.HANG, answer_late), authority) as (port, dialogues):
        result = shell.send(folder, to=destination(shell, port, patience=1.2))
    assert set(result.outcomes.values()) == {"sent"}
    assert all(statuses == [0] for statuses in account(dialogues).values())


def test_a_peer_with_tiny_pdus_gets_everything(
    tmp_path: Path, shell: Shell, authority: Authority
) -> None:
    def take_little(dialogue: Dialogue) -> None:
        dialogue.accept_all(user_information(128))
        try:
            dialogue.serve()
        finally:
            check_pdus(dialogue, 128)

    factories.write_instance(tmp_path / "i.dcm", sop_instance=sop_instance(1), rows=700)
    with listening(Misbehaviour("tiny", Group.SIZE, take_little), authority) as (port, dialogues):
        result = shell.send(tmp_path, to=destination(shell, port))
    assert result.outcomes == {sop_instance(1): "sent"}
    assert account(dialogues) == {sop_instance(1): [0]}


# R4: nothing is left

WARM_UP, ROUNDS = 1, 12
MOST_GROWTH = 50 << 20
FAULTS = (
    "tcp: SSH speaks first", "reject: 1/1/7", "reject: 255/255/255", "accept: 4 GiB",
    "accept: a stream without end", "accept: a context beyond the end",
    "accept: everything rejected", "accept: accepted, then noise",
    "abort: 2/2 after the A-ASSOCIATE-RQ",
    "abort: an A-ABORT and a reset after the A-ASSOCIATE-AC", "loss: reset after the connect",
    "loss: closed in the A-ASSOCIATE-AC", "loss: reset after the A-ASSOCIATE-AC",
    "release: an A-RELEASE-RQ after the A-ASSOCIATE-AC", "release: noise for the A-RELEASE-RP",
    "size: at most 1", "tls: expired", "tls: noise", "tls: reset in the handshake",
)  # fmt: skip
assert len(FAULTS) * ROUNDS > 200
FAULTS_OF_SENDS = (
    "loss: reset after the C-STORE-RQ", "answer: message ID 0", "answer: a flood while we send",
    "abort: an A-ABORT and a reset in the data set", "hang: silent in the data set",
)  # fmt: skip


@pytest.fixture
def large_files(tmp_path: Path) -> Path:
    """Three large instances, each opened while the one before is under way."""
    return write_instances(tmp_path / "large", INSTANCES, large=INSTANCES)


def test_hundreds_of_faulty_attempts_leave_nothing_behind(
    shell: Shell, authority: Authority, large_files: Path
) -> None:
    """One process negotiates and sends, again and again, to peers of all faults."""
    attempts(shell, authority, WARM_UP)
    send_faultily(shell, authority, large_files)
    threads, files, memory = shell.threads, sorted(shell.files), shell.memory
    attempts(shell, authority, ROUNDS)
    send_faultily(shell, authority, large_files)
    assert shell.threads <= threads
    assert len([name for name in shell.files if name.startswith("socket:")]) == len(
        [name for name in files if name.startswith("socket:")]
    )
    assert len(shell.files) <= len(files)
    assert shell.children == ""
    assert shell.memory - memory < MOST_GROWTH
    shutil.rmtree(large_files)


def attempts(shell: Shell, authority: Authority, rounds: int) -> None:
    """Negotiate so many times with each fault."""
    for name in FAULTS:
        case = BY_ID[name]
        options = {"tls": True, "tls_ca": authority.ca_file} if case.asks_tls else {}
        with listening(case, authority) as (port, _):
            to = destination(shell, port, patience=IMPATIENT, **options)
            for _ in range(rounds):
                done = shell.run("negotiate", to, "--template", TEMPLATE, "--json")
                assert done.code in (0, 1)


def send_faultily(shell: Shell, authority: Authority, source: Path) -> None:
    """Send once with each fault that needs something to be sent."""
    for name in FAULTS_OF_SENDS:
        with listening(BY_ID[name], authority) as (port, _):
            shell.send(source, to=destination(shell, port, patience=IMPATIENT), retries=1)


def never_answer(dialogue: Dialogue) -> None:
    """Leave the next file open at the requestor, which has loaded it ahead."""
    dialogue.accept_all()
    dialogue.read_request()
    dialogue.reset()


def test_a_file_that_was_opened_ahead_is_closed_when_the_association_breaks(
    shell: Shell, authority: Authority, large_files: Path
) -> None:
    act: Act = never_answer
    with listening(Misbehaviour("resets", Group.LOSS, act), authority) as (port, _):
        shell.send(large_files, to=destination(shell, port), retries=0)
    assert [name for name in shell.files if str(large_files) in name] == []
