"""Schedules as people keep them: added, changed, enabled, disabled, deleted. Only rows here."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from sender.models import (
    CatchUp,
    ContextTemplate,
    Destination,
    Overlap,
    RecurrenceKind,
    Schedule,
    ScheduleTarget,
    StudyOrder,
)
from sender.negotiation import selection
from sender.negotiation.selection import parse_selection, to_document
from sender.negotiation.windows import InvalidWindows, parse_windows
from sender.services import sources
from sender.services.audit import write_entry
from sender.services.clock import shared_now
from sender.services.recurrence import (
    InvalidRecurrence,
    Recurrence,
    next_runs,
    parse_recurrence,
    shortest_interval,
)
from sender.services.schedule_runs import settle_due
from sender.services.schedule_times import next_open
from sender.services.sending import WrongState
from sender.services.sources import InvalidSource

MOST_SOURCES = 100
LONGEST_NOTE = 2000
MOST_RETRIES = 20
PRIORITIES = range(-100, 101)
FINISH_WITHIN_SECONDS = range(60, 366 * 86400 + 1)
CHANGED = "The schedule was changed before this run began."
DISABLED = "The schedule was disabled before this run began."
IS_PAST = "This time is past."
Problems = dict[str, list[str]]


class InvalidSchedule(ValueError):
    """A schedule can't be as described; `problems` maps each field to what is wrong."""

    def __init__(self, problems: Problems) -> None:
        lines = [f"{name}: {' '.join(found)}" for name, found in problems.items()]
        super().__init__("\n".join(lines))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ScheduleFacts:
    """What a person says of a schedule.

    Attributes:
        kind, expression, zone: when it runs (services/recurrence.py).
        anchor: the first run of an interval; None: one interval from now.
        sources: absolute paths of folders or files below the allowed source roots.
        targets: destinations, each with the template whose newest version a run takes.
        rules: what is taken of the sources (negotiation/selection.py).
        windows: when its sends may run, in `zone` (negotiation/windows.py); "": at any time.
        only_new: leave out what a destination has already.
        finish_within_seconds: from the intended time, when a run should be through.
    """

    name: str
    kind: str
    expression: str
    zone: str
    sources: Sequence[str]
    targets: Sequence[tuple[Destination, ContextTemplate]]
    anchor: datetime | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    windows: str = ""
    catch_up: str = CatchUp.LATEST
    overlap: str = Overlap.SKIP
    only_new: bool = True
    study_order: str = StudyOrder.LISTED
    retries: int | None = None
    priority: int = 0
    finish_within_seconds: int | None = None
    note: str = ""
    enabled: bool = True


_PLAIN = (
    "name", "catch_up", "overlap", "only_new", "study_order", "retries", "priority",
    "finish_within_seconds", "note", "enabled",
)  # fmt: skip
_CHECKED_BY_MODEL = {"name", "catch_up", "overlap", "study_order", "windows"}
_TIMING = ("kind", "expression", "zone", "anchor", "enabled")


def add_schedule(facts: ScheduleFacts, *, actor: str) -> Schedule:
    """Write a schedule and an audit entry.

    Raises:
        InvalidSchedule: something can't be as described; nothing is written.
    """
    now = shared_now()
    schedule = Schedule(created_by=actor, settled_until=now)
    with transaction.atomic():
        _apply(schedule, facts, now)
        _set_next(schedule, now)
        schedule.save()
        _write_targets(schedule, facts.targets)
        facts_then = _logged(_facts(schedule))
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
        before = _facts(stored)
        changed = Schedule.objects.get(pk=schedule.pk)
        _apply(changed, facts, now, stored)
        if any(getattr(changed, name) != getattr(stored, name) for name in _TIMING):
            settle_due(stored, now, CHANGED if changed.enabled else DISABLED)
            _set_next(changed, now)
        changed.save()
        _write_targets(changed, facts.targets)
        after = _facts(changed)
        differences = {name: after[name] for name in after if after[name] != before[name]}
        if differences:
            write_entry(
                actor=actor,
                action="schedule.change",
                subject=changed.name,
                facts=_logged(differences),
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
        _apply(candidate, facts, shared_now(), changed)
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
        anchor = _this_minute(now)
    return next_runs(parse_recurrence(kind, expression, zone, anchor), now, count)


def _this_minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)


def _apply(
    schedule: Schedule, facts: ScheduleFacts, now: datetime, stored: Schedule | None = None
) -> None:
    """Put what a person says into a schedule, in one form.

    Raises:
        InvalidSchedule: naming everything that is wrong.
    """
    problems: Problems = {}
    for name in _PLAIN:
        setattr(schedule, name, getattr(facts, name))
    schedule.name = facts.name.strip()
    _apply_times(schedule, facts, now, stored, problems)
    _apply_rules(schedule, facts, problems)
    written = list(dict.fromkeys(path.strip() for path in facts.sources if path.strip()))
    if stored is None or written != stored.sources:
        _check_sources(written, problems)
    schedule.sources = written
    _check_numbers(schedule, problems)
    _check_targets(facts.targets, problems)
    _check_columns(schedule, problems)
    if problems:
        raise InvalidSchedule(problems)


