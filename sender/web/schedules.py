"""Schedules: listed, shown with their runs, written, run, checked, enabled, disabled, deleted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from sender.analytics import schedules as accounts
from sender.models import RecurrenceKind, RunTrigger, Schedule, ScheduleRun
from sender.services import schedule_runs, sources
from sender.services import schedules as keeping
from sender.services.installation import site_zone
from sender.services.recurrence import InvalidRecurrence
from sender.services.schedule_facts import IS_PAST, InvalidSchedule
from sender.services.sending import WrongState
from sender.web import schedule_words as words
from sender.web.access import may, needs
from sender.web.numbers import number_in
from sender.web.schedule_forms import (
    EXAMPLES,
    PRIORITY_CHOICES,
    ScheduleForm,
    TargetFormSet,
    defaults,
    initial_of,
    once_example,
    read_anchor,
    targets_of,
)

PER_PAGE = 50
RUNS_PER_PAGE = 20
STOPPED_POLLING = 286
LONGEST_EXAMPLE = 200


@needs("read")
def schedules(request: HttpRequest) -> HttpResponse:
    """List schedules with their next time and how the last run went."""
    wanted = Schedule.objects.prefetch_related("targets__destination").order_by("name")
    page = Paginator(wanted, PER_PAGE).get_page(request.GET.get("page"))
    listed = list(page.object_list)
    newest = accounts.newest_runs(listed)
    rows = [
        {
            "schedule": schedule,
            "next": words.local(schedule, schedule.next_run_at),
            "account": newest.get(schedule.pk),
            "last": words.local(schedule, newest[schedule.pk].run.intended_at)
            if schedule.pk in newest
            else "",
        }
        for schedule in listed
    ]
    return render(request, "sender/schedules.html", {"rows": rows, "page": page})


def _find(number: int) -> Schedule:
    return get_object_or_404(Schedule, pk=number)


@needs("read")
def schedule(request: HttpRequest, number: int) -> HttpResponse:
    """Show a schedule: what comes next, how its runs went, what it says."""
    found = _find(number)
    sees_identifiers = may(request.user, "read_identifiers")
    context = _runs(found, request) | {
        "next_runs": words.next_runs(found, timezone.now()),
        "targets": found.targets.select_related("destination", "template"),
        "rules": words.rules(found, with_identifiers=sees_identifiers),
        "is_interval": found.kind == RecurrenceKind.INTERVAL,
        "first": words.local(found, found.anchor),
        "within": found.finish_within_seconds,
        "priority": dict(PRIORITY_CHOICES).get(found.priority, found.priority),
    }
    return render(request, "sender/schedule.html", context)


@needs("read")
def schedule_runs_part(request: HttpRequest, number: int) -> HttpResponse:
    """Return the part of a schedule's page that changes; 286 ends the polling."""
    context = _runs(_find(number), request)
    status = 200 if context["is_live"] else STOPPED_POLLING
    return render(request, "sender/_schedule_runs.html", context, status=status)


