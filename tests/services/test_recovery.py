"""What a process knew when it died is read back, once, and the rest is sent again."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.db import OperationalError
from django.utils import timezone

from sender.models import (
    Association,
    AssociationAttempt,
    BatchState,
    Destination,
    Hold,
    HoldKind,
    InstanceAttempt,
    Listing,
    ListingState,
    Send,
    SendBatch,
    SendItem,
    StudyPart,
)
from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.services import (
    engine,
    gate,
    journal,
    leases,
    owners,
    planner,
    recording,
    recovery,
    sending,
    tallies,
)
from sender.services.journal import Journal
from sender.services.recording import InstanceResult
from sender.services.records import verify_record
from sender.services.vigil import ENDED
from tests import factories
from tests.holders import gone_holder
from tests.scripted_acceptor import acceptor
from tests.services.test_retries import answering
from tests.services.test_sending import order, outcomes

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture(autouse=True)
def _no_journals() -> Iterator[None]:
    _remove_journals()
    yield
    _remove_journals()


def _remove_journals() -> None:
    """Remove journals, those too that other tests of this process have left."""
    for remains in journal.remains():
        remains.remove()


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """A planned send of four instances."""
    for number in range(4):
        factories.write_instance(tmp_path / "in" / f"{number}.dcm", sop_instance=f"1.2.3.{number}")
    made = order(factories.destination(), tmp_path / "in", inline=False, retries=3)
    planner.plan_send(made.pk)
    return made


def result(item: SendItem, number: int, status: int | None = 0) -> InstanceResult:
    outcome = InstanceOutcome.UNKNOWN if status is None else InstanceOutcome.SENT
    return InstanceResult(
        number=number,
        item_id=item.pk,
        sop_instance=item.file.sop_instance_uid,
        study_instance=item.part.study_instance_uid,
        sent_as=factories.ELE,
        conversion="none",
        outcome=StoreOutcome(
            outcome, 1, status=status, error_comment="Ünïcode", offending_elements=("0010,0020",)
        ),
    )


def claim(send: Send, owner: str) -> tuple[leases.BatchLease, Journal]:
    """Claim the batch as a worker would, and open its journal."""
    lease = leases.claim_batch(send.destination_id, owner)
    assert lease is not None
    uid = factories.open_attempt(send.destination)
    AssociationAttempt.objects.filter(pk=uid).update(
        batch_id=lease.batch_id, send=send, owner=owner
    )
    return lease, Journal(batch_id=lease.batch_id, fence=lease.fence, attempt=uid)


def leases_end() -> None:
    """End the leases of a worker elsewhere, as the tick does once they stood still."""
    SendBatch.objects.update(lease_until=ENDED)
    AssociationAttempt.objects.update(lease_until=ENDED)


def test_what_the_journal_holds_is_recorded_and_the_rest_is_sent_again(send: Send) -> None:
    _, written = claim(send, gone_holder())
    items = list(SendItem.objects.filter(send=send))
    written.note(result(items[0], 1))
    written.note(result(items[1], 2))
    written.leave()
    engine.tick("test")
    assert outcomes(send) == {"sent": 2, "pending": 2}
    batch = SendBatch.objects.get()
    assert (batch.state, batch.next_attempt_at <= timezone.now()) == (BatchState.READY, True)
    assert list(journal.remains()) == []
    row = Association.objects.get()
    assert (row.instances, InstanceAttempt.objects.count()) == (2, 2)
    assert verify_record(row)
    kept = InstanceAttempt.objects.order_by("number")[0]
    assert kept.error_comment is not None
    assert (kept.error_comment.text, kept.offending_elements) == ("Ünïcode", "0010,0020")


def test_reading_a_journal_twice_changes_nothing(send: Send) -> None:
    _, written = claim(send, gone_holder())
    items = list(SendItem.objects.filter(send=send))
    written.note(result(items[0], 1))
    (remains,) = journal.remains()
    content = remains.path.read_bytes()
    written.leave()
    recovery.end_leases()
    assert outcomes(send) == {"sent": 1, "pending": 3}
    remains.path.write_bytes(content)
    assert recovery.replay_journals() == 0
    assert InstanceAttempt.objects.count() == 1
    assert SendItem.objects.get(pk=items[0].pk).attempts == 1


def test_the_journal_is_read_before_anybody_else_may_take_the_batch(send: Send) -> None:
    _, written = claim(send, gone_holder())
    items = list(SendItem.objects.filter(send=send))
    written.note(result(items[0], 1))
    written.leave()
    recovery.end_leases()
    assert outcomes(send) == {"sent": 1, "pending": 3}
    assert list(journal.remains()) == []
    assert SendBatch.objects.get().lease_until == ENDED


def test_what_only_the_journal_knows_is_not_taken_for_cancelled(
    send: Send, settings: Any, tmp_path: Path
) -> None:
    _, written = claim(send, gone_holder())
    written.note(result(SendItem.objects.filter(send=send)[0], 1))
    written.leave()
    sending.cancel_send(send, "test")
    recovery.end_leases()
    settings.DATA_DIR = tmp_path  # now another host ticks, which has not this journal
    engine.tick("test")
    send.refresh_from_db()
    assert (send.state, outcomes(send)) == ("cancelled", {"sent": 1, "cancelled": 3})


def test_a_journal_that_can_not_be_read_keeps_no_batch_from_others(send: Send) -> None:
    _, written = claim(send, gone_holder())
    (remains,) = journal.remains()
    written.remove()
    remains.path.mkdir()
    try:
        engine.tick("test")
    finally:
        remains.path.rmdir()
    assert SendBatch.objects.get().state == BatchState.READY


def test_a_line_that_was_cut_off_is_left_out(send: Send) -> None:
    _, written = claim(send, gone_holder())
    items = list(SendItem.objects.filter(send=send))
    written.note(result(items[0], 1))
    written.note(result(items[1], 2))
    written.leave()
    (remains,) = journal.remains()
    remains.path.write_bytes(remains.path.read_bytes()[:-20])
    engine.tick("test")
    assert outcomes(send) == {"sent": 1, "pending": 3}


def test_the_journal_of_a_worker_that_lives_is_left_alone(send: Send) -> None:
    _, written = claim(send, owners.owner_name())
    written.note(result(SendItem.objects.filter(send=send)[0], 1))
    engine.tick("test")
    assert len(list(journal.remains())) == 1
    assert outcomes(send) == {"pending": 4}
    written.remove()


def test_an_unknown_result_is_pending_again(send: Send) -> None:
    _, written = claim(send, gone_holder())
    written.note(result(SendItem.objects.filter(send=send)[0], 1, status=None))
    written.leave()
    engine.tick("test")
    assert outcomes(send) == {"pending": 4}
    assert SendItem.objects.filter(send=send, attempts=1).count() == 1


def test_committed_results_stand_in_no_journal(send: Send) -> None:
    _, written = claim(send, owners.owner_name())
    written.note(result(SendItem.objects.filter(send=send)[0], 1))
    written.empty()
    (remains,) = journal.remains()
    assert remains.results() == []
    assert remains.path.stat().st_mode & 0o777 == 0o600
    written.remove()


def test_slots_of_processes_that_are_gone_are_free_at_once() -> None:
    to = factories.destination(max_associations=1)
    assert leases.claim_slot(to, gone_holder()) is not None
    assert leases.claim_slot(to, "next") is None
    recovery.end_leases()
    assert leases.claim_slot(to, "next") is not None


@pytest.mark.parametrize(
    "owner",
    ["elsewhere:1:0:0", "", "odd", "a:b:c:d", f"{configured.SENDER_HOST}:999999999:other:0"],
)
def test_owners_elsewhere_are_never_taken_for_dead(owner: str) -> None:
    assert not owners.is_dead(owner)


def test_work_that_loses_its_worker_again_and_again_waits(send: Send) -> None:
    for _ in range(3):
        SendBatch.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
        lease, written = claim(send, gone_holder())
        written.leave()
        engine.tick("test")
        assert lease is not None
    batch = SendBatch.objects.get()
    assert batch.attempt == 3
    assert batch.next_attempt_at > timezone.now() + timedelta(seconds=10)


def test_a_journal_whose_batch_somebody_works_on_waits(send: Send) -> None:
    """Who works on it has read what is pending: to count it here too would count it twice."""
    _, written = claim(send, "elsewhere:1")
    items = list(SendItem.objects.filter(send=send))
    written.note(result(items[0], 1))
    written.leave()
    SendBatch.objects.update(state=BatchState.READY, lease_until=None)
    taken = leases.claim_batch(send.destination_id, "another host")
    assert taken is not None
    assert recovery.replay_journals() == 0
    assert outcomes(send) == {"pending": 4}
    assert len(list(journal.remains())) == 1
    SendBatch.objects.update(state=BatchState.READY, lease_until=None)
    assert recovery.replay_journals() == 1
    assert outcomes(send) == {"sent": 1, "pending": 3}
    assert list(journal.remains()) == []


def test_a_journal_that_comes_late_counts_nothing_twice(send: Send) -> None:
    """Its host was away; another has recorded the association as interrupted, and sent again."""
    _, written = claim(send, "elsewhere:1")
    items = list(SendItem.objects.filter(send=send))
    written.note(result(items[0], 1))
    written.note(result(items[1], 2))
    written.leave()
    leases_end()
    recording.sweep_attempts()
    SendItem.objects.filter(pk=items[0].pk).update(outcome=InstanceOutcome.SENT)
    StudyPart.objects.update(sent=1, pending=3)
    assert recovery.replay_journals() == 2
    assert outcomes(send) == {"sent": 2, "pending": 2}
    assert tallies.recount(send.pk) == 0
    assert not InstanceAttempt.objects.exists(), "an association on record is never changed"
    assert verify_record(Association.objects.get())


def test_who_gives_its_leases_back_has_its_journal_read_before(
    send: Send, settings: Any, tmp_path: Path
) -> None:
    """It may have stopped by an error of ours; whoever ticks elsewhere has not its journal."""
    _, written = claim(send, owners.owner_name())
    written.note(result(SendItem.objects.filter(send=send)[0], 1))
    written.leave()
    recovery.give_back(owners.owner_name())
    assert SendBatch.objects.get().lease_until == ENDED
    assert list(journal.remains()) == []
    settings.DATA_DIR = tmp_path
    engine.tick("another host")
    assert outcomes(send) == {"sent": 1, "pending": 3}


def fail_after_third(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Have an association fail once the answer to its third instance is in the journal."""
    note = Journal.note

    def note_and_fail(self: Journal, result: InstanceResult) -> bool:
        is_kept = note(self, result)
        if result.number == 3:
            raise error
        return is_kept

    monkeypatch.setattr(Journal, "note", note_and_fail)


