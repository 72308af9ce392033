"""The tick looks after everything, whatever becomes of a part of it."""

from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError

from sender.models import (
    Association,
    AssociationAttempt,
    EngineTick,
    NegotiationDay,
    Send,
    SendBatch,
)
from sender.negotiation.outcomes import RawPdu
from sender.services import clock, engine, gate, planner, recording, recovery, sending, tickets
from sender.services.vigil import ENDED
from tests import factories
from tests.services.test_sending import order

pytestmark = pytest.mark.usefixtures("live_db")


def break_down(*_: object) -> None:
    raise LookupError("our own mistake")


def lost_attempt() -> AssociationAttempt:
    """An attempt whose worker is gone."""
    number = AssociationAttempt.objects.count()
    uid = factories.open_attempt(factories.destination(f"pacs {number}"))
    AssociationAttempt.objects.filter(pk=uid).update(lease_until=ENDED)
    return AssociationAttempt.objects.get(pk=uid)


@pytest.mark.parametrize(
    ("where", "name"),
    [(clock, "follow_steps"), (recovery, "end_leases"), (recovery, "replay_journals")],
)
def test_a_step_that_fails_keeps_no_other_from_being_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: object, name: str
) -> None:
    lost_attempt()
    monkeypatch.setattr(where, name, break_down)
    for _ in range(3):
        engine.tick("test")
    assert Association.objects.count() == 1
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 1, "it is told once, not at each tick"


def test_a_database_that_is_away_ends_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose() -> None:
        raise OperationalError("away")

    monkeypatch.setattr(recovery, "end_leases", lose)
    with pytest.raises(OperationalError):
        engine.tick("test")


def test_an_answer_that_can_not_be_decoded_is_recorded_as_its_worker_would_have() -> None:
    attempt = lost_attempt()
    recording.keep_answer(attempt.uid, RawPdu("A-ASSOCIATE-RQ", True, b"\x01"))
    answer = b"\x02\x00\x00\x00\x00\x04\x00\x01\x00\x00"
    recording.keep_answer(attempt.uid, RawPdu("A-ASSOCIATE-AC", False, answer))
    engine.tick("test")
    row = Association.objects.get()
    assert (row.outcome, row.phase) == ("aborted_by_us", "negotiation")
    assert row.detail == (
        "The A-ASSOCIATE-AC is too short. The sender vanished before this association ended."
    )
    assert [bytes(pdu.pdu.content) for pdu in row.pdus.order_by("position")] == [b"\x01", answer]


def test_an_attempt_that_can_not_be_recorded_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck, other = lost_attempt(), lost_attempt()
    record = recording.record_association

    def record_all_but_one(uid: object, outcome: object) -> object:
        if uid == stuck.uid:
            break_down()
        return record(uid, outcome)  # type: ignore[arg-type]

    monkeypatch.setattr(recording, "record_association", record_all_but_one)
    engine.tick("test")
    assert Association.objects.get().uid == other.uid
    assert NegotiationDay.objects.get().associations == 1


def test_what_is_no_journal_is_passed_over_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(settings.DATA_DIR) / "journal"
    folder.mkdir(exist_ok=True)
    strays = [folder / "copy of x.journal", folder / "1-2-3.journal"]
    for stray in strays:
        stray.touch()
    try:
        for _ in range(3):
            engine.tick("test")
    finally:
        for stray in strays:
            stray.unlink()
    assert EngineTick.objects.exists()
    told = [message for message in caplog.messages if "is no journal" in message]
    assert len(told) == 2


def test_a_destination_that_can_not_be_looked_at_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.write_instance(tmp_path / "in" / "1.dcm", sop_instance="1.2.3.1")
    stuck, other = (
        order(factories.destination(name), tmp_path / "in", inline=False) for name in ("a", "b")
    )
    for send in (stuck, other):
        planner.plan_send(send.pk)
    look = gate.next_due
    called: list[int] = []

    def look_at_all_but_one(destination_id: int) -> object:
        if destination_id == stuck.destination_id:
            break_down()
        return look(destination_id)

    monkeypatch.setattr(gate, "next_due", look_at_all_but_one)
    monkeypatch.setattr(tickets, "issue_work", called.append)
    engine.tick("test")
    assert called == [other.destination_id]


def waiting_sends(folder: Path, count: int) -> list[Send]:
    """Sends that wait with one batch each."""
    factories.write_instance(folder / "1.dcm", sop_instance="1.2.3.1")
    to = factories.destination()
    found = [order(to, folder, inline=False) for _ in range(count)]
    for send in found:
        planner.plan_send(send.pk)
    return found


def test_sends_that_wait_cost_the_tick_nothing_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting_sends(tmp_path / "in", 3)
    asked: list[int] = []
    monkeypatch.setattr(sending, "finish_if_done", asked.append)
    engine.tick("test")
    assert asked == []


@pytest.mark.parametrize(
    ("state", "batch", "ended_as"),
    [
        ("queued", "done", "failed"),
        ("running", "done", "failed"),
        ("paused", "done", "failed"),
        ("cancelling", "cancelled", "cancelled"),
        ("running", "running", "running"),
        ("cancelling", "running", "cancelling"),
        ("draft", "done", "draft"),
    ],
)
def test_sends_of_which_nothing_is_open_are_ended(
    tmp_path: Path, state: str, batch: str, ended_as: str
) -> None:
    (send,) = waiting_sends(tmp_path / "in", 1)
    SendBatch.objects.update(state=batch, owner="elsewhere:1")
    Send.objects.update(state=state)
    engine.tick("test")
    send.refresh_from_db()
    assert send.state == ended_as


def test_a_send_that_shall_pause_and_that_nobody_works_on_is_paused(tmp_path: Path) -> None:
    (send,) = waiting_sends(tmp_path / "in", 1)
    Send.objects.update(control="pause")
    engine.tick("test")
    send.refresh_from_db()
    assert send.state == "paused"


def test_a_send_that_can_not_be_ended_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, stuck = waiting_sends(tmp_path / "in", 2)
    SendBatch.objects.update(state="done")
    finish = sending.finish_if_done

    def finish_all_but_one(send_id: int, *, seconds: float) -> object:
        if send_id == stuck.pk:
            break_down()
        return finish(send_id, seconds=seconds)

    monkeypatch.setattr(sending, "finish_if_done", finish_all_but_one)
    engine.tick("test")
    assert Send.objects.get(pk=other.pk).is_ended
