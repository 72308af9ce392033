"""Every rule and example of the client's document, against real peers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID

from sender.dicom import encoding, files
from sender.dicom.requestor import FileRange, NetworkRequestor, StoreRequest
from sender.negotiation import syntaxes
from sender.negotiation.contexts import ContextSpec, InvalidProposal, Proposal
from sender.negotiation.instances import ScannedInstance
from sender.negotiation.matching import Choice, Conversion, Refusal, choose
from sender.negotiation.outcomes import ContextOutcome, InstanceOutcome, StoreOutcome, Verdict
from sender.negotiation.peers import Peer
from sender.negotiation.rules import DecompressPolicy, TemplateOptions
from sender.negotiation.sop_classes import VERIFICATION
from tests import peers
from tests.factories import CT, ELE, ILE, write_instance
from tests.samples import sample

pytestmark = pytest.mark.peers
JPEG = syntaxes.JPEG_BASELINE
DEFLATED = syntaxes.DEFLATED_EXPLICIT_VR_LE


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[peers.RunningPeer]:
    with peers.storescp(tmp_path / "scp", "+B", "+xa") as running:
        yield running


def peer_of(running: peers.RunningPeer) -> Peer:
    return Peer("127.0.0.1", running.port, running.ae_title)


def negotiate(running: peers.RunningPeer, proposal: Proposal) -> tuple[ContextOutcome, ...]:
    association = NetworkRequestor().associate(peer_of(running), proposal)
    association.release()
    return association.contexts


def scanned(path: Path) -> ScannedInstance:
    found = files.scan(str(path), relative_path=path.name)
    assert isinstance(found, ScannedInstance), found
    return found


DEFAULT_OPTIONS = TemplateOptions()


def send(
    running: peers.RunningPeer,
    proposal: Proposal,
    instances: list[ScannedInstance],
    options: TemplateOptions = DEFAULT_OPTIONS,
) -> dict[str, StoreOutcome | Refusal]:
    """Send instances as the product's rules choose; return what became of each."""
    association = NetworkRequestor().associate(peer_of(running), proposal)
    became: dict[str, StoreOutcome | Refusal] = {}

    def requests() -> Iterator[StoreRequest]:
        for instance in instances:
            choice = choose(instance.kind, association.contexts, options)
            if isinstance(choice, Refusal):
                became[instance.sop_instance] = choice
            else:
                yield _request(instance, choice)

    for request, outcome in association.store_many(requests()):
        became[request.sop_instance] = outcome
    association.release()
    return became


def _request(instance: ScannedInstance, choice: Choice) -> StoreRequest:
    source: FileRange | bytes = FileRange.of(instance)
    if choice.conversion is not Conversion.NONE:
        source = encoding.convert(instance, choice.transfer_syntax).content
    return StoreRequest(instance.kind.sop_class, instance.sop_instance, choice.context_id, source)


def test_contexts_may_be_set_as_a_list(storescp: peers.RunningPeer) -> None:
    proposal = Proposal.of([ContextSpec(VERIFICATION, (ILE,)), ContextSpec(CT, (ILE,))])
    assert [context.result for context in negotiate(storescp, proposal)] == [0, 0]


def test_contexts_may_be_added_one_by_one(storescp: peers.RunningPeer) -> None:
    proposal = Proposal.of([ContextSpec(VERIFICATION, (ILE,))]).adding(ContextSpec(CT, (ILE,)))
    assert [context.result for context in negotiate(storescp, proposal)] == [0, 0]


def test_contexts_may_be_given_for_one_association_alone(storescp: peers.RunningPeer) -> None:
    usual = Proposal.of([ContextSpec(VERIFICATION, (ILE,))])
    once = Proposal.of([ContextSpec(CT, (ELE,))])
    assert len(negotiate(storescp, usual)) == 1
    assert [c.proposed.abstract_syntax for c in negotiate(storescp, once)] == [CT]
    assert [c.proposed.abstract_syntax for c in negotiate(storescp, usual)] == [VERIFICATION]


@pytest.mark.parametrize("count", [1, 128])
def test_1_to_128_contexts_are_proposed_and_answered(
    storescp: peers.RunningPeer, count: int
) -> None:
    contexts = negotiate(storescp, Proposal.of([ContextSpec(CT, (ILE,))] * count))
    assert [context.result for context in contexts] == [0] * count


@pytest.mark.parametrize("count", [0, 129])
def test_no_other_number_can_be_proposed(count: int) -> None:
    with pytest.raises(InvalidProposal):
        Proposal.of([ContextSpec(CT, (ILE,))] * count)


def test_a_context_without_a_transfer_syntax_cannot_be_proposed() -> None:
    with pytest.raises(InvalidProposal):
        ContextSpec(CT, ())


