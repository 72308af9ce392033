"""The same work begun twice is done once: clicks, tickets, workers, and those who come too late."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from sender.dicom.acceptor import Receiver
from sender.models import (
    AuditEntry,
    BatchState,
    ContextTemplate,
    InstanceAttempt,
    Send,
    SendBatch,
    SendItem,
    SendState,
)
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import engine, leases, planner, sending, tallies, transfer
from sender.services.sending import SendOrder, WrongState
from tests import factories
from tests.processes import await_true, free_port
from tests.services.test_sending import at, order, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
INSTANCES = 12


@pytest.fixture
def stored() -> Counter[str]:
    """How often the receiver stored each instance."""
    return Counter()


@pytest.fixture
def receiver(stored: Counter[str]) -> Iterator[Receiver]:
    def note(event: dict[str, Any]) -> None:
        if event["event"] == "store":
            stored[event["sop_instance"]] += 1

    with Receiver(port=0, notice=note) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(INSTANCES):
        factories.write_instance(
            tmp_path / "in" / f"{number}.dcm",
            sop_instance=f"1.2.3.{number}",
            study=f"1.2.826.{number}",
        )
    return tmp_path / "in"


def at_once(*works: Callable[[], object]) -> list[BaseException | None]:
    """Do things at the same time; return what each raised."""
    raised: list[BaseException | None] = [None] * len(works)
    begin = threading.Barrier(len(works))

    def do(number: int, work: Callable[[], object]) -> None:
        begin.wait()
        try:
            work()
        except WrongState as error:
            raised[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def assert_once(send: Send, stored: Counter[str]) -> None:
    assert outcomes(send) == {"sent": INSTANCES}
    assert stored == {f"1.2.3.{number}": 1 for number in range(INSTANCES)}
    assert InstanceAttempt.objects.filter(outcome="sent").count() == INSTANCES
    assert tallies.recount(send.pk) == 0


def test_two_plans_four_workers(receiver: Receiver, folder: Path, stored: Counter[str]) -> None:
    to = at(receiver, max_associations=3)
    send = order(to, folder, inline=False)
    at_once(*[lambda: planner.plan_send(send.pk)] * 2)
    planner.plan_send(send.pk)
    assert SendItem.objects.count() == INSTANCES
    at_once(*[lambda: engine.work(to.pk)] * 4)
    engine.work(to.pk)
    send.refresh_from_db()
    assert send.state == SendState.SUCCEEDED
    assert_once(send, stored)


def test_two_clicks_on_start(receiver: Receiver, folder: Path, stored: Counter[str]) -> None:
    to = at(receiver)
    version = ContextTemplate.objects.get(name="Derived from files").newest
    draft = sending.create_send(
        SendOrder(to, version, [str(folder)], "test", roots=None), start=False
    )
    planner.plan_send(draft.pk)
    sends = [Send.objects.get(pk=draft.pk) for _ in range(2)]
    raised = at_once(*[lambda send=send: sending.start_send(send, "test") for send in sends])
    assert len([error for error in raised if error is not None]) == 1
    assert AuditEntry.objects.filter(action="send.start").count() == 1
    engine.work(to.pk)
    assert_once(draft, stored)


def test_who_lost_its_batch_gives_nothing_up(folder: Path) -> None:
    """Its association fails after another worker took the batch: that is nobody's business now."""
    to = factories.destination(port=free_port(), connect_timeout=0.5)
    send = order(to, folder, inline=False, retries=0)
    planner.plan_send(send.pk)
    slot = leases.claim_slot(to, "first")
    lease = leases.claim_batch(to.pk, "first")
    assert slot is not None
    assert lease is not None
    SendBatch.objects.filter(pk=lease.batch_id).update(fence=lease.fence + 1, owner="second")
    transfer.run_batches(lease, slot, is_stopping=lambda: False)
    assert outcomes(send) == {"pending": INSTANCES}
    batch = SendBatch.objects.get(pk=lease.batch_id)
    assert (batch.state, batch.owner, batch.failures) == (BatchState.RUNNING, "second", 0)


def test_rows_that_two_cancel_at_once_are_counted_once(folder: Path) -> None:
    send = order(factories.destination(port=free_port()), folder, inline=False)
    planner.plan_send(send.pk)
    is_first_done, counts = threading.Event(), []

    def cancel() -> int:
        rows = SendItem.objects.filter(send=send)
        return tallies.change_rows(rows, InstanceOutcome.PENDING, InstanceOutcome.CANCELLED)

    def first() -> None:
        with transaction.atomic():
            counts.append(cancel())
            is_first_done.set()
            if connection.vendor == "postgresql":  # SQLite lets the second in when we are through
                await_true(is_somebody_waiting, "the second", 20)

    def second() -> None:
        is_first_done.wait(20)
        counts.append(cancel())

    assert at_once(first, second) == [None, None]
    assert counts == [INSTANCES, 0]
    assert tallies.recount(send.pk) == 0


def is_somebody_waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
