"""What of a batch is still to be sent: alone where that is called for, the rest when it is due."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import F, Max
from django.utils import timezone

from sender.models import SendBatch, SendItem
from sender.negotiation import retry
from sender.negotiation.outcomes import InstanceOutcome
from sender.services.delays import base_delays

ALONE_RULES = tuple(rule for rule, decision in retry.RULES.items() if decision.isolate)


class Pending(NamedTuple):
    """An item that has not ended, with the rule of its last attempt and when it is due again."""

    item_id: int
    rule: str
    retry_at: datetime | None


def isolate_poison(batch: SendBatch) -> list[Pending]:
    """Move instances that shall be tried alone into batches of their own; return what stays."""
    items = SendItem.objects.filter(batch=batch, outcome__is_now=InstanceOutcome.PENDING)
    pending = [Pending(*row) for row in items.values_list("id", "rule", "retry_at")]
    if batch.is_isolated:
        return pending
    for item_id, rule, retry_at in pending:
        if rule in ALONE_RULES:
            _isolate(batch, item_id, rule, retry_at or timezone.now())
    return [item for item in pending if item.rule not in ALONE_RULES]


def _isolate(batch: SendBatch, item_id: int, rule: str, due: datetime) -> None:
    with transaction.atomic():
        alone = _add_batch(
            batch,
            priority=batch.priority - 1,
            instances=1,
            is_isolated=True,
            next_attempt_at=due,
            rule=rule,
            detail="This instance is tried alone.",
        )
        SendItem.objects.filter(pk=item_id).update(batch=alone)
        SendBatch.objects.filter(pk=batch.pk).update(instances=F("instances") - 1)


def _add_batch(batch: SendBatch, **facts: object) -> SendBatch:
    """Add a batch for instances of another; each association of the send may do so at once."""
    while True:
        number = _last_number(batch.send_id) + 1
        try:
            with transaction.atomic():
                return SendBatch.objects.create(
                    send_id=batch.send_id,
                    number=number,
                    destination_id=batch.destination_id,
                    definition_list_id=batch.definition_list_id,
                    **facts,
                )
        except IntegrityError:
            if _last_number(batch.send_id) < number:  # then it was not the number
                raise


def _last_number(send_id: int) -> int:
    return int(SendBatch.objects.filter(send_id=send_id).aggregate(n=Max("number"))["n"])


def next_attempt(pending: Sequence[Pending], earliest: datetime, *, is_put_off: bool) -> datetime:
    """Return when something of the batch is due: now for untried items, else the first retries.

    Those that are due soon after the first are put off, so that they may go together.

    Args:
        is_put_off: its association carried nothing; if that is over, all that is due may go.
    """
    retries = {item.item_id: item.retry_at for item in pending if item.retry_at is not None}
    if len(retries) < len(pending):
        return earliest
    first = max(earliest, min(retries.values()))
    if is_put_off and first == earliest:
        return first
    ready = {item.rule for item in pending if retries[item.item_id] <= first}
    return first if ready & retry.AT_ONCE else _together(retries, first)


def _together(retries: Mapping[int, datetime], first: datetime) -> datetime:
    """Let items wait for those that are due soon after; return when they are due then.

    Else many would have an association of their own.
    """
    latest = first + base_delays(retry.TOGETHER_UNITS)
    due = max([first, *(at for at in retries.values() if at <= latest)])
    if due > first:
        early = {item_id for item_id, at in retries.items() if at < due}
        SendItem.objects.filter(pk__among=early).update(retry_at=due)
    return due
