"""The interned lists read back as values, so that nobody else has to know of them."""

from collections import defaultdict
from functools import lru_cache

from sender.models.history import (
    NO_RESULT_LIST,
    Association,
    PresentationContextDefinitionList,
    PresentationContextResult,
    ProposedPresentationContext,
    TransferSyntaxListItem,
    UnmatchedResult,
)
from sender.negotiation.contexts import Proposal, ProposedContext
from sender.negotiation.outcomes import (
    ContextAnswer,
    ContextOutcome,
    StrayAnswer,
    StrayKind,
    unanswered,
)

# Interned lists never change, so a process may remember what they say.


@lru_cache(maxsize=1024)
def _proposal(definition_list_id: int) -> Proposal:
    contexts = ProposedPresentationContext.objects.filter(definition_list_id=definition_list_id)
    rows = list(contexts.select_related("abstract_syntax").order_by("presentation_context_id"))
    syntaxes = _syntax_lists({row.transfer_syntax_list_id for row in rows})
    return Proposal(
        tuple(
            ProposedContext(
                context_id=row.presentation_context_id,
                abstract_syntax=row.abstract_syntax.uid,
                transfer_syntaxes=tuple(syntaxes[row.transfer_syntax_list_id]),
                scu_role=row.scu_role,
                scp_role=row.scp_role,
            )
            for row in rows
        )
    )


def _syntax_lists(ids: set[int]) -> dict[int, list[str]]:
    lists: defaultdict[int, list[str]] = defaultdict(list)
    items = TransferSyntaxListItem.objects.filter(list_id__in=ids).order_by("list_id", "position")
    for list_id, uid in items.values_list("list_id", "transfer_syntax__uid"):
        lists[list_id].append(uid)
    return lists


@lru_cache(maxsize=4096)
def _contexts(definition_list_id: int, result_list_id: int) -> tuple[ContextOutcome, ...]:
    proposal = _proposal(definition_list_id)
    if result_list_id == NO_RESULT_LIST:
        return unanswered(proposal)
    results = {
        row.presentation_context_id: row
        for row in PresentationContextResult.objects.filter(
            result_list_id=result_list_id
        ).select_related("accepted_transfer_syntax")
    }
    return tuple(_outcome(c, results[c.context_id]) for c in proposal.contexts)


def _outcome(context: ProposedContext, row: PresentationContextResult) -> ContextOutcome:
    accepted = row.accepted_transfer_syntax.uid if row.accepted_transfer_syntax else None
    outcome = ContextOutcome(
        context,
        negotiated=True,
        result=row.result_reason,
        accepted=accepted,
        scu_role=row.scu_role,
        scp_role=row.scp_role,
    )
    if row.violation and not outcome.violation:
        return ContextOutcome(
            context,
            negotiated=True,
            result=row.result_reason,
            accepted=accepted,
            conflicting=True,
            scu_role=row.scu_role,
            scp_role=row.scp_role,
        )
    return outcome


def proposal_of(definition_list: PresentationContextDefinitionList) -> Proposal:
    """Return the proposal that was interned."""
    return _proposal(definition_list.pk)


def contexts_of(association: Association) -> tuple[ContextOutcome, ...]:
    """Return the contexts of an association with the peer's answers."""
    return _contexts(association.definition_list_id, association.result_list_id)


def read_afresh(association: Association) -> tuple[Proposal, tuple[ContextOutcome, ...]]:
    """Return proposal and answers as the database has them now, past what is remembered."""
    proposal = _proposal.__wrapped__(association.definition_list_id)
    contexts = _contexts.__wrapped__(association.definition_list_id, association.result_list_id)
    return proposal, contexts


def strays_of(association: Association) -> tuple[StrayAnswer, ...]:
    """Return the answers that fit no proposed context."""
    rows = UnmatchedResult.objects.filter(result_list_id=association.result_list_id)
    return tuple(
        StrayAnswer(
            StrayKind(row.kind),
            ContextAnswer(
                row.presentation_context_id, row.result_reason, row.transfer_syntax or None
            ),
        )
        for row in rows.order_by("position")
    )


def forget() -> None:
    """Drop what is remembered: for tests, whose databases start anew."""
    for cached in (_proposal, _contexts):
        cached.cache_clear()
