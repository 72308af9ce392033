"""What we propose: presentation contexts and the list of them in one A-ASSOCIATE-RQ.

PS3.8 sections 7.1.1.13 and 9.3.2.2. An invalid proposal can't be built, so nobody downstream
checks one again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sender.negotiation.uids import is_valid_uid

MAXIMUM_CONTEXTS = 128


class InvalidProposal(ValueError):
    """The contexts break a rule of the standard.

    Attributes:
        context_number: the position (from 1) of the context at fault, None for the list as a whole.
    """

    def __init__(self, message: str, *, context_number: int | None = None) -> None:
        super().__init__(message)
        self.context_number = context_number


@dataclass(frozen=True, slots=True)
class ContextSpec:
    """One presentation context as somebody writes it, before it has an id.

    Attributes:
        abstract_syntax: UID of the SOP class (or Meta SOP class) of the service wanted.
        transfer_syntaxes: one or more UIDs, in the order of our preference.
        scu_role: what we propose for the SCU role (PS3.7 annex D.3.3.4), None: no role item.
        scp_role: the same for the SCP role.
        private_ok: a UID unknown to the standard is meant, not a slip.

    Raises:
        InvalidProposal: a UID is malformed, or there is no transfer syntax.
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None
    private_ok: bool = False

    def __post_init__(self) -> None:
        if not is_valid_uid(self.abstract_syntax):
            raise InvalidProposal(f"Abstract syntax {self.abstract_syntax!r} is not a valid UID.")
        if not self.transfer_syntaxes:
            raise InvalidProposal("A presentation context needs at least one transfer syntax.")
        for uid in self.transfer_syntaxes:
            if not is_valid_uid(uid):
                raise InvalidProposal(f"Transfer syntax {uid!r} is not a valid UID.")
        if len(set(self.transfer_syntaxes)) != len(self.transfer_syntaxes):
            raise InvalidProposal("A transfer syntax is listed twice in one presentation context.")


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of a proposal, with its id (odd, 1 to 255)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The ordered presentation contexts of one A-ASSOCIATE-RQ: 1 to 128, ids 1, 3, 5, …

    Build one from a list with `of`, or add contexts one by one with `adding`. The same abstract
    syntax may appear in several contexts.
    """

    contexts: tuple[ProposedContext, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.contexts) <= MAXIMUM_CONTEXTS:
            raise InvalidProposal(
                f"An association proposes 1 to {MAXIMUM_CONTEXTS} presentation contexts, "
                f"not {len(self.contexts)}."
            )
        for position, context in enumerate(self.contexts):
            if context.context_id != 2 * position + 1:
                raise InvalidProposal(
                    f"Presentation context {position + 1} has id {context.context_id}, "
                    f"not {2 * position + 1}.",
                    context_number=position + 1,
                )
            if not context.transfer_syntaxes:
                raise InvalidProposal(
                    "A presentation context needs at least one transfer syntax.",
                    context_number=position + 1,
                )

    @classmethod
    def of(cls, specs: Iterable[ContextSpec]) -> "Proposal":
        """Number `specs` in their order.

        Raises:
            InvalidProposal: there are none, or more than 128.
        """
        return cls(tuple(_numbered(spec, position) for position, spec in enumerate(specs)))

    def adding(self, spec: ContextSpec) -> "Proposal":
        """Return this proposal with one more context at its end.

        Raises:
            InvalidProposal: it has 128 already.
        """
        return Proposal((*self.contexts, _numbered(spec, len(self.contexts))))

    def context(self, context_id: int) -> ProposedContext | None:
        """Return the context with this id, None if it was not proposed."""
        index, even = divmod(context_id - 1, 2)
        if even or not 0 <= index < len(self.contexts):
            return None
        return self.contexts[index]


def _numbered(spec: ContextSpec, position: int) -> ProposedContext:
    return ProposedContext(
        context_id=2 * position + 1,
        abstract_syntax=spec.abstract_syntax,
        transfer_syntaxes=spec.transfer_syntaxes,
        scu_role=spec.scu_role,
        scp_role=spec.scp_role,
    )
