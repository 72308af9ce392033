"""What no context carried waits for the fix, is offered when it is there, and sent."""

import uuid
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from sender.dicom.acceptor import Profile, Receiver
from sender.models import (
    AuditEntry,
    Destination,
    ParkedPair,
    Send,
    SendItem,
    SendState,
    TemplateVersion,
    Trigger,
)
from sender.negotiation import rules
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.outcomes import ContextOutcome, ContextResult
from sender.services import again, engine, parked, planner, probing
from sender.services.templates import save_version
from tests import factories
from tests.services.test_control import state_of
from tests.services.test_sending import at, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
OLD = Profile(transfer_syntaxes=(factories.ELE, factories.ILE))
NEW = Profile()
PAIR = (factories.CT, factories.J90)


@pytest.fixture
def profiles() -> dict[str, Profile]:
    return {"PACS": OLD}


@pytest.fixture
def pacs(profiles: dict[str, Profile]) -> Iterator[Destination]:
    with Receiver(port=0, profiles=profiles) as running:
        yield at(running, ae_title="PACS", max_associations=1)


@pytest.fixture
def template() -> TemplateVersion:
    """Derives its contexts from the files, and never decompresses."""
    return written("Unchanged", [], derive_from_files=True, decompress="never")


def written(name: str, contexts: list[dict[str, object]], **options: object) -> TemplateVersion:
    document = {
        "format": "concordat.template/1", "name": name, "contexts": contexts, "options": options,
    }  # fmt: skip
    return save_version(rules.parse(document), actor="test")


@pytest.fixture
def send(pacs: Destination, template: TemplateVersion, tmp_path: Path) -> Send:
    """A send that ended with three of six instances parked."""
    from sender.services import sending
    from sender.services.sending import SendOrder

    for number in range(6):
        factories.write_instance(
            tmp_path / "in" / f"{number}.dcm",
            sop_instance=f"1.2.3.{number}",
            transfer_syntax=factories.J90 if number % 2 else factories.ELE,
            rows=32,
        )
    order = SendOrder(pacs, template, [str(tmp_path / "in")], "test", roots=None)
    made = sending.create_send(order, start=True)
    planner.plan_send(made.pk)
    engine.work(pacs.pk)
    made.refresh_from_db()
    assert (made.state, outcomes(made)) == (SendState.PARTIAL, {"sent": 3, "unsendable": 3})
    return made


def negotiate(pacs: Destination, version: TemplateVersion) -> None:
    probing.contact(pacs, version, Trigger.NEGOTIATE, requested_by="anna")


@pytest.fixture
def asking(send: Send) -> TemplateVersion:
    """A template that asks for just the syntax that is parked."""
    return written("Asking", [{"abstract_syntax": PAIR[0], "transfer_syntaxes": [PAIR[1]]}])


def test_what_is_refused_is_parked_once(send: Send) -> None:
    pair = ParkedPair.objects.get()
    assert (pair.sop_class_uid, pair.transfer_syntax_uid) == PAIR
    assert pair.offered_at is None
    assert parked.parked_rows(send.destination, pair) == 3
    assert set(SendItem.objects.filter(outcome="unsendable").values_list("rule", flat=True)) == {
        "no_context"
    }


def test_a_later_negotiation_that_refuses_again_offers_nothing(
    send: Send, asking: TemplateVersion
) -> None:
    negotiate(send.destination, asking)
    assert ParkedPair.objects.get().offered_at is None


def test_a_later_negotiation_offers_it_and_a_person_sends_it(
    send: Send, asking: TemplateVersion, profiles: dict[str, Profile]
) -> None:
    profiles["PACS"] = NEW
    negotiate(send.destination, asking)
    pair = ParkedPair.objects.get()
    assert pair.offered_at is not None
    assert pair.association_uid is not None
    assert (state_of(send), outcomes(send)["unsendable"]) == (SendState.PARTIAL, 3)
    assert parked.send_parked(send.destination, [PAIR], "anna") == 3
    assert outcomes(send) == {"sent": 3, "pending": 3}
    engine.work(send.destination_id)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 6})
    assert not ParkedPair.objects.exists()
    entry = AuditEntry.objects.get(action="destination.send_parked")
    assert (entry.actor, entry.facts) == ("anna", {"instances": 3})