def _runs(found: Schedule, request: HttpRequest) -> dict[str, Any]:
    wanted = found.runs.select_related("schedule", "listing")
    page = Paginator(wanted, RUNS_PER_PAGE).get_page(request.GET.get("page"))
    rows = [_row(account, request) for account in accounts.accounts(list(page.object_list))]
    return {
        "schedule": found,
        "rows": rows,
        "page": page,
        "is_live": any(row.account.is_live for row in rows),
        "sees_identifiers": may(request.user, "read_identifiers"),
    }


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as pages show it: its local time, and what is to be said of it."""

    account: accounts.RunAccount
    at: str
    notes: tuple[str, ...]

    @property
    def run(self) -> ScheduleRun:
        return self.account.run


def _row(account: accounts.RunAccount, request: HttpRequest) -> RunRow:
    sees_identifiers = may(request.user, "read_identifiers")
    return RunRow(
        account,
        words.local(account.run.schedule, account.run.intended_at),
        tuple(words.notes(account, with_identifiers=sees_identifiers)),
    )


def _find_run(number: int, run: int) -> ScheduleRun:
    wanted = ScheduleRun.objects.select_related("schedule", "listing")
    return get_object_or_404(wanted, pk=run, schedule=number)


@needs("read")
def schedule_run(request: HttpRequest, number: int, run: int) -> HttpResponse:
    """Show one run or check: what was found, what the plans foresee, what became of it."""
    context = _describe(_find_run(number, run), request)
    if request.headers.get("HX-Request"):
        status = 200 if context["is_live"] else STOPPED_POLLING
        return render(request, "sender/_schedule_run.html", context, status=status)
    return render(request, "sender/schedule_run.html", context)


def _describe(run: ScheduleRun, request: HttpRequest) -> dict[str, Any]:
    (account,) = accounts.accounts([run])
    return {
        "schedule": run.schedule,
        "row": _row(account, request),
        "is_check": run.trigger == RunTrigger.CHECK,
        "is_live": account.is_live,
        "is_listing": accounts.is_listing(account),
        "excluded": sorted(run.listing.excluded.items()) if run.listing else [],
    }


@needs("operate")
def schedule_add(request: HttpRequest) -> HttpResponse:
    """Write a new schedule."""
    return _edit(request, None)


@needs("operate")
def schedule_change(request: HttpRequest, number: int) -> HttpResponse:
    """Change a schedule."""
    return _edit(request, _find(number))


def _edit(request: HttpRequest, found: Schedule | None) -> HttpResponse:
    zone = found.zone if found else str(site_zone())
    options: dict[str, Any] = {"zone": zone, "priority": found.priority if found else 0}
    targets = [
        {"destination": target.destination_id, "template": target.template_id}
        for target in (found.targets.all() if found else [])
    ]
    initial = initial_of(found) if found else defaults(zone)
    form = ScheduleForm(initial=initial, **options)
    rows = TargetFormSet(initial=targets, prefix="targets")
    if request.method == "POST" and {"add_row", "preview"} & set(request.POST):
        form = ScheduleForm(initial=_as_written(request), **options)
        rows = TargetFormSet(_rows_as_written(request), prefix="targets")
    elif request.method == "POST":
        form = ScheduleForm(request.POST, **options)
        rows = TargetFormSet(request.POST, prefix="targets")
        saved = _save(request, found, form, rows)
        if saved is not None:
            messages.success(request, f"{saved} was saved.")
            return redirect("schedule", saved.pk)
    context = {
        "form": form,
        "rows": rows,
        "schedule": found,
        "roots": sources.web_roots(),
        "is_refused": form.is_bound and bool(form.errors or rows.total_error_count()),
        **_preview(*(form[name].value() or "" for name in _TIMES)),
    }
    return render(request, "sender/schedule_form.html", context)


def _as_written(request: HttpRequest) -> dict[str, Any]:
    """Return what stands in a form that is shown again; a box that is not ticked is not there."""
    return {name: request.POST.get(name) for name in ScheduleForm.base_fields}


def _rows_as_written(request: HttpRequest) -> Any:
    data = request.POST.copy()
    total = data.get("targets-TOTAL_FORMS", "0")
    count = min(number_in(total) or 0, 99)
    data["targets-TOTAL_FORMS"] = str(count + ("add_row" in data))
    return data


def _save(
    request: HttpRequest, found: Schedule | None, form: ScheduleForm, rows: Any
) -> Schedule | None:
    """Save what was written; what is wrong with it stands beside it afterwards."""
    is_valid, are_valid = form.is_valid(), rows.is_valid()
    facts = form.facts(targets_of(rows), found.rules if found else {})
    problems = keeping.problems_of(facts, found)
    if not are_valid:
        problems.pop("targets", None)
    form.tell(problems)
    if problems or not (is_valid and are_valid):
        return None
    actor = request.user.get_username()
    try:
        if found is None:
            return keeping.add_schedule(facts, actor=actor)
        return keeping.change_schedule(found, facts, actor=actor)
    except InvalidSchedule as error:
        form.tell(error.problems)
    return None


@needs("operate")
def schedule_preview(request: HttpRequest) -> HttpResponse:
    """Return the next times of what stands in the form, as far as it can be read."""
    given = {name: request.GET.get(name, "")[:LONGEST_EXAMPLE] for name in _TIMES}
    context = _preview(given["kind"], given["expression"], given["zone"], given["anchor"])
    return render(request, "sender/_schedule_preview.html", context)


_TIMES = ("kind", "expression", "zone", "anchor")


def _preview(kind: str, expression: str, zone: str, anchor: str) -> dict[str, Any]:
    """Return the next times, or why there are none, and the examples with theirs."""
    try:
        times = keeping.preview(kind, expression, zone, read_anchor(anchor, zone))
        problem = "" if times else IS_PAST
    except InvalidRecurrence as error:
        times, problem = [], str(error)
    except forms.ValidationError as error:
        times, problem = [], " ".join(error.messages)
    return {
        "times": [words.both(zone, time) for time in times],
        "times_problem": problem,
        "times_zone": zone,
        "examples": _examples(zone),
    }


def _examples(zone: str) -> list[dict[str, str]]:
    """Return expressions that people may take, with the next time of each in their zone."""
    found = []
    try:
        examples = (*EXAMPLES, once_example(zone))
        for kind, expression, meaning in examples:
            (time, *_) = keeping.preview(kind, expression, zone, count=1)
            local, _utc = words.both(zone, time)
            found.append(
                {"kind": kind.label, "expression": expression, "meaning": meaning, "next": local}
            )
    except ValueError:  # a zone that does not exist has no examples
        return []
    return found


Command = Callable[[Schedule, str], Any]
_SAID = {
    "enable": "{} is enabled.",
    "disable": "{} is disabled. Sends that began go on.",
    "delete": "{} was deleted. Its sends stay.",
}


@needs("operate")
@require_POST
def schedule_command(request: HttpRequest, number: int, verb: str) -> HttpResponseBase:
    """Run, check, enable, disable or delete a schedule."""
    found = _find(number)
    commands: dict[str, Command] = {
        "run": schedule_runs.run_now,
        "check": schedule_runs.check_now,
        "enable": keeping.enable_schedule,
        "disable": keeping.disable_schedule,
        "delete": keeping.delete_schedule,
    }
    if verb not in commands:
        raise Http404
    try:
        made = commands[verb](found, request.user.get_username())
    except WrongState as error:
        messages.error(request, str(error))
        return redirect("schedule", number)
    if isinstance(made, ScheduleRun):
        return redirect("schedule_run", number, made.pk)
    messages.success(request, _SAID[verb].format(found.name))
    return redirect("schedules") if verb == "delete" else redirect("schedule", number)


@needs("operate")
def schedule_delete(request: HttpRequest, number: int) -> HttpResponse:
    """Ask before a schedule is deleted."""
    found = _find(number)
    context = {"schedule": found, "runs": found.runs.count()}
    return render(request, "sender/schedule_delete.html", context)
