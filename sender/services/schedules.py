"""Schedules as people keep them: added, changed, enabled, disabled, deleted. Only rows here."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from sender.models import (
    ContextTemplate,
    Destination,
    RecurrenceKind,
    Schedule,
    ScheduleTarget,
)
from sender.services.audit import write_entry
from sender.services.clock import shared_now
from sender.services.recurrence import (
    InvalidRecurrence,
    next_runs,
    parse_recurrence,
)
from sender.services.schedule_facts import (
    IS_PAST,
    InvalidSchedule,
    Problems,
    ScheduleFacts,
    apply,
    facts_of,
    logged,
    this_minute,
)
from sender.services.schedule_runs import DISABLED, settle_due
from sender.services.schedule_times import next_open
from sender.services.sending import WrongState

CHANGED = "The schedule was changed before this run began."
_TIMING = ("kind", "expression", "zone", "anchor", "enabled")


def add_schedule(facts: ScheduleFacts, *, actor: str) -> Schedule:
    """Write a schedule and an audit entry.

    Raises:
        InvalidSchedule: something can't be as described; nothing is written.
    """
    now = shared_now()
    schedule = Schedule(created_by=actor, settled_until=now)
    with transaction.atomic():
        apply(schedule, facts, now)
        _set_next(schedule, now)
        schedule.save()
        _write_targets(schedule, facts.targets)
        facts_then = logged(facts_of(schedule))
        write_entry(actor=actor, action="schedule.add", subject=schedule.name, facts=facts_then)
    return schedule


def change_schedule(schedule: Schedule, facts: ScheduleFacts, *, actor: str) -> Schedule:
    """Change a schedule; runs that began keep what they began with.

    If its times change while one is due, that one is recorded as skipped.

    Raises:
        InvalidSchedule: something can't be as described; nothing is written.
    """
    now = shared_now()
    with transaction.atomic():
        stored = Schedule.objects.select_for_update().get(pk=schedule.pk)
        before = facts_of(stored)
        changed = Schedule.objects.get(pk=schedule.pk)
        apply(changed, facts, now, stored)
        if any(getattr(changed, name) != getattr(stored, name) for name in _TIMING):
            settle_due(stored, now, CHANGED if changed.enabled else DISABLED)
            _set_next(changed, now)
        changed.save()
        _write_targets(changed, facts.targets)
        after = facts_of(changed)
        differences = {name: after[name] for name in after if after[name] != before[name]}
        if differences:
            write_entry(
                actor=actor,
                action="schedule.change",
                subject=changed.name,
                facts=logged(differences),
            )
    schedule.refresh_from_db()
    return schedule


def problems_of(facts: ScheduleFacts, changed: Schedule | None = None) -> Problems:
    """Say what is wrong with a schedule as described; nothing is written.

    Args:
        changed: the schedule that is to become so; None: a new one.
    """
    candidate = Schedule.objects.get(pk=changed.pk) if changed else Schedule()
    try:
        apply(candidate, facts, shared_now(), changed)
    except InvalidSchedule as error:
        return error.problems
    return {}


def enable_schedule(schedule: Schedule, actor: str) -> None:
    """Let a schedule run at its times from now on; times that passed meanwhile are not made up.

    Raises:
        WrongState: it is enabled already, or would never run.
    """
    now = shared_now()
    with transaction.atomic():
        locked = Schedule.objects.select_for_update().get(pk=schedule.pk)
        if locked.enabled:
            raise WrongState(f"{locked.name} is enabled already.")
        locked.enabled = True
        try:
            _set_next(locked, now)
        except (InvalidSchedule, InvalidRecurrence) as error:
            raise WrongState(f"{locked.name} would never run: change its times first.") from error
        locked.save()
        write_entry(actor=actor, action="schedule.enable", subject=locked.name, facts={})
    schedule.refresh_from_db()


def disable_schedule(schedule: Schedule, actor: str) -> None:
    """Let a schedule run no more at its times; sends that began go on.

    Raises:
        WrongState: it is disabled already.
    """
    now = shared_now()
    with transaction.atomic():
        locked = Schedule.objects.select_for_update().get(pk=schedule.pk)
        if not locked.enabled:
            raise WrongState(f"{locked.name} is disabled already.")
        settle_due(locked, now, DISABLED)
        locked.enabled = False
        locked.next_run_at = None
        locked.settled_until = now
        locked.save()
        write_entry(actor=actor, action="schedule.disable", subject=locked.name, facts={})
    schedule.refresh_from_db()


def delete_schedule(schedule: Schedule, actor: str) -> None:
    """Remove a schedule and the list of its runs; their sends stay."""
    with transaction.atomic():
        write_entry(
            actor=actor,
            action="schedule.delete",
            subject=schedule.name,
            facts={"runs": schedule.runs.count()},
        )
        schedule.delete()


def preview(
    kind: str, expression: str, zone: str, anchor: datetime | None = None, *, count: int = 5
) -> list[datetime]:
    """Return the next times that a schedule would have, nothing written.

    Raises:
        InvalidRecurrence: it would never run, or a part can't be used.
    """
    now = shared_now()
    if kind == RecurrenceKind.INTERVAL and anchor is None:
        anchor = this_minute(now)
    return next_runs(parse_recurrence(kind, expression, zone, anchor), now, count)


def _set_next(schedule: Schedule, now: datetime) -> None:
    """Find the next time from now on.

    Raises:
        InvalidSchedule: it is enabled and would never run.
    """
    schedule.settled_until = now
    schedule.next_run_at = next_open(schedule, now) if schedule.enabled else None
    if schedule.enabled and schedule.next_run_at is None:
        raise InvalidSchedule({"expression": [IS_PAST]})


def _write_targets(
    schedule: Schedule, targets: Sequence[tuple[Destination, ContextTemplate]]
) -> None:
    wanted = [(destination.pk, template.pk) for destination, template in targets]
    rows = schedule.targets.order_by("id").values_list("destination_id", "template_id")
    if list(rows) == wanted:
        return
    schedule.targets.all().delete()
    ScheduleTarget.objects.bulk_create(
        ScheduleTarget(schedule=schedule, destination=destination, template=template)
        for destination, template in targets
    )
