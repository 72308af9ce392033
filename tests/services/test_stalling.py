"""Whose a stall is, on record for as long as it lasts."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sender.analytics.sends import AtWork, at_work
from sender.models import AssociationAttempt, Send
from sender.negotiation.stalls import Whose
from sender.services import sending
from tests.processes import await_true
from tests.scripted_acceptor import Conversation, acceptor
from tests.services.background import background
from tests.services.test_control import planned, state_of, write_studies
from tests.services.test_retries import accepting, run_to_the_end, scripted

pytestmark = [
    pytest.mark.usefixtures("live_db"),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose it is"),
]


def keeping_waiting(until: threading.Event) -> Callable[[Conversation], None]:
    """Return a script that is silent at the first instance, and then answers all."""

    return accepting(lambda conversation: keep_waiting(conversation, until))


def keep_waiting(conversation: Conversation, until: threading.Event) -> None:
    """Be silent at the next instance, then answer it and all others."""
    request = conversation.read_request()
    assert until.wait(30)
    while True:
        conversation.answer(request)
        request = conversation.read_request()


def await_at_work(send: Send, is_right: Callable[[AtWork], bool]) -> AtWork:
    """Wait until the send's one association is as is looked for."""
    found: list[AtWork] = []

    def ask() -> bool:
        found[:] = [row for row in at_work(send) if is_right(row)]
        return bool(found)

    await_true(ask, "the association", 20)
    return found[0]


@pytest.mark.slow
def test_a_silent_peer_is_told_while_it_is_silent_and_no_longer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    goes_on = threading.Event()
    with acceptor(keeping_waiting(goes_on)) as running:
        to = scripted(running.port, instances_per_second=1)
        send = planned(to, write_studies(tmp_path / "in", 3))
        with background():
            stalled = await_at_work(send, lambda row: row.stall is not None)
            assert stalled.stall is Whose.PEER_SILENT
            assert stalled.is_answered
            assert stalled.instances == 0
            assert stalled.stalled_since is not None
            assert stalled.stalled_since >= stalled.since
            assert (stalled.stalled_seconds or 0) >= 2
            goes_on.set()
            moving = await_at_work(send, lambda row: row.stall is None and row.instances > 0)
            assert moving.stalled_since is None, "to keep to a limit is no stall"
            sending.cancel_send(send, "anna")
            await_true(lambda: Send.objects.get(pk=send.pk).is_ended, "the end", 20)
    assert at_work(send) == []
    told = [record.getMessage() for record in caplog.records if "stalls" in record.getMessage()]
    assert len(told) == 1
    assert told[0].endswith("it has received everything and is silent.")


def test_an_association_that_moves_is_never_written_to_stall(tmp_path: Path) -> None:
    goes_on = threading.Event()
    goes_on.set()
    with acceptor(keeping_waiting(goes_on)) as running:
        send = planned(scripted(running.port), write_studies(tmp_path / "in", 1))
        run_to_the_end(send)
    assert state_of(send) == "succeeded"
    assert set(AssociationAttempt.objects.values_list("stall", "stalled_since")) == {("", None)}


def test_what_a_peer_answered_before_it_fell_silent_is_on_record_while_it_is(
    tmp_path: Path,
) -> None:
    goes_on = threading.Event()

    def store(conversation: Conversation) -> None:
        for _ in range(2):
            conversation.answer(conversation.read_request())
        keep_waiting(conversation, goes_on)

    with acceptor(accepting(store)) as running:
        send = planned(scripted(running.port), write_studies(tmp_path / "in", 1))
        sent = send.items.filter(outcome="sent")
        with background():
            await_true(lambda: sent.count() == 2, "the two that were answered", 10)
            assert not goes_on.is_set()
            assert at_work(send), "it is silent, and still awaited"
            goes_on.set()
            await_true(lambda: Send.objects.get(pk=send.pk).is_ended, "the end", 20)
    assert state_of(send) == "succeeded"
    assert {item.attempts for item in send.items.all()} == {1}
