"""An inline send is its process's while that lives; then it goes on in the background."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from sender.dicom.acceptor import Receiver
from sender.models import Send, SendBatch, SendState
from sender.services import control, engine, inline_sends, leases, planner, sending, waits
from sender.services.owners import LEASE_SECONDS, owner_name
from tests import factories
from tests.holders import gone_holder
from tests.processes import await_true
from tests.services.background import background
from tests.services.test_control import write_studies
from tests.services.test_sending import at, order, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
Stage = Callable[[Send], Send]
LEFT = (
    "The command that ran it ended before it was through: "
    "what was left is for the background sender."
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_studies(tmp_path / "in", 2)


def killed(send: Send) -> Send:
    """Have the process of a send gone."""
    Send.objects.filter(pk=send.pk).update(runner=gone_holder())
    Send.objects.filter(pk=send.pk).exclude(owner="").update(owner=gone_holder())
    SendBatch.objects.filter(send=send).exclude(owner="").update(owner=gone_holder())
    return send


def at_work(send: Send) -> Send:
    """Have the process of a send begin with a batch."""
    planner.plan_send(send.pk)
    lease = leases.claim_batch(send.destination_id, owner_name(), send_id=send.pk)
    assert lease is not None
    sending.move_send(send.pk, SendState.RUNNING)
    return send


def planning(send: Send) -> Send:
    """Have the process of a send at planning it."""
    until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    Send.objects.filter(pk=send.pk).update(owner=owner_name(), lease_until=until)
    return send


def queued(send: Send) -> Send:
    planner.plan_send(send.pk)
    return send


def untouched(send: Send) -> Send:
    return send


EVERYWHERE = pytest.mark.parametrize("stage", [untouched, planning, queued, at_work])


def await_end(send: Send) -> Send:
    def is_ended() -> bool:
        send.refresh_from_db()
        return send.is_ended

    await_true(is_ended, "the end of the send", 20)
    return send


@EVERYWHERE
def test_a_send_whose_process_is_gone_goes_on_in_the_background(
    receiver: Receiver, folder: Path, stage: Stage
) -> None:
    send = killed(stage(order(at(receiver), folder)))
    with background():
        await_end(send)
    assert (send.state, outcomes(send)) == (SendState.SUCCEEDED, {"sent": 6})
    assert (send.inline, send.detail) == (False, LEFT)


@EVERYWHERE
def test_a_send_whose_process_is_gone_can_be_cancelled(folder: Path, stage: Stage) -> None:
    send = killed(stage(order(factories.destination(), folder)))
    sending.cancel_send(send, "anna")
    with background():
        await_end(send)
    assert send.state == SendState.CANCELLED
    assert set(outcomes(send)) <= {"cancelled"}


def test_a_send_that_is_cancelled_is_ended_by_its_process_if_that_lives(folder: Path) -> None:
    send = order(factories.destination(), folder)
    sending.cancel_send(send, "anna")
    engine.tick("test")
    send.refresh_from_db()
    assert (send.state, send.inline) == (SendState.CANCELLING, True)
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert send.state == SendState.CANCELLED


def test_a_send_whose_process_lives_is_left_to_it(folder: Path) -> None:
    send = order(factories.destination(), folder)
    engine.tick("test")
    send.refresh_from_db()
    assert (send.inline, send.runner, send.detail) == (True, owner_name(), "")


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
def test_whoever_stops_running_a_send_lets_it_go(folder: Path, fault: type[BaseException]) -> None:
    send, ended = (order(factories.destination(name), folder) for name in ("a", "b"))
    Send.objects.filter(pk=ended.pk).update(state=SendState.FAILED)
    with pytest.raises(fault), inline_sends.kept_here([send, ended]):
        raise fault
    send.refresh_from_db()
    ended.refresh_from_db()
    assert (send.inline, send.detail) == (False, LEFT)
    assert (ended.inline, ended.detail) == (True, "")


def test_who_paused_a_send_still_stands_there_once_its_process_is_gone(folder: Path) -> None:
    send = queued(order(factories.destination(), folder))
    control.pause_send(send, "anna", "disk change")
    killed(send)
    engine.tick("test")
    send.refresh_from_db()
    assert send.detail == f"Paused by anna: disk change {LEFT}"
    assert send.state == SendState.PAUSED


def test_people_are_told_whose_a_send_is(folder: Path) -> None:
    send = order(factories.destination(), folder)
    host, number, *_ = owner_name().split(":")
    command = f"The command that runs it (process {number} on {host})"
    assert waits.run_by(send) == (
        f"{command} works on it; if that ends before, the background sender goes on."
    )
    nobody = "Nobody works on it now. The background sender takes it up, if one is running."
    send.runner_until = timezone.now() - timedelta(seconds=1)
    assert waits.run_by(send) == f"{command} gives no sign of life. {nobody}"
    killed(send).refresh_from_db()
    assert waits.run_by(send).endswith(f" has ended. {nobody}")
    send.inline = False
    assert waits.run_by(send) == ""
