"""What of a batch is due at nearly the same time is tried again together, and nothing too early."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from sender.models import BatchState, Send, SendBatch, SendItem
from sender.negotiation import retry
from sender.services import engine, leases, settling
from tests import factories
from tests.scripted_acceptor import acceptor
from tests.services.test_control import planned, write_studies
from tests.services.test_retries import answering, scripted
from tests.services.test_sending import outcomes

pytestmark = pytest.mark.usefixtures("live_db")
BUSY, AT_ONCE = retry.OUT_OF_RESOURCES.rule, retry.UNKNOWN.rule


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine instances."""
    return write_studies(tmp_path / "in", 3)


@pytest.fixture
def send(folder: Path) -> Send:
    return planned(factories.destination(), folder)


def closed(send: Send, *waits: tuple[str, float]) -> SendBatch:
    """Return the batch of a send as it is closed with rows of these rules, due in so many seconds.

    All other rows are sent.
    """
    lease = leases.claim_batch(send.destination_id, "here")
    assert lease is not None
    rows = list(SendItem.objects.filter(send=send).order_by("position"))
    SendItem.objects.filter(send=send).update(outcome="sent")
    for row, (rule, seconds) in zip(rows, waits, strict=False):
        due = timezone.now() + timedelta(seconds=seconds)
        SendItem.objects.filter(pk=row.pk).update(outcome="pending", rule=rule, retry_at=due)
    batch = SendBatch.objects.select_related("send__destination").get(pk=lease.batch_id)
    settling.close_batch(batch, lease, failures=0)
    batch.refresh_from_db()
    assert batch.state == BatchState.READY
    return batch


def due(send: Send) -> list[float]:
    """Return in how many seconds each row that waits is due."""
    found = SendItem.objects.filter(send=send, outcome="pending").order_by("position")
    now = timezone.now()
    times = [at for at in found.values_list("retry_at", flat=True) if at is not None]
    return [(at - now).total_seconds() for at in times]


def test_what_a_peer_out_of_resources_refused_is_due_at_one_time(folder: Path) -> None:
    began = timezone.now()
    with acceptor(answering(0xA700, 0xA700, 0, 0xA700)) as running:
        send = planned(scripted(running.port), folder)
        engine.work(send.destination_id)
    assert outcomes(send) == {"pending": 3, "sent": 6}
    (at,) = set(send.items.filter(outcome="pending").values_list("retry_at", flat=True))
    assert SendBatch.objects.get().next_attempt_at == at
    assert began + timedelta(seconds=60) <= at <= timezone.now() + timedelta(seconds=72)


def test_one_association_carries_all_that_was_refused(folder: Path, settings: Settings) -> None:
    settings.RETRY_BASE_SECONDS = 2
    with acceptor(answering(*[0xA700] * 9), answering()) as running:
        send = planned(scripted(running.port), folder)
        engine.work(send.destination_id)
    assert outcomes(send) == {"sent": 9}
    assert SendBatch.objects.get().attempt == 2


def test_a_later_retry_is_tried_at_the_pace_of_its_rule(folder: Path, settings: Settings) -> None:
    """Pauses are lengthened at random: for all rows of a batch alike, however long they are."""
    settings.RETRY_BASE_SECONDS = 3600
    with acceptor(*[answering(*[0xA700] * 9)] * 3) as running:
        send = planned(scripted(running.port), folder)
        for _ in range(3):
            SendItem.objects.update(retry_at=None)
            SendBatch.objects.update(next_attempt_at=timezone.now())
            engine.work(send.destination_id)
    (at,) = set(send.items.values_list("retry_at", flat=True))
    assert at is not None
    assert at >= timezone.now() + timedelta(seconds=30 * 3600 - 60)


def test_rows_that_are_due_soon_after_the_first_wait_for_each_other(send: Send) -> None:
    batch = closed(send, (BUSY, 60), (BUSY, 80), (BUSY, 89), (BUSY, 100), (BUSY, 300))
    assert due(send) == pytest.approx([89, 89, 89, 100, 300], abs=5)
    assert (batch.next_attempt_at - timezone.now()).total_seconds() == pytest.approx(89, abs=5)


def test_rows_that_are_due_already_wait_for_those_that_soon_are(send: Send) -> None:
    batch = closed(send, (BUSY, -5), (BUSY, 20), (BUSY, 60))
    assert due(send) == pytest.approx([20, 20, 60], abs=5)
    assert batch.next_attempt_at > timezone.now()


def test_what_is_to_be_tried_at_once_waits_for_nothing(send: Send) -> None:
    batch = closed(send, (AT_ONCE, 0), (BUSY, 20))
    assert batch.next_attempt_at <= timezone.now()
    assert due(send) == pytest.approx([0, 20], abs=5)


def test_what_was_put_off_as_a_whole_may_go_as_a_whole(send: Send) -> None:
    """Whatever ends the waiting of its destination brings it forward, rows and all."""
    lease = leases.claim_batch(send.destination_id, "here")
    assert lease is not None
    now = timezone.now()
    SendItem.objects.update(rule=BUSY, retry_at=now + timedelta(seconds=5))
    batch = SendBatch.objects.select_related("send__destination").get(pk=lease.batch_id)
    settling.close_batch(batch, lease, failures=1, due=now + timedelta(seconds=60))
    assert due(send) == pytest.approx([5] * 9, abs=5)
    batch.refresh_from_db()
    assert batch.next_attempt_at == now + timedelta(seconds=60)
