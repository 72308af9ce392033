"""The first start: demo destinations and one send of real files, so that the history is real."""

from dataclasses import dataclass

from django.conf import settings

from sender.models import ContextTemplate, Destination, Send
from sender.negotiation.rules import DERIVED_FROM_FILES
from sender.services import sources
from sender.services.destinations import DestinationFacts, add_destination
from sender.services.sending import SendOrder, create_send

ACTOR = "system"
REFUSES = "DEMO_REFUSE"


@dataclass(frozen=True, slots=True)
class DemoProfile:
    """A way in which the demo receiver behaves, chosen by the called AE title."""

    name: str
    ae_title: str
    notes: str


PROFILES = (
    DemoProfile("Demo: modern archive", "DEMO_SCP", "Accepts everything that is proposed."),
    DemoProfile("Demo: old archive", "DEMO_OLD", "Accepts uncompressed data only."),
    DemoProfile("Demo: picky", "DEMO_PICKY", "Accepts a few SOP classes only."),
    DemoProfile("Demo: slow", "DEMO_SLOW", "Answers each instance after a pause."),
    DemoProfile("Demo: refuses us", REFUSES, "Does not recognise our AE title."),
)


def prepare_demo() -> list[Send]:
    """Add the demo destinations that are missing; send pydicom's files when all were.

    Returns:
        the sends that were started: none if a demo destination was there already.
    """
    if Destination.objects.filter(name__in=[profile.name for profile in PROFILES]).exists():
        return []
    destinations = [_add(profile) for profile in PROFILES]
    version = ContextTemplate.objects.get(name=DERIVED_FROM_FILES.name).newest
    folder = str(sources.sample_folder())
    return [
        create_send(
            SendOrder(
                destination=destination,
                template_version=version,
                sources=[folder],
                requested_by=ACTOR,
                name=f"pydicom's files to {destination.name}",
                # Who refuses us would be waited for: one attempt shows it as well.
                retries=0 if destination.ae_title == REFUSES else None,
                roots=None,
            ),
            start=True,
        )
        for destination in destinations
    ]


def _add(profile: DemoProfile) -> Destination:
    return add_destination(
        DestinationFacts(
            name=profile.name,
            ae_title=profile.ae_title,
            address="127.0.0.1",
            port=settings.DEMO_PORT,
            notes=profile.notes,
        ),
        actor=ACTOR,
        confirmed=True,
    )
