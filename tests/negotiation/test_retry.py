"""The retry table of the design (NEGOTIATION.md section 5), row by row."""

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
    StoreOutcome,
    classify_status,
)
from sender.negotiation.retry import RetryDecision, Stops
from sender.negotiation.sop_classes import VERIFICATION
from sender.negotiation.syntaxes import IMPLICIT_VR_LE
from tests.processes import ROOT


def association(
    kind: AssociationKind,
    phase: Phase = Phase.NEGOTIATION,
    *,
    rejection: Rejection | None = None,
    ended: Ended | None = None,
    is_passing: bool = False,
) -> AssociationOutcome:
    return AssociationOutcome(
        kind=kind,
        proposal=Proposal.of([ContextSpec(VERIFICATION, (IMPLICIT_VR_LE,))]),
        started_at=datetime.now(UTC),
        phase=phase,
        rejection=rejection,
        ended=ended,
        is_passing=is_passing,
    )


def waits(decision: RetryDecision) -> list[float]:
    """Return the pauses, in minutes, at the default base."""
    attempts = range(1, decision.attempts_allowed + 1)
    return [retry.delay(decision, n, base_seconds=60, jitter=0) / 60 for n in attempts]


DOUBLING = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 60]


@pytest.mark.parametrize(
    ("statuses", "rule", "minutes"),
    [
        ((0x0000, 0xB000, 0xB006, 0xB007, 0xBFFF, 0x0001, 0x0107, 0x0116), "done", []),
        ((0xA700, 0xA701, 0xA7FF), "out_of_resources", [1, 5, 30]),
        ((0xA900, 0xA9FF), "not_this_object", []),
        ((0xC000, 0xC123, 0xCFFF), "not_this_object", []),
        ((0x0117, 0x0212), "not_this_object", []),
        ((0x0111,), "duplicate_instance", []),
        ((0x0122,), "not_this_sop_class", []),
        ((0x0124,), "not_authorised", []),
        ((0x0110,), "processing_failure", [1, 5]),
        ((0x0210,), "duplicate_invocation", [0]),
        ((0x0211,), "unrecognised_operation", []),
        ((0x1234, 0xFF00, 0xFE00, 0xA6FF, 0xA800, 0xAA00, 0xD000), "unknown_status", []),
    ],
)
def test_a_status_decides(statuses: tuple[int, ...], rule: str, minutes: list[float]) -> None:
    for status in statuses:
        decision = retry.after_status(status)
        assert (decision.rule, waits(decision)) == (rule, minutes), f"{status:04X}"
        assert decision.retry is bool(minutes)
        assert not decision.pause_destination
        assert not decision.breaker
        assert not decision.isolate


@pytest.mark.parametrize(
    ("status", "stops"),
    [(0x0122, Stops.SOP_CLASS), (0x0124, Stops.BATCH), (0x0117, Stops.NOTHING),
     (0xA900, Stops.NOTHING), (0xC000, Stops.NOTHING), (0x0211, Stops.NOTHING)],
)  # fmt: skip
def test_what_concerns_the_destination_stops_the_batch_and_nothing_else_does(
    status: int, stops: Stops
) -> None:
    assert retry.after_status(status).stops is stops


def test_a_duplicate_invocation_gets_another_message_id() -> None:
    assert retry.after_status(0x0210).new_message_id
    others = [rule for rule in retry.RULES.values() if rule.new_message_id]
    assert others == [retry.DUPLICATE_INVOCATION]


@pytest.mark.parametrize("status", [0xC000, 0xC0FF, 0xCFFF])
def test_what_was_refused_among_several_associations_is_tried_once_alone(status: int) -> None:
    decision = retry.after_status(status, parallel=2)
    assert (decision.rule, decision.attempts_allowed) == ("not_in_parallel", 1)
    assert decision.isolate
    assert retry.after_status(status, parallel=1) is retry.NOT_THIS_OBJECT


