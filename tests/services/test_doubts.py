"""What a peer may hold is never called failed, whatever came after the answer that did not come."""

from pathlib import Path

import pytest

from sender.dicom.acceptor import Receiver
from sender.models import Send, SendItem
from sender.negotiation import retry
from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.services import engine, planner, recording, sending
from sender.services.recording import InstanceResult
from tests import factories
from tests.services.test_sending import order

pytestmark = pytest.mark.usefixtures("live_db")
UNANSWERED, REFUSED, UNTRIED = 0, 1, 2
"""Instances: no answer came and then a refusal that passes; only that refusal; never tried."""


@pytest.fixture
def send(tmp_path: Path, receiver: Receiver) -> Send:
    """A planned send of which two instances were tried before."""
    for number in range(3):
        factories.write_instance(tmp_path / "in" / f"{number}.dcm", sop_instance=f"1.2.3.{number}")
    to = factories.destination(ae_title="DEMO_SCP", port=receiver.port)
    made = order(to, tmp_path / "in", retries=3)
    planner.plan_send(made.pk)
    tried(item(made, UNANSWERED), InstanceOutcome.UNKNOWN, InstanceOutcome.FAILED)
    tried(item(made, REFUSED), InstanceOutcome.FAILED)
    return made


def item(send: Send, number: int) -> SendItem:
    return SendItem.objects.get(send=send, file__sop_instance_uid=f"1.2.3.{number}")


def tried(row: SendItem, *outcomes: InstanceOutcome) -> None:
    """Record attempts, the last of them refused for want of resources."""
    for outcome in outcomes:
        status = 0xA700 if outcome is InstanceOutcome.FAILED else None
        result = InstanceResult(
            1,
            row.pk,
            row.file.sop_instance_uid,
            row.part.study_instance_uid,
            factories.ELE,
            "none",
            StoreOutcome(outcome, 1, status),
        )
        recording.record_instances(factories.open_attempt(row.send.destination), [result])
    SendItem.objects.filter(pk=row.pk).update(
        attempts=len(outcomes), rule=retry.OUT_OF_RESOURCES.rule
    )


def test_without_its_file_an_instance_stays_unknown(send: Send, tmp_path: Path) -> None:
    for number in (UNANSWERED, REFUSED):
        (tmp_path / "in" / f"{number}.dcm").unlink()
    engine.run_inline(Send.objects.get(pk=send.pk))
    assert item(send, UNANSWERED).outcome == "unknown"
    assert "the peer may have stored it" in item(send, UNANSWERED).reason
    assert item(send, REFUSED).outcome == "failed"
    assert item(send, UNTRIED).outcome == "sent"


def test_a_trusted_answer_ends_the_doubt(send: Send) -> None:
    engine.run_inline(Send.objects.get(pk=send.pk))
    assert {item(send, n).outcome for n in (UNANSWERED, REFUSED, UNTRIED)} == {"sent"}


def test_in_a_send_that_is_cancelled_it_is_unknown(send: Send) -> None:
    sending.cancel_send(Send.objects.get(pk=send.pk), "test")
    sending.finish_if_done(send.pk)
    found = [item(send, number).outcome for number in (UNANSWERED, REFUSED, UNTRIED)]
    assert found == ["unknown", "cancelled", "cancelled"]


def test_in_a_send_that_is_given_up_it_is_unknown(send: Send) -> None:
    type(send.destination).objects.filter(pk=send.destination_id).update(ae_title="ANOTHER")
    engine.run_inline(Send.objects.get(pk=send.pk))
    found = [item(send, number).outcome for number in (UNANSWERED, REFUSED, UNTRIED)]
    assert found == ["unknown", "failed", "failed"]
