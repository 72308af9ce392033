"""Who changes many rows locks them in one order, so that PostgreSQL ends none as a deadlock."""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from sender.models import BatchState, Hold, HoldKind, Send, SendBatch, SendItem, SendState
from sender.negotiation import retry
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import (
    again,
    cancelling,
    holds,
    journal,
    leases,
    recovery,
    settling,
    tallies,
)
from sender.services.settling import Failure
from tests import factories
from tests.processes import await_true
from tests.services.test_control import planned, split_by_study, state_of, write_studies
from tests.services.test_double_run import is_somebody_waiting
from tests.services.test_recovery import result
from tests.services.test_sending import outcomes

pytestmark = pytest.mark.usefixtures("live_db")
FAILURE = Failure(retry.UNREACHABLE, "nobody is there")


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """A send in three batches, with no retry left; of the last one three instances have failed."""
    send = planned(factories.destination(), write_studies(tmp_path / "in", 3), retries=0)
    split_by_study(send)
    SendBatch.objects.filter(number=3).update(state=BatchState.DONE)
    SendItem.objects.filter(batch__number=3).update(outcome="failed", reason="busy")
    send.parts.filter(items__batch__number=3).update(pending=0, failed=3)
    return send


class Meeting:
    """Two at work at once: the second begins once the first is in the middle of its work.

    The first goes on when the second waits for it (PostgreSQL), or at once: SQLite has one writer.
    """

    def __init__(self) -> None:
        self.faults: list[BaseException] = []
        self._has_come = threading.Event()

    def in_the_middle(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def meet(*arguments: Any, **more: Any) -> Any:
            self._has_come.set()
            if connection.vendor == "postgresql":
                await_true(is_somebody_waiting, "the second", 20)
            return work(*arguments, **more)

        return meet

    def hold(self, first: Callable[[], object], second: Callable[[], object]) -> None:
        def follow() -> None:
            assert self._has_come.wait(20)
            second()

        threads = [threading.Thread(target=self._run, args=(work,)) for work in (first, follow)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert self.faults == []

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as fault:
            self.faults.append(fault)
        finally:
            connection.close()


def test_a_retry_while_its_send_is_given_up(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    SendBatch.objects.filter(number=1).update(next_attempt_at=timezone.now(), priority=-1)
    lease = leases.claim_batch(send.destination_id, "here")
    assert lease is not None
    batch = SendBatch.objects.select_related("send__destination").get(pk=lease.batch_id)
    assert batch.number == 2
    meeting = Meeting()
    monkeypatch.setattr(settling, "_give_up_send", meeting.in_the_middle(settling._give_up_send))
    meeting.hold(
        lambda: settling.fail_association(batch, lease, FAILURE),
        lambda: again.retry_failed(send, "anna"),
    )
    assert state_of(send) in (SendState.QUEUED, SendState.FAILED)
    assert set(outcomes(send)) <= {"pending", "failed"}


def test_a_retry_while_others_count_the_failure(
    send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another send fails at the same destination, and that uses up the attempts of this one."""
    other = planned(send.destination, write_studies(tmp_path / "b", 1, root="1.5"), priority=5)
    lease = leases.claim_batch(send.destination_id, "here")
    assert lease is not None
    batch = SendBatch.objects.select_related("send__destination").get(pk=lease.batch_id)
    assert batch.send_id == other.pk
    meeting = Meeting()
    fail_items = meeting.in_the_middle(settling._fail_items)
    monkeypatch.setattr(settling, "_fail_items", fail_items)
    meeting.hold(
        lambda: settling.fail_association(batch, lease, FAILURE),
        lambda: again.retry_failed(send, "anna"),
    )
    assert set(outcomes(send)) <= {"pending", "failed"}


def test_a_retry_while_its_destination_answers(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    later = timezone.now() + timedelta(seconds=60)
    rule = retry.UNREACHABLE.rule
    Hold.objects.create(
        destination=send.destination, kind=HoldKind.BREAKER, rule=rule, probe_at=later
    )
    SendBatch.objects.filter(number=1).update(rule=rule, next_attempt_at=later)
    meeting = Meeting()
    monkeypatch.setattr(holds, "_bring_forward", meeting.in_the_middle(holds._bring_forward))
    meeting.hold(
        lambda: holds.answered(send.destination_id, factories.SOME_UID),
        lambda: again.retry_failed(send, "anna"),
    )
    assert outcomes(send) == {"pending": 9}


@pytest.mark.skipif(
    os.environ.get("CONCORDAT_TEST_DATABASE") != "postgresql", reason="SQLite locks no rows"
)
@pytest.mark.parametrize("how", ["change", "cancel", "replay"])
def test_rows_are_locked_in_one_order_wherever_they_lie(how: str, send: Send) -> None:
    """Who waits for a row holds none behind it, though a scan would come upon that one before."""
    rows = list(send.items.filter(batch__number=1).order_by("pk"))
    SendItem.objects.filter(pk=rows[0].pk).update(position=1000)  # moves it to the end
    SendItem.objects.filter(pk=rows[2].pk).update(rule=retry.ASKED_AGAIN.rule)  # in doubt
    works: dict[str, Callable[[], object]] = {
        "change": lambda: tallies.change_rows(
            send.items.all(), InstanceOutcome.PENDING, InstanceOutcome.CANCELLED
        ),
        "cancel": lambda: cancelling.cancel_rows(send.pk, reason="cancelled"),
        "replay": lambda: _read_back(send, [rows[2], rows[1], rows[0]]),
    }
    faults: list[BaseException] = []

    def run() -> None:
        try:
            works[how]()
        except BaseException as fault:
            faults.append(fault)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        SendItem.objects.select_for_update().get(pk=rows[0].pk)
        thread.start()
        await_true(is_somebody_waiting, "the other", 20)
        free = SendItem.objects.filter(pk__in=[row.pk for row in rows[1:]])
        list(free.select_for_update(nowait=True))
    thread.join(30)
    assert faults == []
    assert tallies.recount(send.pk) == 0


def _read_back(send: Send, rows: Sequence[SendItem]) -> None:
    """Read back a journal whose answers are changed in two groups, the first row in the last."""
    batch = SendBatch.objects.get(send=send, number=1)
    uid = factories.open_attempt(send.destination, send=send)
    written = journal.Journal(batch_id=batch.pk, fence=batch.fence, attempt=uid)
    for number, item in enumerate(rows, start=1):
        written.note(result(item, number, None if item == rows[-1] else 0))
    written.leave()
    assert recovery.replay_journals() == len(rows)
