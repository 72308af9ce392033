"""Many rows are tried again at once for who asks; they follow, chunk by chunk."""

from pathlib import Path

import pytest

from sender.models import AuditEntry, Send, SendState
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import (
    again,
    cancelling,
    control,
    engine,
    heartbeat,
    reopening,
    sending,
    tallies,
    waits,
)
from sender.services.sending import WrongState
from sender.services.subsets import Subset
from tests import factories
from tests.processes import await_true
from tests.services.background import background
from tests.services.test_control import Store, planned, split_by_study, state_of, write_studies
from tests.services.test_sending import at, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
UNKNOWN = frozenset({InstanceOutcome.UNKNOWN})


@pytest.fixture(autouse=True)
def _one_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is three rows, and there is time for one chunk only."""
    monkeypatch.setattr(reopening, "CHUNK", 3)
    monkeypatch.setattr(cancelling, "MOMENT_SECONDS", 0.0)
    monkeypatch.setattr(engine, "SETTLE_SECONDS", 0.0)


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """A send of four studies of three instances, each in a batch of its own; all failed."""
    made = planned(factories.destination(), write_studies(tmp_path / "in", 4))
    split_by_study(made)
    fail(made)
    sending.finish_if_done(made.pk)
    made.refresh_from_db()
    assert (made.state, outcomes(made)) == (SendState.FAILED, {"failed": 12})
    return made


def fail(send: Send) -> None:
    """Have all that is pending of a send end as the peer refuses it."""
    rows = send.items.all()
    tallies.change_rows(
        rows, InstanceOutcome.PENDING, InstanceOutcome.FAILED, reason="refused", attempts=1
    )
    send.batches.filter(state="ready").update(state="done")


def counted(send: Send) -> dict[str, int]:
    assert tallies.recount(send.pk) == 0, "the counts are exact at every step"
    send.refresh_from_db()
    return outcomes(send)


def test_the_wish_stands_at_once_and_the_tick_takes_up_the_rest(send: Send) -> None:
    assert again.retry_failed(send, "anna") == 12
    assert counted(send) == {"pending": 3, "failed": 9}
    assert (send.state, send.finished_at) == (SendState.QUEUED, None)
    entry = AuditEntry.objects.get(action="send.retry")
    assert entry.facts == {"instances": 12, "outcomes": ["failed", "unknown"]}
    seen = []
    for _ in range(3):
        engine.tick("test")
        seen.append(counted(send)["pending"])
    assert seen == [6, 9, 12]
    assert set(send.batches.values_list("state", flat=True)) == {"ready"}
    engine.tick("test")
    assert (reopening.wishes_of(reloaded(send)), counted(send)) == ([], {"pending": 12})


def reloaded(send: Send) -> Send:
    return Send.objects.get(pk=send.pk)


def test_what_fails_once_more_meanwhile_is_not_tried_again(send: Send) -> None:
    again.retry_failed(send, "anna")
    taken_up = []
    for _ in range(5):
        taken_up.append(counted(send).get("pending", 0))
        fail(send)
        engine.tick("test")
    assert taken_up == [3, 3, 3, 3, 0]
    assert (counted(send), send.state) == ({"failed": 12}, SendState.FAILED)


def test_a_send_does_not_end_while_something_is_to_be_taken_up(send: Send) -> None:
    again.retry_failed(send, "anna")
    fail(send)
    assert sending.finish_if_done(send.pk) is None
    assert (counted(send), send.state) == ({"failed": 12}, SendState.QUEUED)


def test_what_is_ready_is_sent_while_the_rest_is_made_ready(tmp_path: Path) -> None:
    store = Store()
    with store.receiver:
        to = factories.at_full_pace(at(store.receiver, ae_title="SLOW"))
        store.answers_after(0.02)
        send = planned(to, write_studies(tmp_path / "in", 8))
        split_by_study(send)
        fail(send)
        sending.finish_if_done(send.pk)
        again.retry_failed(reloaded(send), "anna")
        with background():
            await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 30)
    assert counted(send) == {"sent": 24}
    assert len(store.stored) == len(set(store.stored)) == 24
    assert reopening.wishes_of(send) == []


def test_a_kill_between_two_chunks_loses_nothing(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    again.retry_failed(send, "anna")
    real = tallies.change_rows

    def killed(*arguments: object, **more: object) -> int:
        real(*arguments, **more)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(tallies, "change_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        engine.tick("test")
    assert counted(send) == {"pending": 3, "failed": 9}
    monkeypatch.setattr(tallies, "change_rows", real)
    for _ in range(4):
        engine.tick("test")
    assert (counted(send), reopening.wishes_of(reloaded(send))) == ({"pending": 12}, [])


def test_a_cancel_meanwhile_wins(send: Send) -> None:
    again.retry_failed(send, "anna")
    sending.cancel_send(send, "ben")
    for _ in range(3):
        engine.tick("test")
    assert (counted(send), send.state) == ({"cancelled": 3, "failed": 9}, SendState.CANCELLED)
    assert reopening.wishes_of(reloaded(send)) == []


def test_a_paused_send_is_made_ready_too(send: Send) -> None:
    again.retry_failed(send, "anna")
    control.pause_send(send, "anna")
    for _ in range(4):
        engine.tick("test")
    assert (counted(send), send.state) == ({"pending": 12}, SendState.PAUSED)


def test_the_same_is_not_wished_twice_but_something_else_is(send: Send) -> None:
    send.items.filter(position__lte=6).update(outcome="unknown")
    tallies.recount(send.pk)
    again.retry_failed(send, "anna")
    with pytest.raises(WrongState, match="is being made ready to try just that again already"):
        again.retry_failed(reloaded(send), "anna")
    assert again.retry_some(reloaded(send), "anna", Subset(outcomes=UNKNOWN)) == 3
    for _ in range(4):
        engine.tick("test")
    assert (counted(send), reopening.wishes_of(reloaded(send))) == ({"pending": 12}, [])


def test_a_part_by_reason_leaves_the_batches_of_others_closed(send: Send) -> None:
    last_two = send.batches.order_by("-number")[:2]
    send.items.filter(batch__in=list(last_two)).update(reason="full")
    assert again.retry_some(send, "anna", Subset(reason="full")) == 6
    for _ in range(5):
        engine.tick("test")
    assert counted(send) == {"pending": 6, "failed": 6}
    assert list(send.batches.order_by("number").values_list("state", flat=True)) == [
        "done", "done", "ready", "ready",
    ]  # fmt: skip


def test_a_few_rows_are_taken_up_with_the_wish(send: Send) -> None:
    assert again.retry_some(send, "anna", Subset(study="1.2.3.826.3")) == 3
    assert (counted(send), reopening.wishes_of(send)) == ({"pending": 3, "failed": 9}, [])


def test_a_send_says_how_far_it_is_and_who_goes_on(send: Send) -> None:
    assert waits.what_is_left_to_take_up(send) == ""
    again.retry_failed(send, "anna")
    so_far = "3 of 12 rows are ready so far; what is ready may go already."
    nobody = "No background sender is running: the rest is made ready once one is."
    assert waits.what_is_left_to_take_up(send) == f"{so_far} {nobody}"
    heartbeat.beat("here:1", kind="sender")
    assert waits.what_is_left_to_take_up(send) == so_far
