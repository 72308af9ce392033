"""Sends from order to account, with a real receiver: states, leases, slots, retries, truth."""

import threading
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Max

from sender.analytics.sends import seconds_to_last_outcome
from sender.dicom.acceptor import Profile, Receiver
from sender.models import (
    Association,
    AuditEntry,
    BatchState,
    ContextTemplate,
    Destination,
    DestinationSlot,
    InstanceAttempt,
    Send,
    SendBatch,
    SendItem,
    SendState,
)
from sender.models.sources import real_path, stored_path
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import again, engine, leases, owners, planner, sending, sources, transfer
from sender.services.sending import SendOrder, WrongState
from sender.services.vigil import ENDED
from tests import factories
from tests.processes import free_port
from tests.services.background import run_inline

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three studies of two instances each."""
    for number in range(6):
        factories.write_instance(
            tmp_path / "in" / f"{number}.dcm",
            sop_instance=f"1.2.3.{number}",
            study=f"1.2.826.{number // 2}",
        )
    return tmp_path / "in"


def order(to: Destination, folder: Path, **changes: object) -> Send:
    values: dict[str, Any] = {
        "template_version": ContextTemplate.objects.get(name="Derived from files").newest,
        "roots": None,
        "inline": True,
        "retries": 0,
        **changes,
    }
    made = SendOrder(destination=to, sources=[str(folder)], requested_by="test", **values)
    return sending.create_send(made, start=True)


def run(send: Send) -> Send:
    planner.plan_send(send.pk)
    engine.run_inline(Send.objects.get(pk=send.pk))
    send.refresh_from_db()
    return send


def outcomes(send: Send) -> dict[str, int]:
    found: dict[str, int] = {}
    for outcome in SendItem.objects.filter(send=send).values_list("outcome", flat=True):
        found[outcome] = found.get(outcome, 0) + 1
    return found


def at(receiver: Receiver, name: str = "pacs", **facts: object) -> Destination:
    return factories.destination(
        name, **{"ae_title": "DEMO_SCP", "port": receiver.port, "max_associations": 2, **facts}
    )


def test_everything_is_sent_and_on_record(receiver: Receiver, folder: Path) -> None:
    send = run(order(at(receiver), folder))
    assert (send.state, outcomes(send)) == (SendState.SUCCEEDED, {"sent": 6})
    assert send.finished_at is not None
    assert InstanceAttempt.objects.filter(outcome="sent").count() == 6
    assert Association.objects.filter(send_number=send.pk, ended="released").exists()
    assert AuditEntry.objects.filter(action="send.create", subject=str(send.pk)).exists()


def test_a_planned_send_is_not_planned_twice(receiver: Receiver, folder: Path) -> None:
    send = order(at(receiver), folder)
    planner.plan_send(send.pk)
    planner.plan_send(send.pk)
    assert SendItem.objects.filter(send=send).count() == 6


def test_a_batch_is_claimed_once(receiver: Receiver, folder: Path) -> None:
    to = at(receiver)
    send = order(to, folder)
    planner.plan_send(send.pk)
    claimed = []
    while lease := leases.claim_batch(to.pk, "somebody", send_id=send.pk):
        claimed.append(lease)
    assert len(claimed) == SendBatch.objects.filter(send=send).count()
    assert SendBatch.objects.filter(send=send, attempt=1).count() == len(claimed)


def test_workers_at_the_same_time_never_share_a_batch_or_a_slot(
    receiver: Receiver, folder: Path
) -> None:
    from django.db import connection

    to = factories.at_full_pace(at(receiver))
    send = order(to, folder)
    planner.plan_send(send.pk)
    slots, batches = [], []
    begin = threading.Barrier(6)

    def work() -> None:
        begin.wait()
        slots.append(leases.claim_slot(to, owners.owner_name()))
        batches.append(leases.claim_batch(to.pk, owners.owner_name(), send_id=send.pk))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [slot.slot_id for slot in slots if slot is not None]
    taken = [batch.batch_id for batch in batches if batch is not None]
    assert len(held) == len(set(held)) == to.max_associations
    assert len(taken) == len(set(taken)) == SendBatch.objects.filter(send=send).count()


def test_a_worker_that_lost_its_batch_writes_nothing_more(receiver: Receiver, folder: Path) -> None:
    to = at(receiver)
    send = order(to, folder)
    planner.plan_send(send.pk)
    slot = leases.claim_slot(to, "first")
    lease = leases.claim_batch(to.pk, "first", send_id=send.pk)
    assert slot is not None
    assert lease is not None
    SendBatch.objects.filter(pk=lease.batch_id).update(fence=lease.fence + 1, owner="second")
    transfer.run_batches(lease, slot, is_stopping=lambda: False)
    assert outcomes(send) == {"pending": 6}
    assert not leases.extend_batch(lease)


def test_an_expired_lease_is_given_back_by_the_tick(receiver: Receiver, folder: Path) -> None:
    to = at(receiver)
    send = order(to, folder)
    planner.plan_send(send.pk)
    lease = leases.claim_batch(to.pk, "gone", send_id=send.pk)
    assert lease is not None
    SendBatch.objects.filter(pk=lease.batch_id).update(lease_until=ENDED)
    engine.tick("test")
    batch = SendBatch.objects.get(pk=lease.batch_id)
    assert (batch.state, batch.fence) == (BatchState.READY, lease.fence + 1)


def test_a_slot_that_nobody_frees_is_free_again_when_its_lease_ends() -> None:
    to = factories.destination(max_associations=1)
    held = leases.claim_slot(to, "gone")
    assert held is not None
    assert leases.claim_slot(to, "next") is None
    DestinationSlot.objects.update(lease_until=ENDED)
    assert leases.claim_slot(to, "next") is not None
    assert not leases.extend_slot(held)


def test_duplicates_are_sent_once_and_conflicts_not_at_all(
    receiver: Receiver, folder: Path
) -> None:
    (folder / "copy.dcm").write_bytes((folder / "0.dcm").read_bytes())
    factories.write_instance(folder / "other.dcm", sop_instance="1.2.3.1", rows=4)
    send = run(order(at(receiver), folder))
    assert send.state == SendState.PARTIAL
    assert outcomes(send) == {"sent": 5, "unsendable": 2}
    assert set(
        SendItem.objects.filter(send=send, outcome="unsendable").values_list("reason", flat=True)
    ) == {"conflict"}
    first = SendItem.objects.get(send=send, file__sop_instance_uid="1.2.3.0")
    assert [copy.file.name for copy in first.copies.all()] == ["copy.dcm"]


def test_files_that_are_none_are_rows_with_a_reason(receiver: Receiver, folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "half.dcm").write_bytes((folder / "0.dcm").read_bytes()[:-20])
    send = run(order(at(receiver), folder))
    reasons = SendItem.objects.filter(send=send, outcome="unsendable").values_list(
        "reason", flat=True
    )
    assert sorted(reason.split(":")[0] for reason in reasons) == ["half.dcm", "notes.txt"]


def test_an_empty_folder_is_a_failed_send(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    send = order(factories.destination(), tmp_path / "empty")
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert send.state == SendState.FAILED
    assert "no files" in send.detail


def test_a_peer_that_refuses_leaves_every_row_unsent_with_the_reason(
    receiver: Receiver, folder: Path
) -> None:
    send = run(order(at(receiver, ae_title="DEMO_REFUSE"), folder))
    assert send.state == SendState.FAILED
    assert InstanceOutcome.SENT not in outcomes(send)
    assert Association.objects.filter(send_number=send.pk, outcome="rejected").exists()


def test_nobody_listening_is_retried_and_then_failed(folder: Path, settings: object) -> None:
    settings.RETRY_BASE_SECONDS = 0.01  # type: ignore[attr-defined]
    to = factories.destination(port=free_port(), connect_timeout=0.5)
    send = run(order(to, folder, retries=2))
    assert send.state == SendState.FAILED
    attempts = set(SendItem.objects.filter(send=send).values_list("attempts", flat=True))
    assert Association.objects.filter(send_number=send.pk, outcome="tcp_failed").count() >= 3
    assert attempts <= {0, 1, 2, 3}


def test_failed_instances_are_sent_when_a_person_retries(folder: Path, settings: object) -> None:
    port = free_port()
    to = factories.destination(ae_title="DEMO_SCP", port=port, connect_timeout=0.5)
    send = run(order(to, folder))
    assert send.state == SendState.FAILED
    assert again.retry_failed(send, "test") == 6
    with Receiver(port=port):
        Send.objects.filter(pk=send.pk).update(inline=True)
        engine.run_inline(Send.objects.get(pk=send.pk))
    send.refresh_from_db()
    assert (send.state, outcomes(send)) == (SendState.SUCCEEDED, {"sent": 6})


@pytest.mark.slow
def test_cancelling_leaves_what_was_sent_and_cancels_the_rest(folder: Path) -> None:
    slow = {"SLOW": Profile(pause_seconds=0.7)}
    with Receiver(port=0, profiles=slow) as receiver:
        send = order(at(receiver, ae_title="SLOW", max_associations=1), folder)
        planner.plan_send(send.pk)
        thread = threading.Thread(target=run_inline, args=(send.pk,))
        thread.start()
        _await_association()
        sending.cancel_send(send, "test")
        thread.join(20)
        assert not thread.is_alive()
    engine.tick("test")
    send.refresh_from_db()
    found = outcomes(send)
    assert send.state == SendState.CANCELLED
    assert found["cancelled"] >= 1
    assert set(found) <= {"sent", "cancelled", "unknown"}
    assert sum(found.values()) == 6


def _await_association() -> None:
    from sender.models import AssociationAttempt
    from tests.processes import await_true

    await_true(AssociationAttempt.objects.exists, "an association", 10)


def test_a_draft_waits_for_its_start(receiver: Receiver, folder: Path) -> None:
    to = at(receiver)
    version = ContextTemplate.objects.get(name="Derived from files").newest
    draft = sending.create_send(
        SendOrder(to, version, [str(folder)], "test", roots=None), start=False
    )
    with pytest.raises(WrongState, match="plan"):
        sending.start_send(draft, "test")
    planner.plan_send(draft.pk)
    draft.refresh_from_db()
    assert (draft.state, draft.plan["associations"]) == (SendState.DRAFT, 1)
    assert leases.claim_batch(to.pk, "x") is None, "nothing is sent before the start"
    sending.start_send(draft, "test")
    engine.work(to.pk)
    draft.refresh_from_db()
    assert draft.state == SendState.SUCCEEDED
    with pytest.raises(WrongState):
        sending.start_send(draft, "test")


def test_a_send_took_until_its_last_outcome_whatever_came_after_it(
    receiver: Receiver, folder: Path
) -> None:
    send = run(order(at(receiver), folder))
    last = send.batches.aggregate(at=Max("last_outcome_at"))["at"]
    answered = Association.objects.get()
    assert send.started_at
    assert send.finished_at
    assert send.started_at < last < answered.recorded_at < send.finished_at
    assert seconds_to_last_outcome(send) == (last - send.started_at).total_seconds()


def test_what_was_given_up_has_its_outcome_then(folder: Path) -> None:
    send = run(order(factories.destination(port=free_port(), connect_timeout=0.5), folder))
    assert outcomes(send) == {"failed": 6}
    last = send.batches.aggregate(at=Max("last_outcome_at"))["at"]
    assert send.started_at
    assert send.finished_at
    assert Association.objects.get().recorded_at < last <= send.finished_at
    assert seconds_to_last_outcome(send) == (last - send.started_at).total_seconds()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/nowhere", "does not exist"),
        ("", "path of a folder"),
        ("/etc", "outside the allowed source roots"),
    ],
)
def test_a_wrong_source_writes_nothing(source: str, message: str) -> None:
    version = ContextTemplate.objects.get(name="Derived from files").newest
    to = factories.destination()
    with pytest.raises(sources.InvalidSource, match=message):
        sending.create_send(SendOrder(to, version, [source], "test"), start=True)
    assert not Send.objects.exists()


def test_a_disabled_destination_gets_no_send(folder: Path) -> None:
    with pytest.raises(WrongState, match="disabled"):
        order(factories.destination(enabled=False), folder)


def test_a_link_out_of_a_root_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "way-out").symlink_to("/etc")
    with pytest.raises(sources.InvalidSource, match="outside"):
        sources.resolve_source(str(tmp_path / "root" / "way-out"), [tmp_path / "root"])


def test_paths_of_any_bytes_are_stored_and_found_again() -> None:
    import os

    odd = os.fsdecode(b"/data/\xff\xfe/\xc3\xa4")
    assert real_path(stored_path(odd)) == odd
    assert stored_path("/data/plain ä") == "/data/plain ä"
    assert stored_path("file:odd") == real_path("file:odd") == "file:odd"
