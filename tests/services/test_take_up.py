"""A send that a person cancelled can be taken up again, as far as it was planned."""

from pathlib import Path

import pytest
from django.db import transaction

from sender.dicom.acceptor import Receiver
from sender.models import AuditEntry, BatchState, ContextTemplate, Send, SendState
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import (
    again,
    engine,
    leases,
    listing,
    parked,
    plan_rows,
    planner,
    sending,
    settling,
    tallies,
)
from sender.services.sending import SendOrder, WrongState
from sender.services.subsets import MAY_RETRY, Subset
from tests import factories
from tests.services.test_control import planned, split_by_study, state_of, write_studies
from tests.services.test_sending import at, order, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
CANCELLED = frozenset({InstanceOutcome.CANCELLED})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three studies of three instances each."""
    return write_studies(tmp_path / "in", 3)


def cancelled(send: Send) -> Send:
    sending.cancel_send(send, "anna")
    assert (send.state, outcomes(send)) == (SendState.CANCELLED, {"cancelled": 9})
    return send


def test_what_was_cancelled_is_taken_up_and_sent(receiver: Receiver, folder: Path) -> None:
    send = planned(at(receiver), folder)
    split_by_study(send)
    cancelled(send)
    assert again.retry_some(send, "ben", Subset(outcomes=CANCELLED)) == 9
    assert (send.state, send.control, send.finished_at) == (SendState.QUEUED, "", None)
    assert outcomes(send) == {"pending": 9}
    assert set(send.batches.values_list("state", flat=True)) == {BatchState.READY}
    assert tallies.recount(send.pk) == 0
    assert not send.items.exclude(reason="").exists()
    entry = AuditEntry.objects.get(action="send.retry")
    assert (entry.actor, entry.facts) == ("ben", {"instances": 9, "outcomes": ["cancelled"]})
    engine.work(send.destination_id)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 9})


def test_a_part_of_it_is_taken_up_and_the_rest_later(receiver: Receiver, folder: Path) -> None:
    send = cancelled(planned(at(receiver), folder))
    study = "1.2.3.826.1"
    assert again.retry_some(send, "anna", Subset(outcomes=CANCELLED, study=study)) == 3
    engine.work(send.destination_id)
    assert (state_of(send), outcomes(send)) == (SendState.PARTIAL, {"cancelled": 6, "sent": 3})
    assert again.retry_some(send, "anna", Subset(outcomes=CANCELLED)) == 6
    engine.work(send.destination_id)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 9})
    assert tallies.recount(send.pk) == 0


def test_it_can_be_cancelled_again(folder: Path) -> None:
    send = cancelled(planned(factories.destination(), folder))
    again.retry_some(send, "anna", Subset(outcomes=CANCELLED))
    cancelled(send)


def test_a_draft_that_was_cancelled_is_taken_up_and_goes(receiver: Receiver, folder: Path) -> None:
    to_start = SendOrder(
        destination=at(receiver),
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        sources=[str(folder)],
        requested_by="test",
        roots=None,
    )
    send = sending.create_send(to_start, start=False)
    planner.plan_send(send.pk)
    cancelled(send)
    assert again.retry_some(send, "anna", Subset(outcomes=CANCELLED)) == 9
    engine.work(send.destination_id)
    assert outcomes(send) == {"sent": 9}


def test_an_inline_send_is_taken_up_in_the_background(receiver: Receiver, folder: Path) -> None:
    send = order(at(receiver), folder)
    planner.plan_send(send.pk, in_slices=False)
    cancelled(send)
    again.retry_some(send, "anna", Subset(outcomes=CANCELLED))
    assert not send.inline
    engine.work(send.destination_id)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 9})


def test_a_send_that_was_cancelled_before_its_plan_was_whole_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of its rows is there: they are not all that it was meant to send."""
    monkeypatch.setattr(plan_rows, "STUDIES_TOGETHER", 1)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1)
    send = order(factories.destination(), folder, inline=False)
    while not send.items.exists():
        planner.plan_send(send.pk)
    sending.cancel_send(send, "anna")
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert send.state == SendState.CANCELLED
    assert 0 < send.items.filter(outcome="cancelled").count() < 9
    for outcomes_wanted in (CANCELLED, MAY_RETRY):
        with pytest.raises(WrongState, match="before its plan was complete"):
            again.retry_some(send, "anna", Subset(outcomes=outcomes_wanted))
    assert not again.is_retriable(send)
    assert state_of(send) == SendState.CANCELLED


def test_a_send_that_was_cancelled_while_it_was_listed_is_refused(folder: Path) -> None:
    send = order(factories.destination(), folder, inline=False)
    sending.cancel_send(send, "anna")
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert send.state == SendState.CANCELLED
    with pytest.raises(WrongState):
        again.retry_some(send, "anna", Subset(outcomes=CANCELLED))


def test_nothing_but_a_person_takes_up_what_was_cancelled(folder: Path) -> None:
    send = planned(factories.destination(), folder)
    lease = leases.claim_batch(send.destination_id, "here")
    assert lease is not None
    send.items.filter(position=1).update(outcome="unsendable", rule="no_context")
    send.parts.filter(items__position=1).update(pending=2, unsendable=1)
    batch = send.batches.select_related("send__destination").get()
    settling.close_batch(batch, lease, failures=0)
    sending.cancel_send(send, "anna")
    with pytest.raises(WrongState, match="cancelled"), transaction.atomic():
        again.take_up(send, Subset(outcomes=frozenset({InstanceOutcome.UNSENDABLE})))
    assert parked.send_parked(send.destination, [(factories.CT, factories.ELE)], "system") == 0
    assert state_of(send) == SendState.CANCELLED
