"""Runs of schedules: exactly one per intended time, however many hosts look at the clock.

Whoever moves `next_run_at` by a conditional update writes the run in the same transaction, and its
unique key (schedule, intended time) holds even where the clock was set back. A run is only a row
here; a worker starts it (run_starting.py), because looking at its sources may take a while.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from sender.models import (
    CatchUp,
    Overlap,
    RunState,
    RunTrigger,
    Schedule,
    ScheduleRun,
    Send,
    SendState,
)
from sender.models.schedules import BY_CLOCK
from sender.models.sends import ENDED_STATES
from sender.services import sending, tickets
from sender.services.audit import write_entry
from sender.services.clock import shared_now
from sender.services.recurrence import MISSED_AT_MOST, InvalidRecurrence
from sender.services.schedule_times import due_times, next_open, say_local
from sender.services.sending import WrongState
from sender.services.vigil import WATCH

ON_TIME_SECONDS = 60
"""Later than this, a time was missed: no sender was running (catch-up policy)."""
CLOCK_TOLERANCE_SECONDS = 60
"""Clocks of hosts may differ by so much; beyond it, a clock was set back."""
START_LEASE = timedelta(seconds=30)
"""A lease that stood still for so long has nobody who is about to start the run."""
MOST_ATTEMPTS = 3
MISSED = "No sender was running at this time, or the clock was set forward past it."
CAUGHT_UP = "Caught up late: no sender was running at this time, or the clock was set forward."
VANISHED = "The sources could not be looked at: each worker that tried it did not come back."
DISABLED = "The schedule was disabled before this run began."
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a time of a schedule that has come."""

    trigger: RunTrigger
    state: RunState
    detail: str


def tick(now: datetime) -> None:
    """Look after all schedules: what is due, what waits, what nobody started.

    Several processes may do so at the same time.
    """
    _heed_clock_set_back(now)
    run_due(now)
    _release_waiting(now)
    _call_out_again(now)


def run_due(now: datetime) -> list[ScheduleRun]:
    """Write a run for each schedule that is due; return those that this call wrote.

    Of several times that are due, the newest runs; how many were missed is told in its detail.
    """
    due = Schedule.objects.filter(enabled=True, next_run_at__lte=now).order_by("next_run_at", "pk")
    return [run for schedule in due if (run := _take(schedule, now)) is not None]


def _take(schedule: Schedule, now: datetime) -> ScheduleRun | None:
    try:
        times, following = due_times(schedule, now), next_open(schedule, now)
    except InvalidRecurrence as error:
        times, following = [], None
        problem = f"Its times can't be told any more: {error}"
    else:
        problem = ""
    with transaction.atomic():
        if not _move_on(schedule, following, now):
            return None
        if problem:
            assert schedule.next_run_at is not None
            decided = Decision(RunTrigger.TIME, RunState.FAILED, problem)
            return _write(schedule, schedule.next_run_at, decided, now)
        return _take_newest(schedule, times, now) if times else None


def _move_on(schedule: Schedule, following: datetime | None, now: datetime) -> bool:
    """Set the next time if the schedule is still as it was read; only one process succeeds."""
    as_read = Schedule.objects.filter(
        pk=schedule.pk,
        enabled=True,
        next_run_at=schedule.next_run_at,
        changed_at=schedule.changed_at,
    )
    return as_read.update(next_run_at=following, settled_until=now) == 1


def _take_newest(schedule: Schedule, times: list[datetime], now: datetime) -> ScheduleRun | None:
    newest = times[-1]
    is_late = now - newest > timedelta(seconds=ON_TIME_SECONDS)
    if is_late and schedule.catch_up == CatchUp.SKIP:
        decided = Decision(RunTrigger.TIME, RunState.SKIPPED, _with_missed(MISSED, times))
        return _write(schedule, newest, decided, now)
    state, detail = _standing(schedule)
    said = f"{CAUGHT_UP} {detail}".strip() if is_late else detail
    trigger = RunTrigger.CATCH_UP if is_late else RunTrigger.TIME
    return _write(schedule, newest, Decision(trigger, state, _with_missed(said, times)), now)


def _with_missed(detail: str, times: list[datetime]) -> str:
    """Add how many times before the newest one were missed."""
    missed = len(times) - 1
    if not missed:
        return detail
    many = f"At least {missed}" if len(times) >= MISSED_AT_MOST else f"{missed}"
    said = f"{many} earlier time{'s were' if missed > 1 else ' was'} missed."
    return f"{detail} {said}".strip()


