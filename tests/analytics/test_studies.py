"""Studies of sends: counted, listed, exported, and followed from send to send."""

import pytest

from sender.analytics import studies
from sender.models import Destination, Send, SendState
from sender.negotiation.outcomes import AssociationKind, InstanceOutcome
from sender.services.enquiries import verification_version
from tests import factories

pytestmark = pytest.mark.django_db
SENT, WARNING = InstanceOutcome.SENT, InstanceOutcome.WARNING
FAILED, PENDING = InstanceOutcome.FAILED, InstanceOutcome.PENDING


def make_send(to: Destination, *rows: tuple[str, InstanceOutcome]) -> Send:
    """Write a send with one instance per (study, outcome)."""
    send = Send.objects.create(
        destination=to,
        template_version=verification_version(),
        requested_by="test",
        state=SendState.PARTIAL,
    )
    for position, (study, outcome) in enumerate(rows, start=1):
        factories.send_item(
            send,
            position=position,
            uid=f"{study}.{send.pk}.{position}",
            outcome=outcome,
            study=study,
            path=f"/data/{send.pk}/{position}",
        )
    return send


@pytest.fixture
def to() -> Destination:
    return factories.destination()


@pytest.fixture
def send(to: Destination) -> Send:
    return make_send(
        to, ("1.2", SENT), ("1.2", WARNING), ("1.3", SENT), ("1.3", FAILED), ("1.4", PENDING)
    )


def test_studies_are_complete_when_all_their_rows_arrived(send: Send) -> None:
    found = studies.summary_of(send)
    assert (found.studies, found.complete, found.incomplete, found.untouched) == (3, 1, 2, 1)


def test_files_that_belong_to_no_study_are_no_study(send: Send) -> None:
    factories.send_item(send, position=9, uid="", outcome=InstanceOutcome.UNSENDABLE)
    assert studies.summary_of(send).studies == 3


def test_incomplete_studies_are_listed_and_exported(send: Send) -> None:
    listed = list(studies.studies_of(send, only_incomplete=True))
    assert [(s.uid, s.found, s.delivered, s.not_sent) for s in listed] == [
        ("1.3", 2, 1, 1),
        ("1.4", 1, 0, 0),
    ]
    head, *rows = studies.export_studies(send, only_incomplete=True)
    assert head == studies.EXPORT_COLUMNS
    assert rows == [
        ("1.3", "2", "1", "0", "1", "0", "0", "0", "0", "no"),
        ("1.4", "1", "0", "0", "0", "0", "0", "1", "0", "no"),
    ]


def test_listing_goes_on_after_a_study(send: Send) -> None:
    listed = studies.studies_of(send, only_incomplete=False, after="1.2")
    assert [s.uid for s in listed] == ["1.3", "1.4"]


def test_a_study_in_several_sends_counts_as_the_newest_left_it(to: Destination, send: Send) -> None:
    make_send(to, ("1.3", SENT))
    found = studies.summary(Send.objects.filter(destination=to))
    assert (found.studies, found.complete, found.untouched) == (3, 2, 1)


def test_a_journey_tells_where_a_study_went_and_how_completely(to: Destination, send: Send) -> None:
    again = make_send(factories.destination("other"), ("1.3", SENT), ("1.3", SENT))
    found = studies.journeys("1.3")
    assert [(j.send.pk, j.count.delivered, j.count.found) for j in found] == [
        (again.pk, 2, 2),
        (send.pk, 1, 2),
    ]
    assert [j.send.destination.name for j in found] == ["other", "pacs"]
    assert studies.is_known("1.3")
    assert not studies.is_known("1.33")


def test_a_journey_that_never_began_names_the_associations_in_vain(to: Destination) -> None:
    unreached = make_send(to, ("1.5", FAILED))
    refused = factories.recorded(
        to, factories.outcome(kind=AssociationKind.TCP_FAILED), send=unreached
    )
    (journey,) = studies.journeys("1.5")
    assert journey.associations == []
    assert journey.in_vain == [refused.pk]
