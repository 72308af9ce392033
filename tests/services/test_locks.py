"""Who changes many rows locks them in one order, so that PostgreSQL ends none as a deadlock."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from sender.models import BatchState, Hold, HoldKind, Send, SendBatch, SendItem, SendState
from sender.negotiation import retry
from sender.services import again, holds, leases, settling
from sender.services.settling import Failure
from tests import factories
from tests.processes import await_true
from tests.services.test_control import planned, split_by_study, state_of, write_studies
from tests.services.test_double_run import is_somebody_waiting
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