def _write(
    schedule: Schedule, intended_at: datetime, decided: Decision, now: datetime
) -> ScheduleRun | None:
    """Write the run of a time and call it out; None if that time has one already."""
    run, is_new = ScheduleRun.objects.get_or_create(
        schedule=schedule,
        intended_at=intended_at,
        defaults={
            "trigger": decided.trigger,
            "state": decided.state,
            "detail": decided.detail[:400],
            "lease_until": now + START_LEASE,
        },
    )
    if not is_new:
        return None
    if run.state == RunState.DUE:
        tickets.issue_run(run.pk)
    elif run.state in (RunState.SKIPPED, RunState.FAILED):
        record_run(run)
    return run


def actor_of(run: ScheduleRun) -> str:
    """Return who answers for a run: a person, or the schedule itself."""
    return run.requested_by or f"schedule:{run.schedule.name}"


def record_run(run: ScheduleRun, sends: list[Send] | None = None) -> None:
    """Write what became of a run into the audit log."""
    write_entry(
        actor=actor_of(run),
        action="schedule.run",
        subject=run.schedule.name,
        facts={
            "intended_at": run.intended_at.isoformat(),
            "trigger": str(run.trigger),
            "state": str(run.state),
            "sends": [send.pk for send in sends or []],
        },
    )


def _standing(schedule: Schedule) -> tuple[RunState, str]:
    """Tell whether a run may begin now, with what is to be said of it (overlap policy)."""
    going_on = what_goes_on(schedule)
    if not going_on:
        return RunState.DUE, ""
    if schedule.overlap == Overlap.SKIP:
        return RunState.SKIPPED, going_on
    if _runs(schedule, RunState.QUEUED).exists():
        return RunState.SKIPPED, f"{going_on} Another run waits for it already."
    return RunState.QUEUED, going_on


def what_goes_on(schedule: Schedule) -> str:
    """Say which run of a schedule is not over; "" if all are."""
    run = _runs(schedule, RunState.DUE, RunState.QUEUED).last()
    if run is not None:
        return f"The run of {say_local(schedule, run.intended_at)} has not begun yet."
    sends = _open_sends(schedule)
    run = ScheduleRun.objects.filter(schedule=schedule, listing__sends__in=sends).last()
    if run is None:
        return ""
    number = sends.filter(listing=run.listing).count()
    said = f"{number} sends are" if number > 1 else "a send is"
    return f"The run of {say_local(schedule, run.intended_at)} is still going on: {said} open."


def _runs(schedule: Schedule, *states: RunState) -> QuerySet[ScheduleRun]:
    return ScheduleRun.objects.filter(schedule=schedule, state__in=states).exclude(
        trigger=RunTrigger.CHECK
    )


def _open_sends(schedule: Schedule) -> QuerySet[Send]:
    return Send.objects.filter(listing__runs__schedule=schedule).exclude(
        state__in=[*ENDED_STATES, SendState.DRAFT]
    )


def run_now(schedule: Schedule, actor: str) -> ScheduleRun:
    """Have a schedule run at once, enabled or not; its times stay as they are.

    Raises:
        WrongState: a run is going on, and the schedule does not let another wait for it.
    """
    with transaction.atomic():
        locked = Schedule.objects.select_for_update().get(pk=schedule.pk)
        state, detail = _standing(locked)
        if state == RunState.SKIPPED:
            raise WrongState(detail)
        return _ask(locked, RunTrigger.NOW, state, detail, actor)


def check_now(schedule: Schedule, actor: str) -> ScheduleRun:
    """Have a schedule's sources listed and planned as drafts: nothing is sent.

    The drafts of an earlier check are cancelled; a check that has not begun is returned.
    """
    with transaction.atomic():
        locked = Schedule.objects.select_for_update().get(pk=schedule.pk)
        waiting = ScheduleRun.objects.filter(
            schedule=locked, trigger=RunTrigger.CHECK, state=RunState.DUE
        ).first()
        if waiting is not None:
            return waiting
        drafts = Send.objects.filter(
            listing__runs__schedule=locked,
            listing__runs__trigger=RunTrigger.CHECK,
            state=SendState.DRAFT,
        )
        for draft in drafts:
            sending.cancel_send(draft, actor)
        return _ask(locked, RunTrigger.CHECK, RunState.DUE, "", actor)


