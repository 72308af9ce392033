"""Whatever a peer does wrong is told as what it is, in time, and nothing more is called sent."""

import hashlib
from functools import cache

import pytest

from sender.dicom.requestor import NetworkRequestor
from sender.negotiation.outcomes import (
    Abort,
    AssociationKind,
    Ended,
    InstanceOutcome,
    Phase,
    Rejection,
    StoreOutcome,
)
from sender.negotiation.peers import Peer, Timeouts
from tests.misbehaviour.catalogue import (
    PROPOSAL,
    SENT,
    WARNING,
    Expected,
    Group,
    Misbehaviour,
)
from tests.misbehaviour.connections import NO_ANSWER, REFUSED, Opens, black_hole, closed_port
from tests.misbehaviour.dialogue import account
from tests.misbehaviour.everything import EVERYTHING
from tests.misbehaviour.observing import Observed, observe_all, sop_instance, through_tls
from tests.misbehaviour.sessions import Authority

STORED = (SENT, WARNING)


@pytest.fixture(scope="session")
def observed(
    request: pytest.FixtureRequest, authority: Authority
) -> dict[str, Observed | BaseException]:
    """Every entry of the groups to be tested: together they take no longer than the longest."""
    groups = {
        item.callspec.params["group"]
        for item in request.session.items
        if "observed" in getattr(item, "fixturenames", ()) and hasattr(item, "callspec")
    }
    return observe_all((case for case in EVERYTHING if case.group in groups), authority)


@pytest.mark.parametrize("group", Group)
def test_what_a_peer_does_wrong_is_told_as_it_is(
    group: Group, observed: dict[str, Observed | BaseException], subtests: pytest.Subtests
) -> None:
    check_all([case for case in EVERYTHING if case.group is group], observed, subtests)


def check_all(
    cases: list[Misbehaviour],
    observed: dict[str, Observed | BaseException],
    subtests: pytest.Subtests,
) -> None:
    """Check entries; each that was not understood fails by itself."""
    assert cases
    for case in cases:
        try:
            check(case, observed[case.id])
        except BaseException as fault:
            with subtests.test(case.id):
                raise fault


def check(case: Misbehaviour, seen: Observed | BaseException) -> None:
    """Make sure that an entry was understood, and nothing but the truth is told of it."""
    if isinstance(seen, BaseException):
        raise seen
    check_outcome(case, seen)
    check_truth(seen)
    check_data(case, seen)


def check_outcome(case: Misbehaviour, seen: Observed) -> None:
    """Compare what was concluded with what had to be."""
    told = told_by(seen)
    expected, other = case.expected, case.expected.or_else
    if other is not None and told == told_of(other):
        expected = other
    found = seen.outcome
    assert told == told_of(expected), found.detail
    assert found.rejection == (expected.rejection and Rejection(*expected.rejection))
    assert found.abort == (expected.abort and Abort(*expected.abort))
    assert expected.says in found.detail
    assert bool(found.detail) != expected.is_in_order
    if expected.statuses is not None:
        assert tuple(stored.status for stored in seen.stored) == expected.statuses
    if expected.first_context is not None:
        context = found.contexts[0]
        verdict = context.verdicts[context.proposed.transfer_syntaxes[0]]
        assert (context.result, verdict) == expected.first_context
    for stored in seen.stored:
        check_words(stored)
    if seen.stored:
        assert expected.instance_says in seen.stored[-1].detail


Told = tuple[AssociationKind, Ended | None, Phase, tuple[InstanceOutcome, ...]]


def told_by(seen: Observed) -> Told:
    """Return in short what was concluded."""
    found = seen.outcome
    return found.kind, found.ended, found.phase, tuple(stored.outcome for stored in seen.stored)


def told_of(expected: Expected) -> Told:
    """Return in short what has to be concluded."""
    return expected.kind, expected.ended, expected.phase, expected.instances


def check_words(stored: StoreOutcome) -> None:
    """Whatever is not sent has its reason, and nothing that a peer said breaks a page."""
    assert bool(stored.detail) == (stored.outcome is not SENT)
    assert (stored.status is None) == (stored.outcome is InstanceOutcome.UNKNOWN)
    for text in (stored.error_comment, *stored.offending_elements):
        assert text.isprintable()
        assert len(text) <= 64


def check_truth(seen: Observed) -> None:
    """Compare what is called sent with what the acceptor read whole and answered."""
    answered = account(seen.dialogues)
    for number, stored in enumerate(seen.stored, start=1):
        statuses = answered.get(sop_instance(number), [])
        if stored.outcome in STORED:
            assert stored.status in statuses, "called sent without an answer to be trusted"
        if stored.outcome is InstanceOutcome.FAILED:
            assert stored.status in statuses, "called failed without an answer to be trusted"


def check_data(case: Misbehaviour, seen: Observed) -> None:
    """Whatever an acceptor got whole, it got as it was."""
    for dialogue in seen.dialogues:
        for reception in dialogue.receptions:
            assert (reception.size, reception.digest) == (case.size, digest_of_zeros(case.size))


@cache
def digest_of_zeros(size: int) -> str:
    return hashlib.sha256(bytes(size)).hexdigest()


@pytest.mark.slow
def test_tls_changes_nothing_but_the_wire(authority: Authority, subtests: pytest.Subtests) -> None:
    """What breaks the connection itself may be told in the words of TLS."""
    cases = [through_tls(case) for case in EVERYTHING if case.group is not Group.TLS]
    check_all(cases, observe_all(cases, authority), subtests)


@pytest.mark.parametrize(
    ("opens", "expected"), [(closed_port, REFUSED), (black_hole, NO_ANSWER)], ids=["no", "full"]
)
def test_a_port_that_does_not_listen_or_not_to_us(opens: Opens, expected: Expected) -> None:
    with opens() as port:
        peer = Peer("127.0.0.1", port, "PEER", timeouts=Timeouts(connect=0.3))
        found = NetworkRequestor().associate(peer, PROPOSAL).outcome()
    assert (found.kind, found.phase, found.ended) == (expected.kind, expected.phase, None)
    assert expected.says in found.detail
