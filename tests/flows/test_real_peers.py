"""pydicom's files to every peer: each row accounted for once, and the truth about what arrived."""

import json
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels import pixel_array

from sender.analytics.sends import progress
from sender.dicom import files
from sender.dicom.acceptor import Receiver
from sender.dicom.files import dataset_digest
from sender.dicom.scanning import scan_many
from sender.models import Association, InstanceAttempt, Send, SendItem
from sender.models.reading import contexts_of
from sender.models.sources import relative_path
from sender.negotiation.instances import DataKind, ScannedInstance
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.rules import DERIVED_FROM_FILES
from sender.services import engine, planner, sources
from sender.services.records import verify_record
from sender.services.sending import SendOrder, create_send
from sender.services.templates import find_version
from tests import factories, peers

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.usefixtures("live_db")]
Start = Callable[[Path], AbstractContextManager[peers.RunningPeer]]

STARTS: dict[str, Start] = {
    "storescp": lambda folder: peers.storescp(folder, "+B"),
    "storescp +xa": lambda folder: peers.storescp(folder, "+B", "+xa"),
    "storescp +xi": lambda folder: peers.storescp(folder, "+B", "+xi"),
    "storescp profile": lambda folder: peers.storescp(
        folder, "+B", *peers.storescp_profile(folder)
    ),
    "dcmqrscp": peers.dcmqrscp,
    "Orthanc": peers.orthanc,
    "Orthanc limited": lambda folder: peers.orthanc(
        folder, AcceptedTransferSyntaxes=["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]
    ),
}


@pytest.fixture(params=STARTS)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[peers.RunningPeer]:
    folder = tmp_path / "peer"
    folder.mkdir()
    with STARTS[request.param](folder) as running:
        yield running


def send_to(port: int, ae_title: str) -> Send:
    """Send pydicom's files as the command line would, in this process."""
    to = factories.destination(ae_title=ae_title, port=port, retries=0)
    order = SendOrder(
        destination=to,
        template_version=find_version(DERIVED_FROM_FILES.name),
        sources=[str(sources.sample_folder())],
        requested_by="test",
        inline=True,
        roots=None,
    )
    send = create_send(order, start=True)
    planner.plan_send(send.pk, in_slices=False)
    send.refresh_from_db()
    engine.run_inline(send)
    send.refresh_from_db()
    return send


def scanned(item: SendItem) -> ScannedInstance:
    found = files.scan(item.file.path, relative_path=item.relative_path)
    assert isinstance(found, ScannedInstance)
    return found


def assert_accounted_for(send: Send) -> None:
    """Every file of the source is one row, or stands at the row of its copy."""
    assert send.is_ended
    assert progress(send).counts[InstanceOutcome.PENDING] == 0
    listed = Counter(
        relative_path(file.path, send.sources)
        for item in send.items.all()
        for file in (item.file, *(copy.file for copy in item.copies.all()))
    )
    there = {entry.relative_path for entry in files.list_files(send.sources[0])}
    assert listed == dict.fromkeys(there, 1)
    assert all(verify_record(row) for row in Association.objects.all())


def sent(send: Send) -> list[SendItem]:
    return list(send.items.filter(outcome__in=(InstanceOutcome.SENT, InstanceOutcome.WARNING)))


def test_every_file_is_accounted_for_and_what_is_called_sent_arrived(
    peer: peers.RunningPeer,
) -> None:
    send = send_to(peer.port, peer.ae_title)
    assert_accounted_for(send)
    delivered = sent(send)
    assert delivered
    arrived = _arrived(peer)
    assert {item.file.sop_instance_uid for item in delivered} == set(arrived)
    for item in delivered:
        _assert_same_content(item, arrived[item.file.sop_instance_uid])


def _arrived(peer: peers.RunningPeer) -> dict[str, bytes]:
    """Return what the peer holds, file by file, by SOP Instance UID."""
    if peer.http_port:
        base = f"http://127.0.0.1:{peer.http_port}/instances"
        with urllib.request.urlopen(base) as answer:
            names = json.load(answer)
        contents = [_fetch(f"{base}/{name}/file") for name in names]
    else:
        contents = [p.read_bytes() for p in peer.stored.rglob("*") if _is_instance(p)]
    return {str(dcmread(BytesIO(c), stop_before_pixels=True).SOPInstanceUID): c for c in contents}


def _fetch(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        content: bytes = answer.read()
    return content


def _is_instance(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[128:132] == b"DICM"


def _assert_same_content(item: SendItem, content: bytes) -> None:
    """Byte by byte where nothing was converted and the peer writes as it receives."""
    source, received = dcmread(item.file.path), dcmread(BytesIO(content))
    if item.conversion == "none" and _dataset_bytes(content) == _dataset_bytes(
        Path(item.file.path).read_bytes()
    ):
        return
    ignored = {"PixelData"} | (
        {"PhotometricInterpretation", "PlanarConfiguration"}
        if item.conversion == "decompress"
        else set()
    )
    if item.conversion == "decompress":
        ignored |= {"BitsStored", "HighBit", "BitsAllocated", "PixelRepresentation"}
    assert _plain(source, ignored) == _plain(received, ignored), item.relative_path
    if "PixelData" in source:
        _assert_same_pixels(source, received)


def _dataset_bytes(content: bytes) -> bytes:
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


def _plain(dataset: Dataset, ignored: set[str]) -> list[tuple[int, object]]:
    """Return what an instance says, without group lengths, padding and what peers may rewrite."""
    return [
        (int(element.tag), _value(element.value))
        for element in dataset
        if element.tag.element
        and element.keyword not in ignored
        and int(element.tag) != 0xFFFCFFFC
        and not element.tag.is_private
    ]


def _value(value: object) -> object:
    if isinstance(value, Dataset):
        return _plain(value, set())
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ")
    if isinstance(value, list | tuple) or (
        hasattr(value, "__iter__") and not isinstance(value, str)
    ):
        return [_value(one) for one in value]
    return str(value).strip()


def _assert_same_pixels(source: Dataset, received: Dataset) -> None:
    if source.PixelData == received.PixelData:
        return
    assert (pixel_array(source) == pixel_array(received)).all()


def test_the_history_agrees_with_the_peers_own_log(tmp_path: Path) -> None:
    folder = tmp_path / "scp"
    folder.mkdir()
    with peers.storescp(folder, "-d") as peer:
        send_to(peer.port, peer.ae_title)
        log = peer.log_text()
    answers = re.findall(
        r"Context ID: +(\d+) \((Accepted|Transfer Syntaxes Not Supported|Abstract Syntax Not "
        r"Supported|Proposed)\)",
        log,
    )
    said = {int(number): verdict for number, verdict in answers if verdict != "Proposed"}
    row = Association.objects.get()
    recorded = {
        c.proposed.context_id: {
            0: "Accepted",
            3: "Abstract Syntax Not Supported",
            4: "Transfer Syntaxes Not Supported",
        }[c.result if c.result is not None else -1]
        for c in contexts_of(row)
    }
    assert recorded == said
    assert len(re.findall(r"Received Store Request", log)) == InstanceAttempt.objects.count()


@pytest.mark.parametrize("ae_title", ["DEMO_SCP", "DEMO_OLD", "DEMO_PICKY"])
def test_the_demo_receiver_gets_byte_identical_data_sets(ae_title: str) -> None:
    events: list[dict[str, object]] = []
    with Receiver(notice=events.append) as receiver:
        send = send_to(receiver.port, ae_title)
    assert_accounted_for(send)
    stores = {event["sop_instance"]: event for event in events if event["event"] == "store"}
    delivered = sent(send)
    assert {item.file.sop_instance_uid for item in delivered} == set(stores)
    unchanged = [item for item in delivered if item.conversion == "none"]
    assert unchanged
    for item in unchanged:
        assert stores[item.file.sop_instance_uid]["sha256"] == dataset_digest(scanned(item))


def test_a_receiver_that_refuses_us_stored_nothing_and_nothing_is_called_sent() -> None:
    with Receiver() as receiver:
        send = send_to(receiver.port, "DEMO_REFUSE")
    assert_accounted_for(send)
    counts = progress(send).counts
    assert counts[InstanceOutcome.SENT] == counts[InstanceOutcome.WARNING] == 0
    row = Association.objects.get()
    assert (row.outcome, row.reject_result, row.reject_source, row.reject_reason) == (
        "rejected",
        1,
        1,
        3,
    )


def test_the_demo_data_hold_what_a_demo_should() -> None:
    entries = files.list_files(str(sources.sample_folder()))
    found = scan_many(entry for entry in entries if isinstance(entry, files.Entry))
    instances = [one for one in found if isinstance(one, ScannedInstance)]
    assert len({instance.kind.sop_class for instance in instances}) > 8
    kinds: set[DataKind] = {instance.kind for instance in instances}
    assert len({kind.transfer_syntax for kind in kinds}) > 8
