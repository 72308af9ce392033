"""What is recorded: once, completely, and so that a change shows."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sender.models import (
    Association,
    AssociationAttempt,
    InstanceAttempt,
    NegotiationDay,
    Pdu,
    UnmatchedResult,
)
from sender.models.reading import contexts_of, proposal_of, strays_of
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    ContextAnswer,
    InstanceOutcome,
    PeerIdentity,
    RawPdu,
    StoreOutcome,
    StrayAnswer,
    StrayKind,
    answered,
)
from sender.services import recording, records, result_lists
from sender.services.vigil import ENDED
from tests import factories
from tests.factories import PROPOSAL

pytestmark = pytest.mark.django_db


def test_an_association_reads_back_as_it_was() -> None:
    value = factories.outcome(0, 3, None)
    row = factories.recorded(factories.destination(), value)
    found = Association.objects.get(pk=row.pk)
    assert contexts_of(found) == value.contexts
    assert proposal_of(found.definition_list) == PROPOSAL
    assert (found.outcome, found.ended) == ("established", "released")


answers = st.lists(
    st.builds(
        ContextAnswer,
        context_id=st.integers(0, 9),
        result=st.integers(0, 255),
        transfer_syntax=st.sampled_from([None, factories.ILE, factories.J90, "odd text", "x" * 64]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers)
def test_whatever_a_peer_answers_is_stored_and_read_back(
    given_answers: list[ContextAnswer],
) -> None:
    to = factories.destination(f"pacs {uuid.uuid4()}")
    contexts, strays = answered(PROPOSAL, tuple(given_answers), {})
    value = factories.outcome(0, 0, 0)
    value = type(value)(
        **{
            **{name: getattr(value, name) for name in value.__dataclass_fields__},
            "contexts": contexts,
            "strays": strays,
        }
    )
    row = factories.recorded(to, value)
    assert [c.verdicts for c in contexts_of(row)] == [c.verdicts for c in contexts]
    assert strays_of(row) == strays
    assert records.verify_record(row)


def with_strays(count: int) -> AssociationOutcome:
    """Return an association whose peer answered for an id again and again that nobody proposed."""
    stray = StrayAnswer(StrayKind.UNKNOWN_ID, ContextAnswer(99, 0, factories.ILE))
    return replace(factories.outcome(0, 0, 4), strays=(stray,) * count)


def test_of_answers_that_fit_no_context_a_bounded_number_is_kept_and_the_rest_counted() -> None:
    to = factories.destination()
    row = factories.recorded(to, with_strays(100_000))
    assert UnmatchedResult.objects.count() == len(strays_of(row)) == result_lists.MOST_UNMATCHED
    assert row.result_list.more_unmatched == 100_000 - result_lists.MOST_UNMATCHED
    assert records.verify_record(Association.objects.get())
    other = factories.recorded(to, with_strays(99_999))
    assert other.result_list_id != row.result_list_id
    assert records.verify_record(other)


@pytest.mark.parametrize("length", [1, 7])
def test_what_a_peer_said_of_itself_is_kept_when_we_leave_it_for_that(length: int) -> None:
    said = PeerIdentity("1.2.3", "PEER_1", length)
    value = replace(factories.outcome(0, 0, 4), kind=AssociationKind.ABORTED_BY_US, peer=said)
    row = factories.recorded(factories.destination(), value)
    assert row.peer_identity is not None
    assert row.peer_identity.implementation_version_name == "PEER_1"
    assert row.peer_identity.maximum_length_received == length
    assert records.verify_record(row)


def test_a_peer_that_said_nothing_has_no_identity() -> None:
    value = replace(factories.outcome(kind=AssociationKind.TIMED_OUT), peer=PeerIdentity())
    assert factories.recorded(factories.destination(), value).peer_identity is None


def test_recording_twice_changes_nothing() -> None:
    uid = factories.open_attempt(factories.destination())
    first = recording.record_association(uid, factories.outcome(0, 0, 4))
    second = recording.record_association(uid, factories.outcome(4, 4, 4))
    assert first.pk == second.pk
    assert NegotiationDay.objects.get().associations == 1


def test_equal_associations_share_their_lists() -> None:
    to = factories.destination()
    rows = [factories.recorded(to) for _ in range(3)]
    assert len({(row.definition_list_id, row.result_list_id) for row in rows}) == 1
    assert NegotiationDay.objects.get().associations == 3


def test_the_day_is_that_of_the_site() -> None:
    from sender.models.audit import Installation
    from sender.services import installation

    Installation.objects.update(time_zone="Asia/Kolkata")
    installation.site_zone.cache_clear()
    late = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
    row = factories.recorded(factories.destination(), factories.outcome(0, 0, 0, started_at=late))
    assert row.started_on.isoformat() == "2026-03-02"


def store(outcome: InstanceOutcome, status: int | None) -> StoreOutcome:
    return StoreOutcome(outcome, 3, status, error_comment="Doe^Jane", bytes_sent=100)


def results(*outcomes: StoreOutcome) -> list[recording.InstanceResult]:
    return [
        recording.InstanceResult(
            number=number,
            item_id=number,
            sop_instance=f"1.2.{number}",
            study_instance="1.9",
            sent_as=factories.ELE,
            conversion="none",
            outcome=outcome,
        )
        for number, outcome in enumerate(outcomes, start=1)
    ]


def recorded_with_instances() -> Association:
    uid = factories.open_attempt(factories.destination())
    recording.record_instances(
        uid, results(store(InstanceOutcome.SENT, 0), store(InstanceOutcome.UNKNOWN, None))
    )
    return recording.record_association(uid, factories.outcome(0, 0, 4))


def test_studies_count_instances_bytes_and_statuses() -> None:
    study = recorded_with_instances().studies.get()
    assert (study.study_instance_uid, study.instances, study.bytes) == ("1.9", 2, 200)
    assert study.statuses == {"0000": 1, "none": 1}


def test_what_is_recorded_while_an_association_is_added_up_is_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Most is read before the transaction; a journal may be replayed until that begins."""
    uid = factories.open_attempt(factories.destination())
    first, second = results(store(InstanceOutcome.SENT, 0), store(InstanceOutcome.SENT, 0xB000))
    recording.record_instances(uid, [first])
    read = records.InstanceAccount.read
    late = [second]

    def read_and_be_overtaken(account: records.InstanceAccount) -> None:
        read(account)
        recording.record_instances(uid, late)
        late.clear()

    with monkeypatch.context() as patch:
        patch.setattr(records.InstanceAccount, "read", read_and_be_overtaken)
        recording.record_association(uid, factories.outcome(0, 0, 4))
    row = Association.objects.get()
    assert not late
    assert row.instances == 2
    assert row.studies.get().statuses == {"0000": 1, "B000": 1}
    assert records.verify_record(row)


