"""The times of a schedule: which are due, which comes next, and how they are written."""

from datetime import UTC, datetime, timedelta

from sender.models import Schedule, ScheduleRun
from sender.negotiation.local_time import UnknownZone, zone_named
from sender.services.recurrence import Recurrence, missed_runs, next_runs, parse_recurrence

_AT_ONCE = 5
_JUST_BEFORE = timedelta(microseconds=1)


def recurrence_of(schedule: Schedule) -> Recurrence:
    """Return when a schedule runs.

    Raises:
        InvalidRecurrence: what is stored can't be used (any more): a zone that is gone.
    """
    return parse_recurrence(schedule.kind, schedule.expression, schedule.zone, schedule.anchor)


def next_open(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first time after an instant that has no run yet; None: never again.

    Times that have one lie ahead only where the clock was set back.

    Raises:
        InvalidRecurrence: as `recurrence_of`.
    """
    recurrence = recurrence_of(schedule)
    while times := next_runs(recurrence, after, _AT_ONCE):
        runs = ScheduleRun.objects.filter(schedule_id=schedule.pk, intended_at__in=times)
        taken = set(runs.values_list("intended_at", flat=True)) if schedule.pk else set()
        found = next((time for time in times if time not in taken), None)
        if found is not None:
            return found
        after = times[-1]
    return None


def due_times(schedule: Schedule, now: datetime) -> list[datetime]:
    """Return the times from the next one on that have come, oldest first; of many the newest.

    Raises:
        InvalidRecurrence: as `recurrence_of`.
    """
    if schedule.next_run_at is None or schedule.next_run_at > now:
        return []
    return missed_runs(recurrence_of(schedule), schedule.next_run_at - _JUST_BEFORE, now)


def say_local(schedule: Schedule, moment: datetime) -> str:
    """Write a moment to the minute in a schedule's zone; in UTC if that zone is gone."""
    try:
        return f"{moment.astimezone(zone_named(schedule.zone)):%Y-%m-%d %H:%M}"
    except UnknownZone:
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