@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xA900, 0x0110, 0x0124, 0x1234])
def test_other_statuses_mean_the_same_among_several_associations(status: int) -> None:
    assert retry.after_status(status, parallel=4) is retry.after_status(status)


@pytest.mark.parametrize(
    ("unanswered", "rule", "retried", "isolated"),
    [
        (0, "unknown", True, False),
        (1, "unknown", True, False),
        (2, "unknown_twice", True, True),
        (3, "poison", False, False),
        (7, "poison", False, False),
    ],
)
def test_an_instance_that_ends_associations_is_sent_alone_and_then_no_more(
    unanswered: int, rule: str, retried: bool, isolated: bool
) -> None:
    outcome = StoreOutcome(InstanceOutcome.UNKNOWN, context_id=1)
    decision = retry.after_store(outcome, unanswered=unanswered)
    assert (decision.rule, decision.retry, decision.isolate) == (rule, retried, isolated)
    untrusted = StoreOutcome(InstanceOutcome.UNKNOWN, context_id=1, status=0x0000)
    assert retry.after_store(untrusted, unanswered=unanswered) is decision


def test_an_unknown_instance_is_sent_again_at_once_on_a_new_association() -> None:
    assert waits(retry.after_store(StoreOutcome(InstanceOutcome.UNKNOWN, context_id=1)))[0] == 0


def test_a_trusted_status_decides_whatever_came_before() -> None:
    stored = StoreOutcome(InstanceOutcome.SENT, context_id=1, status=0)
    assert retry.after_store(stored, unanswered=2) is retry.DONE
    refused = StoreOutcome(InstanceOutcome.FAILED, context_id=1, status=0xC000)
    assert retry.after_store(refused, parallel=2) is retry.NOT_IN_PARALLEL
    assert retry.after_store(refused) is retry.NOT_THIS_OBJECT


def test_a_file_that_cannot_be_sent_is_not_tried_again() -> None:
    unsent = StoreOutcome(InstanceOutcome.FAILED, context_id=1, detail="changed")
    assert retry.after_store(unsent) is retry.NOT_SENT
    assert not retry.NOT_SENT.retry


@pytest.mark.parametrize(
    ("codes", "rule", "minutes", "pauses", "breaks"),
    [
        ((1, 1, 2), "application_context", [], True, False),
        ((1, 1, 3), "calling_ae_title", [], True, False),
        ((1, 1, 7), "called_ae_title", [], True, False),
        ((1, 2, 2), "protocol_version", [], True, False),
        ((1, 1, 1), "rejected_no_reason", [15], True, True),
        ((1, 2, 1), "rejected_no_reason", [15], True, True),
        ((2, 3, 1), "busy", DOUBLING, False, True),
        ((2, 3, 2), "busy", DOUBLING, False, True),
        ((2, 1, 1), "busy", DOUBLING, False, True),
        ((2, 1, 7), "busy", DOUBLING, False, True),
        ((2, 2, 1), "busy", DOUBLING, False, True),
        ((2, 9, 99), "busy", DOUBLING, False, True),
        ((1, 1, 9), "rejected_reserved", [1, 5], False, False),
        ((1, 3, 1), "rejected_reserved", [1, 5], False, False),
        ((0, 1, 1), "rejected_reserved", [1, 5], False, False),
        ((3, 1, 1), "rejected_reserved", [1, 5], False, False),
    ],
)
def test_a_rejection_decides(
    codes: tuple[int, int, int], rule: str, minutes: list[float], pauses: bool, breaks: bool
) -> None:
    decision = retry.after_rejection(Rejection(*codes))
    assert (decision.rule, waits(decision)) == (rule, minutes)
    assert (decision.pause_destination, decision.breaker) == (pauses, breaks)
    rejected = association(AssociationKind.REJECTED, rejection=Rejection(*codes))
    assert retry.after_association(rejected) is decision


def test_a_rejection_without_codes_is_a_reserved_one() -> None:
    assert retry.after_rejection(None) is retry.RESERVED_REJECTION


