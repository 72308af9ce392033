"""Recording: the attempt before an association, its instances during it, the row after it.

One transaction per association, the same order of keys everywhere, the rollup in it: so it is
exact at any time, and a second recording of the same association changes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from sender.models import (
    Association,
    AssociationAttempt,
    AssociationPdu,
    AssociationStudy,
    ContextTraffic,
    Destination,
    DestinationRevision,
    InstanceAttempt,
    Send,
    TemplateVersion,
    Trigger,
)
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import (
    AssociationOutcome,
    PeerIdentity,
    Phase,
    RawPdu,
    StoreOutcome,
)
from sender.negotiation.stalls import Whose
from sender.services import interning, interrupted, result_lists
from sender.services.inserting import insert_rows
from sender.services.installation import site_day
from sender.services.mishaps import MISHAPS
from sender.services.owners import LEASE_SECONDS
from sender.services.records import InstanceAccount, record_digest
from sender.services.vigil import ENDED

_UPSERT_DAY = """
INSERT INTO sender_negotiationday AS t
  (started_on, destination_id, template_version_id, definition_list_id, outcome, result_list_id,
   associations, first_at, last_at)
VALUES (%s, %s, %s, %s, %s, %s, 1, %s, %s)
ON CONFLICT
  (destination_id, started_on, template_version_id, definition_list_id, outcome, result_list_id)
DO UPDATE SET
  associations = t.associations + 1,
  first_at = CASE WHEN excluded.first_at < t.first_at THEN excluded.first_at ELSE t.first_at END,
  last_at = CASE WHEN excluded.last_at > t.last_at THEN excluded.last_at ELSE t.last_at END
"""
_INSTANCE_COLUMNS = (
    "attempt_id",
    "number",
    "item_id",
    "sop_instance_uid",
    "study_instance_uid",
    "presentation_context_id",
    "sent_as_id",
    "conversion",
    "outcome",
    "status",
    "detail",
    "error_comment_id",
    "offending_elements",
    "bytes",
)
_LONGEST_DETAIL = 400


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """What is known of an association before it is opened."""

    uid: UUID
    destination: Destination
    revision: DestinationRevision
    template_version: TemplateVersion
    proposal: Proposal
    trigger: Trigger
    requested_by: str
    owner: str
    lease_seconds: float
    sender_host: str
    send: Send | None = None
    batch_id: int | None = None


class InstanceResult(NamedTuple):
    """What became of one instance in an association.

    Attributes:
        number: its place in the association, from 1.
        sent_as: the transfer syntax UID it was sent in.
        conversion: what was done to it first: none, convert or decompress.
    """

    number: int
    item_id: int
    sop_instance: str
    study_instance: str
    sent_as: str
    conversion: str
    outcome: StoreOutcome


def open_attempt(facts: AttemptFacts) -> AssociationAttempt:
    """Commit that an association is about to be opened."""
    return AssociationAttempt.objects.create(
        uid=facts.uid,
        destination=facts.destination,
        destination_revision=facts.revision,
        template_version=facts.template_version,
        definition_list_id=interning.definition_list_id(facts.proposal),
        trigger=facts.trigger,
        requested_by=facts.requested_by,
        send=facts.send,
        batch_id=facts.batch_id,
        sender_host=facts.sender_host,
        started_at=timezone.now(),
        owner=facts.owner,
        lease_until=timezone.now() + timedelta(seconds=facts.lease_seconds),
    )


def keep_answer(uid: UUID, pdu: RawPdu) -> None:
    """Save the bytes of our request or of the peer's answer as soon as they travelled."""
    column = "request" if pdu.sent else "answer"
    if pdu.name != "A-ABORT":
        AssociationAttempt.objects.filter(uid=uid).update(**{column: pdu.content})


def extend_lease(uid: UUID, seconds: float = LEASE_SECONDS) -> bool:
    """Say that an association is still looked after; False if it was given up meanwhile."""
    until = timezone.now() + timedelta(seconds=seconds)
    held = AssociationAttempt.objects.filter(uid=uid, closed_at__isnull=True, lease_until__gt=ENDED)
    return held.update(lease_until=until) == 1


def note_stall(uid: UUID, whose: Whose | None, since: datetime | None) -> None:
    """Say who keeps an open association waiting, and since when; None: it moves."""
    AssociationAttempt.objects.filter(uid=uid, closed_at__isnull=True).update(
        stall=whose or "", stalled_since=since
    )


def record_instances(uid: UUID, results: Sequence[InstanceResult]) -> None:
    """Write what became of a group of instances; runs in the caller's transaction."""
    syntaxes = {uid: interning.transfer_syntax_id(uid) for uid in {r.sent_as for r in results}}
    insert_rows(
        InstanceAttempt,
        _INSTANCE_COLUMNS,
        [
            (
                uid,
                number,
                item_id,
                sop_instance,
                study_instance,
                said.context_id,
                syntaxes[sent_as],
                conversion,
                said.outcome.value,
                said.status,
                said.detail[:_LONGEST_DETAIL],
                interning.erasable_text_id(said.error_comment) if said.error_comment else None,
                " ".join(said.offending_elements)[:200],
                said.bytes_sent,
            )
            for number, item_id, sop_instance, study_instance, sent_as, conversion, said in results
        ],
    )