def test_an_error_of_ours_in_an_association_loses_no_answer(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_after_third(monkeypatch, RuntimeError("a mistake of ours"))
    with acceptor(answering()) as running:
        Destination.objects.update(port=running.port)
        with pytest.raises(RuntimeError, match="ours"):
            engine.work(send.destination_id)
    assert outcomes(send) == {"sent": 3, "pending": 1}
    row = Association.objects.get()
    assert row.instances == InstanceAttempt.objects.filter(attempt_id=row.uid).count() == 3
    assert verify_record(row)
    assert list(journal.remains()) == []


def test_an_outage_in_an_association_costs_its_batch_no_pause(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    SendBatch.objects.update(attempt=8)
    outage = OperationalError("terminating connection due to administrator command")
    fail_after_third(monkeypatch, outage)
    with acceptor(answering()) as running:
        Destination.objects.update(port=running.port)
        with pytest.raises(OperationalError):
            engine.work(send.destination_id)
    engine.tick("test")
    assert outcomes(send) == {"sent": 3, "pending": 1}
    batch = SendBatch.objects.get()
    assert (batch.state, batch.attempt, batch.owner) == (BatchState.READY, 8, "")
    assert batch.next_attempt_at <= timezone.now()
    assert list(journal.remains()) == []


def test_a_journal_that_can_not_be_read_does_not_stop_the_others(send: Send) -> None:
    _, written = claim(send, "elsewhere:1")
    written.note(result(SendItem.objects.filter(send=send)[0], 1))
    written.leave()
    leases_end()
    (remains,) = journal.remains()
    odd = remains.path.with_name(f"0{remains.path.name}")
    odd.mkdir()
    try:
        assert recovery.replay_journals() == 1
    finally:
        odd.rmdir()
    assert outcomes(send) == {"sent": 1, "pending": 3}


def test_scans_and_plans_of_processes_that_are_gone_go_on_at_once(tmp_path: Path) -> None:
    factories.write_instance(tmp_path / "in" / "1.dcm", sop_instance="1.2.3.1")
    send = order(factories.destination(), tmp_path / "in", inline=False)
    until = timezone.now() + timedelta(hours=1)
    held = Send.objects.filter(pk=send.pk)
    held.update(owner="elsewhere:1:0:0:0", lease_until=until)
    Listing.objects.update(
        state=ListingState.SCANNING, owner="elsewhere:1:0:0:0", lease_until=until
    )
    planner.plan_send(send.pk)
    assert not SendItem.objects.exists(), "somebody else holds it"
    held.update(owner=gone_holder())
    Listing.objects.update(owner=gone_holder())
    recovery.end_leases()
    planner.plan_send(send.pk)
    assert outcomes(send) == {"pending": 1}


def test_when_the_one_that_tries_a_destination_dies_others_try_at_once(send: Send) -> None:
    to, elsewhere = send.destination, factories.destination("elsewhere")
    later = timezone.now() + timedelta(minutes=5)
    for destination in (to, elsewhere):
        Hold.objects.create(
            destination=destination, kind=HoldKind.BREAKER, reason="away", set_by="test",
            probe_at=later,
        )  # fmt: skip
    assert leases.claim_slot(to, gone_holder()) is not None
    recovery.end_leases()
    assert gate.look(to.pk).closed is None, "whoever comes may try"
    closed = gate.look(elsewhere.pk).closed
    assert closed is not None
    assert closed.until == later, "nobody died there"


@pytest.mark.parametrize("before", ["cancelled", "failed", "unknown"])
def test_what_was_acknowledged_is_sent_though_it_was_given_up_meanwhile(
    send: Send, before: str
) -> None:
    """The host that knows was away; another has gone on, and the send has ended."""
    _, written = claim(send, "elsewhere:1")
    items = list(SendItem.objects.filter(send=send))
    for number, item in enumerate(items[:2], start=1):
        written.note(result(item, number))
    written.note(result(items[2], 3, status=None))
    written.leave()
    leases_end()
    recording.sweep_attempts()
    tallies.change_rows(
        SendItem.objects.filter(send=send), InstanceOutcome.PENDING, InstanceOutcome(before)
    )
    SendBatch.objects.update(state=BatchState.DONE, lease_until=None, owner="")
    state = "cancelled" if before == "cancelled" else "failed"
    Send.objects.update(state=state)
    recovery.replay_journals()
    send.refresh_from_db()
    assert outcomes(send) == {"sent": 2, before: 2}
    assert tallies.recount(send.pk) == 0
    assert send.state == ("cancelled" if before == "cancelled" else "partial")
    assert list(journal.remains()) == []