def test_an_untouched_record_verifies() -> None:
    assert records.verify_record(Association.objects.get(pk=recorded_with_instances().pk))


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("sender_association", "outcome = 'rejected'"),
        ("sender_association", "detail = 'x'"),
        ("sender_association", "negotiation_us = 1"),
        ("sender_association", "requested_by = 'somebody else'"),
        ("sender_instanceattempt", "outcome = 'sent'"),
        ("sender_instanceattempt", "sop_instance_uid = '1.2.999'"),
        ("sender_associationstudy", "instances = 7"),
        ("sender_associationpdu", "sent = NOT sent"),
        ("sender_pdu", "name = 'A-ABORT'"),
        ("sender_presentationcontextresult", "result_reason = 2"),
        ("sender_proposedpresentationcontext", "scu_role = TRUE"),
    ],
)
def test_any_change_behind_our_back_shows(table: str, change: str) -> None:
    row = recorded_with_instances()
    with connection.cursor() as cursor:
        _disarm(table)
        cursor.execute(f"UPDATE {table} SET {change}")
    assert not records.verify_record(Association.objects.get(pk=row.pk))


def _disarm(table: str) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        else:
            cursor.execute(f"DROP TRIGGER {table}_append_only_update")


def test_an_error_comment_can_be_erased_without_breaking_the_record() -> None:
    from sender.models.history import ErasableText

    row = recorded_with_instances()
    ErasableText.objects.update(text="", erased_at=timezone.now())
    assert records.verify_record(row)


