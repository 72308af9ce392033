"""The page of a send: how fast it is, what waits until when, what it should be through by."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from sender.analytics import sends as accounts
from sender.models import (
    AssociationAttempt,
    Hold,
    InstanceAttempt,
    Listing,
    Send,
    SendBatch,
    SendItem,
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


def test_instances_that_wait_are_told_by_rule_and_reason(as_role: SignIn, send: Send) -> None:
    address = f"/sends/{running(send).pk}/progress/"
    assert "What waits for another attempt" not in text(as_role("viewer"), address)
    due = timezone.now() + timedelta(minutes=3)
    items = SendItem.objects.filter(send=send, position__lte=2)
    items.update(rule="out_of_resources", reason="refused: status A700", retry_at=due)
    SendBatch.objects.filter(send=send).update(fence=1, next_attempt_at=due)
    page = text(as_role("viewer"), address)
    assert "What waits for another attempt" in page
    assert "refused: status A700" in page
    assert "The peer is out of resources (A7xx). It is tried again up to 3 times" in page
    assert ">2 instances<" in page
    assert page.count(due.isoformat()) >= 2, "in the banner and in the table"


def test_a_batch_that_waits_is_told_once_and_what_is_due_now(as_role: SignIn, send: Send) -> None:
    running(send)
    SendItem.objects.update(rule="unknown_twice", reason="cut off", retry_at=timezone.now())
    SendBatch.objects.update(rule="unknown_twice", detail="It is tried alone.", fence=1)
    page = text(as_role("viewer"), f"/sends/{send.pk}/progress/")
    assert ">1 batch<" in page
    assert "cut off" not in page
    assert '<td class="nowrap">now</td>' in page


def test_only_some_batches_are_looked_through(
    as_role: SignIn, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_BATCHES", 1)
    running(send)
    SendItem.objects.update(rule="out_of_resources", retry_at=timezone.now())
    first = SendBatch.objects.get(send=send)
    SendBatch.objects.create(
        send=send, number=2, destination=send.destination, fence=1,
        definition_list=first.definition_list, next_attempt_at=timezone.now(),
    )  # fmt: skip
    second = SendBatch.objects.filter(number=2)
    SendBatch.objects.update(fence=1)
    second.update(fence=0)
    page = text(as_role("viewer"), f"/sends/{send.pk}/progress/")
    assert "3 instances<" in page
    assert "at least" not in page, "the other was never begun"
    second.update(fence=1)
    assert "at least 3 instances" in text(as_role("viewer"), f"/sends/{send.pk}/progress/")


def test_what_is_held_is_due_when_that_ends(as_role: SignIn, send: Send) -> None:
    address = f"/sends/{running(send).pk}/progress/"
    blocked_at = timezone.now() - timedelta(minutes=1)
    SendBatch.objects.update(rule="called_ae", detail="No.", next_attempt_at=blocked_at)
    hold = Hold.objects.create(
        destination=send.destination, kind="blocked", reason="No.", set_by="system",
        probe_at=timezone.now() + timedelta(minutes=14),
    )  # fmt: skip
    table = text(as_role("viewer"), address).split("What waits for another attempt")[1]
    assert hold.probe_at is not None
    assert hold.probe_at.isoformat() in table
    assert blocked_at.isoformat() not in table
    Hold.objects.update(kind="pause", probe_at=None)
    assert "when sending goes on" in text(as_role("viewer"), address)


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


def test_the_list_counts_rows_as_the_page_of_a_send_does(as_role: SignIn, send: Send) -> None:
    """Identical files are one row, so that there are more files than rows."""
    assert send.listing is not None
    running(send)
    send.listing.files = 50
    send.listing.save()
    rows = accounts.progress(send).total
    assert rows < 50
    client = as_role("viewer")
    assert f'<td class="number">{rows}</td>' in text(client, "/sends/")
    assert f"of {rows} rows settled" in re.sub("<[^>]+>", "", text(client, f"/sends/{send.pk}/"))
    Send.objects.filter(pk=send.pk).update(planned_at=None)
    assert '<td class="number">–</td>' in text(client, "/sends/")


def test_what_was_stored_with_a_warning_is_not_called_not_sent(as_role: SignIn, send: Send) -> None:
    assert "What was not sent, and why" in text(as_role("viewer"), f"/sends/{send.pk}/")
    send.items.filter(position=1).update(outcome="warning", status=0xB000, rule="done")
    send.parts.update(warning=1, failed=2)
    page = text(as_role("viewer"), f"/sends/{send.pk}/")
    assert "What was not sent, or stored with a warning" in page
    assert "What was not sent, and why" not in page


def test_what_was_there_already_stays_told(as_role: SignIn, send: Send) -> None:
    page = f"/sends/{send.pk}/"
    Send.objects.update(only_new=True)
    assert "there already" not in text(as_role("viewer"), page)
    Send.objects.update(already_there=1)
    assert "1 instance was there already and left out." in text(as_role("viewer"), page)
    Send.objects.update(already_there=2000, state="running")
    assert "2,000 instances were there already and left out." in text(as_role("viewer"), page)


def test_outcomes_are_chosen_by_the_words_of_their_badges(as_role: SignIn, send: Send) -> None:
    page = text(as_role("auditor"), f"/sends/{send.pk}/instances/?outcome=unsendable")
    options = re.findall(r'<option value="(\w*)"(?: selected)?>([^<]*)</option>', page)
    assert options == [
        ("", "All"),
        ("sent", "Sent"),
        ("warning", "Warning"),
        ("failed", "Failed"),
        ("unsendable", "Not sent"),
        ("unknown", "Unknown"),
        ("cancelled", "Cancelled"),
        ("pending", "To send"),
    ]
    assert '<option value="unsendable" selected>' in page


@pytest.mark.parametrize(
    ("address", "button"),
    [("", "Retry"), ("studies/", "Retry"), ("instances/", "Send this one")],
)
def test_what_can_be_done_about_a_row_stands_in_a_column_of_its_own(
    address: str, button: str, as_role: SignIn, send: Send
) -> None:
    """Which stays in sight on a phone (concordat.css)."""
    if address == "instances/":
        send.items.update(outcome="unsendable", reason="conflict")
    page = text(as_role("operator"), f"/sends/{send.pk}/{address}")
    assert re.search(rf'<td class="act"><form(?:(?!</td>).)*{button}', page, re.DOTALL)
    assert 'class="act"' not in text(as_role("auditor"), f"/sends/{send.pk}/{address}")


@pytest.mark.parametrize(
    ("excluded", "there", "said"),
    [
        ({"file name": 3, "modality": 1997}, 0, "Nothing to send: 2,000 excluded by rule"),
        ({}, 4, "Nothing to send: 4 there already"),
        ({"file name": 1}, 4, "Nothing to send: 1 excluded by rule, 4 there already"),
    ],
)
def test_a_send_without_a_row_says_that_there_was_nothing_to_send(
    excluded: dict[str, int], there: int, said: str, as_role: SignIn, send: Send
) -> None:
    client = as_role("viewer")
    pages = ("/sends/", f"/sends/{send.pk}/")
    Listing.objects.update(excluded=excluded)
    Send.objects.update(already_there=there, state="succeeded")
    assert all("Nothing to send" not in text(client, page) for page in pages), "it has rows"
    send.items.all().delete()
    send.parts.all().delete()
    for page in pages:
        assert said in text(client, page)
        assert "Succeeded" in text(client, page)
    assert "0.0 %" not in text(client, pages[1])
    Send.objects.update(state="cancelled")
    assert all("Nothing to send" not in text(client, page) for page in pages)


def test_a_draft_of_which_rules_leave_all_out_says_so(as_role: SignIn, send: Send) -> None:
    plan = {"kinds": [], "contexts": 0, "associations": 0}
    Send.objects.filter(pk=send.pk).update(state="draft", plan=plan)
    page = f"/sends/{send.pk}/"
    assert "The source holds no instance that can be sent." in text(as_role("viewer"), page)
    Listing.objects.update(files=0, excluded={"modality": 5, "file name": 2})
    found = text(as_role("viewer"), page)
    assert "Nothing to send: 7 excluded by rule." in found
    assert "holds no instance" not in found
    Send.objects.filter(pk=send.pk).update(already_there=1200, plan=plan | {"unreadable": 3})
    assert (
        "Nothing to send: 7 excluded by rule, 1,200 there already, 3 without a sendable instance."
    ) in text(as_role("viewer"), page)


def test_a_send_that_is_being_cancelled_says_so_and_offers_no_second_time(
    as_role: SignIn, send: Send
) -> None:
    running(send)
    Send.objects.filter(pk=send.pk).update(state=SendState.CANCELLING, control="cancel")
    page = text(as_role("operator"), f"/sends/{send.pk}/progress/")
    assert "The send is being cancelled. Nothing is begun any more; 3 rows are still" in page
    assert "No background sender is running" in page
    assert "Cancel…" not in page
    assert "Urgent" not in page


def test_a_send_that_is_being_made_ready_says_so_and_offers_no_second_time(
    as_role: SignIn, send: Send
) -> None:
    running(send)
    client = as_role("operator")
    retry = f'action="/sends/{send.pk}/retry/"'
    send.parts.update(failed=F("pending"), pending=0)
    assert retry in text(client, f"/sends/{send.pk}/")
    wish = {"subset": {"outcomes": ["failed"]}, "after": 0, "until": 9, "rows": 5000, "ready": 2000}
    Send.objects.filter(pk=send.pk).update(plan_cursor={"again": [wish]})
    page = text(client, f"/sends/{send.pk}/")
    assert "It is being made ready to be tried again." in page
    assert "2,000 of 5,000 rows are ready so far" in page
    assert retry not in page
