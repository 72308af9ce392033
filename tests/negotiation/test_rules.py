"""The template file: what it may say, and how what is wrong is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.contexts import ContextSpec
from sender.negotiation.rules import (
    BUILT_IN,
    DERIVED_FROM_FILES,
    DecompressPolicy,
    InvalidTemplate,
    TemplateOptions,
    TemplateSpec,
    canonical_bytes,
    diff,
    lint,
    parse,
    parse_json,
    to_document,
)

CT = sop_classes.CT_IMAGE
ILE, ELE = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE
PRIVATE = "1.3.6.1.4.1.99999.1"


def document(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "format": "concordat.template/1",
        "name": "X",
        "note": "",
        "contexts": [context()],
        "options": {},
    }
    return whole | changes


def context(**changes: Any) -> dict[str, Any]:
    return {"abstract_syntax": CT, "transfer_syntaxes": [ELE]} | changes


def refusal(whole: object) -> str:
    with pytest.raises(InvalidTemplate) as refused:
        parse(whole)
    return str(refused.value)


def test_a_small_template_has_the_defaults_of_the_contract() -> None:
    spec = parse({"format": "concordat.template/1", "name": "X", "contexts": [context()]})
    assert spec.options == TemplateOptions(
        derive_from_files=False, decompress=DecompressPolicy.LOSSLESS, convert_uncompressed=True
    )
    assert spec.contexts == (ContextSpec(CT, (ELE,)),)


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ([], "A template is a JSON object."),
        (document(format="concordat.template/2"), '"format" must be'),
        (document(name=""), '"name" must be one line'),
        (document(name="a\nb"), '"name" must be one line'),
        (document(name="a@2"), "@ sign"),
        (document(name="x" * 81), "at most 80"),
        (document(name=7), '"name" must be text.'),
        (document(note="x" * 2001), "at most 2000"),
        (document(surprise=1), 'The key "surprise" is unknown.'),
        (document(contexts={}), '"contexts" must be a list.'),
        (document(contexts=[]), "needs a presentation context"),
        (document(options=[]), '"options" must be an object.'),
        (document(options={"decompress": "sometimes"}), '"decompress" must be'),
        (document(options={"derive_from_files": 1}), '"derive_from_files" must be'),
        (document(options={"x": 1}), 'The key "x" is unknown.'),
        (document(contexts=["x"]), "Context 1: A presentation context is an object."),
        (document(contexts=[context(), context(x=1)]), 'Context 2: The key "x" is unknown.'),
        (document(contexts=[context(abstract_syntax="CT")]), "Context 1:"),
        (document(contexts=[context(abstract_syntax=None)]), '"abstract_syntax" must be a UID'),
        (document(contexts=[context(transfer_syntaxes=[])]), "Context 1:"),
        (document(contexts=[context(transfer_syntaxes="1.2")]), "must be a list of UIDs"),
        (document(contexts=[context(transfer_syntaxes=["1..2"])]), "Context 1:"),
        (document(contexts=[context(private_ok=1)]), '"private_ok" must be'),
        (document(contexts=[context(scu_role="yes")]), '"scu_role" must be'),
    ],
)
def test_what_is_wrong_is_told(whole: object, message: str) -> None:
    assert message in refusal(whole)


def test_everything_wrong_is_told_at_once() -> None:
    said = refusal(document(surprise=1, contexts=[context(x=1), context(transfer_syntaxes=[])]))
    assert said.count("Context 1") == 1
    assert said.count("Context 2") == 1
    assert "surprise" in said


def test_128_contexts_are_allowed_and_129_are_not() -> None:
    assert len(parse(document(contexts=[context()] * 128)).contexts) == 128
    assert "Context 129" in refusal(document(contexts=[context()] * 129))


def test_no_contexts_are_needed_where_files_give_them() -> None:
    whole = document(contexts=[], options={"derive_from_files": True})
    assert parse(whole).contexts == ()


def test_a_file_that_is_no_json_is_told() -> None:
    with pytest.raises(InvalidTemplate, match="not a JSON document"):
        parse_json("{")


def test_deeply_nested_json_is_refused_and_ends_nothing() -> None:
    with pytest.raises(InvalidTemplate):
        parse_json("[" * 100_000)


uids = st.sampled_from([ILE, ELE, syntaxes.RLE_LOSSLESS, PRIVATE])
contexts = st.builds(
    ContextSpec,
    abstract_syntax=st.sampled_from([CT, sop_classes.VERIFICATION, PRIVATE]),
    transfer_syntaxes=st.lists(uids, min_size=1, max_size=4, unique=True).map(tuple),
    private_ok=st.booleans(),
    scu_role=st.none() | st.just(True),
    scp_role=st.none() | st.booleans(),
)
specs = st.builds(
    TemplateSpec,
    name=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20),
    contexts=st.lists(contexts, min_size=1, max_size=6).map(tuple),
    note=st.text(st.characters(categories=["L", "N", "P"]), max_size=30),
    options=st.builds(
        TemplateOptions,
        derive_from_files=st.booleans(),
        decompress=st.sampled_from(DecompressPolicy),
        convert_uncompressed=st.booleans(),
    ),
)


@given(specs)
def test_a_template_file_gives_the_same_template_back(spec: TemplateSpec) -> None:
    assert parse_json(json.dumps(to_document(spec))) == spec


@given(specs, specs)
def test_templates_are_the_same_exactly_when_their_bytes_are(
    one: TemplateSpec, other: TemplateSpec
) -> None:
    assert (one == other) == (canonical_bytes(one) == canonical_bytes(other))


@given(specs, specs)
def test_a_difference_is_said_exactly_when_there_is_one(
    one: TemplateSpec, other: TemplateSpec
) -> None:
    is_same = (one.note, one.options, one.contexts) == (other.note, other.options, other.contexts)
    counted = sorted(map(str, one.contexts)) == sorted(map(str, other.contexts))
    if is_same:
        assert diff(one, other) == ()
    elif (one.note, one.options) != (other.note, other.options) or counted:
        assert diff(one, other) != ()


@pytest.mark.parametrize(
    ("written", "doubt"),
    [
        (ContextSpec(PRIVATE, (ILE,)), "is not in the standard"),
        (ContextSpec(CT, (ILE, PRIVATE)), "is not in the standard"),
        (ContextSpec(CT, (syntaxes.RLE_LOSSLESS, ILE)), "contexts of their own"),
        (ContextSpec(CT, (ILE, syntaxes.EXPLICIT_VR_BE)), "a context of its own"),
        (ContextSpec(CT, (ILE,), scu_role=False, scp_role=True), "nothing can be sent"),
        (ContextSpec(CT, (ELE,)), "nowhere proposed with Implicit VR LE"),
    ],
)
def test_what_is_probably_not_meant_is_told(written: ContextSpec, doubt: str) -> None:
    assert doubt in " ".join(map(str, lint(TemplateSpec("X", (written,)))))


def test_a_repeated_context_is_told_with_its_number() -> None:
    spec = TemplateSpec("X", (ContextSpec(CT, (ILE,)), ContextSpec(CT, (ILE,))))
    assert [problem.context_number for problem in lint(spec)] == [2]


def test_private_uids_that_are_meant_raise_no_doubt() -> None:
    spec = TemplateSpec("X", (ContextSpec(PRIVATE, (ILE, PRIVATE), private_ok=True),))
    assert "not in the standard" not in " ".join(map(str, lint(spec)))


@pytest.mark.parametrize("spec", BUILT_IN, ids=lambda spec: spec.name)
def test_built_in_templates_are_valid_and_without_doubt(spec: TemplateSpec) -> None:
    assert parse(to_document(spec)) == spec
    assert lint(spec) == ()


def test_what_derives_from_files_writes_nothing_of_its_own() -> None:
    assert DERIVED_FROM_FILES.contexts == ()
