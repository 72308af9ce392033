"""Who waits for an echo or a negotiation gets an answer, or is told that none will come."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from sender.dicom.acceptor import Receiver
from sender.models import Association, Enquiry
from sender.services import engine, enquiries, probing, tickets
from tests.services.test_sending import at

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def asked(receiver: Receiver) -> Enquiry:
    return enquiries.request_echo(at(receiver), requested_by="anna")


def age(enquiry: Enquiry, seconds: float) -> None:
    """Let an enquiry have been asked some time ago."""
    Enquiry.objects.filter(pk=enquiry.pk).update(
        created_at=timezone.now() - timedelta(seconds=seconds)
    )


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tickets of enquiries that are issued from now on."""
    found: list[int] = []
    monkeypatch.setattr(tickets, "issue_enquiry", found.append)
    return found


def test_a_lost_ticket_is_issued_again(asked: Enquiry, issued: list[int]) -> None:
    OrmQ.objects.all().delete()
    engine.tick("test")
    assert issued == [], "a worker may just have taken it"
    age(asked, enquiries.REISSUE_SECONDS + 1)
    engine.tick("test")
    assert issued == [asked.pk]


def test_a_ticket_that_still_waits_is_not_doubled(asked: Enquiry, issued: list[int]) -> None:
    assert OrmQ.objects.count() == 1
    age(asked, enquiries.REISSUE_SECONDS + 1)
    engine.tick("test")
    assert issued == []


def test_bulk_work_that_waits_keeps_no_enquiry_waiting(asked: Enquiry, issued: list[int]) -> None:
    OrmQ.objects.all().delete()
    tickets.issue_work(asked.destination_id)
    age(asked, enquiries.REISSUE_SECONDS + 1)
    engine.tick("test")
    assert issued == [asked.pk]


def test_who_waits_for_a_worker_in_vain_is_told_so(asked: Enquiry, issued: list[int]) -> None:
    age(asked, enquiries.LONGEST_SECONDS + 1)
    engine.tick("test")
    asked.refresh_from_db()
    assert asked.finished_at is not None
    assert asked.started_at is None
    assert asked.detail == "No worker of the sender came to it within 10 minutes; ask again."
    assert issued == []


def test_an_enquiry_that_was_ended_is_not_run_any_more(asked: Enquiry) -> None:
    age(asked, enquiries.LONGEST_SECONDS + 1)
    engine.tick("test")
    probing.answer_enquiry(asked.pk)
    assert not Association.objects.exists()


def test_whose_worker_vanished_is_told_so(asked: Enquiry) -> None:
    before = timezone.now() - timedelta(seconds=enquiries.LONGEST_SECONDS + 1)
    Enquiry.objects.update(started_at=before, created_at=before)
    engine.tick("test")
    asked.refresh_from_db()
    assert asked.detail == "The sender vanished before it had an answer."


def test_enquiries_at_work_or_answered_are_left_alone(asked: Enquiry, issued: list[int]) -> None:
    Enquiry.objects.update(started_at=timezone.now())
    age(asked, enquiries.LONGEST_SECONDS + 1)
    engine.tick("test")
    asked.refresh_from_db()
    assert (asked.finished_at, issued) == (None, [])
