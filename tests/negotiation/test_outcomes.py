"""Answers laid beside the proposal, odd ones kept as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.outcomes import (
    ContextAnswer,
    ContextOutcome,
    InstanceOutcome,
    StrayKind,
    Verdict,
    answered,
    classify_status,
    unanswered,
)

ILE, ELE, J90 = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
CT = "1.2.840.10008.5.1.4.1.1.2"
PROPOSAL = Proposal.of([ContextSpec(CT, (J90,)), ContextSpec(CT, (ELE, ILE))])


def outcomes(*answers: ContextAnswer) -> tuple[ContextOutcome, ...]:
    return answered(PROPOSAL, answers, {})[0]


def test_the_chosen_syntax_is_accepted_and_the_others_are_not_chosen() -> None:
    _, second = outcomes(ContextAnswer(3, 0, ILE))
    assert second.verdicts == {ELE: Verdict.NOT_CHOSEN, ILE: Verdict.ACCEPTED}


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (1, Verdict.USER_REJECTED),
        (2, Verdict.PROVIDER_REJECTED),
        (3, Verdict.REJECTED_ABSTRACT_SYNTAX),
        (4, Verdict.REJECTED_TRANSFER_SYNTAX),
        (5, Verdict.VIOLATION),
        (255, Verdict.VIOLATION),
    ],
)
def test_a_rejection_holds_for_every_proposed_syntax_whatever_the_peer_echoes(
    result: int, verdict: Verdict
) -> None:
    _, second = outcomes(ContextAnswer(3, result, J90))
    assert set(second.verdicts.values()) == {verdict}
    assert second.accepted is None


def test_an_omitted_context_is_not_answered_and_never_rejected() -> None:
    first, second = outcomes(ContextAnswer(3, 0, ELE))
    assert first.result is None
    assert first.verdicts == {J90: Verdict.NOT_ANSWERED}
    assert second.is_usable


@pytest.mark.parametrize("syntax", [None, "1.2.3", ELE])
def test_accepting_what_was_not_proposed_is_a_violation(syntax: str | None) -> None:
    first, _ = outcomes(ContextAnswer(1, 0, syntax))
    assert first.verdicts == {J90: Verdict.VIOLATION}
    assert not first.is_usable


def test_an_answer_for_an_unknown_id_is_kept_apart() -> None:
    contexts, strays = answered(PROPOSAL, (ContextAnswer(7, 0, ILE),), {})
    assert [stray.kind for stray in strays] == [StrayKind.UNKNOWN_ID]
    assert not any(context.is_accepted for context in contexts)


def test_a_repeated_answer_that_agrees_does_no_harm() -> None:
    answer = ContextAnswer(1, 0, J90)
    contexts, strays = answered(PROPOSAL, (answer, answer), {})
    assert contexts[0].is_accepted
    assert [stray.kind for stray in strays] == [StrayKind.DUPLICATE]


def test_a_repeated_answer_that_differs_is_a_violation() -> None:
    first, _ = outcomes(ContextAnswer(1, 0, J90), ContextAnswer(1, 4, None))
    assert first.verdicts == {J90: Verdict.VIOLATION}


def test_without_an_answer_everything_is_unknown() -> None:
    verdicts = {v for context in unanswered(PROPOSAL) for v in context.verdicts.values()}
    assert verdicts == {Verdict.UNKNOWN}


def test_a_context_in_which_we_may_not_be_scu_is_accepted_but_not_usable() -> None:
    proposal = Proposal.of([ContextSpec(CT, (ILE,), scu_role=True, scp_role=True)])
    contexts, _ = answered(proposal, (ContextAnswer(1, 0, ILE),), {CT: (False, True)})
    assert contexts[0].is_accepted
    assert not contexts[0].is_usable


answers = st.lists(
    st.builds(
        ContextAnswer,
        context_id=st.integers(0, 255),
        result=st.integers(0, 255),
        transfer_syntax=st.sampled_from([None, ILE, ELE, J90, "1.2.3"]),
    ),
    max_size=12,
)


@given(answers)
def test_whatever_a_peer_answers_every_proposal_has_one_verdict(
    given_answers: list[ContextAnswer],
) -> None:
    contexts, strays = answered(PROPOSAL, tuple(given_answers), {})
    assert [list(c.verdicts) for c in contexts] == [[J90], [ELE, ILE]]
    taken = {a.context_id for a in given_answers if PROPOSAL.context(a.context_id)}
    assert len(strays) + len(taken) == len(given_answers)


@pytest.mark.parametrize("high", range(0, 0x100, 0x10), ids=hex)
def test_only_0000_is_sent(high: int) -> None:
    for status in range(high << 8, (high + 0x10) << 8, 0x80):
        outcome = classify_status(status)
        says = f"{status:04X}"
        assert (outcome is InstanceOutcome.SENT) == (status == 0), says
        assert (outcome is InstanceOutcome.WARNING) == (0xB000 <= status < 0xC000), says


@pytest.mark.parametrize("status", [0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007])
def test_warnings(status: int) -> None:
    assert classify_status(status) is InstanceOutcome.WARNING
