"""A limit slows a transfer down; it never makes it time out, lose its way or hang."""

import threading
import time
from pathlib import Path

import pytest

from sender.dicom.pacers import LimitPacer
from sender.dicom.requestor import FileRange, StoreRequest
from sender.negotiation.buckets import Limits
from sender.negotiation.outcomes import Ended, InstanceOutcome, StoreOutcome
from sender.negotiation.peers import Timeouts
from sender.negotiation.stalls import Awaited, Whose
from tests.dicom.test_requestor import ALL, CT, DATA, associate, request, well_behaved
from tests.processes import await_true
from tests.scripted_acceptor import Conversation, abort, acceptor

SHORT = Timeouts(connect=5, tls=5, acse=5, progress=0.3, answer=0.3)
NEVER = Limits(instances_per_second=0.0001)


def accept(conversation: Conversation) -> None:
    conversation.accept(ALL)
    well_behaved(conversation)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_bytes_and_instances_have_limits_of_their_own() -> None:
    clock = Clock()
    pacer = LimitPacer(Limits(bytes_per_second=1000, instances_per_second=2), clock)
    assert pacer.before_instance() == 0
    assert pacer.spend(1500) == 1.0, "500 were saved up, 1000 are owed"
    clock.now += 1
    assert pacer.spend(0) == 0
    assert pacer.before_instance() == 0
    assert pacer.before_instance() == 0.5, "one too many"


def test_limits_change_while_they_hold_somebody_back() -> None:
    clock = Clock()
    pacer = LimitPacer(Limits(bytes_per_second=10), clock)
    assert pacer.spend(1005) == 100.0
    pacer.change(Limits(bytes_per_second=1000))
    assert pacer.spend(0) == 1.0
    pacer.change(Limits())
    assert pacer.spend(10**9) == 0
    assert pacer.before_instance() == 0


class Ledger:
    """A pacer that never holds back, and writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[int | str] = []

    def before_instance(self) -> float:
        self.told.append("instance")
        return 0.0

    def spend(self, count: int) -> float:
        if count:
            self.told.append(count)
        return 0.0


def test_a_pacer_is_told_of_each_instance_and_each_block(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(9_000_000)
    large = StoreRequest(
        CT, "1.2.3.9", 1, FileRange(str(path), 0, 9_000_000, path.stat().st_mtime_ns)
    )
    gone = StoreRequest(CT, "1.2.3.8", 1, FileRange(str(tmp_path / "gone"), 0, 10, 0))
    ledger = Ledger()
    with acceptor(accept) as peer:
        association = associate(peer.port, Timeouts())
        requests = iter([request(1), gone, large, request(2)])
        stored = [o.outcome for _, o in association.store_many(requests, pacer=ledger)]
        association.release()
    assert stored.count(InstanceOutcome.SENT) == 3
    first, blocks, last = ledger.told[:2], ledger.told[3:-2], ledger.told[-2:]
    assert first == last == ["instance", len(DATA)]
    assert ledger.told[2] == "instance"
    assert sum(int(block) for block in blocks) == 9_000_000
    assert max(int(block) for block in blocks) <= 1 << 16


@pytest.mark.slow
def test_a_limit_of_bytes_is_kept_and_nothing_times_out() -> None:
    """Holding back lasts longer than every timeout; within an instance as well."""
    pacer = LimitPacer(Limits(bytes_per_second=150_000))
    with acceptor(accept) as peer:
        association = associate(peer.port, SHORT)
        began = time.monotonic()
        requests = (request(n, bytes(150_000)) for n in range(2))
        stored = [outcome for _, outcome in association.store_many(requests, pacer=pacer)]
        spent = time.monotonic() - began
        association.release()
    assert [outcome.outcome for outcome in stored] == [InstanceOutcome.SENT] * 2
    assert association.outcome().ended is Ended.RELEASED
    assert spent > 0.9, "300 kB, of which 75 kB may go at once and the last block is not waited for"
    assert all(outcome.seconds < 0.9 * spent for outcome in stored), "holding back does not count"


def test_a_limit_of_instances_is_kept() -> None:
    pacer = LimitPacer(Limits(instances_per_second=10))
    with acceptor(accept) as peer:
        association = associate(peer.port, SHORT)
        began = time.monotonic()
        requests = (request(n) for n in range(12))
        stored = [o.outcome for _, o in association.store_many(requests, pacer=pacer)]
        spent = time.monotonic() - began
        association.release()
    assert stored == [InstanceOutcome.SENT] * 12
    assert spent > 0.6, "5 may go at once, 7 at ten a second"


def test_a_limit_that_is_lifted_lets_everything_go() -> None:
    pacer = LimitPacer(NEVER)
    with acceptor(accept) as peer:
        association = associate(peer.port, SHORT)
        stored: list[StoreOutcome] = []

        def run() -> None:
            requests = (request(n) for n in range(5))
            stored.extend(outcome for _, outcome in association.store_many(requests, pacer=pacer))

        thread = threading.Thread(target=run)
        thread.start()
        await_true(lambda: association.stall(after=0.2), "holding back")
        stall = association.stall(after=0)
        pacer.change(Limits())
        thread.join(10)
        association.release()
    assert stall is not None
    assert (stall.whose, stall.awaited) == (Whose.OURS, Awaited.LIMIT)
    assert "limit" in stall.detail
    assert [outcome.outcome for outcome in stored] == [InstanceOutcome.SENT] * 5


@pytest.mark.parametrize("where", ["before an instance", "within an instance"])
def test_an_interruption_ends_holding_back(where: str) -> None:
    limits = NEVER if where == "before an instance" else Limits(bytes_per_second=1)
    with acceptor(accept) as peer:
        association = associate(peer.port, Timeouts())
        stored: list[StoreOutcome] = []

        def run() -> None:
            requests = (request(n, bytes(1 << 20)) for n in range(2))
            pacer = LimitPacer(limits)
            stored.extend(outcome for _, outcome in association.store_many(requests, pacer=pacer))

        thread = threading.Thread(target=run)
        thread.start()
        await_true(lambda: association.stall(after=0.1), "holding back")
        association.interrupt()
        thread.join(5)
        assert not thread.is_alive()
        association.release()
    begun = [InstanceOutcome.SENT if where == "before an instance" else InstanceOutcome.UNKNOWN]
    assert [outcome.outcome for outcome in stored] == begun, "what was not begun is not told of"
    assert association.outcome().ended is Ended.ABORTED_BY_US


def test_a_peer_that_aborts_while_we_hold_back_is_noticed() -> None:
    def script(conversation: Conversation) -> None:
        conversation.accept(ALL)
        conversation.answer(conversation.read_request())
        conversation.send(abort(0, 0))

    with acceptor(script) as peer:
        association = associate(peer.port, Timeouts())
        requests = (request(n) for n in range(3))
        began = time.monotonic()
        stored = [o for _, o in association.store_many(requests, pacer=LimitPacer(NEVER))]
        assert time.monotonic() - began < 10
    assert stored[0].outcome is InstanceOutcome.SENT
    assert association.outcome().ended is Ended.ABORTED_BY_PEER
