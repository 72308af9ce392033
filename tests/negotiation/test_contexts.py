"""Proposals that can't be invalid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation.ae_titles import InvalidAETitle, parse_ae_title
from sender.negotiation.contexts import (
    MAXIMUM_CONTEXTS,
    ContextSpec,
    InvalidProposal,
    Proposal,
    ProposedContext,
)
from sender.negotiation.peers import Peer
from sender.negotiation.uids import is_valid_uid

CT = ContextSpec("1.2.840.10008.5.1.4.1.1.2", ("1.2.840.10008.1.2",))


@given(st.integers(1, MAXIMUM_CONTEXTS))
def test_ids_are_odd_and_in_order(count: int) -> None:
    proposal = Proposal.of([CT] * count)
    assert [c.context_id for c in proposal.contexts] == list(range(1, 2 * count, 2))


@pytest.mark.parametrize("count", [0, MAXIMUM_CONTEXTS + 1])
def test_a_proposal_has_1_to_128_contexts(count: int) -> None:
    with pytest.raises(InvalidProposal, match="1 to 128"):
        Proposal.of([CT] * count)


def test_contexts_can_be_added_one_by_one_up_to_128() -> None:
    proposal = Proposal.of([CT])
    for _ in range(127):
        proposal = proposal.adding(CT)
    assert proposal == Proposal.of([CT] * 128)
    with pytest.raises(InvalidProposal):
        proposal.adding(CT)


def test_the_same_abstract_syntax_may_appear_in_several_contexts() -> None:
    jpeg = ContextSpec(CT.abstract_syntax, ("1.2.840.10008.1.2.4.50",))
    proposal = Proposal.of([CT, jpeg])
    assert [c.abstract_syntax for c in proposal.contexts] == [CT.abstract_syntax] * 2


@pytest.mark.parametrize(
    ("abstract_syntax", "transfer_syntaxes", "message"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", (), "at least one transfer syntax"),
        ("not a uid", ("1.2.840.10008.1.2",), "Abstract syntax"),
        ("1.2.3", ("1.02",), "Transfer syntax"),
        ("1.2.3", ("1.2", "1.2"), "twice"),
    ],
)
def test_a_context_that_breaks_a_rule_cannot_be_built(
    abstract_syntax: str, transfer_syntaxes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidProposal, match=message):
        ContextSpec(abstract_syntax, transfer_syntaxes)


def test_wrong_ids_cannot_be_given() -> None:
    with pytest.raises(InvalidProposal, match="id 2"):
        Proposal((ProposedContext(2, "1.2.3", ("1.2",)),))


def test_a_context_is_found_by_its_id() -> None:
    proposal = Proposal.of([CT, CT])
    assert proposal.context(3) is proposal.contexts[1]
    assert [proposal.context(number) for number in (0, 2, 5, 255)] == [None] * 4


@pytest.mark.parametrize("uid", ["1.2", "0.0", "2.25.329800735698586629295641978511506172918"])
def test_valid_uids(uid: str) -> None:
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", "1", "1.", ".1", "1..2", "1.02", "1.2\n", "1.a", "1." + "2" * 63]
)
def test_invalid_uids(uid: str) -> None:
    assert not is_valid_uid(uid)


@pytest.mark.parametrize("title", ["A", "PACS MAIN", "a-b_c.d!", "X" * 16, " PACS "])
def test_ae_titles_of_the_standard(title: str) -> None:
    assert parse_ae_title(title) == title.strip()


@pytest.mark.parametrize("title", ["", "   ", "X" * 17, "A\\B", "Ä", "A\nB", "A\0"])
def test_what_is_no_ae_title(title: str) -> None:
    with pytest.raises(InvalidAETitle):
        parse_ae_title(title)


@pytest.mark.parametrize(("title", "named"), [("MÄX", "not Ä."), ("A\tB", r"not U\+0009\.")])
def test_a_character_that_no_ae_title_holds_is_named(title: str, named: str) -> None:
    with pytest.raises(InvalidAETitle, match=named):
        parse_ae_title(title)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_peer_has_a_real_port(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        Peer("localhost", port, "PACS")
