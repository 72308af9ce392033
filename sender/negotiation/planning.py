"""From the kinds of data present and a template to proposals (CONTRACT.md, Planning rule).

It works on kinds, not on instances, so that millions of files cost no more than a few.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.contexts import (
    MAXIMUM_CONTEXTS,
    ContextSpec,
    Proposal,
    ProposedContext,
)
from sender.negotiation.instances import DataKind
from sender.negotiation.matching import Conversion, conversion_of, why_not_converted
from sender.negotiation.rules import TemplateOptions, TemplateSpec


@dataclass(frozen=True, slots=True)
class SendPlan:
    """Proposals, one per association, and which one each kind of data needs.

    Attributes:
        assignments: the index in `proposals` for each kind that may be sendable.
        unsendable: the reason for each kind that no proposed context could ever carry.
    """

    proposals: tuple[Proposal, ...]
    assignments: Mapping[DataKind, int]
    unsendable: Mapping[DataKind, str]


def plan(kinds: Iterable[DataKind], spec: TemplateSpec) -> SendPlan:
    """Plan the associations for the kinds of data present.

    Written contexts come first; with `derive_from_files`, contexts that the data need follow:
    one per (SOP class, stored syntax), and one fallback [Explicit VR LE, Implicit VR LE] per SOP
    class that has data which may be converted or decompressed. Contexts of one SOP class stay in
    one association where they fit; proposals without any of the data are left out.
    """
    present = sorted(set(kinds), key=lambda k: (k.sop_class, k.transfer_syntax, str(k.lossy)))
    proposals = [Proposal.of(group) for group in _pack(_by_sop_class(present, spec))]
    assignments: dict[DataKind, int] = {}
    unsendable: dict[DataKind, str] = {}
    for kind in present:
        index = _assign(kind, proposals, spec.options)
        if index is None:
            unsendable[kind] = _reason(kind, spec.options)
        else:
            assignments[kind] = index
    used = sorted(set(assignments.values()))
    return SendPlan(
        proposals=tuple(proposals[index] for index in used),
        assignments={kind: used.index(index) for kind, index in assignments.items()},
        unsendable=unsendable,
    )


def _by_sop_class(present: list[DataKind], spec: TemplateSpec) -> list[list[ContextSpec]]:
    """Return the wanted contexts: the written ones as one group, then a group per SOP class."""
    if not spec.options.derive_from_files:
        return [list(spec.contexts)] if spec.contexts else []
    written = set(spec.contexts)
    derived: defaultdict[str, list[ContextSpec]] = defaultdict(list)
    for sop_class in sorted({kind.sop_class for kind in present}):
        of_class = [kind for kind in present if kind.sop_class == sop_class]
        for uid in dict.fromkeys(kind.transfer_syntax for kind in of_class):
            derived[sop_class].append(ContextSpec(sop_class, (uid,)))
        if any(conversion_of(kind, spec.options) is not Conversion.NONE for kind in of_class):
            derived[sop_class].append(ContextSpec(sop_class, syntaxes.FALLBACK))
    groups = [[c for c in group if c not in written] for group in derived.values()]
    return [group for group in [list(spec.contexts), *groups] if group]


def _pack(groups: list[list[ContextSpec]]) -> list[list[ContextSpec]]:
    """Pack groups into associations, first fit; a group too large for one is cut."""
    packed: list[list[ContextSpec]] = []
    for group in groups:
        for part in _cut(group):
            for association in packed:
                if len(association) + len(part) <= MAXIMUM_CONTEXTS:
                    association.extend(part)
                    break
            else:
                packed.append(list(part))
    return packed


def _cut(group: list[ContextSpec]) -> list[list[ContextSpec]]:
    """Cut a group that no association can hold, its fallback repeated in each part."""
    if len(group) <= MAXIMUM_CONTEXTS:
        return [group]
    fallback = [context for context in group[-1:] if len(context.transfer_syntaxes) > 1]
    rest = group[: len(group) - len(fallback)]
    step = MAXIMUM_CONTEXTS - len(fallback)
    return [rest[start : start + step] + fallback for start in range(0, len(rest), step)]


def _assign(kind: DataKind, proposals: list[Proposal], options: TemplateOptions) -> int | None:
    """Return the first proposal with a context of the kind's own syntax, else one to convert to."""
    convertible = conversion_of(kind, options) is not Conversion.NONE
    for accept in ({kind.transfer_syntax}, syntaxes.FREELY_CONVERTIBLE if convertible else set()):
        for index, proposal in enumerate(proposals):
            if any(_may_carry(context, kind, accept) for context in proposal.contexts):
                return index
    return None


def _may_carry(context: ProposedContext, kind: DataKind, accept: Set[str]) -> bool:
    return (
        context.abstract_syntax == kind.sop_class
        and context.scu_role is not False
        and not accept.isdisjoint(context.transfer_syntaxes)
    )


def _reason(kind: DataKind, options: TemplateOptions) -> str:
    syntax = syntaxes.short_name_of(kind.transfer_syntax)
    said = f"the template proposes no context for {sop_classes.name_of(kind.sop_class)} in {syntax}"
    return "; ".join(filter(None, [said, why_not_converted(kind, options)]))