@pytest.mark.parametrize("model", [Association, Pdu, InstanceAttempt])
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_the_database_refuses_to_change_history(model: type, verb: str) -> None:
    recorded_with_instances()
    rows = model.objects.all()  # type: ignore[attr-defined]
    field = {"Association": "detail", "Pdu": "name", "InstanceAttempt": "detail"}[model.__name__]
    change = partial(rows.update, **{field: "x"}) if verb == "update" else rows._raw_delete
    arguments = () if verb == "update" else (rows.db,)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        change(*arguments)


def test_a_vanished_sender_leaves_an_interrupted_association() -> None:
    uid = factories.open_attempt(factories.destination())
    AssociationAttempt.objects.update(lease_until=ENDED)
    assert recording.sweep_attempts() == 1
    row = Association.objects.get(uid=uid)
    assert (row.outcome, row.ended) == (AssociationKind.INTERRUPTED, "")
    assert recording.sweep_attempts() == 0


def test_the_answer_that_a_vanished_sender_had_saved_is_kept() -> None:
    from tests.acceptance import acceptance_pdu

    uid = factories.open_attempt(factories.destination())
    recording.keep_answer(uid, RawPdu("A-ASSOCIATE-RQ", True, b"\x01"))
    answer = acceptance_pdu([(1, 4, ""), (3, 0, factories.ELE)])
    recording.keep_answer(uid, RawPdu("A-ASSOCIATE-AC", False, answer))
    recording.record_instances(
        uid, results(store(InstanceOutcome.SENT, 0), store(InstanceOutcome.UNKNOWN, None))
    )
    AssociationAttempt.objects.update(lease_until=ENDED)
    recording.sweep_attempts()
    row = Association.objects.get(uid=uid)
    assert (row.outcome, row.ended) == ("established", "interrupted")
    assert [context.result for context in contexts_of(row)] == [4, 0, None]
    travelled = row.traffic.values_list("presentation_context_id", "instances", "bytes")
    assert list(travelled) == [(3, 2, 200)]
    assert records.verify_record(row)


def interrupted_with(answer: bytes) -> Association:
    """Return what is recorded of an association whose sender vanished with this answer saved."""
    uid = factories.open_attempt(factories.destination())
    recording.keep_answer(uid, RawPdu("A-ASSOCIATE-RQ", True, b"\x01"))
    recording.keep_answer(uid, RawPdu("A-ASSOCIATE-RJ", False, answer))
    AssociationAttempt.objects.update(lease_until=ENDED)
    recording.sweep_attempts()
    return Association.objects.get(uid=uid)


def test_a_rejection_that_a_vanished_sender_had_saved_is_on_record_as_one() -> None:
    answer = bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 1))
    row = interrupted_with(answer)
    assert (row.outcome, row.ended) == (AssociationKind.REJECTED, "")
    assert (row.reject_result, row.reject_source, row.reject_reason) == (2, 3, 1)
    assert "2/3/1" in row.detail
    assert "vanished" in row.detail
    pdus = [(link.pdu.name, bytes(link.pdu.content)) for link in row.pdus.order_by("position")]
    assert pdus == [("A-ASSOCIATE-RQ", b"\x01"), ("A-ASSOCIATE-RJ", answer)]
    assert records.verify_record(row)


def test_a_rejection_that_is_cut_off_leaves_an_interrupted_association() -> None:
    row = interrupted_with(bytes((3, 0, 0, 0, 0, 4, 0, 2)))
    assert (row.outcome, row.ended) == (AssociationKind.INTERRUPTED, "")
    assert row.reject_result is None


def test_an_attempt_with_a_live_owner_is_left_alone() -> None:
    uid = factories.open_attempt(factories.destination())
    assert recording.sweep_attempts() == 0
    assert AssociationAttempt.objects.get().closed_at is None
    assert recording.extend_lease(uid)
    AssociationAttempt.objects.update(lease_until=ENDED)
    assert not recording.extend_lease(uid), "a lease that was ended is not extended any more"
    assert recording.sweep_attempts() == 1
