"""Negotiation without data: echoes and negotiations that people ask for, and the prober's own."""

from dataclasses import dataclass

from django.utils import timezone

from sender.dicom.requestor import Requestor
from sender.models import (
    Association,
    AssociationAttempt,
    Destination,
    Enquiry,
    Hold,
    Send,
    TemplateVersion,
    Trigger,
)
from sender.models.reading import proposal_of
from sender.negotiation import retry
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import EchoOutcome
from sender.services import holds, recovery, sending, settling, trials
from sender.services.associating import ALL_SLOTS_HELD, Errand, associate, record_refusal
from sender.services.leases import SLOT_WAIT_SECONDS, await_slot, claim_slot
from sender.services.owners import owner_name
from sender.services.settling import Failure
from sender.services.sight import leaves_probe
from sender.services.tenure import Tenure


@dataclass(frozen=True, slots=True)
class Contact:
    """What came of an echo or a negotiation: its history row and, for an echo, the answer."""

    association: Association
    echo: EchoOutcome | None = None


def contact(
    destination: Destination,
    version: TemplateVersion,
    trigger: Trigger,
    *,
    requested_by: str,
    requestor: Requestor | None = None,
) -> Contact:
    """Open an association with a template's contexts, echo if asked to, release and record.

    Takes a slot of the destination like any worker; waits at most 10 s for one, then the
    association is recorded as refused locally.

    Raises:
        InvalidProposal: the template writes no contexts of its own.
    """
    owner = owner_name()
    errand = Errand(destination, version, trigger, requested_by, owner)
    proposal = Proposal.of(version.spec.contexts)
    slot = await_slot(destination, owner, seconds=SLOT_WAIT_SECONDS)
    if slot is None:
        return Contact(record_refusal(errand, proposal, ALL_SLOTS_HELD))
    try:
        echo: EchoOutcome | None = None
        with (
            Tenure(slot) as tenure,
            associate(errand, proposal, requestor=requestor, tenure=tenure) as opened,
        ):
            if trigger is Trigger.ECHO and opened.association.is_open:
                echo = opened.association.echo()
    finally:
        recovery.give_back(owner)
    assert opened.row is not None
    return Contact(opened.row, echo)


def answer_enquiry(enquiry_id: int) -> None:
    """Run what a person asked for in the browser; a second ticket, or a late one, does nothing."""
    waiting = Enquiry.objects.filter(
        pk=enquiry_id, started_at__isnull=True, finished_at__isnull=True
    )
    if not waiting.update(started_at=timezone.now()):
        return
    enquiry = Enquiry.objects.select_related("destination", "template_version__template").get(
        pk=enquiry_id
    )
    came = contact(
        enquiry.destination,
        enquiry.template_version,
        Trigger(enquiry.kind),
        requested_by=enquiry.requested_by,
    )
    Enquiry.objects.filter(pk=enquiry_id).update(
        finished_at=timezone.now(),
        association_uid=came.association.uid,
        outcome=came.association.outcome,
        status=came.echo.status if came.echo else None,
        detail=(came.echo.detail if came.echo else "") or came.association.detail,
    )


def probe_destination(hold_id: int) -> None:
    """Ask a blocked destination whether it is mended, by the proposal of what waits for it.

    Of all who come for it at a time one does it. If it answers, it is not blocked any more
    (associating.py); if not, it is asked again later.
    """
    waiting = trials.due_probes(timezone.now()).select_related("destination").filter(pk=hold_id)
    if any(map(leaves_probe, waiting)):
        return
    hold = trials.take_blocked(hold_id)
    if hold is None or hold.destination is None:
        return
    owner, question = owner_name(), _question(hold)
    slot = claim_slot(hold.destination, owner) if question is not None else None
    if slot is None or question is None:
        return
    try:
        errand, proposal = question
        with Tenure(slot) as tenure, associate(errand, proposal, tenure=tenure) as opened:
            outcome = opened.association.outcome()
    finally:
        recovery.give_back(owner)
    if outcome.is_negotiated:
        return
    failure = Failure(retry.after_association(outcome), outcome.detail, opened.attempt.uid)
    holds.block(hold.destination, failure.decision, failure.detail, failure.attempt)
    for send_id in settling.spend_others(hold.destination, failure):
        sending.finish_if_done(send_id)


def _question(hold: Hold) -> tuple[Errand, Proposal] | None:
    """Return what to propose: as the batch that waits first, else as in the last association."""
    assert hold.destination is not None
    waiting = trials.waiting_batches(hold.destination.pk).order_by("-priority", "id")
    batch = waiting.select_related("send__template_version__template", "definition_list").first()
    if batch is not None:
        errand = _probe_errand(hold.destination, batch.send.template_version, batch.send)
        return errand, proposal_of(batch.definition_list)
    if hold.association_uid is None:
        return None
    last = (
        AssociationAttempt.objects.filter(pk=hold.association_uid)
        .select_related("template_version__template", "definition_list")
        .first()
    )
    if last is None:
        return None
    return _probe_errand(hold.destination, last.template_version), proposal_of(last.definition_list)


def _probe_errand(
    destination: Destination, version: TemplateVersion, send: Send | None = None
) -> Errand:
    return Errand(destination, version, Trigger.PROBE, holds.SYSTEM, owner_name(), send=send)
