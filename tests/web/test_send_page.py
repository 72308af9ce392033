"""The page of a send: how fast it is, what waits until when, what it should be through by."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from sender.models import (
    AssociationAttempt,
    InstanceAttempt,
    Send,
    SendBatch,
    SendState,
)
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.stalls import Whose
from sender.services import holds, interning
from tests import factories
from tests.web import test_control
from tests.web.test_control import running
from tests.web.test_pages import text

SignIn = Callable[[str], Client]
pytestmark = pytest.mark.django_db
send = test_control.send


def sent_lately(send: Send) -> AssociationAttempt:
    """Have an open association that sent two instances a second for 50 s, after a long wait."""
    running(send, planned_at=timezone.now() - timedelta(hours=10))
    send.parts.update(sent=100)
    attempt = AssociationAttempt.objects.get(uid=factories.open_attempt(send.destination))
    AssociationAttempt.objects.filter(pk=attempt.pk).update(
        send=send,
        trigger="send",
        started_at=timezone.now() - timedelta(seconds=50),
        request=b"\x01",
        answer=b"\x02",
    )
    InstanceAttempt.objects.create(
        attempt=attempt, number=100, item_id=1, sop_instance_uid="1.2.3.1",
        presentation_context_id=1, sent_as_id=interning.transfer_syntax_id(factories.ELE),
        conversion="none", outcome=InstanceOutcome.SENT, bytes=1,
    )  # fmt: skip
    SendBatch.objects.filter(send=send).update(state="running")
    return attempt


def test_a_rate_is_that_of_the_last_while_of_work(as_role: SignIn, send: Send) -> None:
    sent_lately(send)
    page = text(as_role("viewer"), f"/sends/{send.pk}/progress/")
    assert re.search(r"(2\.0|1\.[5-9]) instances/s · about \d\.\d s left", page)


def held(send: Send) -> None:
    holds.pause(send.destination, reason="disk change", until=None, actor="anna")


def paused(send: Send) -> None:
    Send.objects.filter(pk=send.pk).update(control="pause")


def outside(send: Send) -> None:
    Send.objects.filter(pk=send.pk).update(windows="mon-sun 00:00-00:01", zone="Etc/GMT-11")


def stalled(send: Send) -> None:
    AssociationAttempt.objects.update(stall=Whose.NETWORK.value, stalled_since=timezone.now())


def not_due(send: Send) -> None:
    later = timezone.now() + timedelta(minutes=3)
    SendBatch.objects.filter(send=send).update(state="ready", next_attempt_at=later)


def slow_to_open(send: Send) -> None:
    AssociationAttempt.objects.update(answer=None)


@pytest.mark.parametrize("keep", [held, paused, outside, stalled, not_due, slow_to_open])
def test_what_can_not_be_sent_now_has_no_rate_and_no_end(
    keep: Callable[[Send], None], as_role: SignIn, send: Send
) -> None:
    sent_lately(send)
    Send.objects.filter(pk=send.pk).update(finish_by=timezone.now() + timedelta(days=9))
    keep(send)
    page = text(as_role("viewer"), f"/sends/{send.pk}/progress/")
    assert "instances/s" not in page
    assert " left" not in page
    assert "should be through by" in page
    assert ("and will be at" in page) is (keep is outside), "windows are reckoned with"


def test_a_draft_shows_until_when_it_should_be_through(as_role: SignIn, send: Send) -> None:
    finish_by = timezone.now() + timedelta(hours=12)
    plan = {"contexts": 6, "associations": 12, "one_each": "study"}
    running(send, plan=plan)
    Send.objects.update(state=SendState.DRAFT, finish_by=finish_by)
    page = text(as_role("viewer"), f"/sends/{send.pk}/")
    assert "Proposes 6 contexts in 12 associations, one study in each;" in page
    assert "It should be through by" in page
    assert finish_by.isoformat() in page
    assert "It will be late" not in page
    later = (finish_by + timedelta(days=2)).strftime("%a").lower()
    Send.objects.update(windows=f"{later} 03:00-03:30")
    page = text(as_role("viewer"), f"/sends/{send.pk}/")
    assert "It will be late" in page
    assert "No time to send is left before the deadline." in page
