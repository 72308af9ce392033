"""What follows for a batch once its association has ended: done, later, given up, isolated."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.utils import timezone

from sender.models import BatchState, Destination, Send, SendBatch, SendItem, SendState
from sender.models.sends import OPEN_BATCHES
from sender.negotiation import retry
from sender.negotiation.outcomes import AssociationOutcome, InstanceOutcome
from sender.negotiation.pacing import Rejected
from sender.negotiation.retry import RetryDecision
from sender.services import gate, holds, limits, sending, tallies, trials
from sender.services.delays import due_at, new_jitter
from sender.services.doubts import in_doubt
from sender.services.isolating import isolate_poison, next_attempt
from sender.services.leases import BatchLease, extend_batch
from sender.services.locks import lock_batches, lock_destination

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """An association that carried nothing: what follows, how it ended, which one it was."""

    decision: RetryDecision
    detail: str
    attempt: UUID | None = None

    @property
    def reason(self) -> str:
        """What is said of instances that were given up for it."""
        return f"not sent: {self.detail}"[:600]

    @property
    def concerns_all(self) -> bool:
        """The destination as a whole does not work; it is not the batch's own trouble."""
        return self.decision.breaker or self.decision.pause_destination


def settle_batch(
    batch: SendBatch,
    lease: BatchLease,
    outcome: AssociationOutcome | None,
    *,
    acknowledged: int,
    attempt: UUID | None = None,
) -> None:
    """Say what follows for a batch (outcome None: its association goes on, or none was needed).

    Args:
        acknowledged: C-STORE requests of the batch that the peer answered.
        attempt: uid of the association.
    """
    if outcome is None or outcome.kind in retry.HEALTHY_KINDS or acknowledged:
        close_batch(batch, lease, failures=0)
        return
    if outcome.rejection is not None:
        limits.note(batch.destination_id, Rejected(timezone.now(), outcome.rejection))
    decision = retry.after_association(outcome)
    if decision is retry.DONE:
        close_batch(batch, lease, failures=0)
    else:
        fail_association(batch, lease, Failure(decision, outcome.detail, attempt))


def interrupt_batch(batch: SendBatch, lease: BatchLease, *, acknowledged: int) -> None:
    """Give back a batch that had to stop for no fault of its own; its claim does not count."""
    failures = 0 if acknowledged else batch.failures
    close_batch(batch, lease, failures=failures, is_counted=False)


def fail_association(batch: SendBatch, lease: BatchLease, failure: Failure) -> None:
    """Put the batch off after an association that carried nothing, hold it, or give it up."""
    decision, failures = failure.decision, batch.failures + 1
    is_tried_again = decision.retry and failures <= allowed_attempts(batch.send, decision)
    with transaction.atomic():
        _lock(batch, failure, is_given_up=not is_tried_again)
        if not extend_batch(lease):
            return
        if is_tried_again:
            _put_off(batch, lease, failure)
        elif failure.concerns_all and _hold(batch, lease, failure):
            close_batch(batch, lease, failures=0, failure=failure)
        else:
            if failure.concerns_all:
                _give_up_send(batch.send_id, failure)
            _tell_breaker(batch, lease, failure, due_at(decision, failures, new_jitter()))
            _fail_items(SendItem.objects.filter(batch=batch), failure)
            close_batch(batch, lease, failures=failures, failure=failure)
        ended = spend_others(batch.send.destination, failure, send_id=batch.send_id)
        holds.end_idle(batch.send.destination)
    for send_id in ended:
        sending.finish_if_done(send_id)


def _lock(batch: SendBatch, failure: Failure, *, is_given_up: bool) -> None:
    """Lock all that may be changed when an association fails, in the order of locks.py."""
    concerned = Q(pk=batch.pk)
    if failure.concerns_all or not batch.send.inline:  # a breaker may have to be told
        lock_destination(batch.destination_id)
    if failure.concerns_all:
        concerned |= Q(pk__in=_open_batches_of_counted(batch.destination_id))
    if failure.concerns_all and is_given_up:
        concerned |= Q(send_id=batch.send_id, state__in=OPEN_BATCHES)
    lock_batches(SendBatch.objects.filter(concerned))


def _open_batches_of_counted(destination_id: int) -> QuerySet[SendBatch, int]:
    """Return the batches, by their ids, of sends that others' failures count for."""
    counted = SendBatch.objects.filter(
        destination_id=destination_id,
        state__in=OPEN_BATCHES,
        send__retries__isnull=False,
        send__inline=False,
    )
    return counted.order_by().values_list("pk", flat=True)


def allowed_attempts(send: Send, decision: RetryDecision) -> int:
    """Return how many associations may fail before a send is given up, after the first.

    A number of retries that was asked for caps it, and an inline send, for which somebody waits,
    takes the destination's number; all others go by the rule alone.
    """
    if send.inline or send.retries is not None:
        return min(send.allowed_retries, decision.attempts_allowed)
    return decision.attempts_allowed


def refuse_send(batch: SendBatch, lease: BatchLease, failure: Failure) -> None:
    """Give up all that is left of a send, beginning with a batch that was claimed."""
    with transaction.atomic():
        lock_batches(SendBatch.objects.filter(send_id=batch.send_id, state__in=OPEN_BATCHES))
        _give_up_send(batch.send_id, failure)
        _fail_items(SendItem.objects.filter(batch=batch), failure)
        close_batch(batch, lease, failures=batch.failures, failure=failure)