def _apply_times(
    schedule: Schedule,
    facts: ScheduleFacts,
    now: datetime,
    stored: Schedule | None,
    problems: Problems,
) -> None:
    try:
        recurrence = parse_recurrence(
            facts.kind, facts.expression, facts.zone, _anchor(facts, now, stored)
        )
    except InvalidRecurrence as error:
        problems.setdefault(error.field, []).append(str(error))
        return
    schedule.kind = recurrence.kind.value
    schedule.expression = recurrence.expression
    schedule.zone = recurrence.zone
    schedule.anchor = recurrence.anchor
    if schedule.enabled and _is_new(recurrence, stored) and not next_runs(recurrence, now, 1):
        problems.setdefault("expression", []).append(IS_PAST)


def _anchor(facts: ScheduleFacts, now: datetime, stored: Schedule | None) -> datetime | None:
    """Return the first run of an interval, to the second; it stays while the interval does."""
    if facts.kind != RecurrenceKind.INTERVAL:
        return None
    if facts.anchor is not None:
        return facts.anchor.replace(microsecond=0)
    if stored is not None and (stored.kind, stored.expression) == (
        facts.kind,
        shortest_interval(facts.expression),
    ):
        return stored.anchor
    return _this_minute(now)


def _is_new(recurrence: Recurrence, stored: Schedule | None) -> bool:
    """Tell whether times are other ones than before; an old "once" may be past."""
    return stored is None or (
        (recurrence.kind, recurrence.expression, recurrence.zone, True)
        != (stored.kind, stored.expression, stored.zone, stored.enabled)
    )


def _apply_rules(schedule: Schedule, facts: ScheduleFacts, problems: Problems) -> None:
    try:
        schedule.windows = str(parse_windows(facts.windows))
    except InvalidWindows as error:
        problems.setdefault("windows", []).append(str(error))
    wrong = selection.problems_of(facts.rules)
    if wrong:
        problems.update({name: [problem] for name, problem in wrong.items()})
    else:
        schedule.rules = to_document(parse_selection(facts.rules))


def _check_sources(paths: Sequence[str], problems: Problems) -> None:
    """Make sure that sources are there and may be read; each run looks again."""
    found = []
    if not paths:
        found.append("Name at least one folder or file to send.")
    if len(paths) > MOST_SOURCES:
        found.append(f"A schedule has at most {MOST_SOURCES} sources.")
    for path in paths[:MOST_SOURCES]:
        if not os.path.isabs(path):
            found.append(f"{path}: write the whole path, from the root on.")
            continue
        if not path.isprintable():
            found.append(f"{path!a}: a path is printable text.")
            continue
        try:
            sources.resolve_source(path, sources.web_roots())
        except InvalidSource as error:
            found.append(str(error))
    if found:
        problems["sources"] = found


def _check_numbers(schedule: Schedule, problems: Problems) -> None:
    if schedule.retries is not None and not 0 <= schedule.retries <= MOST_RETRIES:
        problems["retries"] = [f"Automatic attempts are a number from 0 to {MOST_RETRIES}."]
    if schedule.priority not in PRIORITIES:
        problems["priority"] = ["A priority is a number from -100 to 100."]
    within = schedule.finish_within_seconds
    if within is not None and within not in FINISH_WITHIN_SECONDS:
        problems["finish_within_seconds"] = ["A run should be through within 1 minute to 366 days."]


def _check_targets(
    targets: Sequence[tuple[Destination, ContextTemplate]], problems: Problems
) -> None:
    if not targets:
        problems["targets"] = ["Name at least one destination."]
    names = [destination.name for destination, _ in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems["targets"] = [f"{', '.join(twice)} stands there twice."]


def _check_columns(schedule: Schedule, problems: Problems) -> None:
    """Let the model check what is left: lengths, choices, the name."""
    if Schedule.objects.filter(name=schedule.name).exclude(pk=schedule.pk).exists():
        problems["name"] = [f"There is a schedule {schedule.name} already."]
    if len(schedule.note) > LONGEST_NOTE:
        problems["note"] = [f"A note has at most {LONGEST_NOTE} characters."]
    others = {item.name for item in Schedule._meta.get_fields()} - _CHECKED_BY_MODEL
    try:
        schedule.clean_fields(exclude=others | set(problems))
    except ValidationError as error:
        for name, found in error.message_dict.items():
            problems.setdefault(name, []).extend(found)


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


def _facts(schedule: Schedule) -> dict[str, Any]:
    """Return what a person can say of a schedule, as JSON can hold it."""
    targets = schedule.targets.select_related("destination", "template")
    plain = {name: getattr(schedule, name) for name in (*_PLAIN, "kind", "expression", "zone")}
    return plain | {
        "anchor": schedule.anchor.isoformat() if schedule.anchor else None,
        "windows": schedule.windows,
        "sources": list(schedule.sources),
        "rules": dict(schedule.rules),
        "targets": [[target.destination.name, target.template.name] for target in targets],
    }


def _logged(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts for the audit log: of rules, how many values they have and no values.

    A UID or a pattern of a name may tell of a patient.
    """
    rules = facts.get("rules", {})
    counts = {name: len(value) for name, value in rules.items() if isinstance(value, list | dict)}
    plain = {name: value for name, value in rules.items() if name not in counts}
    return {**facts, "rules": plain | counts} if "rules" in facts else dict(facts)
