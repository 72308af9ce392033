"""The retry table of the design, row by row."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation import retry
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    Ended,
    InstanceOutcome,
    Phase,
    Rejection,
    classify_status,
)
from sender.negotiation.sop_classes import VERIFICATION
from sender.negotiation.syntaxes import IMPLICIT_VR_LE


@pytest.mark.parametrize(
    ("statuses", "rule", "attempts"),
    [
        ((0x0000, 0xB000, 0xB006, 0xB007, 0x0001, 0x0107, 0x0116), "done", 0),
        ((0xA700, 0xA701, 0xA7FF), "out_of_resources", 3),
        ((0xA900, 0xA9FF), "not_this_object", 0),
        ((0xC000, 0xC123, 0xCFFF), "not_this_object", 0),
        ((0x0117, 0x0212), "not_this_object", 0),
        ((0x0122, 0x0124), "not_this_destination", 0),
        ((0x0110,), "processing_failure", 2),
        ((0x0210,), "duplicate_invocation", 1),
        ((0x0211,), "unrecognised_operation", 0),
        ((0x1234, 0xFF00, 0xFE00, 0x0111), "unknown_status", 0),
    ],
)
def test_a_status_decides(statuses: tuple[int, ...], rule: str, attempts: int) -> None:
    for status in statuses:
        decision = retry.after_status(status)
        assert (decision.rule, decision.attempts_allowed) == (rule, attempts), f"{status:04X}"
        assert decision.retry is bool(attempts)


def test_out_of_resources_waits_one_five_and_thirty_minutes() -> None:
    decision = retry.after_status(0xA700)
    waits = [retry.delay(decision, n, base_seconds=60, jitter=0) for n in (1, 2, 3)]
    assert waits == [60, 300, 1800]


@pytest.mark.parametrize(
    ("rejections", "retried", "pauses"),
    [
        (((1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 2)), False, True),
        (((1, 1, 1), (1, 2, 1)), True, True),
        (((2, 3, 1), (2, 3, 2), (2, 1, 1), (2, 1, 7), (2, 2, 1)), True, False),
        (((1, 3, 9), (3, 1, 1)), True, False),
    ],
)
def test_a_rejection_decides(
    rejections: tuple[tuple[int, int, int], ...], retried: bool, pauses: bool
) -> None:
    for codes in rejections:
        decision = retry.after_rejection(Rejection(*codes))
        assert (decision.retry, decision.pause_destination) == (retried, pauses), codes


def test_the_catch_all_rejection_is_tried_once_more_after_a_quarter_of_an_hour() -> None:
    decision = retry.after_rejection(Rejection(1, 1, 1))
    assert decision.attempts_allowed == 1
    assert retry.delay(decision, 1, base_seconds=60, jitter=0) == 900


@pytest.mark.parametrize(
    ("kind", "phase", "retried", "pauses"),
    [
        (AssociationKind.NO_CONTEXT_ACCEPTED, Phase.NEGOTIATION, False, False),
        (AssociationKind.DNS_FAILED, Phase.RESOLVE, False, True),
        (AssociationKind.TLS_FAILED, Phase.TLS, False, True),
        (AssociationKind.TCP_FAILED, Phase.CONNECT, True, False),
        (AssociationKind.TIMED_OUT, Phase.CONNECT, True, False),
        (AssociationKind.TIMED_OUT, Phase.TLS, True, False),
        (AssociationKind.TIMED_OUT, Phase.NEGOTIATION, True, False),
        (AssociationKind.ABORTED_BY_PEER, Phase.NEGOTIATION, True, False),
        (AssociationKind.CONNECTION_LOST, Phase.NEGOTIATION, True, False),
        (AssociationKind.REFUSED_LOCALLY, Phase.LOCAL, True, False),
        (AssociationKind.INTERRUPTED, Phase.TRANSFER, True, False),
    ],
)
def test_how_the_negotiation_ended_decides(
    kind: AssociationKind, phase: Phase, retried: bool, pauses: bool
) -> None:
    decision = retry.after_kind(kind, phase=phase)
    assert (decision.retry, decision.pause_destination) == (retried, pauses)


@given(st.integers(0, 0xFFFF))
def test_no_status_that_was_stored_is_retried_and_every_one_has_a_rule(status: int) -> None:
    decision = retry.after_status(status)
    assert decision.rule
    if classify_status(status) in (InstanceOutcome.SENT, InstanceOutcome.WARNING):
        assert not decision.retry


@given(
    st.sampled_from([retry.BUSY, retry.UNREACHABLE, retry.OUT_OF_RESOURCES, retry.UNKNOWN]),
    st.integers(1, 40),
    st.floats(0, 1),
)
def test_a_pause_never_shrinks_much_and_never_passes_an_hour_and_a_fifth(
    decision: retry.RetryDecision, attempt: int, jitter: float
) -> None:
    pause = retry.delay(decision, attempt, base_seconds=60, jitter=jitter)
    plain = retry.delay(decision, attempt, base_seconds=60, jitter=0)
    following = retry.delay(decision, attempt + 1, base_seconds=60, jitter=0)
    assert plain <= pause <= 1.2 * plain
    assert plain <= following <= 3600


@pytest.mark.parametrize(("is_passing", "rule"), [(True, "unreachable"), (False, "configuration")])
def test_a_silent_name_server_is_asked_again_and_an_unknown_name_is_not(
    is_passing: bool, rule: str
) -> None:
    outcome = AssociationOutcome(
        kind=AssociationKind.DNS_FAILED,
        proposal=Proposal.of([ContextSpec(VERIFICATION, (IMPLICIT_VR_LE,))]),
        started_at=datetime.now(UTC),
        phase=Phase.RESOLVE,
        is_passing=is_passing,
    )
    assert retry.after_association(outcome).rule == rule


@pytest.mark.parametrize(
    ("ended", "phase", "rule"),
    [
        (Ended.RELEASED, Phase.RELEASE, "done"),
        (Ended.RELEASED, Phase.TRANSFER, "broken"),
        (Ended.ABORTED_BY_PEER, Phase.TRANSFER, "broken"),
        (Ended.CONNECTION_LOST, Phase.RELEASE, "broken"),
    ],
)
def test_an_association_that_the_peer_released_early_is_opened_again(
    ended: Ended, phase: Phase, rule: str
) -> None:
    outcome = AssociationOutcome(
        kind=AssociationKind.ESTABLISHED,
        proposal=Proposal.of([ContextSpec(VERIFICATION, (IMPLICIT_VR_LE,))]),
        started_at=datetime.now(UTC),
        phase=phase,
        ended=ended,
    )
    assert retry.after_association(outcome).rule == rule


def test_an_abort_before_the_answer_is_tried_twice_more() -> None:
    assert retry.after_kind(AssociationKind.ABORTED_BY_PEER).attempts_allowed == 2


def test_the_base_scales_every_pause() -> None:
    assert retry.delay(retry.BUSY, 1, base_seconds=0.1, jitter=0) == pytest.approx(0.025)
    assert retry.delay(retry.BUSY, 1, base_seconds=0, jitter=1) == 0