def _put_off(batch: SendBatch, lease: BatchLease, failure: Failure) -> None:
    """Have the batch tried again later.

    While other associations are open the destination does work: then the refusal is that of one
    association more, and counts for nothing.
    """
    failures = batch.failures + 1
    due = due_at(failure.decision, failures, new_jitter())
    if failure.decision.breaker and gate.works_beside(batch.destination_id, failure.attempt):
        failures = batch.failures
    elif failure.decision.breaker:
        opened = holds.open_breaker(
            batch.send.destination,
            failure.decision,
            failure.detail,
            failure.attempt,
            lease.decided_at,
        )
        # At this very instant: with the breaker over and this batch not due, others would spend
        # an attempt of theirs.
        due = due if batch.send.inline else opened
    _tell_breaker(batch, lease, failure, due)
    close_batch(batch, lease, due=due, failures=failures, failure=failure)


def _tell_breaker(batch: SendBatch, lease: BatchLease, failure: Failure, due: datetime) -> None:
    """Let others try when this batch may, if a breaker let it through and it failed otherwise."""
    if not (failure.concerns_all or batch.send.inline):
        holds.note_failure(
            batch.send.destination,
            failure.decision,
            failure.detail,
            failure.attempt,
            lease.decided_at,
            due=due,
        )


def _hold(batch: SendBatch, lease: BatchLease, failure: Failure) -> bool:
    """Hold the destination; tell whether the send waits until it works."""
    facts = (batch.send.destination, failure.decision, failure.detail, failure.attempt)
    if not failure.decision.pause_destination:
        holds.open_breaker(*facts, lease.decided_at)
        return False
    holds.block(*facts)
    return not batch.send.inline and batch.send.retries is None


@transaction.atomic
def spend_others(destination: Destination, failure: Failure, *, send_id: int = 0) -> set[int]:
    """Count a failure for the other sends whose number of retries was asked for; give some up.

    All others only wait, and so do those that are outside their own windows: nobody's attempts are
    used up by somebody else's. Returns the sends that have no attempt left.

    Args:
        send_id: the send that failed itself.
    """
    if not failure.concerns_all:
        return set()
    lock_destination(destination.pk)
    lock_batches(SendBatch.objects.filter(pk__in=_open_batches_of_counted(destination.pk)))
    now = timezone.now()
    waiting = trials.waiting_batches(destination.pk).filter(
        send__retries__isnull=False, next_attempt_at__lte=now
    )
    waiting = waiting.exclude(send_id__in=gate.shut_sends(destination.pk, now))
    concerned = waiting.exclude(send_id=send_id).values_list("pk", flat=True)
    SendBatch.objects.filter(pk__in=list(concerned)).update(failures=F("failures") + 1)
    ended = set()
    for send in Send.objects.filter(pk__in=waiting.exclude(send_id=send_id).values("send_id")):
        worst = waiting.filter(send=send).aggregate(n=Max("failures"))["n"]
        if worst > allowed_attempts(send, failure.decision):
            _give_up_send(send.pk, failure)
            ended.add(send.pk)
    return ended


def _give_up_send(send_id: int, failure: Failure) -> None:
    """Give up what a send has waiting; batches at work are left to those who work on them."""
    waiting = SendBatch.objects.filter(send_id=send_id, state=BatchState.READY)
    numbers = list(waiting.values_list("pk", flat=True))
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        _fail_items(SendItem.objects.filter(batch__in=chunk), failure)
        waiting.filter(pk__in=chunk).update(
            state=BatchState.DONE,
            rule=failure.decision.rule,
            detail=failure.detail[:400],
            last_outcome_at=timezone.now(),
        )


def _fail_items(items: QuerySet[SendItem], failure: Failure) -> None:
    """Give rows up; what was tried before without an answer may be stored, and is unknown."""
    tallies.change_rows(
        items.filter(in_doubt()),
        InstanceOutcome.PENDING,
        InstanceOutcome.UNKNOWN,
        reason=f"no trusted answer came, and it could not be tried again: {failure.detail}"[:600],
        retry_at=None,
    )
    tallies.change_rows(
        items,
        InstanceOutcome.PENDING,
        InstanceOutcome.FAILED,
        reason=failure.reason,
        rule=failure.decision.rule,
        retry_at=None,
    )


@transaction.atomic
def close_batch(
    batch: SendBatch,
    lease: BatchLease,
    *,
    failures: int,
    due: datetime | None = None,
    failure: Failure | None = None,
    is_counted: bool = True,
) -> None:
    """Give the batch back: done if nothing is pending, cancelled if so asked, else for later.

    Args:
        due: when it may be tried again; None: at once.
    """
    # Locked, so that nobody makes rows of it pending (again.py) once none was found.
    SendBatch.objects.select_for_update(no_key=True).get(pk=batch.pk)
    pending = isolate_poison(batch)
    now = timezone.now()
    changes: dict[str, object] = {"state": BatchState.DONE, "next_attempt_at": now}
    if pending:
        changes = {
            "state": BatchState.READY,
            "next_attempt_at": next_attempt(pending, due or now, is_put_off=due is not None),
        }
        if Send.objects.filter(pk=batch.send_id, state=SendState.CANCELLING).exists():
            changes = {"state": BatchState.CANCELLED}
    if failure:
        changes["last_outcome_at"] = now
    if not is_counted:
        changes["attempt"] = F("attempt") - 1
    SendBatch.objects.filter(pk=batch.pk, fence=lease.fence, state=BatchState.RUNNING).update(
        owner="",
        lease_until=None,
        failures=failures,
        rule=failure.decision.rule if failure else "",
        detail=failure.detail[:400] if failure else "",
        **changes,
    )
