"""What is left when processes die: their leases end at once, their results are read back."""

import logging
from datetime import datetime, timedelta

from django.db import transaction

from sender.models import (
    AssociationAttempt,
    BatchState,
    DestinationSlot,
    InstanceAttempt,
    Listing,
    Send,
    SendBatch,
    SendItem,
)
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import journal, recording
from sender.services.journal import Remains
from sender.services.owners import is_dead
from sender.services.results import Change, Tried, change_of, write_changes

logger = logging.getLogger(__name__)


def bury_dead(now: datetime) -> None:
    """End the leases of processes of this host that are gone, so that others need not wait."""
    ended = now - timedelta(seconds=1)
    slots = DestinationSlot.objects.filter(lease_until__gte=now).exclude(owner="")
    for owner in set(slots.values_list("owner", flat=True)):
        if is_dead(owner):
            slots.filter(owner=owner).update(lease_until=ended)
    for planned in (Send.objects, Listing.objects):
        held = planned.filter(lease_until__gte=now).exclude(owner="")
        for owner in set(held.values_list("owner", flat=True)):
            if is_dead(owner):
                held.filter(owner=owner).update(lease_until=ended)
    batches = SendBatch.objects.filter(state=BatchState.RUNNING, lease_until__gte=now)
    for batch_id, fence, owner in list(batches.values_list("id", "fence", "owner")):
        if is_dead(owner) and batches.filter(id=batch_id, fence=fence).update(lease_until=ended):
            logger.warning("The worker of batch %s is gone; its work is taken up.", batch_id)
            AssociationAttempt.objects.filter(batch_id=batch_id, closed_at__isnull=True).update(
                lease_until=ended
            )


def replay_journals(now: datetime) -> int:
    """Record what abandoned journals of this host hold; return how many results that were."""
    count = 0
    for remains in journal.remains():
        if not _is_held(remains, now):
            count += _replay(remains)
            remains.remove()
    return count


def _is_held(remains: Remains, now: datetime) -> bool:
    """Tell whether the worker that writes the journal still holds its batch."""
    return SendBatch.objects.filter(
        pk=remains.batch_id,
        fence=remains.fence,
        state=BatchState.RUNNING,
        lease_until__gte=now,
    ).exists()


def _replay(remains: Remains) -> int:
    """Record what is not in the database yet, in one transaction."""
    results = {result.number: result for result in remains.results()}
    with transaction.atomic():
        attempt = AssociationAttempt.objects.filter(pk=remains.attempt).first()
        batch = SendBatch.objects.select_related("send__destination").filter(pk=remains.batch_id)
        owner = batch.first()
        if attempt is None or owner is None:
            return 0
        known = set(
            InstanceAttempt.objects.filter(attempt_id=remains.attempt).values_list(
                "number", flat=True
            )
        )
        new = {n: result for n, result in results.items() if n not in known}
        pending = {
            item_id: (part_id, Tried(attempts, rule))
            for item_id, part_id, attempts, rule in SendItem.objects.filter(
                pk__in=[result.item_id for result in new.values()],
                batch_id=remains.batch_id,
                outcome=InstanceOutcome.PENDING,
            ).values_list("id", "part_id", "attempts", "rule")
        }
        if attempt.closed_at is None:
            recording.record_instances(remains.attempt, list(new.values()))
        changes = [
            Change(
                result.item_id,
                pending[result.item_id][0],
                change_of(owner.send, pending[result.item_id][1], result),
            )
            for result in new.values()
            if result.item_id in pending
        ]
        write_changes(changes, remains.attempt)
    if new:
        logger.warning("%s results were read back from a journal.", len(new))
    return len(new)
