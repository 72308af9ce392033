"""Echoes and negotiations that people ask for in the browser; probing.py runs them."""

from datetime import datetime, timedelta

from django.db import transaction

from sender.models import ContextTemplate, Destination, Enquiry, TemplateVersion, Trigger
from sender.negotiation.rules import VERIFICATION
from sender.services import tickets
from sender.services.audit import write_entry

REISSUE_SECONDS = 15
"""After so long an enquiry that nobody began, and whose ticket is gone, gets another."""
LONGEST_SECONDS = 600
"""Who waits so long for a worker, or for the answer from then on, is told that none comes."""


class NothingToPropose(ValueError):
    """The template has no contexts of its own, so there is nothing to negotiate without data."""


def verification_version() -> TemplateVersion:
    """Return the built-in template that an echo proposes."""
    return ContextTemplate.objects.get(name=VERIFICATION.name).newest


def request_echo(destination: Destination, *, requested_by: str) -> Enquiry:
    """Have the sender echo a destination."""
    return _request(destination, verification_version(), Trigger.ECHO, requested_by)


def request_negotiation(
    destination: Destination, version: TemplateVersion, *, requested_by: str
) -> Enquiry:
    """Have the sender propose a template to a destination and release.

    Raises:
        NothingToPropose: the template derives all its contexts from files.
    """
    if version.context_count == 0:
        raise NothingToPropose(
            f"The template {version} derives its contexts from files; "
            "choose one that lists contexts."
        )
    return _request(destination, version, Trigger.NEGOTIATE, requested_by)


def _request(
    destination: Destination, version: TemplateVersion, trigger: Trigger, requested_by: str
) -> Enquiry:
    with transaction.atomic():
        enquiry = Enquiry.objects.create(
            destination=destination,
            template_version=version,
            kind=trigger,
            requested_by=requested_by,
        )
        write_entry(
            actor=requested_by,
            action=f"destination.{trigger.value}",
            subject=destination.name,
            facts={"template": str(version)},
        )
        tickets.issue_enquiry(enquiry.pk)
    return enquiry


def look_after(now: datetime) -> None:
    """Issue lost tickets again, and tell who waits in vain."""
    waiting = Enquiry.objects.filter(finished_at__isnull=True)
    overdue = now - timedelta(seconds=LONGEST_SECONDS)
    waiting.filter(started_at__lt=overdue).update(
        finished_at=now, detail="The sender vanished before it had an answer."
    )
    unbegun = waiting.filter(started_at__isnull=True)
    minutes = LONGEST_SECONDS // 60
    unbegun.filter(created_at__lt=overdue).update(
        finished_at=now,
        detail=f"No worker of the sender came to it within {minutes} minutes; ask again.",
    )
    late = unbegun.filter(created_at__lt=now - timedelta(seconds=REISSUE_SECONDS))
    if late.exists() and not tickets.waiting(tickets.INTERACTIVE):
        for number in late.order_by("id").values_list("id", flat=True)[: tickets.MOST_WAITING]:
            tickets.issue_enquiry(number)
