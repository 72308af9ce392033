"""A send of any size is cancelled at once for who asks; its rows follow, chunk by chunk."""

from pathlib import Path

import pytest
from django.utils import timezone

from sender.models import AuditEntry, BatchState, Send, SendBatch, SendState
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import again, cancelling, engine, heartbeat, plan_ends, sending, tallies, waits
from sender.services.owners import lease_end
from sender.services.sending import WrongState
from sender.services.subsets import Subset
from tests import factories
from tests.services.test_control import planned, split_by_study, write_studies
from tests.services.test_sending import outcomes

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture(autouse=True)
def _one_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is three rows, and there is time for one chunk only."""
    monkeypatch.setattr(cancelling, "CHUNK", 3)
    monkeypatch.setattr(cancelling, "MOMENT_SECONDS", 0.0)
    monkeypatch.setattr(engine, "SETTLE_SECONDS", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_studies(tmp_path / "in", 4)


@pytest.fixture
def send(folder: Path) -> Send:
    """A send of four studies of three instances, each in a batch of its own."""
    made = planned(factories.destination(), folder)
    split_by_study(made)
    return made


def cancelled(send: Send) -> dict[str, int]:
    """Cancel a send; return its rows by outcome, which are those that its parts count."""
    sending.cancel_send(send, "anna")
    return counted(send)


def counted(send: Send) -> dict[str, int]:
    assert tallies.recount(send.pk) == 0, "the counts are exact at every step"
    send.refresh_from_db()
    return outcomes(send)


def test_the_wish_stands_at_once_and_the_tick_settles_the_rest(send: Send) -> None:
    assert cancelled(send) == {"cancelled": 3, "pending": 9}
    assert (send.state, send.finished_at) == (SendState.CANCELLING, None)
    assert AuditEntry.objects.filter(action="send.cancel", subject=str(send.pk)).exists()
    seen = []
    while send.state == SendState.CANCELLING:
        engine.tick("test")
        seen.append(counted(send).get("pending", 0))
    assert seen == [6, 3, 0]
    assert (send.state, send.control) == (SendState.CANCELLED, "")
    assert set(send.batches.values_list("state", flat=True)) == {"cancelled"}


def test_a_tick_settles_more_while_there_is_time(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled(send)
    monkeypatch.setattr(engine, "SETTLE_SECONDS", 60.0)
    engine.tick("test")
    assert counted(send) == {"cancelled": 12}
    assert send.state == SendState.CANCELLED


def test_a_kill_between_two_chunks_loses_nothing(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled(send)
    real = tallies.change_rows

    def killed(*arguments: object, **more: object) -> int:
        real(*arguments, **more)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(tallies, "change_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        engine.tick("test")
    assert counted(send) == {"cancelled": 3, "pending": 9}
    monkeypatch.setattr(tallies, "change_rows", real)
    for _ in range(3):
        engine.tick("test")
    assert (counted(send), send.state) == ({"cancelled": 12}, SendState.CANCELLED)


def test_a_batch_larger_than_a_chunk_is_open_until_its_last_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = planned(factories.destination(), folder)
    monkeypatch.setattr(cancelling, "CHUNK", 5)
    assert cancelled(send) == {"cancelled": 5, "pending": 7}
    assert send.batches.get().state == BatchState.READY
    engine.tick("test")
    assert (counted(send), send.state) == ({"cancelled": 10, "pending": 2}, SendState.CANCELLING)
    engine.tick("test")
    assert (counted(send), send.state) == ({"cancelled": 12}, SendState.CANCELLED)


def test_rows_of_a_batch_at_work_wait_for_its_end(send: Send) -> None:
    SendBatch.objects.filter(send=send, number=1).update(
        state=BatchState.RUNNING, owner="somebody", lease_until=lease_end()
    )
    cancelled(send)
    for _ in range(4):
        engine.tick("test")
    assert (counted(send), send.state) == ({"cancelled": 9, "pending": 3}, SendState.CANCELLING)
    SendBatch.objects.filter(send=send, number=1).update(state=BatchState.CANCELLED, owner="")
    engine.tick("test")
    assert (counted(send), send.state) == ({"cancelled": 12}, SendState.CANCELLED)


def test_who_comes_late_leaves_a_send_alone_that_was_taken_up_again(send: Send) -> None:
    cancelled(send)
    for _ in range(3):
        engine.tick("test")
    again.retry_some(
        Send.objects.get(pk=send.pk), "anna", Subset(frozenset({InstanceOutcome.CANCELLED}))
    )
    assert cancelling.settle(send.pk, seconds=60)
    assert (counted(send), send.state) == ({"pending": 12}, SendState.QUEUED)


def test_a_draft_is_discarded_in_the_same_way(folder: Path) -> None:
    send = planned(factories.destination(), folder)
    split_by_study(send)
    Send.objects.filter(pk=send.pk).update(state=SendState.DRAFT)
    assert cancelled(send) == {"cancelled": 3, "pending": 9}
    assert send.state == SendState.CANCELLING
    for _ in range(3):
        engine.tick("test")
    assert (counted(send), send.state) == ({"cancelled": 12}, SendState.CANCELLED)


def test_a_command_settles_all_of_its_own_send_before_it_ends(folder: Path) -> None:
    send = planned(factories.destination(), folder, inline=True)
    split_by_study(send)
    assert cancelled(send) == {"cancelled": 3, "pending": 9}
    engine.run_inline(Send.objects.get(pk=send.pk))
    assert (counted(send), send.state) == ({"cancelled": 12}, SendState.CANCELLED)


def test_a_send_is_cancelled_once(send: Send) -> None:
    cancelled(send)
    with pytest.raises(WrongState, match="is being cancelled already"):
        sending.cancel_send(send, "anna")
    for _ in range(3):
        engine.tick("test")
    with pytest.raises(WrongState, match="has ended already"):
        sending.cancel_send(send, "anna")


def test_a_send_says_what_of_it_is_still_to_be_settled_and_by_whom(send: Send) -> None:
    assert waits.what_is_left_to_cancel(send) == ""
    cancelled(send)
    left = "Nothing is begun any more; 9 rows are still to be settled as cancelled."
    nobody = "No background sender is running: what is left is settled once one is."
    assert waits.what_is_left_to_cancel(send) == f"{left} {nobody}"
    heartbeat.beat("here:1", kind="sender")
    assert waits.what_is_left_to_cancel(send) == left
    SendBatch.objects.filter(send=send, number=4).update(state=BatchState.RUNNING)
    assert "at work is stopped first" in waits.what_is_left_to_cancel(send)
    Send.objects.filter(pk=send.pk).update(planned_at=None)
    send.refresh_from_db()
    assert waits.what_is_left_to_cancel(send) == "It is settled once its planning has stopped."


def test_a_plan_that_fails_cancels_its_rows_in_chunks(folder: Path) -> None:
    made = planned(factories.destination(), folder)
    Send.objects.filter(pk=made.pk).update(state=SendState.PLANNING, planned_at=None, owner="me")
    made.refresh_from_db()
    plan_ends.fail(made, "The disk is gone.", SendState.ERRORED)
    assert (counted(made), made.state) == ({"cancelled": 12}, SendState.ERRORED)
    assert made.finished_at is not None
    assert made.finished_at <= timezone.now()
