"""An instance that is to be tried alone has its turn, however busy its destination is."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from sender.dicom.acceptor import Receiver
from sender.models import BatchState, Send, SendBatch, SendState
from sender.models.sends import URGENT
from sender.services import (
    control,
    engine,
    fairness,
    gate,
    leases,
    sending,
    settling,
    transfer,
    waits,
)
from sender.services.gate import ALONE_PATIENCE, By
from tests import factories
from tests.services.test_control import NEVER_NOW, planned, split_by_study, write_studies
from tests.services.test_sending import at, outcomes

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_studies(tmp_path / "in", 3)


@pytest.fixture
def send(folder: Path) -> Send:
    """A send of three batches, the last of which is to be tried alone and was due for long."""
    send = planned(factories.destination(max_associations=3), folder)
    split_by_study(send)
    SendBatch.objects.filter(number=3).update(
        is_isolated=True, priority=-1, next_attempt_at=long_ago()
    )
    return send


def long_ago() -> datetime:
    return timezone.now() - ALONE_PATIENCE - timedelta(seconds=1)


def claimed(send: Send) -> SendBatch | None:
    lease = leases.claim_batch(send.destination_id, "a worker")
    if lease is None:
        return None
    return SendBatch.objects.select_related("send__destination").get(pk=lease.batch_id)


def end(batch: SendBatch) -> None:
    SendBatch.objects.filter(pk=batch.pk).update(state=BatchState.DONE, owner="")


def at_work(send: Send) -> SendBatch:
    """Return the first batch of a send, at work."""
    SendBatch.objects.filter(send=send, number=1).update(state=BatchState.RUNNING, owner="other")
    found = SendBatch.objects.select_related("send__destination")
    return found.get(send=send, number=1)


def test_what_waited_for_long_to_be_tried_alone_is_tried_next(send: Send) -> None:
    first = at_work(send)
    assert claimed(send) is None, "nothing further is begun"
    assert leases.claim_follower(first, "a worker") is None
    assert gate.next_due(send.destination_id) is None
    end(first)
    alone = claimed(send)
    assert alone is not None
    assert alone.is_isolated
    end(alone)
    second = claimed(send)
    assert second is not None
    assert second.number == 2, "and then the others go on"


def test_before_that_it_lets_others_go(send: Send) -> None:
    soon = long_ago() + timedelta(seconds=60)
    SendBatch.objects.filter(is_isolated=True).update(next_attempt_at=soon)
    first = at_work(send)
    assert leases.claim_follower(first, "a worker") is not None


def test_an_urgent_send_goes_before_it(send: Send, folder: Path) -> None:
    first = at_work(send)
    urgent = planned(send.destination, folder, priority=URGENT)
    split_by_study(urgent)
    SendBatch.objects.filter(send=urgent).update(priority=URGENT)
    batch = claimed(send)
    assert batch is not None
    assert batch.send_id == urgent.pk
    assert leases.claim_follower(batch, "a worker") is not None
    end(first)


@pytest.mark.parametrize("how", ["paused", "cancelled", "outside its times", "later"])
def test_what_may_not_go_keeps_nobody_back(send: Send, folder: Path, how: str) -> None:
    other = planned(send.destination, folder)
    if how == "paused":
        control.pause_send(send, "anna")
    elif how == "cancelled":
        sending.cancel_send(send, "anna")
    elif how == "outside its times":
        Send.objects.filter(pk=send.pk).update(windows=NEVER_NOW)
    else:
        SendBatch.objects.filter(is_isolated=True).update(
            next_attempt_at=timezone.now() + timedelta(seconds=60)
        )
        SendBatch.objects.filter(send=send, is_isolated=False).update(state=BatchState.DONE)
    batch = claimed(send)
    assert batch is not None
    assert batch.send_id == other.pk


def test_an_inline_send_goes_on_beside_it(send: Send, folder: Path) -> None:
    first = at_work(send)
    inline = planned(send.destination, folder, inline=True)
    lease = leases.claim_batch(send.destination_id, "a command", send_id=inline.pk)
    assert lease is not None
    end(first)


def test_the_instance_of_an_inline_send_has_its_turn_too(send: Send, folder: Path) -> None:
    Send.objects.filter(pk=send.pk).update(inline=True)
    other = planned(send.destination, folder)
    assert claimed(other) is None
    SendBatch.objects.filter(send=send, is_isolated=False).update(state=BatchState.DONE)
    lease = leases.claim_batch(send.destination_id, "a command", send_id=send.pk)
    assert lease is not None
    assert SendBatch.objects.get(pk=lease.batch_id).is_isolated


def test_who_waits_for_it_is_told(send: Send, folder: Path) -> None:
    other = planned(send.destination, folder)
    first = at_work(send)
    found = waits.waits_for(other)
    assert found is not None
    assert found.reason == (
        "One instance has waited for long to be tried alone: nothing else is begun before."
    )
    awaited = gate.look(send.destination_id).awaited
    assert awaited is not None
    assert awaited.by is By.ALONE
    urgent = planned(send.destination, folder, priority=URGENT)
    SendBatch.objects.filter(send=urgent).update(priority=URGENT)
    found = waits.waits_for(urgent)
    assert found is not None
    assert found.reason == "It waits for a free worker."
    end(first)
    Send.objects.filter(pk=send.pk).update(state=SendState.PAUSED)
    found = waits.waits_for(other)
    assert found is not None
    assert found.reason == "It waits for a free worker."


def test_who_waits_to_be_tried_alone_is_told(send: Send, folder: Path) -> None:
    at_work(planned(send.destination, folder))
    SendBatch.objects.filter(send=send, is_isolated=False).update(state=BatchState.DONE)
    found = waits.waits_for(send)
    assert found is not None
    assert found.reason == "It is tried alone, once nothing else is at work at pacs."


def test_a_more_urgent_one_takes_nobody_away_while_others_keep_it_from_beginning(
    send: Send, folder: Path
) -> None:
    """Else whoever works would end its association at each study, only to open the next."""
    soon = timezone.now() - timedelta(seconds=1)
    SendBatch.objects.filter(is_isolated=True).update(next_attempt_at=soon, priority=10)
    first = at_work(send)
    assert leases.is_overtaken(first), "it may begin once this one ends"
    beside = claimed(planned(send.destination, folder))
    assert beside is not None
    assert not leases.is_overtaken(first)
    assert not leases.is_overtaken(beside)
    end(beside)
    assert leases.is_overtaken(first)


def test_what_must_be_alone_takes_turns_with_the_others(
    receiver: Receiver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that waited for long do not go one after another while another batch waits."""
    send = planned(at(receiver, max_associations=1), folder)
    split_by_study(send)
    SendBatch.objects.filter(number__gte=2).update(
        is_isolated=True, priority=-1, next_attempt_at=long_ago()
    )
    order: list[int] = []
    real = settling.settle_batch

    def noted(batch: SendBatch, *arguments: Any, **more: Any) -> None:
        order.append(batch.number)
        real(batch, *arguments, **more)

    monkeypatch.setattr(transfer, "settle_batch", noted)
    engine.work(send.destination_id)
    assert order == [2, 1, 3]
    assert outcomes(send) == {"sent": 9}


def test_the_turn_of_the_others_ends(send: Send) -> None:
    SendBatch.objects.filter(number=2).update(is_isolated=True, next_attempt_at=long_ago())
    fairness.give_others_a_turn(send.destination_id, 1.0)
    now = timezone.now()
    seconds = timedelta(seconds=fairness.TURN_SECONDS)
    number = send.destination_id
    assert not gate.is_awaited(number, frozenset(), now + seconds - timedelta(seconds=5))
    assert gate.is_awaited(number, frozenset(), now + seconds + timedelta(seconds=1))
    fairness.give_others_a_turn(send.destination_id, 200.0)
    assert not gate.is_awaited(number, frozenset(), now + timedelta(seconds=195))
    due = SendBatch.objects.filter(is_isolated=True).values_list("next_attempt_at", flat=True)
    assert all(at <= timezone.now() for at in due), "where nothing else waits, they go at once"
