"""What follows for a batch once its association has ended: done, later, given up, isolated."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Max, Min, QuerySet
from django.utils import timezone

from sender.models import BatchState, Send, SendBatch, SendItem, SendState
from sender.negotiation import retry
from sender.negotiation.outcomes import AssociationOutcome, InstanceOutcome
from sender.negotiation.retry import RetryDecision
from sender.services import tallies
from sender.services.leases import BatchLease
from sender.services.results import due_at

POISON_ATTEMPTS = 2
"""An instance whose C-STORE ended so many associations is tried alone, after the rest."""


def settle_batch(
    batch: SendBatch,
    lease: BatchLease,
    outcome: AssociationOutcome | None,
    *,
    acknowledged: int,
) -> None:
    """Say what follows for a batch (outcome None: its association goes on, or none was needed)."""
    if outcome is None or outcome.kind in retry.HEALTHY_KINDS or acknowledged:
        close_batch(batch, lease, pause=timedelta(), failures=0)
        return
    fail_association(batch, lease, retry.after_association(outcome), outcome.detail)


def fail_association(
    batch: SendBatch, lease: BatchLease, decision: RetryDecision, detail: str
) -> None:
    """Put the batch off after an association that carried nothing, or give its items up."""
    failures = batch.failures + 1
    allowed = min(batch.send.allowed_retries, decision.attempts_allowed)
    if decision.retry and failures <= allowed:
        pause = due_at(decision, failures) - timezone.now()
        close_batch(batch, lease, pause=pause, failures=failures, detail=detail)
        return
    with transaction.atomic():
        tallies.change_rows(
            SendItem.objects.filter(batch=batch),
            InstanceOutcome.PENDING,
            InstanceOutcome.FAILED,
            reason=f"not sent: {detail}"[:600],
            rule=decision.rule,
            retry_at=None,
        )
    close_batch(batch, lease, pause=timedelta(), failures=failures, detail=detail)


def close_batch(
    batch: SendBatch,
    lease: BatchLease,
    *,
    pause: timedelta,
    failures: int,
    detail: str = "",
) -> None:
    """Give the batch back: done if nothing is pending, cancelled if so asked, else for later."""
    _isolate_poison(batch)
    pending = SendItem.objects.filter(batch=batch, outcome=InstanceOutcome.PENDING)
    now = timezone.now()
    changes: dict[str, object] = {"state": BatchState.DONE, "next_attempt_at": now}
    if pending.exists():
        changes = {
            "state": BatchState.READY,
            "next_attempt_at": _next_attempt(pending, now + pause),
        }
        if Send.objects.filter(pk=batch.send_id, state=SendState.CANCELLING).exists():
            changes = {"state": BatchState.CANCELLED}
    SendBatch.objects.filter(pk=batch.pk, fence=lease.fence, state=BatchState.RUNNING).update(
        owner="", lease_until=None, failures=failures, detail=detail[:400], **changes
    )


def _isolate_poison(batch: SendBatch) -> None:
    """Move instances that ended several associations into batches of their own."""
    if batch.is_isolated:
        return
    poison = SendItem.objects.filter(
        batch=batch,
        outcome=InstanceOutcome.PENDING,
        rule=retry.UNKNOWN.rule,
        attempts__gte=POISON_ATTEMPTS,
    )
    for item_id, retry_at in list(poison.values_list("id", "retry_at")):
        with transaction.atomic():
            last = SendBatch.objects.filter(send_id=batch.send_id).aggregate(n=Max("number"))["n"]
            alone = SendBatch.objects.create(
                send_id=batch.send_id,
                number=last + 1,
                destination_id=batch.destination_id,
                definition_list_id=batch.definition_list_id,
                priority=batch.priority - 1,
                instances=1,
                is_isolated=True,
                next_attempt_at=retry_at or timezone.now(),
                detail="This instance ended associations; it is tried alone.",
            )
            SendItem.objects.filter(pk=item_id).update(batch=alone)
            SendBatch.objects.filter(pk=batch.pk).update(instances=F("instances") - 1)


def _next_attempt(pending: QuerySet[SendItem], earliest: datetime) -> datetime:
    """Return when something of the batch is due: now for untried items, else the first retry."""
    if pending.filter(retry_at__isnull=True).exists():
        return earliest
    first: datetime = pending.aggregate(first=Min("retry_at"))["first"]
    return max(earliest, first)
