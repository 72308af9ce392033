"""Wait for the fix: what a negotiation would carry now that it did not carry before.

An instance is parked when no accepted context carries it (destination, SOP class, transfer syntax).
Any later negotiation with the destination, whatever made it, may show that this has changed.
"""

from collections.abc import Iterable, Sequence

from sender.negotiation.instances import DataKind
from sender.negotiation.matching import Choice, choose
from sender.negotiation.outcomes import ContextOutcome
from sender.negotiation.rules import TemplateOptions


def now_accepted(contexts: Iterable[ContextOutcome]) -> set[tuple[str, str]]:
    """Return the pairs (SOP class, transfer syntax) that the peer has just accepted from us.

    A context that was accepted against the standard, or without the SCU role for us, carries
    nothing and does not count.
    """
    return {
        (context.proposed.abstract_syntax, context.accepted)
        for context in contexts
        if context.is_usable and context.accepted is not None
    }


def could_be_sent(
    kind: DataKind, contexts: Sequence[ContextOutcome], options: TemplateOptions
) -> bool:
    """Tell whether contexts of a later negotiation would carry a parked instance.

    Args:
        kind: what the instance is.
        contexts: of the later negotiation, whatever it was made for.
        options: of the template by which the parked instance was to be sent; it decides on
            conversion and decompression.
    """
    return isinstance(choose(kind, contexts, options), Choice)


def freed(
    parked: Iterable[DataKind], contexts: Sequence[ContextOutcome], options: TemplateOptions
) -> set[DataKind]:
    """Return the kinds of parked instances that could be sent with these contexts."""
    return {kind for kind in set(parked) if could_be_sent(kind, contexts, options)}
