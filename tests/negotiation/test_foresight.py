"""What will become of data if the peer answers as it did last time."""

import pytest

from sender.negotiation import syntaxes
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.foresight import foresee
from sender.negotiation.instances import DataKind
from sender.negotiation.matching import Choice, Conversion, Refusal
from sender.negotiation.rules import DecompressPolicy, TemplateOptions

CT = "1.2.840.10008.5.1.4.1.1.2"
ELE, ILE, J90 = (
    syntaxes.EXPLICIT_VR_LE,
    syntaxes.IMPLICIT_VR_LE,
    syntaxes.JPEG_2000_LOSSLESS,
)
PROPOSAL = Proposal.of([ContextSpec(CT, (J90,)), ContextSpec(CT, (ELE, ILE))])
LOSSLESS = TemplateOptions(decompress=DecompressPolicy.LOSSLESS, convert_uncompressed=True)
NEVER = TemplateOptions(decompress=DecompressPolicy.NEVER, convert_uncompressed=False)


@pytest.mark.parametrize(
    ("accepted", "options", "expected"),
    [
        ({}, LOSSLESS, Conversion.NONE),
        ({(CT, J90): True}, LOSSLESS, Conversion.NONE),
        ({(CT, J90): False}, LOSSLESS, Conversion.DECOMPRESS),
        ({(CT, J90): False, (CT, ELE): False}, LOSSLESS, Conversion.DECOMPRESS),
        ({(CT, J90): False, (CT, ELE): False, (CT, ILE): False}, LOSSLESS, None),
        ({(CT, J90): False}, NEVER, None),
        ({("1.2.3", J90): False}, NEVER, Conversion.NONE),
    ],
)
def test_the_last_answers_decide(
    accepted: dict[tuple[str, str], bool], options: TemplateOptions, expected: Conversion | None
) -> None:
    found = foresee(DataKind(CT, J90, False), PROPOSAL.contexts, options, accepted)
    if expected is None:
        assert isinstance(found, Refusal)
    else:
        assert isinstance(found, Choice)
        assert found.conversion is expected
