"""From verdicts to a rate with its denominator and interval (HISTORY.md section 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation import syntaxes
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.outcomes import ContextAnswer, Verdict, answered, unanswered
from sender.negotiation.rates import Tally, decisions, is_about_syntax, tally, wilson

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ILE, ELE, J2K = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE, syntaxes.JPEG_2000_LOSSLESS


def test_the_rate_leaves_out_what_was_not_decided() -> None:
    counted = tally(
        [Verdict.ACCEPTED] * 3
        + [Verdict.REJECTED_TRANSFER_SYNTAX, Verdict.NOT_CHOSEN, Verdict.NOT_ANSWERED]
        + [Verdict.UNKNOWN, Verdict.VIOLATION]
    )
    assert counted.rate == 0.75
    assert (counted.not_chosen, counted.other, counted.unknown) == (1, 2, 1)
    assert counted.proposals == 8


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict.REJECTED_TRANSFER_SYNTAX,
        Verdict.REJECTED_ABSTRACT_SYNTAX,
        Verdict.USER_REJECTED,
        Verdict.PROVIDER_REJECTED,
    ],
)
def test_every_rejection_counts_in_the_headline_rate(verdict: Verdict) -> None:
    assert tally([verdict, Verdict.ACCEPTED]).rate == 0.5


@pytest.mark.parametrize(
    "verdict",
    [Verdict.NOT_CHOSEN, Verdict.NOT_ANSWERED, Verdict.VIOLATION, Verdict.UNKNOWN],
)
def test_without_a_decision_there_is_no_rate(verdict: Verdict) -> None:
    assert tally([verdict]).rate is None
    assert tally([verdict]).interval is None
    assert Tally().rate is None


def test_an_inferred_rejection_is_evidence_about_the_syntax() -> None:
    proposal = Proposal.of(
        [ContextSpec(CT, (J2K,)), ContextSpec(CT, (ELE, ILE)), ContextSpec(MR, (J2K,))]
    )
    answers = (ContextAnswer(1, 3), ContextAnswer(3, 0, ELE), ContextAnswer(5, 3))
    contexts, _ = answered(proposal, answers, {})
    found = {
        (d.abstract_syntax, d.transfer_syntax): (d.verdict, d.sole, d.inferred)
        for d in decisions(contexts)
    }
    assert found == {
        (CT, J2K): (Verdict.REJECTED_ABSTRACT_SYNTAX, True, True),
        (CT, ELE): (Verdict.ACCEPTED, False, False),
        (CT, ILE): (Verdict.NOT_CHOSEN, False, False),
        (MR, J2K): (Verdict.REJECTED_ABSTRACT_SYNTAX, True, False),
    }
    assert is_about_syntax(Verdict.REJECTED_ABSTRACT_SYNTAX, inferred=True)
    assert not is_about_syntax(Verdict.REJECTED_ABSTRACT_SYNTAX, inferred=False)


def test_without_an_answer_everything_proposed_is_unknown() -> None:
    proposal = Proposal.of([ContextSpec(CT, (ELE, ILE))])
    assert [d.verdict for d in decisions(unanswered(proposal))] == [Verdict.UNKNOWN] * 2


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (84, 100, 0.7558, 0.8990),
    ],
)
def test_the_interval_is_wilsons(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-4)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_interval_holds_the_rate_and_stays_within_0_and_1(n: int, share: float) -> None:
    low, high = wilson(share * n, n)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1


tallies = st.builds(
    Tally,
    **dict.fromkeys(Tally.__dataclass_fields__, st.integers(0, 1000)),
)


@given(tallies, tallies, tallies)
def test_tallies_add_up_in_any_order(a: Tally, b: Tally, c: Tally) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Tally() == a