@pytest.mark.parametrize(
    ("kind", "phase", "rule", "minutes", "pauses", "breaks"),
    [
        (AssociationKind.NO_CONTEXT_ACCEPTED, Phase.NEGOTIATION, "no_context", [], False, False),
        (AssociationKind.DNS_FAILED, Phase.RESOLVE, "unknown_host", [], True, False),
        (AssociationKind.TLS_FAILED, Phase.TLS, "tls_refused", [], True, False),
        (AssociationKind.TLS_FAILED, Phase.NEGOTIATION, "tls_refused", [], True, False),
        (AssociationKind.TCP_FAILED, Phase.CONNECT, "unreachable", DOUBLING, False, True),
        (AssociationKind.TIMED_OUT, Phase.RESOLVE, "unreachable", DOUBLING, False, True),
        (AssociationKind.TIMED_OUT, Phase.CONNECT, "unreachable", DOUBLING, False, True),
        (AssociationKind.TIMED_OUT, Phase.TLS, "tls_silent", DOUBLING, False, True),
        (AssociationKind.TIMED_OUT, Phase.NEGOTIATION, "no_answer", DOUBLING, False, True),
        (AssociationKind.CONNECTION_LOST, Phase.TLS, "no_answer", DOUBLING, False, True),
        (AssociationKind.CONNECTION_LOST, Phase.NEGOTIATION, "no_answer", DOUBLING, False, True),
        (AssociationKind.ABORTED_BY_PEER, Phase.NEGOTIATION, "aborted_early", [0.25, 1], False,
         False),
        (AssociationKind.ABORTED_BY_US, Phase.NEGOTIATION, "broken", [0.25, 1, 5], False, False),
        (AssociationKind.INTERRUPTED, Phase.TRANSFER, "broken", [0.25, 1, 5], False, False),
        (AssociationKind.REFUSED_LOCALLY, Phase.LOCAL, "local", [0.25] * 9, False, False),
    ],
)  # fmt: skip
def test_how_the_negotiation_ended_decides(
    kind: AssociationKind,
    phase: Phase,
    rule: str,
    minutes: list[float],
    pauses: bool,
    breaks: bool,
) -> None:
    decision = retry.after_kind(kind, phase=phase)
    assert (decision.rule, waits(decision)) == (rule, minutes)
    assert decision.retry is bool(minutes)
    assert (decision.pause_destination, decision.breaker) == (pauses, breaks)
    assert retry.after_association(association(kind, phase)) is decision


@pytest.mark.parametrize("ended", Ended)
def test_an_association_that_ended_amid_its_data_is_opened_again(ended: Ended) -> None:
    carried = association(AssociationKind.ESTABLISHED, Phase.TRANSFER, ended=ended)
    assert retry.after_association(carried).rule == "broken"


@pytest.mark.parametrize(
    ("kind", "phase", "rule"),
    [
        (AssociationKind.DNS_FAILED, Phase.RESOLVE, "name_server"),
        (AssociationKind.TLS_FAILED, Phase.TLS, "tls_silent"),
        (AssociationKind.TCP_FAILED, Phase.CONNECT, "unreachable"),
    ],
)
def test_what_may_work_soon_without_anybodys_doing_is_tried_again(
    kind: AssociationKind, phase: Phase, rule: str
) -> None:
    decision = retry.after_association(association(kind, phase, is_passing=True))
    assert (decision.rule, decision.breaker, decision.pause_destination) == (rule, True, False)
    assert waits(decision) == DOUBLING


@pytest.mark.parametrize("kind", AssociationKind)
@pytest.mark.parametrize("phase", Phase)
def test_every_end_in_every_phase_has_a_rule(kind: AssociationKind, phase: Phase) -> None:
    assert retry.after_kind(kind, phase=phase) in retry.RULES.values()


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_every_rejection_has_a_rule(result: int, source: int, reason: int) -> None:
    decision = retry.after_rejection(Rejection(result, source, reason))
    assert retry.RULES[decision.rule] is decision
    assert decision.retry or decision.pause_destination


