"""Associations whose sender vanished: what they were, by the request and answer that were saved."""

from dataclasses import replace
from uuid import UUID

from django.db.models import Count, Sum

from sender.dicom import upper_layer
from sender.models import AssociationAttempt, InstanceAttempt
from sender.models.reading import proposal_of
from sender.negotiation import codes
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    ContextTraffic,
    Ended,
    Phase,
    RawPdu,
    answered,
    unanswered,
)


def outcome_of(attempt: AssociationAttempt) -> AssociationOutcome:
    """Return what an association was whose sender vanished, by what was saved of it."""
    proposal = proposal_of(attempt.definition_list)
    request = bytes(attempt.request) if attempt.request else b""
    answer = bytes(attempt.answer) if attempt.answer else b""
    pdus = [RawPdu("A-ASSOCIATE-RQ", True, request)] if request else []
    outcome = AssociationOutcome(
        kind=AssociationKind.INTERRUPTED,
        proposal=proposal,
        started_at=attempt.started_at,
        phase=Phase.NEGOTIATION if request else Phase.CONNECT,
        detail="The sender vanished before this association ended.",
        contexts=unanswered(proposal),
        local_maximum_length=attempt.destination.maximum_length,
        traffic=_recorded_traffic(attempt.uid),
        pdus=tuple(pdus),
    )
    read = _ANSWERS.get(answer[0]) if answer else None
    return read(replace(outcome, phase=Phase.NEGOTIATION), answer) if read else outcome


def _recorded_traffic(uid: UUID) -> tuple[ContextTraffic, ...]:
    """Return what travelled in each context, as far as it is on record."""
    recorded = InstanceAttempt.objects.filter(attempt_id=uid).order_by("presentation_context_id")
    grouped = recorded.values_list("presentation_context_id").annotate(
        n=Count("*"), size=Sum("bytes")
    )
    return tuple(
        ContextTraffic(context_id, count, int(size)) for context_id, count, size in grouped
    )


def _with_acceptance(outcome: AssociationOutcome, answer: bytes) -> AssociationOutcome:
    """Return what an interrupted association was with the A-ASSOCIATE-AC that was saved.

    One that can't be decoded ended the association, as it does for a worker that lives
    (dicom/opening.py). Whether our A-ABORT was sent nobody knows: it stands not among the PDUs.
    """
    pdus = (*outcome.pdus, RawPdu("A-ASSOCIATE-AC", False, answer))
    try:
        acceptance = upper_layer.parse_acceptance(answer)
    except upper_layer.Undecodable as error:
        detail = f"{error} {outcome.detail}"
        return replace(outcome, kind=AssociationKind.ABORTED_BY_US, detail=detail, pdus=pdus)
    contexts, strays = answered(outcome.proposal, acceptance.answers, acceptance.roles)
    established = any(context.is_accepted for context in contexts)
    return replace(
        outcome,
        kind=AssociationKind.ESTABLISHED if established else AssociationKind.NO_CONTEXT_ACCEPTED,
        ended=Ended.INTERRUPTED if established else None,
        phase=Phase.TRANSFER,
        contexts=contexts,
        strays=strays,
        peer=acceptance.peer,
        pdus=pdus,
    )


def _with_rejection(outcome: AssociationOutcome, answer: bytes) -> AssociationOutcome:
    """Return what an association was with the A-ASSOCIATE-RJ that was saved: it ended with it.

    Of one that can't be decoded nothing is known but that the sender vanished.
    """
    try:
        found = upper_layer.parse_rejection(answer)
    except upper_layer.Undecodable:
        return outcome
    return replace(
        outcome,
        kind=AssociationKind.REJECTED,
        rejection=found,
        detail=f"{codes.say_rejection(found)} Then the sender vanished.",
        pdus=(*outcome.pdus, RawPdu("A-ASSOCIATE-RJ", False, answer)),
    )


_ANSWERS = {
    upper_layer.ASSOCIATE_AC: _with_acceptance,
    upper_layer.ASSOCIATE_RJ: _with_rejection,
}
"""By the type of a PDU, what is made of it."""
