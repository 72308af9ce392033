"""What will become of data if a peer answers a proposal as it did the last time."""

from collections.abc import Mapping, Sequence

from sender.negotiation.contexts import ProposedContext
from sender.negotiation.instances import DataKind
from sender.negotiation.matching import Choice, Refusal, choose
from sender.negotiation.outcomes import ContextOutcome, ContextResult
from sender.negotiation.rules import TemplateOptions

Pair = tuple[str, str]
"""Abstract syntax and transfer syntax."""


def foresee(
    kind: DataKind,
    contexts: Sequence[ProposedContext],
    options: TemplateOptions,
    accepted: Mapping[Pair, bool],
) -> Choice | Refusal:
    """Choose a context for data as if the peer had answered; conversion included.

    Args:
        accepted: whether the peer accepted a pair when it last decided on it; a pair that is not
            there counts as one that it accepts.

    The reason of a refusal speaks of answers that are only expected: don't show it as if the peer
    had given them.
    """
    expected = [_expected(context, accepted) for context in contexts]
    return choose(kind, expected, options)


def _expected(context: ProposedContext, accepted: Mapping[Pair, bool]) -> ContextOutcome:
    """Return the answer to be expected: the first syntax that was not rejected last time."""
    for uid in context.transfer_syntaxes:
        if accepted.get((context.abstract_syntax, uid), True):
            return ContextOutcome(context, negotiated=True, result=0, accepted=uid)
    return ContextOutcome(
        context, negotiated=True, result=ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    )
