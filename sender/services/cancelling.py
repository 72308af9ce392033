"""What will not be sent any more: cancelled chunk by chunk, each in a transaction of its own.

The state of a send is the wish; whoever comes by goes on where another stopped: who asked for it
while that takes no time, then the tick. So millions of rows keep no page and no other writer
waiting, and a kill between two chunks loses nothing. At each step the counts are those of the rows.
"""

import time
from itertools import accumulate

from django.db import transaction
from django.db.models import QuerySet

from sender.models import BatchState, Send, SendBatch, SendItem, SendState
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import tallies
from sender.services.doubts import in_doubt
from sender.services.locks import lock_items

CANCELLED_REASON = "the send was cancelled"
CHUNK = 2000
"""Rows that are changed together; some 0.1 s."""
CHUNK_BATCHES = 500
MOMENT_SECONDS = 0.5
"""What somebody who waits for an answer may be kept by it."""


def settle(send_id: int, *, seconds: float = MOMENT_SECONDS) -> bool:
    """Cancel what is left of a send, if it is being cancelled; tell whether nothing is left to do.

    Batches that nobody works on first, with their rows; the rows of others once nobody works on
    any, as their outcome is known only then.

    Args:
        seconds: after so long the rest is left for the next time; one chunk is done at least.
    """
    deadline = time.monotonic() + seconds
    while _settle_some(send_id):
        if time.monotonic() >= deadline:
            return not is_left(send_id)
    return True


def cancel_rows(send_id: int, *, reason: str) -> None:
    """Cancel all that is pending of a send that nobody else works on, however long it takes."""
    is_left = True
    while is_left:
        with transaction.atomic():
            is_left = _cancel_some(_pending(send_id), reason) > 0


def _settle_some(send_id: int) -> bool:
    """Settle a chunk; False if nothing was to be settled now."""
    with transaction.atomic():
        # Locked, and looked at again: it may have ended meanwhile, and been taken up again.
        if not _cancelled(send_id).select_for_update(no_key=True).exists():
            return False
        numbers = _some_batches(send_id)
        if numbers:
            # Not by send: SQLite would look at all that is pending of it.
            found = SendItem.objects.filter(batch__in=numbers)
            rows = found.filter(outcome__is_now=InstanceOutcome.PENDING)
            _cancel_some(rows, CANCELLED_REASON)
            if not rows.exists():
                SendBatch.objects.filter(pk__in=numbers).update(state=BatchState.CANCELLED)
            return True
        if SendBatch.objects.filter(send_id=send_id, state=BatchState.RUNNING).exists():
            return False
        return _cancel_some(_pending(send_id), CANCELLED_REASON) > 0


def is_left(send_id: int) -> bool:
    """Tell whether something of a send that is being cancelled waits to be settled."""
    ready = SendBatch.objects.filter(send_id=send_id, state=BatchState.READY)
    return _cancelled(send_id).exists() and (ready.exists() or _pending(send_id).exists())


def _cancelled(send_id: int) -> QuerySet[Send]:
    """Return the send if it is being cancelled, and nobody plans it any more."""
    return Send.objects.filter(
        pk=send_id, state=SendState.CANCELLING, planned_at__isnull=False
    ).order_by()


def _some_batches(send_id: int) -> list[int]:
    """Return batches that nobody works on, locked: about as many as a chunk has rows."""
    ready = SendBatch.objects.filter(send_id=send_id, state=BatchState.READY).order_by("pk")
    first = list(ready.values_list("pk", "instances")[:CHUNK_BATCHES])
    sums = accumulate(instances for _, instances in first)
    numbers = [pk for (pk, _), rows in zip(first, sums, strict=True) if rows <= CHUNK]
    chunk = ready.filter(pk__in=numbers or [pk for pk, _ in first[:1]])
    return list(chunk.select_for_update(no_key=True).values_list("pk", flat=True))


def _pending(send_id: int) -> QuerySet[SendItem]:
    return SendItem.objects.filter(send_id=send_id, outcome=InstanceOutcome.PENDING).order_by()


def _cancel_some(pending: QuerySet[SendItem], reason: str) -> int:
    """Cancel a chunk of rows, and return how many those were.

    What was tried without an answer may be stored, and is unknown.
    """
    numbers = list(pending.order_by().values_list("pk", flat=True)[:CHUNK])
    rows = SendItem.objects.filter(pk__among=numbers)
    if numbers:
        lock_items(rows)  # a journal may be read back just now
        tallies.change_rows(
            rows.filter(in_doubt()), InstanceOutcome.PENDING, InstanceOutcome.UNKNOWN, retry_at=None
        )
        tallies.change_rows(
            rows, InstanceOutcome.PENDING, InstanceOutcome.CANCELLED, reason=reason, retry_at=None
        )
    return len(numbers)
