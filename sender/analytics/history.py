"""The negotiation history, read: pages of associations, and one association as a document."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from sender.models import (
    NO_RESULT_LIST,
    Association,
    AssociationStudy,
    DefinitionListSyntax,
    ResultListOutcome,
)
from sender.models.reading import contexts_of
from sender.negotiation.outcomes import AssociationKind, ContextOutcome, Phase, Verdict

NEGOTIATED = (AssociationKind.ESTABLISHED, AssociationKind.NO_CONTEXT_ACCEPTED)
_PHASES = [phase for phase in Phase if phase is not Phase.LOCAL]


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which associations are wanted; None or "" leaves a filter out.

    Attributes:
        since, until: instants of the start, inclusive and exclusive.
        transfer_syntax, abstract_syntax, verdicts: together, of one proposed pair; without
            verdicts it was proposed at all, answered or not.
        is_negotiated: whether the peer answered the proposal; None: either.
        study: a Study Instance UID of which instances travelled.
    """

    destination_id: int | None = None
    outcome: str = ""
    trigger: str = ""
    send: int | None = None
    template_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    transfer_syntax: str = ""
    abstract_syntax: str = ""
    verdicts: tuple[str, ...] = ()
    is_negotiated: bool | None = None
    study: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the history, newest first."""

    started_at: datetime
    association_id: int


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Associations, newest first, and where the next page begins (None: nowhere)."""

    rows: Sequence[Association]
    after: Cursor | None


def associations(query: HistoryQuery) -> QuerySet[Association]:
    """Return the wanted associations, newest first, with what a list shows of them."""
    plain = {
        "destination_id": query.destination_id,
        "outcome": query.outcome or None,
        "trigger": query.trigger or None,
        "send_number": query.send,
        "template_version__template_id": query.template_id,
        "started_at__gte": query.since,
        "started_at__lt": query.until,
    }
    wanted = Association.objects.filter(
        **{name: value for name, value in plain.items() if value is not None}
    )
    if query.verdicts:
        wanted = wanted.filter(_answered(query))
    elif query.transfer_syntax or query.abstract_syntax:
        wanted = wanted.filter(definition_list_id__in=_definition_lists(query))
    if query.is_negotiated is not None:
        is_negotiated = Q(outcome__in=NEGOTIATED)
        wanted = wanted.filter(is_negotiated if query.is_negotiated else ~is_negotiated)
    if query.study:
        studies = AssociationStudy.objects.filter(study_instance_uid=query.study)
        wanted = wanted.filter(pk__in=studies.values_list("association_id", flat=True))
    return wanted.select_related(
        "destination_revision",
        "template_version__template",
        "peer_identity",
        "result_list",
        "definition_list",
        "endpoint",
    )


def _answered(query: HistoryQuery) -> Q:
    found = Q(result_list_id__in=_result_lists(query))
    if Verdict.UNKNOWN in query.verdicts:
        unanswered = Q(result_list_id=NO_RESULT_LIST)
        if query.transfer_syntax or query.abstract_syntax:
            unanswered &= Q(definition_list_id__in=_definition_lists(query))
        found |= unanswered
    return found


def _definition_lists(query: HistoryQuery) -> QuerySet[DefinitionListSyntax, int]:
    """Return the ids of proposals that hold the wanted pair."""
    lists = DefinitionListSyntax.objects.all()
    if query.transfer_syntax:
        lists = lists.filter(transfer_syntax__uid=query.transfer_syntax)
    if query.abstract_syntax:
        lists = lists.filter(abstract_syntax__uid=query.abstract_syntax)
    return lists.values_list("definition_list_id", flat=True)


def _result_lists(query: HistoryQuery) -> QuerySet[ResultListOutcome, int]:
    """Return the ids of answers that hold the wanted verdict for the wanted pair."""
    lists = ResultListOutcome.objects.all()
    if query.transfer_syntax:
        lists = lists.filter(transfer_syntax__uid=query.transfer_syntax)
    if query.abstract_syntax:
        lists = lists.filter(abstract_syntax__uid=query.abstract_syntax)
    if query.verdicts:
        lists = lists.filter(verdict__in=query.verdicts)
    return lists.values_list("result_list_id", flat=True)


def find_associations(query: HistoryQuery, *, after: Cursor | None, limit: int) -> HistoryPage:
    """Return one page of the history; a page deep in it costs no more than the first."""
    wanted = associations(query)
    if after is not None:
        wanted = wanted.filter(
            Q(started_at__lt=after.started_at)
            | Q(started_at=after.started_at, id__lt=after.association_id)
        )
    rows = list(wanted.order_by("-started_at", "-id")[: limit + 1])
    more = len(rows) > limit
    rows = rows[:limit]
    return HistoryPage(rows, Cursor(rows[-1].started_at, rows[-1].pk) if more and rows else None)


def as_document(row: Association) -> dict[str, Any]:
    """Return an association as the command line's JSON (CONTRACT.md, history)."""
    rejected = row.reject_result is not None
    aborted = row.abort_source is not None
    return {
        "association": str(row.uid),
        "number": row.pk,
        "destination": row.destination_revision.name,
        "template": row.template_version.template.name,
        "template_version": row.template_version.version,
        "trigger": row.trigger,
        "requested_by": row.requested_by,
        "send": row.send_number,
        "started_at": row.started_at.isoformat().replace("+00:00", "Z"),
        "outcome": row.outcome,
        "ended": row.ended or None,
        "phase": row.phase,
        "detail": row.detail,
        "reject": {
            "result": row.reject_result,
            "source": row.reject_source,
            "reason": row.reject_reason,
        }
        if rejected
        else None,
        "abort": {"source": row.abort_source, "reason": row.abort_reason} if aborted else None,
        "seconds": seconds_document(row),
        "peer": peer_document(row),
        "contexts": context_documents(row),
    }


def seconds_document(row: Association) -> dict[str, float | None]:
    """Return the durations of an association's phases in seconds."""
    spent = {phase.value: getattr(row, f"{phase.value}_us") for phase in _PHASES}
    return {name: None if us is None else us / 1_000_000 for name, us in spent.items()}


def peer_document(row: Association) -> dict[str, Any]:
    """Return what the peer said of itself, and where it was."""
    peer = row.peer_identity
    return {
        "called_ae_title": row.destination_revision.called_ae_title,
        "calling_ae_title": row.destination_revision.calling_ae_title,
        "address": row.endpoint.peer_address or row.destination_revision.address,
        "port": row.endpoint.peer_port or row.destination_revision.port,
        "implementation_class_uid": peer.implementation_class_uid if peer else None,
        "implementation_version_name": peer.implementation_version_name if peer else None,
        "maximum_length": peer.maximum_length_received if peer else None,
    }


def context_documents(row: Association) -> list[dict[str, Any]]:
    """Return the contexts of an association with the peer's answers and what travelled."""
    travelled = {
        traffic.presentation_context_id: (traffic.instances, traffic.bytes)
        for traffic in row.traffic.all()
    }
    return [
        _context_document(context, *travelled.get(context.proposed.context_id, (0, 0)))
        for context in contexts_of(row)
    ]


def _context_document(context: ContextOutcome, instances: int, size: int) -> dict[str, Any]:
    return {
        "id": context.proposed.context_id,
        "abstract_syntax": context.proposed.abstract_syntax,
        "proposed": list(context.proposed.transfer_syntaxes),
        "result": context.result if context.result is not None and context.result <= 4 else None,
        "accepted": context.accepted if context.is_accepted else None,
        "verdicts": {uid: verdict.value for uid, verdict in context.verdicts.items()},
        "instances": instances,
        "bytes": size,
    }
