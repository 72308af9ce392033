"""What is tried again: batches opened again chunk by chunk, each in a transaction of its own.

A few rows are taken up with the wish itself. Of many the wish is kept with the send, with how far
it is, and whoever comes by goes on where another stopped: who asked for it while that takes no
time, then the tick. So millions of rows keep no page and no other writer waiting, and a kill
between two chunks loses nothing. Each batch is looked at once, in the order of their numbers and
none that was made later, so that nothing is tried again that failed once more meanwhile.
"""

import time
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from sender.models import BatchState, Send, SendBatch, SendState
from sender.negotiation import retry
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import fairness, tallies
from sender.services.locks import lock_batches, lock_send
from sender.services.subsets import Subset

CHUNK = 2000
"""Rows that are changed together; some 0.1 s."""
CHUNK_BATCHES = 500
GOES_ON = (SendState.QUEUED, SendState.RUNNING, SendState.PAUSED)
_FRESH: dict[str, object] = {
    "attempts": 0,
    "retry_at": None,
    "status": None,
    "reason": "",
    "rule": "",
}
_ASKED_AGAIN: dict[str, object] = {
    "attempts": 0,
    "retry_at": None,
    "status": None,
    "rule": retry.ASKED_AGAIN.rule,
}
"""What may be stored stays so until an answer comes, and its reason stays with it."""
Wish = dict[str, Any]
"""`subset`, as facts; batches up to `after` are done, of those up to `until`; `rows` belonged to it
when it was made, of which `ready` were taken up."""


def reopen(send: Send, subset: Subset) -> int:
    """Take up a part of a send, or many rows of it later; return how many rows it has.

    In the caller's transaction, with the send locked.
    """
    found = subset.rows(send).order_by().values_list("batch_id", flat=True)
    numbers = list(found[: CHUNK + 1])
    if len(numbers) <= CHUNK:
        return _open(subset, {number for number in numbers if number is not None})
    rows = subset.count(send)
    last = send.batches.aggregate(n=Max("pk"))["n"]
    wish = {"subset": subset.facts, "after": 0, "until": last, "rows": rows, "ready": 0}
    _keep(send, [*wishes_of(send), wish])
    return rows


def wishes_of(send: Send) -> list[Wish]:
    """Return what is still to be taken up of a send, the oldest wish first."""
    found: list[Wish] = send.plan_cursor.get("again", [])
    return found


def is_wished(send: Send, subset: Subset) -> bool:
    """Tell whether the same part of a send is being taken up."""
    return any(wish["subset"] == subset.facts for wish in wishes_of(send))


def settle(send_id: int, *, seconds: float) -> None:
    """Take up what is wished of a send, and have workers called for it.

    Args:
        seconds: after so long the rest is left for the next time; one chunk is done at least.
    """
    deadline = time.monotonic() + seconds
    is_first = True
    while _settle_some(send_id, calls_workers=is_first) and time.monotonic() < deadline:
        is_first = False


def wished() -> QuerySet[Send]:
    """Return the sends of which something is still to be taken up."""
    return Send.objects.filter(plan_cursor__has_key="again", state__in=GOES_ON)


def forget(send_id: int) -> None:
    """Take up nothing more of a send; in a transaction."""
    send = lock_send(send_id)
    if wishes_of(send):
        _keep(send, [])


def _settle_some(send_id: int, *, calls_workers: bool) -> bool:
    """Take up a chunk; False if nothing is left to do now."""
    with transaction.atomic():
        send = lock_send(send_id)  # it may have been cancelled, or its wish been settled
        wishes = wishes_of(send)
        if not wishes or send.state not in GOES_ON:
            return False
        first = wishes[0]
        numbers = _some_batches(send_id, first)
        if not numbers:
            _keep(send, wishes[1:])
            return len(wishes) > 1
        ready = _open(Subset.of_facts(first["subset"]), numbers)
        done = {**first, "after": numbers[-1], "ready": first["ready"] + ready}
        _keep(send, [done, *wishes[1:]])
        if ready and calls_workers:
            fairness.call_workers(send)
        return True


def _keep(send: Send, wishes: list[Wish]) -> None:
    others = {name: value for name, value in send.plan_cursor.items() if name != "again"}
    send.plan_cursor = others | ({"again": wishes} if wishes else {})
    Send.objects.filter(pk=send.pk).update(plan_cursor=send.plan_cursor)


def _some_batches(send_id: int, wish: Wish) -> list[int]:
    """Return the next batches of a wish: about as many as a chunk has rows."""
    following = SendBatch.objects.filter(
        send_id=send_id, pk__gt=wish["after"], pk__lte=wish["until"]
    )
    first = list(following.order_by("pk").values_list("pk", "instances")[:CHUNK_BATCHES])
    sums = accumulate(instances for _, instances in first)
    numbers = [pk for (pk, _), rows in zip(first, sums, strict=True) if rows <= CHUNK]
    return numbers or [pk for pk, _ in first[:1]]


def _open(subset: Subset, numbers: Iterable[int]) -> int:
    """Make the rows of some batches that belong to a part pending; return how many there were."""
    # Locked, so that nothing more of them fails, and none is closed, before they are opened again.
    lock_batches(SendBatch.objects.filter(pk__in=numbers))
    concerned = _with_rows(subset, numbers)
    if not concerned:
        return 0
    rows = subset.rows_in(concerned)
    count = sum(
        tallies.change_rows(rows, before, InstanceOutcome.PENDING, **_afresh(before))
        for before in sorted(subset.tried_again)
    )
    now, batches = timezone.now(), SendBatch.objects.filter(pk__in=concerned)
    ended = batches.filter(state__in=(BatchState.DONE, BatchState.CANCELLED))
    ended.update(state=BatchState.READY, failures=0, next_attempt_at=now, rule="", detail="")
    batches.filter(state=BatchState.READY).update(next_attempt_at=now)
    return count


def _with_rows(subset: Subset, numbers: Iterable[int]) -> list[int]:
    """Return those of some batches of which something is to be tried again."""
    is_wanted = Q()
    for outcome in sorted(subset.tried_again):
        is_wanted |= Q(outcome__is_now=outcome)
    found = subset.rows_in(list(numbers)).filter(is_wanted).order_by()
    concerned = found.values_list("batch_id", flat=True).distinct()
    return sorted(number for number in concerned if number is not None)


def _afresh(before: InstanceOutcome) -> dict[str, object]:
    return _ASKED_AGAIN if before is InstanceOutcome.UNKNOWN else _FRESH
