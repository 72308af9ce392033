"""Which accepted presentation context carries an instance, and what must be done to it first.

The client's rules: data travel in their own transfer syntax; uncompressed and deflated ones
convert freely while endianness stays; otherwise they are decompressed first, if policy allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.instances import DataKind
from sender.negotiation.outcomes import ContextOutcome, Verdict
from sender.negotiation.rules import DecompressPolicy, TemplateOptions

_PREFERENCE = (
    syntaxes.EXPLICIT_VR_LE,
    syntaxes.IMPLICIT_VR_LE,
    syntaxes.DEFLATED_EXPLICIT_VR_LE,
)
_ANSWERS = {
    Verdict.ACCEPTED: "accepted",
    Verdict.NOT_CHOSEN: "proposed, but the peer chose another syntax",
    Verdict.REJECTED_TRANSFER_SYNTAX: "rejected (4, transfer syntaxes not supported)",
    Verdict.REJECTED_ABSTRACT_SYNTAX: "rejected (3, abstract syntax not supported)",
    Verdict.USER_REJECTED: "rejected (1, user rejection)",
    Verdict.PROVIDER_REJECTED: "rejected (2, no reason)",
    Verdict.NOT_ANSWERED: "not answered",
    Verdict.VIOLATION: "answered against the standard",
    Verdict.UNKNOWN: "not negotiated",
}


class Conversion(StrEnum):
    """What is done to an instance before it is sent."""

    NONE = "none"
    CONVERT = "convert"
    DECOMPRESS = "decompress"


@dataclass(frozen=True, slots=True)
class Choice:
    """The context that carries an instance and the transfer syntax it is sent in."""

    context_id: int
    transfer_syntax: str
    conversion: Conversion


@dataclass(frozen=True, slots=True)
class Refusal:
    """No context carries the instance; `reason` says why, in the user's words."""

    reason: str


def is_lossy(kind: DataKind) -> bool:
    """Tell whether the data count as compressed with loss; where nobody knows, they do."""
    by_syntax = syntaxes.is_lossy(kind.transfer_syntax)
    if by_syntax or kind.lossy:
        return True
    return by_syntax is None and kind.lossy is None


def choose(
    kind: DataKind, contexts: Sequence[ContextOutcome], options: TemplateOptions
) -> Choice | Refusal:
    """Choose the context for data of this kind: unchanged if possible, else converted.

    Among several that fit alike the lowest id is taken. Data are never compressed anew, and big
    endian data travel as such only.
    """
    usable = {
        context.accepted: context.proposed.context_id
        for context in reversed(contexts)
        if context.is_usable and context.proposed.abstract_syntax == kind.sop_class
    }
    if kind.transfer_syntax in usable:
        return Choice(usable[kind.transfer_syntax], kind.transfer_syntax, Conversion.NONE)
    conversion = conversion_of(kind, options)
    if conversion is not Conversion.NONE:
        for uid in _PREFERENCE:
            if uid in usable:
                return Choice(usable[uid], uid, conversion)
    return Refusal(_reason(kind, contexts, options))


def conversion_of(kind: DataKind, options: TemplateOptions) -> Conversion:
    """Return what may be done to such data so that they fit an uncompressed context."""
    if kind.transfer_syntax in syntaxes.FREELY_CONVERTIBLE:
        return Conversion.CONVERT if options.convert_uncompressed else Conversion.NONE
    if not syntaxes.is_decodable(kind.transfer_syntax):
        return Conversion.NONE
    if options.decompress is DecompressPolicy.ANY:
        return Conversion.DECOMPRESS
    if options.decompress is DecompressPolicy.LOSSLESS and not is_lossy(kind):
        return Conversion.DECOMPRESS
    return Conversion.NONE


def why_not_converted(kind: DataKind, options: TemplateOptions) -> str:
    """Say why such data are not made to fit an uncompressed context; "" if they may be."""
    if conversion_of(kind, options) is not Conversion.NONE:
        return ""
    name = syntaxes.short_name_of(kind.transfer_syntax)
    if kind.transfer_syntax in syntaxes.FREELY_CONVERTIBLE:
        return "the template does not allow uncompressed data to be converted"
    if kind.transfer_syntax == syntaxes.EXPLICIT_VR_BE:
        return "big endian data can't be sent in another syntax"
    if not syntaxes.is_decodable(kind.transfer_syntax):
        return f"{name} data can't be decompressed"
    if options.decompress is DecompressPolicy.NEVER:
        return "the template does not allow decompression"
    return "the template does not allow data compressed with loss to be decompressed"


def _reason(kind: DataKind, contexts: Sequence[ContextOutcome], options: TemplateOptions) -> str:
    """Name what the peer answered, then why nothing else was possible."""
    name = sop_classes.name_of(kind.sop_class)
    mine = [c for c in contexts if c.proposed.abstract_syntax == kind.sop_class]
    if not mine:
        return f"no accepted presentation context: {name} was not proposed"
    answers = dict.fromkeys(
        f"{syntaxes.short_name_of(uid)} was {_answer(context, verdict)}"
        for context in mine
        for uid, verdict in context.verdicts.items()
        if uid == kind.transfer_syntax or uid in _PREFERENCE
    )
    said = "; ".join(answers) or (
        f"{syntaxes.short_name_of(kind.transfer_syntax)} was not proposed"
    )
    parts = [f"no accepted presentation context for {name}: {said}"]
    return "; ".join([*parts, *filter(None, [why_not_converted(kind, options)])])


def _answer(context: ContextOutcome, verdict: Verdict) -> str:
    """Say what the peer answered to a transfer syntax of a context (roles: PS3.7 annex D.3.3.4)."""
    if verdict is Verdict.ACCEPTED and not context.is_usable:
        return f"{_ANSWERS[verdict]}, but the peer does not let us be the SCU, who sends"
    return _ANSWERS[verdict]