def is_recorded(uid: UUID, number: int) -> bool:
    """Tell whether an instance of an association is recorded."""
    return InstanceAttempt.objects.filter(attempt_id=uid, number=number).exists()


def record_association(uid: UUID, outcome: AssociationOutcome) -> Association:
    """Write an association that has ended, with its evidence and the rollup, once.

    A second call for the same uid returns the row of the first and changes nothing.
    """
    attempt = AssociationAttempt.objects.select_related(
        "destination", "destination_revision", "definition_list"
    ).get(uid=uid)
    row = _row(attempt, outcome)
    pdu_ids = [interning.pdu_id(pdu) for pdu in outcome.pdus]
    account = InstanceAccount(uid)
    account.read()
    with transaction.atomic():
        # From here on no journal adds instances to it, and nobody else records it.
        attempts = AssociationAttempt.objects.select_for_update(no_key=True)
        if attempts.values_list("closed_at", flat=True).get(uid=uid) is not None:
            return Association.objects.get(uid=uid)
        account.read()
        studies = account.studies()
        row.instances = sum(study.instances for study in studies)
        row.instances_digest = account.digest()
        row.record_digest = record_digest(row, outcome, studies)
        row.save(force_insert=True)
        _write_evidence(row, outcome, pdu_ids, studies)
        _count_day(row)
        AssociationAttempt.objects.filter(uid=uid).update(closed_at=row.recorded_at)
    return row


def _row(attempt: AssociationAttempt, outcome: AssociationOutcome) -> Association:
    """Return the row of an association; all that repeats is interned first."""
    rejection, abort = outcome.rejection, outcome.abort
    microseconds = {
        f"{phase.value}_us": round(outcome.seconds[phase] * 1_000_000)
        for phase in Phase
        if phase in outcome.seconds and phase is not Phase.LOCAL
    }
    is_told = outcome.is_negotiated or outcome.peer != PeerIdentity()
    return Association(
        uid=attempt.uid,
        started_at=outcome.started_at,
        started_on=site_day(outcome.started_at),
        recorded_at=timezone.now(),
        destination=attempt.destination,
        destination_revision=attempt.destination_revision,
        template_version_id=attempt.template_version_id,
        definition_list=attempt.definition_list,
        result_list_id=result_lists.result_list_id(outcome),
        trigger=attempt.trigger,
        requested_by=attempt.requested_by,
        send_number=attempt.send_id,
        outcome=outcome.kind,
        ended=outcome.ended or "",
        phase=outcome.phase,
        detail=outcome.detail[:_LONGEST_DETAIL],
        reject_result=rejection.result if rejection else None,
        reject_source=rejection.source if rejection else None,
        reject_reason=rejection.reason if rejection else None,
        abort_source=abort.source if abort else None,
        abort_reason=abort.reason if abort else None,
        peer_identity_id=interning.peer_identity_id(outcome.peer) if is_told else None,
        endpoint_id=interning.endpoint_id(attempt.sender_host, outcome.connection),
        tls_session_id=interning.tls_session_id(outcome.connection),
        local_port=outcome.connection.local_port,
        local_maximum_length=outcome.local_maximum_length,
        **microseconds,
    )


def _write_evidence(
    row: Association,
    outcome: AssociationOutcome,
    pdu_ids: Sequence[int],
    studies: Sequence[AssociationStudy],
) -> None:
    AssociationPdu.objects.bulk_create(
        [
            AssociationPdu(association=row, position=position, sent=pdu.sent, pdu_id=pdu_id)
            for position, (pdu, pdu_id) in enumerate(zip(outcome.pdus, pdu_ids, strict=True))
        ]
    )
    ContextTraffic.objects.bulk_create(
        [
            ContextTraffic(
                association=row,
                presentation_context_id=traffic.context_id,
                instances=traffic.instances,
                bytes=traffic.bytes,
            )
            for traffic in outcome.traffic
        ]
    )
    for study in studies:
        study.association = row
    AssociationStudy.objects.bulk_create(studies)


def _count_day(row: Association) -> None:
    adapt: Callable[[datetime], Any] = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.execute(
            _UPSERT_DAY,
            [
                connection.ops.adapt_datefield_value(row.started_on),
                row.destination_id,
                row.template_version_id,
                row.definition_list_id,
                str(row.outcome),
                row.result_list_id,
                adapt(row.started_at),
                adapt(row.started_at),
            ],
        )


def sweep_attempts() -> int:
    """Record attempts whose lease was ended as interrupted; return how many there were.

    Their contexts are those of the answer that was saved, if one was.
    """
    lost = AssociationAttempt.objects.filter(
        lease_until__lte=ENDED, closed_at__isnull=True
    ).select_related("definition_list", "destination")
    return sum(
        MISHAPS.contain(
            f"Recording the interrupted association {attempt.uid}",
            partial(_record_interrupted, attempt),
            otherwise=0,
        )
        for attempt in lost
    )


def _record_interrupted(attempt: AssociationAttempt) -> int:
    record_association(attempt.uid, interrupted.outcome_of(attempt))
    return 1