@given(st.integers(0, 0xFFFF), st.integers(1, 8))
def test_every_status_has_a_rule_and_what_was_stored_is_not_sent_again(
    status: int, parallel: int
) -> None:
    decision = retry.after_status(status, parallel=parallel)
    assert retry.RULES[decision.rule] is decision
    stored = classify_status(status) in (InstanceOutcome.SENT, InstanceOutcome.WARNING)
    assert (decision is retry.DONE) is stored


@pytest.mark.parametrize("decision", retry.RULES.values(), ids=lambda decision: decision.rule)
def test_a_rule_agrees_with_itself(decision: RetryDecision) -> None:
    assert decision.retry is bool(decision.attempts_allowed) is bool(decision.delays)
    assert decision.reason[0].isupper()
    assert decision.reason[-1] in ".?"
    if decision.breaker or decision.isolate or decision.new_message_id:
        assert decision.retry


@pytest.mark.parametrize("decision", retry.RULES.values(), ids=lambda decision: decision.rule)
def test_the_guide_explains_each_rule_in_its_own_words(decision: RetryDecision) -> None:
    guide = (ROOT / "docs/operators.md").read_text(encoding="utf-8")
    assert f"| `{decision.rule}` | {retry.describe(decision.rule)} |" in guide


@pytest.mark.parametrize(
    ("rule", "base", "sentences"),
    [
        ("done", 60, "The peer stored the instance."),
        ("out_of_resources", 60, "The peer is out of resources (A7xx). It is tried again up to 3 "
         "times, after 1 min, 5 min and 30 min."),
        ("out_of_resources", 1, "The peer is out of resources (A7xx). It is tried again up to 3 "
         "times, after 1 s, 5 s and 30 s."),
        ("unreachable", 60, "The peer could not be reached. It is tried again up to 9 times, after "
         "15 s at first and 1 h in the end. Meanwhile nobody else calls the destination."),
        ("not_authorised", 60, "The peer does not authorise us to store (0124). It is not tried "
         "again. Nothing more of this batch is sent."),
        ("duplicate_invocation", 60, "The peer takes the message ID for one in use (0210). It is "
         "tried again at once. It then has another message ID."),
        ("calling_ae_title", 0, "The peer does not know our AE title (1/1/3): it must be entered "
         "there. The destination is paused: one negotiation every 0 s asks whether it is mended, "
         "and sending goes on by itself when it is."),
        ("busy", 0, "The peer can't take an association now (2/x/x). It is tried again up to 9 "
         "times, at once. Meanwhile nobody else calls the destination."),
        ("of_old", 60, 'This version does not know the rule "of_old".'),
    ],
)  # fmt: skip
def test_a_rule_is_described_by_what_it_does(rule: str, base: float, sentences: str) -> None:
    assert retry.describe(rule, base_seconds=base) == sentences


@given(
    st.sampled_from([rule for rule in retry.RULES.values() if rule.retry]),
    st.integers(1, 40),
    st.floats(0, 1),
)
def test_a_pause_never_shrinks_much_and_never_passes_an_hour_and_a_fifth(
    decision: RetryDecision, attempt: int, jitter: float
) -> None:
    pause = retry.delay(decision, attempt, base_seconds=60, jitter=jitter)
    plain = retry.delay(decision, attempt, base_seconds=60, jitter=0)
    following = retry.delay(decision, attempt + 1, base_seconds=60, jitter=0)
    assert plain <= pause <= 1.2 * plain
    assert plain <= following <= 3600


def test_a_paused_destination_is_asked_every_quarter_of_an_hour() -> None:
    assert retry.PROBE_UNITS * retry.DEFAULT_BASE_SECONDS == 15 * 60


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


def test_the_base_scales_every_pause() -> None:
    assert retry.delay(retry.BUSY, 1, base_seconds=0.1, jitter=0) == pytest.approx(0.025)
    assert retry.delay(retry.BUSY, 1, base_seconds=0, jitter=1) == 0
