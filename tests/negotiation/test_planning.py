"""From the data present to proposals: CONTRACT.md's planning rule."""

from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.contexts import MAXIMUM_CONTEXTS, ContextSpec
from sender.negotiation.instances import DataKind
from sender.negotiation.matching import Choice, choose
from sender.negotiation.outcomes import ContextOutcome
from sender.negotiation.planning import SendPlan, plan
from sender.negotiation.rules import (
    DERIVED_FROM_FILES,
    DecompressPolicy,
    TemplateOptions,
    TemplateSpec,
)

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ILE, ELE, EBE = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE, syntaxes.EXPLICIT_VR_BE
DEFLATED, JPEG = syntaxes.DEFLATED_EXPLICIT_VR_LE, syntaxes.JPEG_BASELINE
J2K = syntaxes.JPEG_2000_LOSSLESS
VIDEO = "1.2.840.10008.1.2.4.100"


def proposed(made: SendPlan) -> list[list[tuple[str, tuple[str, ...]]]]:
    return [
        [(context.abstract_syntax, context.transfer_syntaxes) for context in proposal.contexts]
        for proposal in made.proposals
    ]


def derived(*kinds: DataKind, **options: object) -> SendPlan:
    chosen = TemplateOptions(derive_from_files=True, **options)  # type: ignore[arg-type]
    return plan(kinds, TemplateSpec("X", options=chosen))


def test_every_syntax_that_is_present_gets_its_own_context_and_one_fallback() -> None:
    made = derived(DataKind(CT, ELE), DataKind(CT, DEFLATED), DataKind(CT, J2K))
    assert proposed(made) == [[(CT, (ELE,)), (CT, (DEFLATED,)), (CT, (J2K,)), (CT, (ELE, ILE))]]


def test_big_endian_travels_in_a_context_of_its_own_only() -> None:
    made = derived(DataKind(CT, EBE))
    assert proposed(made) == [[(CT, (EBE,))]]


def test_lossy_data_get_no_fallback_where_they_may_not_be_decompressed() -> None:
    assert proposed(derived(DataKind(CT, JPEG))) == [[(CT, (JPEG,))]]
    allowed = derived(DataKind(CT, JPEG), decompress=DecompressPolicy.ANY)
    assert proposed(allowed) == [[(CT, (JPEG,)), (CT, (ELE, ILE))]]


def test_uncompressed_data_get_no_fallback_where_nothing_may_be_converted() -> None:
    made = derived(DataKind(CT, ELE), convert_uncompressed=False)
    assert proposed(made) == [[(CT, (ELE,))]]


def test_video_gets_its_context_and_nothing_else() -> None:
    made = derived(DataKind(CT, VIDEO), decompress=DecompressPolicy.ANY)
    assert proposed(made) == [[(CT, (VIDEO,))]]


def test_written_contexts_come_first_and_are_not_repeated() -> None:
    written = (ContextSpec(MR, (ILE,)), ContextSpec(CT, (ELE,)))
    spec = TemplateSpec("X", written, options=TemplateOptions(derive_from_files=True))
    made = plan([DataKind(CT, ELE)], spec)
    assert proposed(made) == [[(MR, (ILE,)), (CT, (ELE,)), (CT, (ELE, ILE))]]


def test_without_deriving_only_the_written_contexts_are_proposed() -> None:
    spec = TemplateSpec("X", (ContextSpec(CT, (ELE, ILE)),))
    made = plan([DataKind(CT, J2K), DataKind(MR, ELE), DataKind(CT, JPEG)], spec)
    assert proposed(made) == [[(CT, (ELE, ILE))]]
    assert set(made.assignments) == {DataKind(CT, J2K)}
    assert "MR Image Storage" in made.unsendable[DataKind(MR, ELE)]
    assert "loss" in made.unsendable[DataKind(CT, JPEG)]


