"""Verdicts to counts, counts to a rate with its denominator and interval (HISTORY.md section 4)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

from sender.negotiation.outcomes import ContextOutcome, Verdict

Z = 1.959964
"""Two-sided 95 % of the normal distribution."""

REJECTED = frozenset(
    {
        Verdict.REJECTED_TRANSFER_SYNTAX,
        Verdict.REJECTED_ABSTRACT_SYNTAX,
        Verdict.USER_REJECTED,
        Verdict.PROVIDER_REJECTED,
    }
)
OTHER = frozenset({Verdict.NOT_ANSWERED, Verdict.VIOLATION})


@dataclass(frozen=True, slots=True)
class Decision:
    """What one context says of one transfer syntax.

    Attributes:
        sole: it was the only syntax of its context, so the answer is about this syntax alone.
        inferred: rejected as abstract syntax, but another context of the same abstract syntax was
            accepted in this association: evidence about the transfer syntax after all.
    """

    abstract_syntax: str
    transfer_syntax: str
    verdict: Verdict
    sole: bool
    inferred: bool


def decisions(contexts: Sequence[ContextOutcome]) -> Iterator[Decision]:
    """Yield what the contexts of one association say of each syntax that they proposed."""
    supported = {c.proposed.abstract_syntax for c in contexts if c.is_accepted}
    for context in contexts:
        abstract_syntax = context.proposed.abstract_syntax
        for uid, verdict in context.verdicts.items():
            yield Decision(
                abstract_syntax=abstract_syntax,
                transfer_syntax=uid,
                verdict=verdict,
                sole=len(context.proposed.transfer_syntaxes) == 1,
                inferred=verdict is Verdict.REJECTED_ABSTRACT_SYNTAX
                and abstract_syntax in supported,
            )


def is_about_syntax(verdict: Verdict, *, inferred: bool) -> bool:
    """Tell whether a verdict counts under the switch "where the SOP class is supported"."""
    return verdict is not Verdict.REJECTED_ABSTRACT_SYNTAX or inferred


@dataclass(frozen=True, slots=True)
class Tally:
    """Proposals of a transfer syntax counted by what became of them.

    Attributes:
        other: not answered, or answered against the standard.
        unknown: proposed in associations that had no answer.
        associations: associations in which it was proposed.
        decided: associations with at least one acceptance or rejection of it.
    """

    accepted: int = 0
    rejected: int = 0
    not_chosen: int = 0
    other: int = 0
    unknown: int = 0
    associations: int = 0
    decided: int = 0

    @property
    def proposals(self) -> int:
        """How often it was proposed."""
        return self.accepted + self.rejected + self.not_chosen + self.other + self.unknown

    @property
    def not_negotiated(self) -> int:
        """Proposals that had no answer by the standard."""
        return self.other + self.unknown

    @property
    def rate(self) -> float | None:
        """Accepted ÷ (accepted + rejected); None: no decision."""
        asked = self.accepted + self.rejected
        return self.accepted / asked if asked else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval, on associations: contexts of one aren't independent."""
        if self.rate is None or not self.decided:
            return None
        return wilson(self.rate * self.decided, self.decided)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            accepted=self.accepted + other.accepted,
            rejected=self.rejected + other.rejected,
            not_chosen=self.not_chosen + other.not_chosen,
            other=self.other + other.other,
            unknown=self.unknown + other.unknown,
            associations=self.associations + other.associations,
            decided=self.decided + other.decided,
        )


def tally(verdicts: Iterable[Verdict]) -> Tally:
    """Count the verdicts that one association gives to one transfer syntax."""
    counted = list(verdicts)
    accepted = counted.count(Verdict.ACCEPTED)
    rejected = sum(verdict in REJECTED for verdict in counted)
    return Tally(
        accepted=accepted,
        rejected=rejected,
        not_chosen=counted.count(Verdict.NOT_CHOSEN),
        other=sum(verdict in OTHER for verdict in counted),
        unknown=counted.count(Verdict.UNKNOWN),
        associations=1 if counted else 0,
        decided=1 if accepted + rejected else 0,
    )


def wilson(k: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval for `k` of `n`, n at least 1; within 0 to 1."""
    p = k / n
    spread = Z * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    centre = p + Z * Z / (2 * n)
    scale = 1 + Z * Z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
