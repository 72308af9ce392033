"""Early or late: what a send did lately against what it shall do by a time."""

from datetime import timedelta

import pytest
from django.utils import timezone

from sender.analytics.outlook import evidence_of, outlook
from sender.models import (
    AssociationAttempt,
    ContextTemplate,
    InstanceAttempt,
    Listing,
    Send,
    SendState,
    StudyPart,
)
from sender.negotiation.outcomes import InstanceOutcome
from sender.services.interning import transfer_syntax_id
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def send() -> Send:
    """A send with 200 instances to go."""
    made = Send.objects.create(
        destination=factories.destination(),
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        listing=Listing.objects.create(),
        requested_by="test",
        state=SendState.RUNNING,
    )
    factories.send_item(
        made, position=1, uid="1.2.3.1", outcome=InstanceOutcome.PENDING, path="/in/1.dcm"
    )
    StudyPart.objects.update(pending=200)
    return made


def at_work(send: Send, *, instances: int, seconds: float) -> None:
    """Have an open association that carried some instances."""
    uid = factories.open_attempt(send.destination)
    AssociationAttempt.objects.filter(pk=uid).update(
        send=send, trigger="send", started_at=timezone.now() - timedelta(seconds=seconds)
    )
    InstanceAttempt.objects.create(
        attempt_id=uid,
        number=instances,
        item_id=1,
        sop_instance_uid="1.2.3.1",
        presentation_context_id=1,
        sent_as_id=transfer_syntax_id(factories.ELE),
        conversion="none",
        outcome=InstanceOutcome.SENT,
        bytes=1,
    )


def test_without_evidence_nothing_is_foretold(send: Send) -> None:
    Send.objects.update(finish_by=timezone.now() + timedelta(seconds=1))
    send.refresh_from_db()
    assert not outlook(send).is_late


def test_a_rate_that_will_not_do_is_warned_of_early(send: Send) -> None:
    at_work(send, instances=100, seconds=100)
    send.finish_by = timezone.now() + timedelta(seconds=100)
    told = outlook(send)
    assert told.is_late
    assert told.late_by is not None
    assert timedelta(seconds=90) < told.late_by < timedelta(seconds=130)
    assert "it will be" in told.warning
    send.finish_by = timezone.now() + timedelta(hours=1)
    assert not outlook(send).is_late


def test_associations_side_by_side_count_once(send: Send) -> None:
    for _ in range(2):
        at_work(send, instances=100, seconds=100)
    found = evidence_of(send, timezone.now())
    assert found.instances == 200
    assert found.seconds == pytest.approx(100, abs=20)


def test_closed_windows_are_waited_for(send: Send) -> None:
    at_work(send, instances=100, seconds=100)
    tomorrow = (timezone.now() + timedelta(days=2)).strftime("%a").lower()
    send.windows, send.zone = f"{tomorrow} 00:00-24:00", "UTC"
    ends_at = outlook(send).ends_at
    assert ends_at is not None
    assert ends_at > timezone.now() + timedelta(hours=24)
