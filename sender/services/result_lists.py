"""What peers answer to proposals, stored once: result lists, as interning.py has it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sender.models import (
    PresentationContextDefinitionResultList,
    PresentationContextResult,
    ResultListOutcome,
    ResultListSyntaxOutcome,
    UnmatchedResult,
)
from sender.models.history import NO_RESULT_LIST
from sender.negotiation import rates
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import AssociationOutcome, ContextOutcome, StrayAnswer
from sender.services.canonical import digest
from sender.services.interning import (
    abstract_syntax_id,
    definition_list_id,
    intern_whole,
    proposal_digest,
    remember,
    transfer_syntax_id,
)

MOST_UNMATCHED = 256
"""Answers of one peer that fit no proposed context; twice as many as there can be contexts."""


def answer_digest(
    proposal: Proposal,
    contexts: Sequence[ContextOutcome],
    strays: Sequence[StrayAnswer],
    more_strays: int,
) -> bytes:
    """Return the digest by which a peer's whole answer is interned.

    Args:
        more_strays: how many there were beside those that are kept.
    """
    return digest(
        proposal_digest(proposal),
        *(
            digest(c.proposed.context_id, c.result, c.accepted, c.violation, c.scu_role, c.scp_role)
            for c in contexts
        ),
        *(
            digest(s.kind.value, s.answer.context_id, s.answer.result, s.answer.transfer_syntax)
            for s in strays
        ),
        *((more_strays,) if more_strays else ()),
    )


def result_list_id(outcome: AssociationOutcome) -> int:
    """Return the row of a peer's answer; the row for "no answer" if none came."""
    if not any(context.negotiated for context in outcome.contexts):
        return NO_RESULT_LIST
    kept = replace(outcome, strays=outcome.strays[:MOST_UNMATCHED])
    more = len(outcome.strays) - len(kept.strays)
    key = (kept.proposal, kept.contexts, kept.strays, more)
    return remember("rl", key, lambda: _find_result_list(kept, more))


def _find_result_list(outcome: AssociationOutcome, more_strays: int) -> int:
    contexts = outcome.contexts
    violations = sum(context.violation for context in contexts)
    accepted = sum(context.is_accepted for context in contexts)
    unanswered = sum(context.result is None for context in contexts)

    def write(list_id: int) -> None:
        _write_results(list_id, outcome)
        write_result_counts(list_id, contexts)

    return intern_whole(
        PresentationContextDefinitionResultList,
        {"digest": answer_digest(outcome.proposal, contexts, outcome.strays, more_strays)},
        {
            "definition_list_id": definition_list_id(outcome.proposal),
            "accepted_count": accepted,
            "unanswered_count": unanswered,
            "violation_count": violations,
            "more_unmatched": more_strays,
            "rejected_count": len(contexts) - accepted - unanswered - violations,
        },
        write,
        lambda: [
            transfer_syntax_id(context.accepted)
            for context in contexts
            if context.accepted is not None
        ],
    )


def _write_results(list_id: int, outcome: AssociationOutcome) -> None:
    PresentationContextResult.objects.bulk_create(
        [
            PresentationContextResult(
                result_list_id=list_id,
                presentation_context_id=context.proposed.context_id,
                result_reason=context.result,
                accepted_transfer_syntax_id=transfer_syntax_id(context.accepted)
                if context.accepted is not None
                else None,
                violation=context.violation,
                scu_role=context.scu_role,
                scp_role=context.scp_role,
            )
            for context in outcome.contexts
        ],
        ignore_conflicts=True,
    )
    UnmatchedResult.objects.bulk_create(
        [
            UnmatchedResult(
                result_list_id=list_id,
                position=position,
                kind=stray.kind,
                presentation_context_id=stray.answer.context_id,
                result_reason=stray.answer.result,
                transfer_syntax=(stray.answer.transfer_syntax or "")[:64],
            )
            for position, stray in enumerate(outcome.strays)
        ],
        ignore_conflicts=True,
    )


def write_result_counts(list_id: int, contexts: tuple[ContextOutcome, ...]) -> None:
    """Write the verdicts that a result list gives, counted; derived, so it may be rebuilt."""
    decisions = list(rates.decisions(contexts))
    pairs = Counter(
        (d.abstract_syntax, d.transfer_syntax, d.verdict, d.sole, d.inferred) for d in decisions
    )
    alone = Counter((d.transfer_syntax, d.verdict, d.sole, d.inferred) for d in decisions)
    ResultListOutcome.objects.bulk_create(
        [
            ResultListOutcome(
                result_list_id=list_id,
                abstract_syntax_id=abstract_syntax_id(abstract_syntax),
                transfer_syntax_id=transfer_syntax_id(uid),
                verdict=verdict,
                sole=sole,
                inferred=inferred,
                contexts=count,
            )
            for (abstract_syntax, uid, verdict, sole, inferred), count in pairs.items()
        ],
        ignore_conflicts=True,
    )
    ResultListSyntaxOutcome.objects.bulk_create(
        [
            ResultListSyntaxOutcome(
                result_list_id=list_id,
                transfer_syntax_id=transfer_syntax_id(uid),
                verdict=verdict,
                sole=sole,
                inferred=inferred,
                contexts=count,
            )
            for (uid, verdict, sole, inferred), count in alone.items()
        ],
        ignore_conflicts=True,
    )
