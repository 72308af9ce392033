"""A run of a schedule begins: its sources are looked at, then its sends are created.

In a worker, because a file system that does not answer must hold up nobody else.
"""

import logging
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from sender.dicom import files
from sender.models import (
    Destination,
    RunState,
    RunTrigger,
    Schedule,
    ScheduleRun,
    StudyOrder,
    TemplateVersion,
)
from sender.models.schedules import BY_CLOCK
from sender.negotiation.selection import InvalidSelection, Selection, parse_selection
from sender.services import listing, sources
from sender.services.keeping import kept
from sender.services.schedule_runs import (
    DISABLED,
    START_LEASE,
    actor_of,
    end_run,
    record_run,
)
from sender.services.schedule_times import say_local
from sender.services.sending import InvalidSource, SendOrder, WrongState, create_sends
from sender.services.sight import SIGHT

LEAST_AGE_SECONDS = 60.0
"""Younger files may still be written: they wait for the next run."""
logger = logging.getLogger(__name__)
NO_TARGET = "No destination of this schedule is enabled."


class Lost(RuntimeError):
    """Somebody else started the run, or nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run begins with.

    Attributes:
        paths: real paths of sources that hold files.
        problems: why other sources can't be used; the run has failed, whatever the rest gives.
        is_blind: a source is not to be seen from this host.
        notes: what else is to be said.
    """

    paths: tuple[str, ...]
    targets: tuple[tuple[Destination, TemplateVersion], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    is_blind: bool = False


def start_run(run_id: int) -> None:
    """Start a run that waits for it; doubles are harmless."""
    now = timezone.now()
    waiting = ScheduleRun.objects.filter(pk=run_id, state=RunState.DUE)
    if not waiting.update(attempts=F("attempts") + 1, lease_until=now + START_LEASE):
        return
    run = ScheduleRun.objects.select_related("schedule").get(pk=run_id)
    if run.trigger in BY_CLOCK and not run.schedule.enabled:
        end_run(run, RunState.SKIPPED, DISABLED)
        return
    with kept(lambda: _hold(run)):
        beginning = _look(run.schedule)
    if beginning.is_blind and SIGHT.leaves(ScheduleRun, run.pk):
        logger.warning("Run %s is left to other hosts: %s", run.pk, " ".join(beginning.problems))
        waiting.filter(attempts=run.attempts).update(attempts=F("attempts") - 1)
        return
    if not beginning.paths or not beginning.targets:
        said = beginning.problems or (NO_TARGET,)
        end_run(run, RunState.FAILED, " ".join(said))
        return
    try:
        _begin(run, beginning)
    except Lost:
        return
    except (InvalidSource, InvalidSelection, WrongState) as error:
        end_run(run, RunState.FAILED, str(error))


def _hold(run: ScheduleRun) -> None:
    """Let nobody else be called out for a run that is about to start."""
    waiting = ScheduleRun.objects.filter(pk=run.pk, state=RunState.DUE)
    waiting.update(lease_until=timezone.now() + START_LEASE)


def _look(schedule: Schedule) -> Beginning:
    """Look at the sources and destinations of a schedule as they are now."""
    paths, problems, is_blind = [], [], False
    for path in schedule.sources:
        try:
            real = sources.resolve_source(path, sources.web_roots())
        except InvalidSource as error:
            problems.append(str(error))
            is_blind = True
            continue
        if listing.holds_files([real]):
            paths.append(real)
        else:
            problems.append(f"{path} holds no files.")
    targets = list(schedule.targets.select_related("destination", "template"))
    enabled = [target for target in targets if target.destination.enabled]
    return Beginning(
        paths=tuple(paths),
        targets=tuple((target.destination, target.template.newest) for target in enabled),
        problems=tuple(problems),
        notes=tuple(
            f"{target.destination} is disabled and was left out."
            for target in targets
            if target not in enabled
        ),
        is_blind=is_blind,
    )


def _begin(run: ScheduleRun, beginning: Beginning) -> None:
    """Create the sends of a run, which moves on in the same transaction.

    Raises:
        Lost, InvalidSource, InvalidSelection, WrongState: nothing was written.
    """
    is_check = run.trigger == RunTrigger.CHECK
    state = RunState.FAILED if beginning.problems else RunState.STARTED
    said = [run.detail, *beginning.problems, *beginning.notes]
    with transaction.atomic():
        waiting = ScheduleRun.objects.filter(pk=run.pk, state=RunState.DUE)
        if not waiting.update(
            state=RunState.CHECKED if is_check else state,
            detail=" ".join(filter(None, said))[:400],
            lease_until=None,
        ):
            raise Lost
        sends = create_sends(_order(run, beginning), beginning.targets, start=not is_check)
        ScheduleRun.objects.filter(pk=run.pk).update(listing=sends[0].listing)
        run.refresh_from_db()
        record_run(run, sends)


def _order(run: ScheduleRun, beginning: Beginning) -> SendOrder:
    schedule = run.schedule
    destination, version = beginning.targets[0]
    within = schedule.finish_within_seconds
    return SendOrder(
        destination=destination,
        template_version=version,
        sources=beginning.paths,
        requested_by=actor_of(run),
        name=name_of(run),
        retries=schedule.retries,
        roots=sources.web_roots(),
        selection=selection_of(schedule),
        study_order=StudyOrder(schedule.study_order),
        windows=schedule.windows,
        zone=schedule.zone,
        finish_by=run.intended_at + timedelta(seconds=within) if within else None,
        only_new=schedule.only_new,
        priority=schedule.priority,
    )


def name_of(run: ScheduleRun) -> str:
    """Name the sends of a run: the schedule and its local time."""
    said = f"{run.schedule.name}, {say_local(run.schedule, run.intended_at)}"
    return f"{said}, check" if run.trigger == RunTrigger.CHECK else said


def selection_of(schedule: Schedule) -> Selection:
    """Return what a run takes of its sources.

    Raises:
        InvalidSelection: what is stored can't be used.
    """
    selection = parse_selection(schedule.rules)
    for keyword in selection.tags:
        try:
            files.tag_of(keyword)
        except ValueError as error:
            raise InvalidSelection(str(error)) from error
    return replace(selection, least_age_seconds=max(LEAST_AGE_SECONDS, selection.least_age_seconds))