def test_by_choice_it_is_sent_at_once(
    send: Send, asking: TemplateVersion, profiles: dict[str, Profile]
) -> None:
    Destination.objects.update(sends_parked=True)
    profiles["PACS"] = NEW
    negotiate(Destination.objects.get(), asking)
    assert outcomes(send) == {"sent": 3, "pending": 3}
    engine.work(send.destination_id)
    assert outcomes(send) == {"sent": 6}


def test_an_outage_while_it_is_sent_at_once_loses_nothing(
    send: Send,
    asking: TemplateVersion,
    profiles: dict[str, Profile],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Destination.objects.update(sends_parked=True)
    profiles["PACS"] = NEW
    take_up, outages = again.take_up, iter([OperationalError("away")])

    def take_up_after_an_outage(*arguments: Any) -> int:
        for outage in outages:
            raise outage
        return take_up(*arguments)

    monkeypatch.setattr(again, "take_up", take_up_after_an_outage)
    negotiate(Destination.objects.get(), asking)
    assert outcomes(send) == {"sent": 3, "pending": 3}
    assert not ParkedPair.objects.exists()


def test_what_its_own_template_would_not_propose_is_not_offered(
    send: Send, profiles: dict[str, Profile]
) -> None:
    """Another template's luck is no fix: sending again would end as before."""
    other = written("Other", [{"abstract_syntax": PAIR[0], "transfer_syntaxes": [factories.ILE]}])
    profiles["PACS"] = NEW
    negotiate(send.destination, other)
    assert ParkedPair.objects.get().offered_at is None


def test_what_was_offered_and_refused_again_waits_anew(
    send: Send, asking: TemplateVersion, profiles: dict[str, Profile]
) -> None:
    profiles["PACS"] = NEW
    negotiate(send.destination, asking)
    profiles["PACS"] = OLD
    parked.send_parked(send.destination, [PAIR], "anna")
    engine.work(send.destination_id)
    assert outcomes(send) == {"sent": 3, "unsendable": 3}
    assert ParkedPair.objects.get().offered_at is None


def test_a_cancelled_send_is_left_alone(send: Send) -> None:
    Send.objects.filter(pk=send.pk).update(state=SendState.CANCELLED)
    assert parked.send_parked(send.destination, [PAIR], "anna") == 0
    assert outcomes(send) == {"sent": 3, "unsendable": 3}


def accepted(sop_class: str, transfer_syntax: str) -> list[ContextOutcome]:
    """What a peer answered that accepted this pair."""
    context = Proposal.of([ContextSpec(sop_class, (transfer_syntax,))]).contexts[0]
    result = ContextResult.ACCEPTANCE
    return [ContextOutcome(context, negotiated=True, result=result, accepted=transfer_syntax)]


def steps_of(work: Callable[[], None]) -> int:
    """Return how many steps SQLite took, in hundreds."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.ensure_connection()
    connection.connection.set_progress_handler(count, 100)
    try:
        work()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return steps


def test_a_peer_that_frees_nothing_does_not_wait_longer_for_more_that_is_parked(send: Send) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("counts the steps of SQLite")

    def offer() -> None:
        parked.negotiated(send.destination, accepted(factories.CT, factories.ELE), uuid.uuid4())

    few = steps_of(offer)
    item = SendItem.objects.filter(outcome="unsendable")[0]
    further = []
    for position in range(1000, 6000):
        item.pk, item.position = None, position
        further.append(copy(item))
    SendItem.objects.bulk_create(further)
    assert few > 0
    assert steps_of(offer) <= 2 * few
    assert ParkedPair.objects.get().offered_at is None


def test_what_is_unsendable_for_another_reason_stands_for_nothing(
    send: Send, asking: TemplateVersion, profiles: dict[str, Profile]
) -> None:
    SendItem.objects.filter(outcome="unsendable").update(rule="changed")
    profiles["PACS"] = NEW
    negotiate(send.destination, asking)
    assert ParkedPair.objects.get().offered_at is None
