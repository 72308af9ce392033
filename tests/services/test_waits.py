"""What people are told of a send that does not move though nothing closes its way."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from sender.models import BatchState, Destination, DestinationPace, Send, SendBatch, SendState
from sender.negotiation import pacing
from sender.services import fairness, leases, owners, planner, waits
from tests import factories
from tests.services.test_control import planned, write_studies
from tests.services.test_sending import order

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_studies(tmp_path / "in", 1)


@pytest.fixture
def to() -> Destination:
    return factories.destination(max_associations=1)


def said(send: Send) -> str:
    send.refresh_from_db()
    found = waits.waits_for(send)
    return found.reason if found else ""


def test_a_send_that_nobody_has_planned_waits_for_a_worker(to: Destination, folder: Path) -> None:
    send = order(to, folder, inline=False)
    assert said(send) == "No worker has begun to list and plan it yet."
    Send.objects.filter(pk=send.pk).update(owner="somebody")
    assert said(send) == ""
    Send.objects.filter(pk=send.pk).update(owner="")
    planner.plan_send(send.pk)
    assert said(send) == "No worker has taken it up yet."


def test_a_batch_that_is_due_later_says_when(to: Destination, folder: Path) -> None:
    send = planned(to, folder)
    due = timezone.now() + timedelta(minutes=3)
    SendBatch.objects.filter(send=send).update(next_attempt_at=due)
    found = waits.waits_for(send)
    assert found == waits.Wait("Its next attempt is not due yet.", due)


def test_who_has_the_associations_of_a_destination_is_named(to: Destination, folder: Path) -> None:
    first, second = planned(to, folder), planned(to, folder)
    assert leases.claim_slot(to, "somebody") is not None
    SendBatch.objects.filter(send=first).update(state=BatchState.RUNNING, owner="somebody")
    assert said(first) == "", "it is at work"
    assert said(second) == (
        f"The one association that pacs may have now is in use, by send {first.pk}."
    )


def test_a_send_is_not_said_to_wait_for_itself(
    to: Destination, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = planned(to, folder)

    def begun_meanwhile(_destination: int) -> int:
        SendBatch.objects.filter(send=send).update(state=BatchState.RUNNING, owner="somebody")
        return 0

    monkeypatch.setattr(fairness, "free_slots", begun_meanwhile)
    assert said(send) == ""


def test_an_instance_that_is_tried_alone_keeps_others_back(to: Destination, folder: Path) -> None:
    first, second = planned(to, folder), planned(to, folder)
    SendBatch.objects.filter(send=first).update(state=BatchState.RUNNING, is_isolated=True)
    assert said(second) == "One instance is tried alone."


def test_urgent_work_for_another_destination_is_named(to: Destination, folder: Path) -> None:
    send = planned(to, folder)
    urgent = planned(factories.destination("archive"), folder, priority=100)
    assert urgent.priority == 100
    assert said(send) == "An urgent send to archive goes first."
    assert said(urgent) == "No worker has taken it up yet."


def test_the_share_of_destinations_that_may_not_work_is_named(
    to: Destination, folder: Path, settings: Settings
) -> None:
    settings.WORKERS = 2
    send = planned(to, folder)
    assert leases.claim_slot(factories.destination("silent"), owners.owner_name()) is not None
    assert said(send) == (
        "pacs has not shown lately that it works, and as many workers as such destinations may "
        "have together are with others like it."
    )


@pytest.mark.parametrize("state", [SendState.PAUSED, SendState.SUCCEEDED, SendState.DRAFT])
def test_what_is_not_to_be_sent_waits_for_nothing(
    state: SendState, to: Destination, folder: Path
) -> None:
    send = planned(to, folder)
    Send.objects.filter(pk=send.pk).update(state=state)
    assert said(send) == ""


def test_a_destination_with_pauses_between_instances_says_why(
    to: Destination, folder: Path
) -> None:
    send = planned(to, folder)
    assert waits.slowed_by(send) == ""
    pace = pacing.begin(1, timezone.now())
    busy = pacing.Answers(at=timezone.now(), count=1, good=0, out_of_resources=1)
    slower, change = pacing.step(pace, busy)
    DestinationPace.objects.create(
        destination=to, state=pacing.to_document(slower), detail=str(change)
    )
    found = Send.objects.select_related("destination__pace").get(pk=send.pk)
    assert waits.slowed_by(found) == (
        "0.1 s between instances: The peer is out of resources; it refused 1 instance (A7xx)."
    )
