"""Which context carries an instance: exact, free conversion, decompression, refusal."""

import pytest

from sender.negotiation import syntaxes
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.instances import DataKind
from sender.negotiation.matching import Choice, Conversion, Refusal, choose, is_lossy
from sender.negotiation.outcomes import ContextAnswer, ContextOutcome, answered
from sender.negotiation.rules import DecompressPolicy, TemplateOptions

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ILE, ELE, EBE = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE, syntaxes.EXPLICIT_VR_BE
DEFLATED, JPEG = syntaxes.DEFLATED_EXPLICIT_VR_LE, syntaxes.JPEG_BASELINE
J2K, J2K_ANY, HTJ2K_ANY = (
    syntaxes.JPEG_2000_LOSSLESS,
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
)
NEVER, LOSSLESS, ANY = DecompressPolicy


def accepted(*pairs: tuple[str, str]) -> list[ContextOutcome]:
    """Return contexts that were each accepted with the one syntax that they proposed."""
    proposal = Proposal.of([ContextSpec(sop_class, (uid,)) for sop_class, uid in pairs])
    answers = tuple(
        ContextAnswer(c.context_id, 0, c.transfer_syntaxes[0]) for c in proposal.contexts
    )
    return list(answered(proposal, answers, {})[0])


def options(policy: DecompressPolicy = LOSSLESS, *, convert: bool = True) -> TemplateOptions:
    return TemplateOptions(decompress=policy, convert_uncompressed=convert)


@pytest.mark.parametrize("stored", [ILE, ELE, EBE, DEFLATED, JPEG, J2K])
def test_data_travel_unchanged_where_their_own_syntax_was_accepted(stored: str) -> None:
    contexts = accepted((CT, ELE), (CT, ILE), (CT, EBE), (CT, DEFLATED), (CT, JPEG), (CT, J2K))
    choice = choose(DataKind(CT, stored), contexts, options())
    assert isinstance(choice, Choice)
    assert (choice.transfer_syntax, choice.conversion) == (stored, Conversion.NONE)


@pytest.mark.parametrize("stored", [ILE, ELE, DEFLATED])
@pytest.mark.parametrize("agreed", [ILE, ELE, DEFLATED])
def test_uncompressed_and_deflated_convert_freely(stored: str, agreed: str) -> None:
    choice = choose(DataKind(CT, stored), accepted((CT, agreed)), options(NEVER))
    assert isinstance(choice, Choice)
    wanted = Conversion.NONE if stored == agreed else Conversion.CONVERT
    assert (choice.transfer_syntax, choice.conversion) == (agreed, wanted)


@pytest.mark.parametrize(("stored", "agreed"), [(EBE, ELE), (ELE, EBE), (J2K, EBE)])
def test_endianness_is_never_changed(stored: str, agreed: str) -> None:
    assert isinstance(choose(DataKind(CT, stored), accepted((CT, agreed)), options(ANY)), Refusal)


@pytest.mark.parametrize(
    ("stored", "lossy", "policy", "travels"),
    [
        (J2K, None, LOSSLESS, True),
        (J2K, True, LOSSLESS, False),
        (J2K, False, NEVER, False),
        (J2K, True, ANY, True),
        (JPEG, None, LOSSLESS, False),
        (JPEG, None, ANY, True),
        (J2K_ANY, None, LOSSLESS, False),
        (J2K_ANY, False, LOSSLESS, True),
        (J2K_ANY, True, LOSSLESS, False),
        (HTJ2K_ANY, None, LOSSLESS, False),
        (J2K_ANY, None, ANY, True),
        ("1.2.840.10008.1.2.4.100", None, ANY, False),
        ("1.3.6.1.4.1.9.1", None, ANY, False),
    ],
)
def test_decompression_follows_the_policy(
    stored: str, lossy: bool | None, policy: DecompressPolicy, travels: bool
) -> None:
    choice = choose(DataKind(CT, stored, lossy), accepted((CT, ILE)), options(policy))
    if travels:
        assert choice == Choice(1, ILE, Conversion.DECOMPRESS)
    else:
        assert isinstance(choice, Refusal)


def test_explicit_vr_is_preferred_for_what_is_converted() -> None:
    choice = choose(DataKind(CT, J2K), accepted((CT, ILE), (CT, ELE)), options())
    assert choice == Choice(3, ELE, Conversion.DECOMPRESS)


def test_data_are_never_compressed_anew() -> None:
    assert isinstance(choose(DataKind(CT, ELE), accepted((CT, J2K)), options(ANY)), Refusal)
    assert isinstance(choose(DataKind(CT, JPEG), accepted((CT, J2K)), options(ANY)), Refusal)


def test_nothing_is_converted_where_the_template_forbids_it() -> None:
    refusal = choose(DataKind(CT, ELE), accepted((CT, ILE)), options(convert=False))
    assert isinstance(refusal, Refusal)
    assert "does not allow uncompressed data to be converted" in refusal.reason


def test_contexts_of_another_sop_class_do_not_count() -> None:
    refusal = choose(DataKind(CT, ELE), accepted((MR, ELE)), options())
    assert isinstance(refusal, Refusal)
    assert "CT Image Storage was not proposed" in refusal.reason


def test_the_lowest_id_of_equals_is_taken() -> None:
    choice = choose(DataKind(CT, ELE), accepted((CT, ILE), (CT, ELE), (CT, ELE)), options())
    assert choice == Choice(3, ELE, Conversion.NONE)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ContextAnswer(1, 1), "rejected (1, user rejection)"),
        (ContextAnswer(1, 2), "rejected (2, no reason)"),
        (ContextAnswer(1, 3), "rejected (3, abstract syntax not supported)"),
        (ContextAnswer(1, 4), "rejected (4, transfer syntaxes not supported)"),
        (ContextAnswer(1, 9), "answered against the standard"),
        (None, "not answered"),
    ],
)
def test_a_refusal_says_what_the_peer_answered(answer: ContextAnswer | None, said: str) -> None:
    proposal = Proposal.of([ContextSpec(CT, (J2K,))])
    contexts, _ = answered(proposal, (answer,) if answer else (), {})
    refusal = choose(DataKind(CT, J2K), contexts, options())
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith("no accepted presentation context for CT Image Storage")
    assert f"JPEG 2000 Lossless was {said}" in refusal.reason


def test_a_context_accepted_without_the_scu_role_carries_nothing() -> None:
    proposal = Proposal.of([ContextSpec(CT, (ELE,), scu_role=True, scp_role=True)])
    contexts, _ = answered(proposal, (ContextAnswer(1, 0, ELE),), {CT: (False, True)})
    refusal = choose(DataKind(CT, ELE), contexts, options())
    assert isinstance(refusal, Refusal)
    assert "was accepted, but the peer does not let us be the SCU" in refusal.reason


@pytest.mark.parametrize(
    ("stored", "lossy", "counts"),
    [
        (ELE, None, False),
        (ELE, True, True),
        (J2K, None, False),
        (J2K_ANY, None, True),
        (J2K_ANY, False, False),
        (JPEG, False, True),
        ("1.2.840.10008.1.2.4.81", None, True),
    ],
)
def test_what_counts_as_lossy(stored: str, lossy: bool | None, counts: bool) -> None:
    assert is_lossy(DataKind(CT, stored, lossy)) is counts
