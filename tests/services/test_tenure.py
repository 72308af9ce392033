"""A database that does not answer: the association ends before others may call the destination."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from sender.models import Association, BatchState, SendBatch, SendItem
from sender.services import leases, probing, tenure, transfer
from sender.services.enquiries import request_echo
from sender.services.leases import SlotLease
from sender.services.tenure import Tenure
from tests import factories
from tests.scripted_acceptor import Conversation, acceptor
from tests.services.test_control import planned, write_studies
from tests.services.test_retries import scripted

pytestmark = pytest.mark.usefixtures("live_db")
FENCE_SECONDS = 1.0


class Hanging:
    """A database that answers no more once a lease is to be extended, until it is let go on."""

    def __init__(self) -> None:
        self.began, self.goes_on = threading.Event(), threading.Event()

    def extend_slot(self, slot: SlotLease) -> bool:
        self.began.set()
        assert self.goes_on.wait(60)
        return leases.extend_slot(slot)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    database = Hanging()
    monkeypatch.setattr(tenure, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(tenure, "EXTEND_SECONDS", 0.0)
    monkeypatch.setattr(tenure, "FENCE_SECONDS", FENCE_SECONDS)
    monkeypatch.setattr(tenure, "extend_slot", database.extend_slot)
    yield database
    database.goes_on.set()


def test_who_can_not_extend_its_leases_lets_go_though_the_database_hangs(hanging: Hanging) -> None:
    slot = leases.claim_slot(factories.destination(), "here")
    assert slot is not None
    let_go, looked_after = threading.Event(), threading.Event()
    with Tenure(slot) as held:
        held.let_go = let_go.set
        assert hanging.began.wait(10)
        held.companion = looked_after.set
        assert let_go.wait(10)
        assert looked_after.is_set(), "it is told first, and may say why the association ends"
        assert not hanging.goes_on.is_set()
        hanging.goes_on.set()
        assert held.must_let_go, "what is being ended can't go on"


class Peer:
    """A peer that accepts, is silent after that, and notes when the connection has ended."""

    def __init__(self, transfer_syntax: str) -> None:
        self._transfer_syntax = transfer_syntax
        self.is_asked, self.has_ended = threading.Event(), threading.Event()

    def converse(self, conversation: Conversation) -> None:
        conversation.accept([(number, 0, self._transfer_syntax) for number in (1, 3, 5, 7)])
        try:
            conversation.read_request()
            self.is_asked.set()
            while conversation.connection.recv(1 << 16):
                pass
        finally:
            self.has_ended.set()


def assert_cut_off(work: Callable[[], object], peer: Peer, hanging: Hanging) -> None:
    """See the association of some work end while the database hangs, and the work after that."""

    def run() -> None:
        work()
        connection.close()

    worker = threading.Thread(target=run)
    worker.start()
    assert peer.is_asked.wait(20)
    assert peer.has_ended.wait(20), "its association is open for ever"
    assert not hanging.goes_on.is_set()
    hanging.goes_on.set()
    worker.join(20)
    assert not worker.is_alive()


def test_a_transfer_is_cut_off_though_the_database_hangs(tmp_path: Path, hanging: Hanging) -> None:
    peer = Peer(factories.ELE)
    with acceptor(peer.converse) as running:
        to = scripted(running.port)
        send = planned(to, write_studies(tmp_path / "in", 1))
        slot, lease = leases.claim_slot(to, "here"), leases.claim_batch(to.pk, "here")
        assert slot is not None
        assert lease is not None

        def work() -> None:
            transfer.run_batches(lease, slot, is_stopping=lambda: False)

        assert_cut_off(work, peer, hanging)
    assert SendBatch.objects.get(pk=lease.batch_id).state == BatchState.READY
    items = SendItem.objects.filter(send=send)
    assert set(items.values_list("outcome", "attempts")) == {("pending", 0)}


def test_an_echo_is_cut_off_though_the_database_hangs(hanging: Hanging) -> None:
    peer = Peer(factories.ILE)
    with acceptor(peer.converse) as running:
        to = scripted(running.port)
        enquiry = request_echo(to, requested_by="test")

        assert_cut_off(lambda: probing.answer_enquiry(enquiry.pk), peer, hanging)
    assert Association.objects.get().ended == "aborted_by_us"
