"""One association on record: the attempt before, the evidence during, the history after it."""

import logging
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from sender.dicom.requestor import Association, NetworkRequestor, Requestor
from sender.models import Association as AssociationRow
from sender.models import AssociationAttempt, Destination, Send, TemplateVersion, Trigger
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import (
    AssociationKind,
    AssociationOutcome,
    Phase,
    RawPdu,
    unanswered,
)
from sender.negotiation.peers import Peer
from sender.services import certificates, holds, parked, recording
from sender.services.destinations import current_revision
from sender.services.owners import LEASE_SECONDS
from sender.services.patience import OUTAGES, persist
from sender.services.tenure import Tenure

ALL_SLOTS_HELD = "All associations that this destination allows are in use."
"""Why we ourselves did not open an association, where no slot became free in time."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Errand:
    """Why an association is opened: for whom, to whom, with which template.

    Attributes:
        owner: the process and thread that answers for it, for leases.
        batch_id: the batch of `send` that travels in it.
    """

    destination: Destination
    template_version: TemplateVersion
    trigger: Trigger
    requested_by: str
    owner: str
    send: Send | None = None
    batch_id: int | None = None


@dataclass(slots=True)
class RecordedAssociation:
    """An open association whose history row is written when it ends.

    Use it as a context manager: leaving the block releases (or, on an exception of ours, aborts)
    and records, whatever the peer did.

    Attributes:
        peer: whom it was opened to, as the destination was set then.
    """

    attempt: AssociationAttempt
    association: Association
    peer: Peer
    row: AssociationRow | None = field(default=None, init=False)

    def __enter__(self) -> "RecordedAssociation":
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error_type is None:
            self.association.release()
        else:
            self.association.abort()
        outcome = self.association.outcome()
        self.row = persist(lambda: recording.record_association(self.attempt.uid, outcome))


def associate(
    errand: Errand,
    proposal: Proposal,
    *,
    requestor: Requestor | None = None,
    tenure: Tenure | None = None,
) -> RecordedAssociation:
    """Open an association, its attempt committed first; what the peer answers is saved at once.

    An answer ends what the engine held of the destination, and offers parked data.
    Bad news from the peer is no exception: look at the association's kind.

    Args:
        tenure: the leases behind it; they take in that of its attempt, and it ends when they do.
    """
    attempt = _open_attempt(errand, proposal)
    if tenure is not None:
        tenure.hold_attempt(attempt.uid)

    def keep(pdu: RawPdu) -> None:
        try:
            recording.keep_answer(attempt.uid, pdu)
        except OUTAGES as error:  # it is recorded at the end; this is for whoever takes over
            connection.close()
            logger.warning("What a peer answered can't be saved yet: %s", str(error).strip())

    connector = requestor or NetworkRequestor()
    peer = errand.destination.peer
    association = connector.associate(peer, proposal, notice=keep)
    if tenure is not None:
        tenure.let_go = association.interrupt
    outcome = association.outcome()

    def let_go_if_due() -> None:
        if tenure is not None and tenure.must_let_go:
            association.abort()

    try:
        persist(lambda: _take_in(errand, outcome, attempt), meanwhile=let_go_if_due)
    except (DatabaseError, InterfaceError):
        association.abort()
        raise
    return RecordedAssociation(attempt, association, peer)


def _take_in(errand: Errand, outcome: AssociationOutcome, attempt: AssociationAttempt) -> None:
    """Draw what follows from the peer's answer to the proposal, whatever it was opened for."""
    certificates.note_chain(
        errand.destination.pk,
        outcome.connection.peer_chain,
        holds=bool(outcome.connection.tls_version),
        association=attempt.uid,
    )
    if outcome.is_negotiated:
        holds.answered(errand.destination.pk, attempt.uid)
        parked.negotiated(errand.destination, outcome.contexts, attempt.uid)


def record_refusal(errand: Errand, proposal: Proposal, detail: str) -> AssociationRow:
    """Record an association that we ourselves did not open; `detail` says why."""
    attempt = _open_attempt(errand, proposal)
    outcome = AssociationOutcome(
        kind=AssociationKind.REFUSED_LOCALLY,
        proposal=proposal,
        started_at=datetime.now(UTC),
        phase=Phase.LOCAL,
        detail=detail,
        contexts=unanswered(proposal),
        local_maximum_length=errand.destination.maximum_length,
    )
    return recording.record_association(attempt.uid, outcome)


def _open_attempt(errand: Errand, proposal: Proposal) -> AssociationAttempt:
    return recording.open_attempt(
        recording.AttemptFacts(
            uid=uuid.uuid4(),
            destination=errand.destination,
            revision=current_revision(errand.destination),
            template_version=errand.template_version,
            proposal=proposal,
            trigger=errand.trigger,
            requested_by=errand.requested_by,
            send=errand.send,
            batch_id=errand.batch_id,
            owner=errand.owner,
            lease_seconds=LEASE_SECONDS,
            sender_host=settings.SENDER_HOST,
        )
    )
