"""Wait for the fix: what a later negotiation would carry."""

import pytest

from sender.negotiation import syntaxes
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.instances import DataKind
from sender.negotiation.outcomes import ContextAnswer, ContextOutcome, answered, unanswered
from sender.negotiation.parking import could_be_sent, freed, now_accepted
from sender.negotiation.rules import DecompressPolicy, TemplateOptions

CT, MR, SR = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.88.11",
)
ILE, ELE = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE
J2K, JPEG = syntaxes.JPEG_2000_LOSSLESS, syntaxes.JPEG_BASELINE
MPEG2 = "1.2.840.10008.1.2.4.100"
SPECS = [
    ContextSpec(CT, (J2K,)),
    ContextSpec(CT, (ELE, ILE)),
    ContextSpec(MR, (J2K,)),
    ContextSpec(MR, (JPEG,)),
]
PROPOSAL = Proposal.of(SPECS)


def negotiated(*answers: tuple[int, int, str | None]) -> tuple[ContextOutcome, ...]:
    return answered(PROPOSAL, tuple(ContextAnswer(*answer) for answer in answers), {})[0]


def options(policy: DecompressPolicy, *, convert: bool = True) -> TemplateOptions:
    return TemplateOptions(decompress=policy, convert_uncompressed=convert)


def test_what_was_accepted_is_told_in_pairs() -> None:
    contexts = negotiated((1, 0, J2K), (3, 0, ILE), (5, 4, None), (7, 0, JPEG))
    assert now_accepted(contexts) == {(CT, J2K), (CT, ILE), (MR, JPEG)}


def test_what_carries_nothing_does_not_count() -> None:
    # Another syntax than proposed, none at all, an undefined result, no answer, two answers.
    assert now_accepted(negotiated((1, 0, ELE), (3, 0, None), (5, 9, J2K))) == set()
    assert now_accepted(negotiated((1, 0, J2K), (1, 4, None))) == set()
    assert now_accepted(unanswered(PROPOSAL)) == set()
    proposal = Proposal.of([ContextSpec(CT, (J2K,), scu_role=True, scp_role=True)])
    contexts, _ = answered(proposal, (ContextAnswer(1, 0, J2K),), {CT: (False, True)})
    assert now_accepted(contexts) == set()


@pytest.mark.parametrize(
    ("kind", "policy", "convert", "sendable"),
    [
        # Its own syntax is accepted now.
        (DataKind(CT, J2K), DecompressPolicy.NEVER, True, True),
        # Converted or decompressed, as the template of the parked instance allows.
        (DataKind(CT, ELE), DecompressPolicy.NEVER, True, True),
        (DataKind(CT, ELE), DecompressPolicy.NEVER, False, False),
        (DataKind(CT, JPEG), DecompressPolicy.LOSSLESS, True, False),
        (DataKind(CT, JPEG), DecompressPolicy.ANY, True, True),
        (DataKind(CT, MPEG2), DecompressPolicy.ANY, True, False),
        # Only compressed contexts of this SOP class, or none at all.
        (DataKind(MR, ELE), DecompressPolicy.ANY, True, False),
        (DataKind(SR, ELE), DecompressPolicy.ANY, True, False),
    ],
)
def test_a_parked_instance_goes_where_the_rules_of_sending_let_it(
    kind: DataKind, policy: DecompressPolicy, convert: bool, sendable: bool
) -> None:
    contexts = negotiated((1, 0, J2K), (3, 0, ILE), (5, 0, J2K), (7, 4, None))
    assert could_be_sent(kind, contexts, options(policy, convert=convert)) is sendable


def test_nothing_is_freed_by_a_negotiation_that_had_no_answer() -> None:
    assert not could_be_sent(DataKind(CT, ELE), unanswered(PROPOSAL), options(DecompressPolicy.ANY))


def test_the_kinds_that_could_go_are_freed_and_the_others_stay() -> None:
    parked = [DataKind(CT, J2K), DataKind(MR, J2K), DataKind(MR, JPEG), DataKind(CT, J2K)]
    contexts = negotiated((1, 0, J2K), (3, 4, None), (5, 4, None), (7, 0, JPEG))
    found = freed(parked, contexts, options(DecompressPolicy.LOSSLESS))
    assert found == {DataKind(CT, J2K), DataKind(MR, JPEG)}