def test_a_context_in_which_we_are_no_scu_carries_nothing() -> None:
    spec = TemplateSpec("X", (ContextSpec(CT, (ELE,), scu_role=False, scp_role=True),))
    assert plan([DataKind(CT, ELE)], spec).proposals == ()


def test_nothing_to_send_proposes_nothing() -> None:
    assert plan([], DERIVED_FROM_FILES).proposals == ()


def many(count: int) -> list[str]:
    storage = [s.uid for s in sop_classes.SOP_CLASSES if sop_classes.is_storage(s.uid)]
    return storage[:count]


def test_what_does_not_fit_one_association_is_spread_by_sop_class() -> None:
    kinds = [DataKind(uid, syntax) for uid in many(100) for syntax in (ILE, ELE)]
    made = derived(*kinds)
    assert len(made.proposals) == 3
    for uid in many(100):
        indices = {made.assignments[DataKind(uid, syntax)] for syntax in (ILE, ELE)}
        assert len(indices) == 1, "contexts of one SOP class stay together"


def test_one_sop_class_with_more_contexts_than_fit_is_cut_with_its_fallback() -> None:
    uids = [f"1.3.6.1.4.1.9.{number}" for number in range(200)]
    made = derived(DataKind(CT, ELE), *(DataKind(CT, uid) for uid in uids))
    assert len(made.proposals) == 2
    assert all((CT, (ELE, ILE)) in contexts for contexts in proposed(made))


kinds_present = st.sets(
    st.builds(
        DataKind,
        sop_class=st.sampled_from([*many(60), "1.3.6.1.4.1.9.1"]),
        transfer_syntax=st.sampled_from(
            [s.uid for s in syntaxes.TRANSFER_SYNTAXES] + ["1.3.6.1.4.1.9.2"]
        ),
        lossy=st.sampled_from([None, True, False]),
    ),
    max_size=150,
)
written_contexts = st.lists(
    st.builds(
        ContextSpec,
        abstract_syntax=st.sampled_from(many(5)),
        transfer_syntaxes=st.lists(
            st.sampled_from([ILE, ELE, EBE, J2K, JPEG]), min_size=1, max_size=3, unique=True
        ).map(tuple),
    ),
    max_size=10,
)
options = st.builds(
    TemplateOptions,
    derive_from_files=st.booleans(),
    decompress=st.sampled_from(DecompressPolicy),
    convert_uncompressed=st.booleans(),
)


@given(kinds_present, written_contexts, options)
def test_every_kind_is_carried_or_has_a_reason(
    kinds: set[DataKind], written: list[ContextSpec], chosen: TemplateOptions
) -> None:
    spec = TemplateSpec("X", tuple(written), options=chosen)
    made = plan(kinds, spec)
    assert set(made.assignments) | set(made.unsendable) == kinds
    assert set(made.assignments).isdisjoint(made.unsendable)
    assert all(made.unsendable.values())
    assert set(made.assignments.values()) == set(range(len(made.proposals)))
    for proposal in made.proposals:
        assert 1 <= len(proposal.contexts) <= MAXIMUM_CONTEXTS
        assert [c.context_id for c in proposal.contexts] == list(
            range(1, 2 * len(proposal.contexts), 2)
        )
    for kind, index in made.assignments.items():
        granted = [
            ContextOutcome(c, negotiated=True, result=0, accepted=uid)
            for c in made.proposals[index].contexts
            for uid in c.transfer_syntaxes
        ]
        assert isinstance(choose(kind, granted, chosen), Choice)


@given(kinds_present)
def test_with_deriving_everything_has_its_own_syntax(kinds: set[DataKind]) -> None:
    made = plan(kinds, DERIVED_FROM_FILES)
    assert made.unsendable == {}
    for kind, index in made.assignments.items():
        own = ((kind.transfer_syntax,), kind.sop_class)
        contexts = made.proposals[index].contexts
        assert own in [(c.transfer_syntaxes, c.abstract_syntax) for c in contexts]