def test_mixed_data_travel_in_two_contexts_of_one_abstract_syntax(
    storescp: peers.RunningPeer, tmp_path: Path
) -> None:
    plain = write_instance(tmp_path / "a.dcm", sop_instance="1.2.1", transfer_syntax=ILE)
    jpeg = _jpeg_ct(tmp_path / "b.dcm")
    proposal = Proposal.of([ContextSpec(CT, (ILE,)), ContextSpec(CT, (JPEG,))])
    became = send(storescp, proposal, [scanned(plain), scanned(jpeg)])
    assert [
        outcome.outcome for outcome in became.values() if isinstance(outcome, StoreOutcome)
    ] == [InstanceOutcome.SENT] * 2
    arrived = {
        dcmread(path).SOPInstanceUID: dcmread(path).file_meta.TransferSyntaxUID
        for path in storescp.stored.iterdir()
    }
    assert arrived == {"1.2.1": ILE, "1.2.2": JPEG}


def _jpeg_ct(path: Path) -> Path:
    """Return a real JPEG Baseline image of pydicom's, relabelled as CT."""
    dataset = dcmread(sample("SC_rgb_jpeg_dcmtk.dcm"))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(CT)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.2")
    assert dataset.file_meta.TransferSyntaxUID == JPEG
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("accepted", [ILE, ELE, DEFLATED])
@pytest.mark.parametrize("stored", [ILE, ELE, DEFLATED])
def test_uncompressed_and_deflated_convert_freely(
    tmp_path: Path, stored: str, accepted: str
) -> None:
    path = write_instance(tmp_path / "a.dcm", sop_instance="1.2.1", transfer_syntax=stored)
    options = ("+B", "+xd") if accepted == DEFLATED else ("+B",)
    with peers.storescp(tmp_path / "scp", *options) as running:
        became = send(running, Proposal.of([ContextSpec(CT, (accepted,))]), [scanned(path)])
        assert _outcomes(became) == [InstanceOutcome.SENT]
        (arrived,) = running.stored.iterdir()
        received = dcmread(arrived)
    assert received.file_meta.TransferSyntaxUID == accepted
    assert received == dcmread(path)


def _outcomes(became: dict[str, StoreOutcome | Refusal]) -> list[InstanceOutcome | str]:
    return [
        outcome.outcome if isinstance(outcome, StoreOutcome) else outcome.reason
        for outcome in became.values()
    ]


def test_big_endian_data_are_not_converted(storescp: peers.RunningPeer, tmp_path: Path) -> None:
    instance = scanned(sample("MR_small_bigendian.dcm"))
    proposal = Proposal.of([ContextSpec(instance.kind.sop_class, (ELE, ILE))])
    (became,) = send(storescp, proposal, [instance]).values()
    assert isinstance(became, Refusal)
    assert "big endian" in became.reason


def test_compressed_data_are_decompressed_where_only_an_uncompressed_context_is_accepted(
    tmp_path: Path,
) -> None:
    path = write_instance(
        tmp_path / "a.dcm", sop_instance="1.2.1", transfer_syntax=syntaxes.RLE_LOSSLESS
    )
    proposal = Proposal.of([ContextSpec(CT, (syntaxes.RLE_LOSSLESS,)), ContextSpec(CT, (ELE, ILE))])
    with peers.storescp(tmp_path / "scp", "+B") as running:
        became = send(running, proposal, [scanned(path)])
        assert _outcomes(became) == [InstanceOutcome.SENT]
        (arrived,) = running.stored.iterdir()
        received, source = dcmread(arrived), dcmread(path)
    assert received.SOPInstanceUID == source.SOPInstanceUID
    assert (received.pixel_array == source.pixel_array).all()


def test_data_that_nothing_fits_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_instance(
        tmp_path / "a.dcm", sop_instance="1.2.1", transfer_syntax=syntaxes.RLE_LOSSLESS
    )
    proposal = Proposal.of([ContextSpec(CT, (syntaxes.RLE_LOSSLESS,)), ContextSpec(CT, (ILE,))])
    never = TemplateOptions(decompress=DecompressPolicy.NEVER)
    with peers.storescp(tmp_path / "scp") as running:
        (became,) = send(running, proposal, [scanned(path)], never).values()
    assert isinstance(became, Refusal)
    assert "RLE Lossless was rejected (4, transfer syntaxes not supported)" in became.reason
    assert "does not allow decompression" in became.reason


def test_a_peer_that_takes_another_of_our_syntaxes_rejects_none(
    storescp: peers.RunningPeer,
) -> None:
    (context,) = negotiate(storescp, Proposal.of([ContextSpec(CT, (ILE, ELE))]))
    assert sorted(context.verdicts.values()) == [Verdict.ACCEPTED, Verdict.NOT_CHOSEN]
