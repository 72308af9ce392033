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
    assert not outlook(send).forecast.is_late


def test_a_rate_that_will_not_do_is_warned_of_early(send: Send) -> None:
    at_work(send, instances=100, seconds=100)
    send.finish_by = timezone.now() + timedelta(seconds=100)
    told = outlook(send).forecast
    assert told.is_late
    assert told.late_by is not None
    assert timedelta(seconds=90) < told.late_by < timedelta(seconds=130)
    assert "it will be" in told.warning
    send.finish_by = timezone.now() + timedelta(hours=1)
    assert not outlook(send).forecast.is_late


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
    ends_at = outlook(send).forecast.ends_at
    assert ends_at is not None
    assert ends_at > timezone.now() + timedelta(hours=24)


def test_a_window_that_opens_after_the_deadline_is_warned_of_without_evidence(send: Send) -> None:
    tomorrow = (timezone.now() + timedelta(days=2)).strftime("%a").lower()
    send.windows, send.zone = f"{tomorrow} 03:00-03:30", "UTC"
    send.finish_by = timezone.now() + timedelta(hours=12)
    for state in (SendState.DRAFT, SendState.QUEUED):
        send.state = state
        told = outlook(send).forecast
        assert told.warning == "No time to send is left before the deadline."


@pytest.mark.parametrize("whose", ["send", "destination"])
def test_overridden_windows_are_not_waited_for(send: Send, whose: str) -> None:
    at_work(send, instances=100, seconds=100)
    bound = send if whose == "send" else send.destination
    tomorrow = (timezone.now() + timedelta(days=2)).strftime("%a").lower()
    bound.windows = f"{tomorrow} 03:00-03:30"
    bound.window_override_until = timezone.now() + timedelta(hours=1)
    send.finish_by = timezone.now() + timedelta(minutes=30)
    told = outlook(send)
    assert not told.forecast.is_late
    assert told.seconds_left == pytest.approx(200, abs=40)


def test_time_without_an_association_lowers_no_rate(send: Send) -> None:
    Send.objects.update(planned_at=timezone.now() - timedelta(hours=10))
    send.refresh_from_db()
    at_work(send, instances=100, seconds=50)
    told = outlook(send)
    assert told.rate == pytest.approx(2, rel=0.3)
    assert told.seconds_left == pytest.approx(100, rel=0.3)


def test_an_association_that_carried_nothing_lowers_no_rate(send: Send) -> None:
    at_work(send, instances=100, seconds=50)
    factories.recorded(send.destination, send=send)
    AssociationAttempt.objects.filter(closed_at__isnull=False).update(
        trigger="send", started_at=timezone.now() - timedelta(hours=1)
    )
    assert outlook(send).rate == pytest.approx(2, rel=0.3)


def test_what_has_ended_has_a_rate_and_no_end(send: Send) -> None:
    at_work(send, instances=100, seconds=50)
    send.state, send.finished_at = SendState.PARTIAL, timezone.now() - timedelta(days=3)
    AssociationAttempt.objects.update(started_at=send.finished_at - timedelta(seconds=50))
    told = outlook(send)
    assert told.rate == pytest.approx(2, rel=0.3)
    assert (told.forecast.ends_at, told.seconds_left) == (None, None)
