"""What follows when a destination or an instance does not work: by the table, on record."""

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from sender.analytics import sends as accounts
from sender.dicom.acceptor import Profile, Receiver
from sender.models import (
    Association,
    AssociationAttempt,
    AuditEntry,
    BatchState,
    Destination,
    Hold,
    HoldKind,
    InstanceAttempt,
    Send,
    SendBatch,
    SendItem,
    SendState,
)
from sender.negotiation import retry
from sender.services import (
    again,
    engine,
    gate,
    holds,
    isolating,
    planner,
    probing,
    sending,
    settling,
    transfer,
    trials,
)
from sender.services.destinations import DestinationFacts, change_destination
from sender.services.gate import By
from sender.services.leases import BatchLease
from sender.services.sending import WrongState
from sender.services.subsets import Subset
from tests import factories
from tests.processes import await_true, free_port
from tests.scripted_acceptor import Conversation, abort, acceptor, rejection
from tests.services.background import background
from tests.services.test_control import (
    NEVER_NOW,
    planned,
    split_by_study,
    state_of,
    write_studies,
)
from tests.services.test_sending import at, order, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
REFUSES, BUSY, WORKS = Profile(rejection=(1, 1, 3)), Profile(rejection=(2, 3, 1)), Profile()


@pytest.fixture
def profiles() -> dict[str, Profile]:
    """How the receiver behaves; tests change it."""
    return {"PACS": REFUSES}


@pytest.fixture
def receiver(profiles: dict[str, Profile]) -> Iterator[Receiver]:
    with Receiver(port=0, profiles=profiles) as running:
        yield running


