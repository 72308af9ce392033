"""What database tests need: destinations, associations as values, recorded ones, DICOM files."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from django.db.models import F
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from sender.models import (
    Association,
    ContextTemplate,
    Destination,
    DestinationPace,
    Schedule,
    Send,
    SendItem,
    SourceFile,
    SourceFolder,
    SourceKind,
    StudyPart,
    TemplateVersion,
    Trigger,
)
from sender.negotiation import pacing, syntaxes
from sender.negotiation.contexts import ContextSpec, Proposal
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    ContextAnswer,
    Ended,
    InstanceOutcome,
    PeerIdentity,
    Phase,
    RawPdu,
    answered,
    unanswered,
)
from sender.services import recording
from sender.services.destinations import DestinationFacts, add_destination, current_revision
from sender.services.enquiries import verification_version
from sender.services.schedule_facts import ScheduleFacts
from sender.services.schedules import add_schedule

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ILE, ELE, J90 = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE, syntaxes.JPEG_2000_LOSSLESS
SOME_UID = uuid.UUID("12345678-1234-5678-1234-567812345678")
PROPOSAL = Proposal.of(
    [ContextSpec(CT, (J90,)), ContextSpec(CT, (ELE, ILE)), ContextSpec(MR, (J90,))]
)


def destination(name: str = "pacs", **facts: Any) -> Destination:
    """Add a destination; nothing needs to listen there."""
    values: dict[str, Any] = {"ae_title": "PACS", "address": "127.0.0.1", "port": 11112, **facts}
    return add_destination(DestinationFacts(name=name, **values), actor="test", confirmed=True)


def at_full_pace(to: Destination) -> Destination:
    """Let a destination have all the associations that it allows at once, as after a good while."""
    now = datetime.now(UTC)
    pace = replace(pacing.begin(to.max_associations, now), associations=to.max_associations)
    DestinationPace.objects.create(destination=to, state=pacing.to_document(pace))
    return to


def outcome(
    *results: int | None,
    kind: AssociationKind = AssociationKind.ESTABLISHED,
    started_at: datetime | None = None,
    proposal: Proposal = PROPOSAL,
) -> AssociationOutcome:
    """Return an association as a peer with these results would have made it.

    A result of 0 accepts the first syntax of its context; None leaves the context out; no results
    at all is an association without an answer.
    """
    answers = tuple(
        ContextAnswer(c.context_id, result, c.transfer_syntaxes[0] if result == 0 else ILE)
        for c, result in zip(proposal.contexts, results, strict=bool(results))
        if result is not None
    )
    contexts, strays = answered(proposal, answers, {})
    if not results:
        contexts, strays = unanswered(proposal), ()
    return AssociationOutcome(
        kind=kind,
        proposal=proposal,
        started_at=started_at or datetime.now(UTC),
        phase=Phase.RELEASE,
        ended=Ended.RELEASED if kind is AssociationKind.ESTABLISHED else None,
        contexts=contexts,
        strays=strays,
        peer=PeerIdentity("1.2.3", "PEER_1", 16384),
        seconds={Phase.CONNECT: 0.001, Phase.NEGOTIATION: 0.002},
        pdus=(RawPdu("A-ASSOCIATE-RQ", True, b"\x01"), RawPdu("A-ASSOCIATE-AC", False, b"\x02")),
        local_maximum_length=131072,
    )


def open_attempt(
    to: Destination,
    *,
    proposal: Proposal = PROPOSAL,
    version: TemplateVersion | None = None,
    lease_seconds: float = 60,
    send: Send | None = None,
) -> uuid.UUID:
    """Commit an attempt as before a connect; return its uid."""
    facts = recording.AttemptFacts(
        uid=uuid.uuid4(),
        destination=to,
        revision=current_revision(to),
        template_version=version or verification_version(),
        proposal=proposal,
        trigger=Trigger.NEGOTIATE,
        requested_by="test",
        owner="test",
        lease_seconds=lease_seconds,
        sender_host="here",
        send=send,
    )
    recording.open_attempt(facts)
    return facts.uid


def recorded(
    to: Destination, value: AssociationOutcome | None = None, *, send: Send | None = None
) -> Association:
    """Record an association."""
    value = value or outcome(0, 0, 4)
    uid = open_attempt(to, proposal=value.proposal, send=send)
    return recording.record_association(uid, value)


def send_item(
    send: Send,
    *,
    position: int,
    uid: str,
    outcome: InstanceOutcome,
    path: str = "/data/file",
    study: str = "1.2.826.1",
    **facts: Any,
) -> SendItem:
    """Write a row of a send, as a plan would; without uid: a file that is none."""
    folder, name = path.rsplit("/", 1)
    kind, _ = SourceKind.objects.get_or_create(
        sop_class_uid=CT if uid else "", transfer_syntax_uid=ELE if uid else "", lossy_code=2
    )
    file = SourceFile.objects.create(
        folder=SourceFolder.objects.get_or_create(
            digest=hashlib.sha256(folder.encode()).digest(), defaults={"path": folder}
        )[0],
        name=name,
        size=position,
        mtime_ns=0,
        kind=kind,
        sop_instance_uid=uid,
    )
    part, _ = StudyPart.objects.get_or_create(
        send=send, study_instance_uid=study if uid else "", kind=kind
    )
    StudyPart.objects.filter(pk=part.pk).update(**{outcome.value: F(outcome.value) + 1})
    return SendItem.objects.create(
        send=send, part=part, file=file, position=position, outcome=outcome, **facts
    )


def schedule(source: Path | str, *to: Destination, **facts: Any) -> Schedule:
    """Add a schedule that sends a source with "Derived from files" at 20:00 in Berlin."""
    template = ContextTemplate.objects.get(name="Derived from files")
    values: dict[str, Any] = {
        "name": "Nightly",
        "kind": "cron",
        "expression": "0 20 * * *",
        "zone": "Europe/Berlin",
        **facts,
    }
    return add_schedule(
        ScheduleFacts(sources=[str(source)], targets=[(one, template) for one in to], **values),
        actor="test",
    )


def write_instance(
    path: Path,
    *,
    sop_instance: str,
    study: str = "1.2.826.1",
    sop_class: str = CT,
    transfer_syntax: str = ELE,
    rows: int = 8,
    extra: Sequence[tuple[str, object]] = (),
) -> Path:
    """Write a small DICOM file with real pixels."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = sop_instance
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.1"
    dataset.PatientName = "Test^Somebody"
    dataset.PatientID = "SECRET-ID"
    dataset.Modality = "CT"
    dataset.Rows = dataset.Columns = rows
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.arange(rows * rows, dtype="<u2").tobytes()
    for keyword, value in extra:
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(ELE)
    if not syntaxes.is_native(transfer_syntax):
        dataset.compress(UID(transfer_syntax), generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