def _ask(
    schedule: Schedule, trigger: RunTrigger, state: RunState, detail: str, actor: str
) -> ScheduleRun:
    """Write a run that a person asked for; it never takes the place of a time of the schedule."""
    now = shared_now()
    run = ScheduleRun.objects.create(
        schedule=schedule,
        intended_at=now.replace(microsecond=now.microsecond or 1),
        trigger=trigger,
        state=state,
        detail=detail[:400],
        requested_by=actor,
        lease_until=now + START_LEASE,
    )
    action = "schedule.check" if trigger == RunTrigger.CHECK else "schedule.run_now"
    write_entry(actor=actor, action=action, subject=schedule.name, facts={})
    if state == RunState.DUE:
        tickets.issue_run(run.pk)
    return run


def settle_due(schedule: Schedule, now: datetime, detail: str) -> None:
    """Record times that are due as skipped, because the schedule is about to change.

    Call it in the transaction that changes the schedule.
    """
    if not schedule.enabled:
        return
    try:
        times = due_times(schedule, now)
    except InvalidRecurrence:
        return
    if times:
        decided = Decision(RunTrigger.TIME, RunState.SKIPPED, _with_missed(detail, times))
        _write(schedule, times[-1], decided, now)


def end_run(run: ScheduleRun, state: RunState, detail: str) -> bool:
    """End a run that did not begin; tell whether this call did."""
    with transaction.atomic():
        waiting = ScheduleRun.objects.filter(pk=run.pk, state__in=(RunState.DUE, RunState.QUEUED))
        if not waiting.update(state=state, detail=detail[:400], lease_until=None):
            return False
        run.refresh_from_db()
        record_run(run)
    return True


def _heed_clock_set_back(now: datetime) -> None:
    """Find the next time anew where the last look at the clock lies in the future.

    Times that have a run keep it, so nothing runs twice.
    """
    tolerated = now + timedelta(seconds=CLOCK_TOLERANCE_SECONDS)
    for schedule in Schedule.objects.filter(enabled=True, settled_until__gt=tolerated):
        try:
            following = next_open(schedule, now)
        except InvalidRecurrence:
            continue
        if _move_on(schedule, following, now):
            logger.warning(
                "The clock was set back: the next run of %s is at %s.", schedule.name, following
            )


def _release_waiting(now: datetime) -> None:
    """Begin runs that waited for an earlier one that is over now."""
    waiting = ScheduleRun.objects.filter(state=RunState.QUEUED).select_related("schedule")
    for run in waiting.order_by("intended_at"):
        if run.trigger in BY_CLOCK and not run.schedule.enabled:
            end_run(run, RunState.SKIPPED, DISABLED)
        else:
            _release(run, now)


def _release(run: ScheduleRun, now: datetime) -> None:
    with transaction.atomic():
        schedule = Schedule.objects.select_for_update().filter(pk=run.schedule_id).first()
        if schedule is None:
            return
        if _runs(schedule, RunState.DUE).exists() or _open_sends(schedule).exists():
            return
        mine = ScheduleRun.objects.filter(pk=run.pk, state=RunState.QUEUED)
        if mine.update(state=RunState.DUE, lease_until=now + START_LEASE):
            tickets.issue_run(run.pk)


def _call_out_again(now: datetime) -> None:
    """Issue tickets for runs that nobody started; give up those that nobody comes back from.

    Whoever looks at the sources of a run extends its lease, however long that takes.
    """
    due = ScheduleRun.objects.filter(state=RunState.DUE)
    leases = dict(due.values_list("pk", "lease_until"))
    over = WATCH.over("runs to start", leases.items(), after=START_LEASE.total_seconds())
    late = due.filter(pk__in=over).order_by("intended_at").select_related("schedule")
    for run in late[: tickets.MOST_WAITING]:
        if run.attempts >= MOST_ATTEMPTS:
            end_run(run, RunState.FAILED, VANISHED)
        elif tickets.waiting() < tickets.MOST_WAITING:
            with transaction.atomic():
                mine = due.filter(pk=run.pk, lease_until=leases[run.pk])
                if mine.update(lease_until=now + START_LEASE):
                    tickets.issue_run(run.pk)