@pytest.fixture
def pacs(receiver: Receiver) -> Destination:
    return at(receiver, ae_title="PACS", max_associations=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three studies of three instances each."""
    return write_studies(tmp_path / "in", 3)


def test_workers_that_fail_at_the_same_time_are_no_sign_that_it_works(
    profiles: dict[str, Profile], receiver: Receiver, folder: Path
) -> None:
    profiles["PACS"] = BUSY
    to = factories.at_full_pace(at(receiver, ae_title="PACS", max_associations=3))
    split_by_study(planned(to, folder))
    at_once(lambda: engine.work(to.pk), 3)
    hold = Hold.objects.get()
    assert (hold.kind, hold.failures) == (HoldKind.BREAKER, 1)
    assert Association.objects.count() <= 3


def test_a_batch_that_follows_in_an_association_was_decided_on_with_the_first(
    profiles: dict[str, Profile], pacs: Destination, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles["PACS"] = WORKS
    split_by_study(planned(pacs, folder))
    leases_seen: list[BatchLease] = []

    def settle(batch: SendBatch, lease: BatchLease, *facts: Any, **more: Any) -> None:
        leases_seen.append(lease)
        settling.settle_batch(batch, lease, *facts, **more)

    monkeypatch.setattr(transfer, "settle_batch", settle)
    engine.work(pacs.pk)
    assert len({lease.batch_id for lease in leases_seen}) == 3
    assert len({lease.decided_at for lease in leases_seen}) == 1
    assert Association.objects.count() == 1


@pytest.fixture
def quickly(settings: Settings) -> None:
    """Delays of milliseconds; a probe every 0.3 s."""
    settings.RETRY_BASE_SECONDS = 0.02


def run_to_the_end(*sends: Send) -> None:
    with background():
        await_true(
            lambda: all(Send.objects.get(pk=send.pk).is_ended for send in sends), "the end", 40
        )


# A destination that does not know us


@pytest.mark.slow
def test_a_peer_that_does_not_know_us_is_waited_for_and_the_send_ends_without_a_hand(
    pacs: Destination, profiles: dict[str, Profile], folder: Path, quickly: None
) -> None:
    send = planned(pacs, folder)
    with background():
        await_true(lambda: Association.objects.filter(trigger="probe").exists(), "a probe", 20)
        assert outcomes(send) == {"pending": 9}, "nothing is given up"
        hold = Hold.objects.get(ended_at=None)
        assert (hold.kind, hold.rule) == (HoldKind.BLOCKED, "calling_ae_title")
        assert "(1/1/3)" in hold.reason
        profiles["PACS"] = WORKS
        await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 30)
    assert outcomes(send) == {"sent": 9}
    assert not Hold.objects.active().exists()
    answered = Association.objects.filter(trigger="probe").order_by("-id")[0]
    assert (answered.outcome, answered.send_number) == ("established", send.pk)
    entries = AuditEntry.objects.filter(actor="system", subject="pacs").order_by("id")
    assert list(entries.values_list("action", flat=True)) == [
        "destination.block",
        "destination.resume",
    ]


def test_what_waits_for_a_blocked_destination_says_why_and_counts_nothing(
    pacs: Destination, folder: Path
) -> None:
    send = planned(pacs, folder)
    engine.work(pacs.pk)
    engine.work(pacs.pk)
    batch = SendBatch.objects.get()
    assert (batch.state, batch.failures, batch.rule) == (BatchState.READY, 0, "calling_ae_title")
    assert Association.objects.count() == 1, "nobody calls it again before its time"
    closed = gate.why_closed(send)
    assert closed is not None
    assert closed.by is By.BLOCKED
    assert "our AE title" in closed.reason
    assert set(SendItem.objects.values_list("attempts", flat=True)) == {0}


def test_of_all_who_want_to_probe_one_does(pacs: Destination, folder: Path) -> None:
    planned(pacs, folder)
    engine.work(pacs.pk)
    hold = Hold.objects.get()
    Hold.objects.update(probe_at=timezone.now())
    at_once(lambda: probing.probe_destination(hold.pk), 4)
    assert Association.objects.filter(trigger="probe").count() == 1
    hold.refresh_from_db()
    assert (hold.failures, hold.ended_at) == (2, None)
    assert hold.probe_at is not None
    assert hold.probe_at > timezone.now()


def at_once(work: Callable[[], object], threads: int) -> None:
    """Do the same in several threads at the same time."""
    begin, faults = threading.Barrier(threads), []

    def run() -> None:
        begin.wait()
        try:
            work()
        except BaseException as fault:
            faults.append(fault)
        finally:
            connection.close()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert faults == []


def test_one_click_ends_the_waiting_for_the_fix(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    send = planned(pacs, folder)
    engine.work(pacs.pk)
    profiles["PACS"] = WORKS
    holds.resume(Hold.objects.get(), "anna")
    engine.work(pacs.pk)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 9})


def tried_now(pacs: Destination) -> None:
    """Have a block tried at once that is a day old."""
    a_day_ago = timezone.now() - timedelta(days=1)
    Hold.objects.filter(ended_at=None).update(started_at=a_day_ago)
    holds.resume(Hold.objects.get(ended_at=None), "anna")
    engine.work(pacs.pk)


def test_a_block_that_is_tried_in_vain_is_as_old_as_it_was(pacs: Destination, folder: Path) -> None:
    planned(pacs, folder)
    engine.work(pacs.pk)
    tried_now(pacs)
    held = Hold.objects.get()
    assert (held.kind, held.ended_at, held.ended_by) == (HoldKind.BLOCKED, None, "")
    assert held.started_at < timezone.now() - timedelta(hours=23)
    assert held.failures == 2
    verbs = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert [verb for verb in verbs if verb in ("destination.block", "destination.resume")] == [
        "destination.block", "destination.resume", "destination.block",
    ]  # fmt: skip


def test_a_block_after_an_answer_is_a_new_one(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    planned(pacs, folder)
    engine.work(pacs.pk)
    refuses, profiles["PACS"] = profiles["PACS"], WORKS
    tried_now(pacs)
    assert not Hold.objects.active().exists()
    profiles["PACS"] = refuses
    planned(pacs, folder)
    engine.work(pacs.pk)
    held = Hold.objects.get(ended_at=None)
    assert held.started_at > timezone.now() - timedelta(hours=1)
    assert Hold.objects.count() == 2


def changed(to: Destination, **changes: Any) -> None:
    """Save a destination with changes, as an administrator does."""
    facts = {field.name: getattr(to, field.name) for field in fields(DestinationFacts)}
    change_destination(to, DestinationFacts(**facts | changes), actor="anna")


def test_a_blocked_destination_is_asked_at_once_when_it_was_corrected(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    from django_q.models import OrmQ

    send = planned(pacs, folder)
    engine.work(pacs.pk)
    changed(pacs, notes="call the archive", max_associations=2)
    engine.tick("test")
    OrmQ.objects.all().delete()
    engine.tick("test")
    assert not OrmQ.objects.exists(), "nothing that an association depends on was changed"
    profiles["MENDED"] = WORKS
    changed(pacs, ae_title="MENDED")
    engine.tick("test")
    assert "sender.tasks.probe_destination" in [row.func() for row in OrmQ.objects.all()]
    probing.probe_destination(Hold.objects.get().pk)
    engine.work(pacs.pk)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 9})


def test_a_destination_out_of_reach_is_called_at_once_when_it_was_corrected(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    profiles["PACS"], profiles["MENDED"] = BUSY, WORKS
    send = planned(pacs, folder)
    engine.work(pacs.pk)
    assert Hold.objects.active().get().kind == HoldKind.BREAKER
    changed(pacs, ae_title="MENDED")
    engine.work(pacs.pk)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 9})


def test_an_answer_to_anything_else_ends_it_too(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    from sender.models import Trigger
    from sender.services.enquiries import verification_version

    planned(pacs, folder)
    engine.work(pacs.pk)
    profiles["PACS"] = WORKS
    probing.contact(pacs, verification_version(), Trigger.ECHO, requested_by="anna")
    assert not Hold.objects.active().exists()


def test_a_probe_waits_while_a_person_pauses_the_destination(
    pacs: Destination, folder: Path, quickly: None
) -> None:
    from django_q.models import OrmQ

    planned(pacs, folder)
    engine.work(pacs.pk)
    Hold.objects.update(probe_at=timezone.now())
    holds.pause(pacs, reason="x", until=None, actor="anna")
    OrmQ.objects.all().delete()
    engine.tick("test")
    assert not OrmQ.objects.exists()


def test_a_send_with_a_number_of_retries_does_not_wait_for_the_fix(
    pacs: Destination, folder: Path, tmp_path: Path
) -> None:
    waits = planned(pacs, folder)
    ends = planned(pacs, write_studies(tmp_path / "b", 1, root="1.5"), retries=0)
    engine.work(pacs.pk)
    assert (state_of(ends), outcomes(ends)) == (SendState.FAILED, {"failed": 3})
    assert set(ends.items.values_list("rule", flat=True)) == {"calling_ae_title"}
    assert (state_of(waits), outcomes(waits)) == (SendState.RUNNING, {"pending": 9})


def test_an_inline_send_ends_and_the_hold_is_on_record(
    pacs: Destination, profiles: dict[str, Profile], folder: Path, tmp_path: Path
) -> None:
    send = order(pacs, folder, retries=None)
    planner.plan_send(send.pk)
    engine.run_inline(Send.objects.get(pk=send.pk))
    assert (state_of(send), outcomes(send)) == (SendState.FAILED, {"failed": 9})
    assert Hold.objects.active().get().kind == HoldKind.BLOCKED
    profiles["PACS"] = WORKS
    again_inline = order(pacs, write_studies(tmp_path / "b", 1, root="1.5"))
    planner.plan_send(again_inline.pk)
    engine.run_inline(Send.objects.get(pk=again_inline.pk))
    assert outcomes(again_inline) == {"sent": 3}, "it tries all the same"
    assert not Hold.objects.active().exists()


# A destination that can't be reached, or is busy


@pytest.mark.slow
def test_two_associations_that_isolate_at_once_number_their_batches_apart(
    pacs: Destination, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = planned(pacs, folder)
    batch = send.batches.get()
    first, second = send.items.order_by("position")[:2]
    isolating._isolate(batch, first.pk, "only_this_one", timezone.now())
    found = isolating._last_number
    stale = [found(send.pk) - 1]
    monkeypatch.setattr(
        isolating, "_last_number", lambda number: stale.pop() if stale else found(number)
    )
    isolating._isolate(batch, second.pk, "only_this_one", timezone.now())
    assert not stale
    alone = send.batches.filter(is_isolated=True).order_by("number")
    assert [b.items.get().pk for b in alone] == [first.pk, second.pk]


def test_a_send_outside_its_windows_is_not_given_up_for_the_failures_of_others(
    pacs: Destination, folder: Path, tmp_path: Path
) -> None:
    shut = planned(pacs, folder, retries=0, windows=NEVER_NOW)
    planned(pacs, write_studies(tmp_path / "b", 1, root="1.5"), retries=0)
    engine.work(pacs.pk)
    assert (state_of(shut), outcomes(shut)) == (SendState.QUEUED, {"pending": 9})
    assert set(shut.batches.values_list("failures", flat=True)) == {0}


def test_a_breaker_keeps_others_from_calling_and_burns_nobodys_attempts(
    profiles: dict[str, Profile], pacs: Destination, folder: Path
) -> None:
    profiles["PACS"] = BUSY
    send = planned(pacs, folder)
    split_by_study(send)
    for _ in range(3):
        engine.work(pacs.pk)
    hold = Hold.objects.get()
    assert (hold.kind, hold.rule, hold.failures) == (HoldKind.BREAKER, "busy", 1)
    assert Association.objects.count() == 1
    tried, *others = SendBatch.objects.order_by("-failures", "number")
    assert (tried.failures, tried.rule) == (1, "busy")
    assert tried.next_attempt_at == hold.probe_at, "any later, and another would try instead"
    assert {(b.attempt, b.failures, b.state) for b in others} == {(0, 0, BatchState.READY)}
    closed = gate.look(pacs.pk).closed
    assert closed is not None
    assert (closed.by, closed.until) == (By.BREAKER, hold.probe_at)
    Hold.objects.update(probe_at=timezone.now())
    SendBatch.objects.filter(pk=tried.pk).update(next_attempt_at=timezone.now())
    at_once(lambda: engine.work(pacs.pk), 2)
    hold.refresh_from_db()
    assert (hold.failures, Association.objects.count()) == (2, 2), "one tried, and it was told"
    assert set(SendBatch.objects.values_list("failures", flat=True)) == {0, 2}
    profiles["PACS"] = WORKS
    Hold.objects.update(probe_at=timezone.now())
    SendBatch.objects.update(next_attempt_at=timezone.now())
    engine.work(pacs.pk)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 9})
    assert not Hold.objects.active().exists()


def test_a_destination_that_comes_back_gets_all_without_a_hand(folder: Path, quickly: None) -> None:
    port = free_port()
    send = planned(factories.destination(port=port, connect_timeout=1), folder)
    split_by_study(send)
    with background():
        await_true(lambda: Hold.objects.filter(failures__gte=2).exists(), "two failures", 20)
        with Receiver(port=port, profiles={"PACS": WORKS}):
            await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 30)
    assert outcomes(send) == {"sent": 9}


@pytest.mark.slow
def test_a_send_that_was_not_told_otherwise_gives_up_by_the_rule_alone(
    folder: Path, settings: Settings
) -> None:
    settings.RETRY_BASE_SECONDS = 0.001
    to = factories.destination(port=free_port(), connect_timeout=1, retries=0)
    send = planned(to, folder)
    split_by_study(send)
    run_to_the_end(send)
    assert (state_of(send), outcomes(send)) == (SendState.FAILED, {"failed": 9})
    allowed = retry.UNREACHABLE.attempts_allowed
    assert Association.objects.count() == 1 + allowed
    assert set(send.items.values_list("rule", flat=True)) == {"unreachable"}
    assert not Hold.objects.active().exists(), "nothing waits, so nobody is kept from calling"


def test_a_number_of_retries_caps_the_associations(folder: Path, quickly: None) -> None:
    to = factories.destination(port=free_port(), connect_timeout=1)
    send = planned(to, folder, retries=2)
    split_by_study(send)
    run_to_the_end(send)
    assert (state_of(send), Association.objects.count()) == (SendState.FAILED, 3)


def test_a_refusal_beside_associations_that_work_stops_nobody(
    profiles: dict[str, Profile], receiver: Receiver, folder: Path
) -> None:
    from sender.services import leases

    profiles["PACS"] = BUSY
    to = factories.at_full_pace(at(receiver, ae_title="PACS", max_associations=2))
    send = planned(to, folder)
    split_by_study(send)
    assert leases.claim_batch(to.pk, "somebody") is not None
    beside = factories.open_attempt(to)
    AssociationAttempt.objects.filter(pk=beside).update(answer=b"\x02\x00")
    engine.work(to.pk)
    assert not Hold.objects.exists()
    refused = SendBatch.objects.get(rule="busy")
    assert (refused.state, refused.failures) == (BatchState.READY, 0)
    to.pace.refresh_from_db()
    assert "1 association instead of 2: The peer rejected" in to.pace.detail


@pytest.mark.slow
def test_a_rejection_without_a_reason_is_tried_once_more_and_then_blocks(
    profiles: dict[str, Profile], pacs: Destination, folder: Path, quickly: None
) -> None:
    profiles["PACS"] = Profile(rejection=(1, 1, 1))
    send = planned(pacs, folder)
    with background():
        await_true(
            lambda: Hold.objects.active().filter(kind=HoldKind.BLOCKED).exists(), "a block", 20
        )
        profiles["PACS"] = WORKS
        await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 20)
    kinds = list(Hold.objects.order_by("id").values_list("kind", flat=True))
    assert kinds == [HoldKind.BREAKER, HoldKind.BLOCKED]


# Instances


def accepting(store: Callable[[Conversation], None]) -> Callable[[Conversation], None]:
    """Return a script that accepts the first proposed contexts, then goes on with `store`."""

    def converse(conversation: Conversation) -> None:
        conversation.accept([(number, 0, factories.ELE) for number in (1, 3, 5, 7)])
        store(conversation)

    return converse


def answering(*statuses: int) -> Callable[[Conversation], None]:
    """Return a script that answers with these statuses, and with 0000 after that."""

    def store(conversation: Conversation) -> None:
        waiting = list(statuses)
        while True:
            request = conversation.read_request()
            conversation.answer(request, waiting.pop(0) if waiting else 0)

    return accepting(store)


def scripted(port: int, **facts: Any) -> Destination:
    return factories.destination(port=port, **{"acse_timeout": 2, "retries": 3, **facts})


def refusing(status: int, *sop_classes: str, but: int = 0) -> Callable[[Conversation], None]:
    """Return a script that refuses instances of some SOP classes.

    Args:
        but: which request, from 1, is stored nevertheless.
    """
    numbers = itertools.count(1)

    def store(conversation: Conversation) -> None:
        for number in numbers:
            request = conversation.read_request()
            is_refused = request.text(0x0002) in sop_classes and number != but
            conversation.answer(request, status if is_refused else 0)

    return accepting(store)


@pytest.mark.parametrize(
    ("status", "rule", "left_out"),
    [(0x0124, "not_authorised", 5), (0x0122, "not_this_sop_class", 2)],
)
def test_a_status_that_concerns_the_destination_stops_the_batch(
    tmp_path: Path, status: int, rule: str, left_out: int
) -> None:
    for number in range(6):
        factories.write_instance(
            tmp_path / "in" / f"{number}.dcm",
            sop_instance=f"1.2.3.{number}",
            sop_class=factories.CT if number < 3 else factories.MR,
        )
    refused = (factories.CT, factories.MR) if status == 0x0124 else (factories.CT,)
    with acceptor(refusing(status, *refused)) as running:
        send = planned(scripted(running.port), tmp_path / "in")
        engine.work(send.destination_id)
    # One more had been begun when the answer came, at most.
    failed = send.items.filter(outcome="failed")
    assert set(failed.values_list("rule", flat=True)) == {rule}
    untried = failed.filter(reason__startswith="not tried: The peer")
    assert left_out - 1 <= untried.count() <= left_out
    assert set(untried.values_list("attempts", "status")) == {(0, None)}
    assert send.items.filter(outcome="sent").count() == 6 - failed.count()


@pytest.mark.parametrize("status", [0x0124, 0x0122])
@pytest.mark.parametrize(("stored", "asked"), [(1, 8), (2, 2)])
def test_what_the_peer_stored_speaks_against_the_reason_of_a_refusal(
    folder: Path, status: int, stored: int, asked: int
) -> None:
    """Stored before, each is asked for; stored just behind, what was left out is tried again."""
    with acceptor(refusing(status, factories.CT, but=stored)) as running:
        send = planned(scripted(running.port), folder)
        run_to_the_end(send)
    assert outcomes(send) == {"sent": 1, "failed": 8}
    failed = send.items.filter(outcome="failed")
    assert failed.filter(status=status, attempts=1).count() >= asked
    assert Association.objects.count() == stored


BREAKS = None


def troubled(*faults: int | None) -> Callable[[Conversation], None]:
    """Return a script in which one instance, 1.2.3.0, meets a fault each time it is asked for.

    Args:
        faults: statuses, or BREAKS, which ends the connection; all else is stored.
    """
    waiting = list(faults)

    def store(conversation: Conversation) -> None:
        while True:
            request = conversation.read_request()
            is_meant = request.text(0x1000) == "1.2.3.0"
            fault = waiting.pop(0) if is_meant and waiting else 0
            if fault is BREAKS:
                conversation.reset()
                return
            conversation.answer(request, fault)

    return accepting(store)


def test_each_rule_has_its_own_number_of_attempts(folder: Path, quickly: None) -> None:
    """Two connections break, then the peer fails once: it is asked again as after a first time."""
    with acceptor(troubled(BREAKS, BREAKS, 0x0110)) as running:
        send = planned(scripted(running.port), folder)
        run_to_the_end(send)
    assert outcomes(send) == {"sent": 9}
    assert send.items.get(file__sop_instance_uid="1.2.3.0").attempts == 4


@pytest.mark.parametrize(("breaks", "ended"), [(0, "failed"), (1, "unknown")])
def test_an_instance_that_the_peer_has_already_may_be_that_without_an_answer(
    folder: Path, quickly: None, breaks: int, ended: str
) -> None:
    with acceptor(troubled(*[BREAKS] * breaks, 0x0111)) as running:
        send = planned(scripted(running.port), folder)
        run_to_the_end(send)
    found = send.items.get(file__sop_instance_uid="1.2.3.0")
    assert (found.outcome, found.status, found.attempts) == (ended, 0x0111, breaks + 1)
    assert ("may be this one" in found.reason) == bool(breaks)
    assert outcomes(send) == {"sent": 8, ended: 1}


def test_a_breaker_lets_others_try_when_who_was_let_through_may(
    folder: Path, settings: Settings
) -> None:
    """It failed otherwise than the destination did before: no answer to that is waited for."""
    settings.RETRY_BASE_SECONDS = 0.2
    faults = [rejection(2, 3, 2), abort()]

    def converse(conversation: Conversation) -> None:
        conversation.read_pdu()
        conversation.send(faults.pop(0))

    with acceptor(converse) as running:
        send = planned(scripted(running.port), folder)
        engine.work(send.destination_id)
        Hold.objects.update(probe_at=timezone.now())
        SendBatch.objects.update(next_attempt_at=timezone.now())
        engine.work(send.destination_id)
    hold, batch = Hold.objects.get(), SendBatch.objects.get()
    assert hold.kind == HoldKind.BREAKER
    assert hold.rule == batch.rule == "aborted_early"
    assert hold.probe_at is not None
    assert abs((hold.probe_at - batch.next_attempt_at).total_seconds()) < 0.5


def test_what_waits_for_a_peer_out_of_resources_is_told_with_its_rule(folder: Path) -> None:
    with acceptor(answering(0xA700)) as running:
        send = planned(scripted(running.port), folder)
        engine.work(send.destination_id)
    (found,) = accounts.waiting(send)
    assert (found.rule, found.detail) == (
        "out_of_resources",
        "the peer refused it: status A700",
    )
    assert (found.instances, found.batches, found.is_part) == (1, 0, False)
    assert found.due_at == send.items.get(outcome="pending").retry_at


@pytest.mark.slow
def test_an_instance_that_ends_associations_is_tried_alone_and_stays_unknown(
    folder: Path, quickly: None
) -> None:
    poison, seen = "1.2.3.4", []

    def store(conversation: Conversation) -> None:
        names: list[str] = []
        seen.append(names)
        while True:
            request = conversation.read_request()
            names.append(request.text(0x1000))
            if names[-1] == poison:
                conversation.reset()
                return
            conversation.answer(request)

    with acceptor(accepting(store)) as running:
        send = planned(scripted(running.port), folder)
        run_to_the_end(send)
    assert outcomes(send) == {"sent": 8, "unknown": 1}
    item = SendItem.objects.get(send=send, outcome="unknown")
    assert (item.attempts, item.rule) == (3, "poison")
    assert seen[-1] == [poison], "the last attempt was its own association"
    names = [name for names in seen for name in names]
    assert [names.count(f"1.2.3.{n}") for n in range(9)] == [1, 1, 1, 1, 3, 1, 1, 1, 1]
    assert InstanceAttempt.objects.filter(outcome="unknown").count() == 3


def test_an_instance_that_is_tried_alone_waits_until_nobody_else_is_at_work(
    receiver: Receiver, profiles: dict[str, Profile], folder: Path
) -> None:
    from sender.services import leases

    profiles["PACS"] = WORKS
    to = factories.at_full_pace(at(receiver, ae_title="PACS", max_associations=3))
    send = planned(to, folder)
    split_by_study(send)
    alone = SendBatch.objects.get(number=3)
    SendBatch.objects.filter(pk=alone.pk).update(is_isolated=True, priority=-1)
    first, second = leases.claim_batch(to.pk, "a"), leases.claim_batch(to.pk, "b")
    assert first is not None
    assert second is not None
    assert leases.claim_batch(to.pk, "c") is None
    SendBatch.objects.exclude(pk=alone.pk).update(state=BatchState.DONE)
    assert leases.claim_batch(to.pk, "c") == leases.BatchLease(alone.pk, 1)
    SendBatch.objects.filter(pk=first.batch_id).update(state=BatchState.READY)
    assert leases.claim_batch(to.pk, "d") is None
    closed = gate.look(to.pk).closed
    assert closed is not None
    assert closed.by is By.ALONE


def test_a_refusal_among_parallel_associations_is_tried_again_alone(
    folder: Path, quickly: None
) -> None:
    from sender.services import leases, recovery

    with acceptor(answering(0xC000), answering()) as running:
        to = factories.at_full_pace(scripted(running.port, max_associations=2))
        send = planned(to, folder)
        beside = leases.claim_slot(to, "somebody else")
        assert beside is not None
        engine.work(to.pk)
        recovery.give_back("somebody else")
        run_to_the_end(send)
    assert outcomes(send) == {"sent": 9}
    assert SendBatch.objects.filter(is_isolated=True, rule="").count() == 1


# By hand


def failed_send(to: Destination, folder: Path) -> Send:
    send = planned(to, folder, retries=0)
    engine.work(to.pk)
    send.refresh_from_db()
    assert send.state == SendState.FAILED
    return send


def test_the_demo_that_refuses_us_on_purpose_holds_nothing_once_nothing_waits(
    pacs: Destination, folder: Path, settings: Settings
) -> None:
    settings.DEMO_PORT = pacs.port
    failed_send(pacs, folder)
    assert not Hold.objects.active().exists()
    waiting = planned(pacs, folder)
    engine.work(pacs.pk)
    assert Hold.objects.active().get().kind == HoldKind.BLOCKED
    assert outcomes(waiting) == {"pending": 9}


def test_a_part_of_what_failed_is_retried(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    send = failed_send(pacs, folder)
    profiles["PACS"] = WORKS
    holds.resume(Hold.objects.get(), "anna")
    with pytest.raises(WrongState, match="Nothing"):
        again.retry_some(send, "anna", Subset(study="1.2.3"))
    assert again.retry_some(send, "anna", Subset(study="1.2.3.826.1")) == 3
    assert (send.state, outcomes(send)) == (SendState.QUEUED, {"failed": 6, "pending": 3})
    engine.work(pacs.pk)
    assert (state_of(send), outcomes(send)) == (SendState.PARTIAL, {"failed": 6, "sent": 3})
    reason = send.items.filter(outcome="failed")[0].reason
    assert again.retry_some(send, "anna", Subset(reason=reason, sop_class=factories.CT)) == 6
    engine.work(pacs.pk)
    assert outcomes(send) == {"sent": 9}
    entry = AuditEntry.objects.filter(action="send.retry").order_by("id")[0]
    assert entry.facts == {
        "instances": 3, "outcomes": ["failed", "unknown"], "study": "1.2.3.826.1",
    }  # fmt: skip


def test_a_retry_while_a_batch_is_closed_opens_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate, retries = isolating.isolate_poison, list[threading.Thread]()

    def isolate_while_somebody_retries(batch: SendBatch) -> Any:
        pending = isolate(batch)
        if not retries:
            retries.append(threading.Thread(target=retry_by_hand))
            retries[0].start()
            retries[0].join(0.5)  # it has to wait until the batch is closed
        return pending

    def retry_by_hand() -> None:
        try:
            again.retry_failed(Send.objects.get(), "anna")
        finally:
            connection.close()

    with acceptor(answering(0x0122), answering()) as running:
        send = planned(scripted(running.port), folder, retries=0)
        monkeypatch.setattr(settling, "isolate_poison", isolate_while_somebody_retries)
        engine.work(send.destination_id)
        retries[0].join()
        engine.work(send.destination_id)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 9})


def left_unknown(folder: Path) -> Send:
    """Return an ended send of which the peer may hold an instance: it reset when it had that."""

    def store(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.reset()

    with acceptor(accepting(store)) as running:
        send = planned(scripted(running.port), folder, retries=0)
        run_to_the_end(send)
    assert outcomes(send) == {"unknown": 1, "failed": 2}
    return send


def test_what_may_be_stored_stays_unknown_when_a_retry_by_hand_finds_no_file(
    profiles: dict[str, Profile], receiver: Receiver, tmp_path: Path
) -> None:
    send = left_unknown(write_studies(tmp_path / "in", 1))
    Path(SendItem.objects.get(send=send, outcome="unknown").file.path).unlink()
    profiles["OTHER"] = WORKS
    Destination.objects.update(port=receiver.port, ae_title="OTHER")
    again.retry_failed(send, "anna")
    run_to_the_end(send)
    assert outcomes(send) == {"sent": 2, "unknown": 1}
    reason = SendItem.objects.get(send=send, outcome="unknown").reason
    assert "the peer may have stored it" in reason
    assert "file" in reason


def test_what_may_be_stored_stays_unknown_when_its_retry_is_cancelled(tmp_path: Path) -> None:
    send = left_unknown(write_studies(tmp_path / "in", 1))
    reason = send.items.get(outcome="unknown").reason
    again.retry_failed(send, "anna")
    sending.cancel_send(send, "anna")
    assert outcomes(send) == {"unknown": 1, "cancelled": 2}
    assert send.items.get(outcome="unknown").reason == reason != ""


def test_a_retry_by_hand_calls_a_destination_at_once_that_could_not_be_reached(
    profiles: dict[str, Profile], pacs: Destination, folder: Path, tmp_path: Path
) -> None:
    profiles["PACS"] = BUSY
    planned(pacs, write_studies(tmp_path / "b", 1, root="1.5"))
    send = failed_send(pacs, folder)
    assert gate.look(pacs.pk).closed is not None
    again.retry_failed(send, "anna")
    assert gate.look(pacs.pk).closed is None


def test_only_a_person_retries_what_failed_of_a_cancelled_send(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    send = failed_send(pacs, folder)
    Send.objects.filter(pk=send.pk).update(state=SendState.CANCELLED)
    with pytest.raises(WrongState, match="cancelled"), transaction.atomic():
        again.take_up(send, Subset())
    assert again.retry_failed(send, "anna") == 9


def test_a_send_is_sent_again_on_purpose_with_a_reason(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    profiles["PACS"] = WORKS
    send = planned(pacs, folder)
    with pytest.raises(WrongState, match="not ended"):
        again.send_again(send, "anna", "the archive was restored")
    engine.work(pacs.pk)
    send.refresh_from_db()
    with pytest.raises(WrongState, match="why"):
        again.send_again(send, "anna", " ")
    repeated = again.send_again(send, "anna", "the archive was restored", roots=None)
    planner.plan_send(repeated.pk)
    engine.work(pacs.pk)
    assert outcomes(repeated) == {"sent": 9}
    assert (repeated.again_of, repeated.again_reason) == (send, "the archive was restored")
    entry = AuditEntry.objects.get(action="send.create", subject=str(repeated.pk))
    assert entry.facts["reason"] == "the archive was restored"


def test_two_clicks_send_everything_again_only_once(
    pacs: Destination, profiles: dict[str, Profile], folder: Path
) -> None:
    profiles["PACS"] = WORKS
    send = planned(pacs, folder)
    engine.work(pacs.pk)
    send.refresh_from_db()
    first = again.send_again(send, "anna", "the archive was restored", roots=None)
    with pytest.raises(WrongState, match=f"again already, as send {first.pk}"):
        again.send_again(send, "anna", "the archive was restored", roots=None)
    assert list(Send.objects.filter(again_of=send)) == [first]
    planner.plan_send(first.pk)
    engine.work(pacs.pk)
    assert again.send_again(send, "anna", "restored once more", roots=None).pk != first.pk


def test_a_block_for_which_nothing_waits_ends_after_a_day(pacs: Destination, folder: Path) -> None:
    failed_send(pacs, folder)
    engine.tick("test")
    assert Hold.objects.active().exists()
    earlier = timezone.now() - trials.IDLE_PROBES
    Hold.objects.update(probe_at=timezone.now(), started_at=earlier)
    engine.tick("test")
    assert not Hold.objects.active().exists()
