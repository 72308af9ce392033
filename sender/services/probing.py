"""Echo and negotiation without data: asked for in the browser, run by the sender or the shell."""

from dataclasses import dataclass

from django.utils import timezone

from sender.dicom.requestor import Requestor
from sender.models import Association, Destination, Enquiry, TemplateVersion, Trigger
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import EchoOutcome
from sender.services import recovery
from sender.services.associating import Errand, associate, record_refusal
from sender.services.engine import SLOT_WAIT_SECONDS
from sender.services.leases import await_slot, owner_name
from sender.services.tenure import Tenure

ALL_SLOTS_HELD = "All associations that this destination allows are in use."


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
            associate(errand, proposal, requestor=requestor, begun=tenure.hold_attempt) as opened,
        ):
            if trigger is Trigger.ECHO and opened.association.is_open:
                echo = opened.association.echo()
    finally:
        recovery.give_back(owner)
    assert opened.row is not None
    return Contact(opened.row, echo)


def answer_enquiry(enquiry_id: int) -> None:
    """Run what a person asked for in the browser; a second ticket for it does nothing."""
    waiting = Enquiry.objects.filter(pk=enquiry_id, started_at__isnull=True)
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
