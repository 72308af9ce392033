"""`manage.py schedule list|show|add|check|run|enable|disable|delete`."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from sender.analytics.schedules import RunAccount, RunOutcome, accounts, newest_runs
from sender.management.base import NOT_ALL, OK, ConcordatCommand, parse_instant
from sender.models import (
    CatchUp,
    ContextTemplate,
    Destination,
    Overlap,
    RecurrenceKind,
    Schedule,
    ScheduleRun,
    StudyOrder,
)
from sender.negotiation.rules import DERIVED_FROM_FILES
from sender.services import heartbeat, recurrence, schedule_runs, schedules
from sender.services.installation import site_zone
from sender.services.recurrence import InvalidRecurrence
from sender.services.schedule_facts import InvalidSchedule, ScheduleFacts
from sender.services.schedule_times import recurrence_of
from sender.services.sending import WrongState

POLL_SECONDS = 0.5
RUNS_SHOWN = 10
COLUMNS = ("name", "enabled", "kind", "expression", "zone", "next_run_at", "last_run")
WELL = frozenset({RunOutcome.SUCCEEDED, RunOutcome.NOTHING_NEW})


class Command(ConcordatCommand):
    """Keep schedules, check and run them."""

    help = "List, show, add, check, run, enable, disable or delete schedules."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(
            dest="verb", required=True, metavar="list|show|add|check|run|enable|disable|delete"
        )
        listing = verbs.add_parser("list", help="list the schedules")
        listing.add_argument("--json", action="store_true")
        show = verbs.add_parser("show", help="show a schedule, its next and its last runs")
        show.add_argument("name")
        show.add_argument("--json", action="store_true")
        _add_arguments_of_add(verbs.add_parser("add", help="write a schedule"))
        for verb, purpose, wait in (
            ("run", "run a schedule now", "until all its sends have ended"),
            ("check", "list and plan what a run would send; nothing is sent", "for the plans"),
        ):
            parser = verbs.add_parser(verb, help=purpose)
            parser.add_argument("name")
            parser.add_argument("--wait", action="store_true", help=wait)
            parser.add_argument("--json", action="store_true")
        for verb in ("enable", "disable", "delete"):
            verbs.add_parser(verb, help=f"{verb} a schedule").add_argument("name")

    def run(self, **options: Any) -> int:
        verbs: dict[str, Callable[[dict[str, Any]], int]] = {
            "list": self._list,
            "show": self._show,
            "add": self._add,
            "run": self._run,
            "check": self._check,
            "enable": self._enable,
            "disable": self._disable,
            "delete": self._delete,
        }
        return verbs[options["verb"]](options)

    def _find(self, name: str) -> Schedule:
        found = Schedule.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"There is no schedule {name}.")
        return found

    def _list(self, options: dict[str, Any]) -> int:
        listed = list(Schedule.objects.order_by("name"))
        newest = newest_runs(listed)
        rows = [_row(schedule, newest.get(schedule.pk)) for schedule in listed]
        self.show(rows, as_json=options["json"], columns=COLUMNS)
        return OK

    def _show(self, options: dict[str, Any]) -> int:
        schedule = self._find(options["name"])
        document = describe(schedule)
        if options["json"]:
            self.write_json(document)
            return OK
        for name, value in document.items():
            if name not in ("next_runs", "runs"):
                self.write(f"{name}: {json.dumps(value, ensure_ascii=False)}")
        self.write(f"next_runs: {', '.join(document['next_runs']) or 'none'}")
        self.show(document["runs"], as_json=False, columns=("intended_at", "outcome", "detail"))
        return OK

    def _add(self, options: dict[str, Any]) -> int:
        try:
            made = schedules.add_schedule(self._facts(options), actor=self.actor)
        except InvalidSchedule as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.write_json(describe(made))
        self.say(f"Schedule {made.name} was added.")
        return OK

    def _facts(self, options: dict[str, Any]) -> ScheduleFacts:
        kind, expression = _times(options)
        hours = options["finish_within"]
        plain = (
            "name", "windows", "catch_up", "overlap", "study_order", "retries", "priority", "note",
        )  # fmt: skip
        return ScheduleFacts(
            kind=kind,
            expression=expression,
            zone=options["zone"] or str(site_zone()),
            anchor=options["first"],
            sources=[str(Path(path).absolute()) for path in options["source"]],
            targets=[self._target(words) for words in options["to"]],
            rules=_rules(options["rules"]),
            only_new=not options["again"],
            finish_within_seconds=None if hours is None else round(hours * 3600),
            enabled=not options["disabled"],
            **{name: options[name] for name in plain},
        )

    def _target(self, words: list[str]) -> tuple[Destination, ContextTemplate]:
        if len(words) > 2:
            raise CommandError(f"--to {' '.join(words)}: a destination and at most one template.")
        title = words[1] if len(words) == 2 else DERIVED_FROM_FILES.name
        template = ContextTemplate.objects.filter(name=title).first()
        if template is None:
            raise CommandError(f"There is no template {title}.")
        return self.destination(words[0]), template

    def _run(self, options: dict[str, Any]) -> int:
        account = self._begin(options, schedule_runs.run_now)
        return OK if not options["wait"] or account.outcome in WELL else NOT_ALL

    def _check(self, options: dict[str, Any]) -> int:
        account = self._begin(options, schedule_runs.check_now)
        is_well = account.outcome is RunOutcome.CHECKED and not account.run.warning
        return OK if not options["wait"] or is_well else NOT_ALL

    def _begin(
        self, options: dict[str, Any], begin: Callable[[Schedule, str], ScheduleRun]
    ) -> RunAccount:
        """Begin a run or a check, wait for it if so asked, and tell of it."""
        schedule = self._find(options["name"])
        if not heartbeat.sender_state().is_live:
            raise CommandError(
                "No sender is running, so nothing was created. "
                "Start one: manage.py up, or manage.py sender."
            )
        try:
            run = begin(schedule, self.actor)
        except WrongState as error:
            raise CommandError(str(error)) from error
        account = self._await(run) if options["wait"] else _account(run)
        document = run_document(account)
        if options["json"]:
            self.write_json(document)
        else:
            self.write(f"{options['verb'].capitalize()} {run.pk}: {account.outcome.value}")
        for text in filter(None, (account.run.detail, account.run.warning)):
            self.say(text)
        return account

    def _await(self, run: ScheduleRun) -> RunAccount:
        """Wait until a run is over; Ctrl-C leaves it going on."""
        account = _account(run)
        try:
            while account.is_live:
                time.sleep(POLL_SECONDS)
                account = _account(run)
        except KeyboardInterrupt:
            self.say("The run goes on without this command.")
        return account

    def _enable(self, options: dict[str, Any]) -> int:
        return self._switch(options, schedules.enable_schedule)

    def _disable(self, options: dict[str, Any]) -> int:
        return self._switch(options, schedules.disable_schedule)

    def _switch(self, options: dict[str, Any], verb: Callable[[Schedule, str], None]) -> int:
        schedule = self._find(options["name"])
        try:
            verb(schedule, self.actor)
        except WrongState as error:
            raise CommandError(str(error)) from error
        self.say(f"Schedule {schedule.name} is {options['verb']}d.")
        return OK

    def _delete(self, options: dict[str, Any]) -> int:
        schedule = self._find(options["name"])
        schedules.delete_schedule(schedule, self.actor)
        self.say(f"Schedule {schedule.name} is deleted. Its sends stay.")
        return OK


def _add_arguments_of_add(parser: ArgumentParser) -> None:
    parser.add_argument("name")
    times = parser.add_mutually_exclusive_group(required=True)
    times.add_argument("--cron", metavar="FIELDS", help='such as "0 20 * * MON-FRI"')
    times.add_argument("--every", metavar="INTERVAL", help="such as 30m, 6h, 1d12h")
    times.add_argument("--once", metavar="TIME", help='local, such as "2026-11-24 20:00"')
    parser.add_argument("--first", type=parse_instant, metavar="INSTANT", help="of an interval")
    parser.add_argument("--zone", default="", help="IANA name; default: the site's")
    parser.add_argument("--source", action="append", required=True, metavar="PATH")
    parser.add_argument(
        "--to", action="append", nargs="+", required=True, metavar=("NAME", "TEMPLATE")
    )
    parser.add_argument("--rules", default="", metavar="FILE", help="what is taken (JSON)")
    parser.add_argument("--windows", default="", help='such as "mon-fri 20:00-06:00"')
    parser.add_argument("--catch-up", choices=CatchUp.values, default=CatchUp.LATEST.value)
    parser.add_argument("--overlap", choices=Overlap.values, default=Overlap.SKIP.value)
    parser.add_argument("--again", action="store_true", help="send also what is there already")
    parser.add_argument(
        "--order", dest="study_order", choices=StudyOrder.values, default=StudyOrder.LISTED.value
    )
    parser.add_argument("--retries", type=int)
    parser.add_argument("--priority", type=int, default=0)
    parser.add_argument("--finish-within", type=float, metavar="HOURS")
    parser.add_argument("--note", default="")
    parser.add_argument("--disabled", action="store_true")
    parser.add_argument("--json", action="store_true")


def _times(options: dict[str, Any]) -> tuple[str, str]:
    if options["cron"] is not None:
        return RecurrenceKind.CRON, options["cron"]
    if options["every"] is not None:
        return RecurrenceKind.INTERVAL, options["every"]
    return RecurrenceKind.ONCE, options["once"]


def _rules(path: str) -> dict[str, Any]:
    """Read a file of rules.

    Raises:
        CommandError: it can't be read, or holds something else.
    """
    if not path:
        return {}
    try:
        rules = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} can't be read: {error}") from error
    if not isinstance(rules, dict):
        raise CommandError(f"{path} holds no rules: they are a JSON object.")
    return rules


def _account(run: ScheduleRun) -> RunAccount:
    found = ScheduleRun.objects.select_related("schedule", "listing").get(pk=run.pk)
    return accounts([found])[0]


def _row(schedule: Schedule, newest: RunAccount | None) -> dict[str, Any]:
    plain = ("name", "enabled", "kind", "expression", "zone")
    return {name: getattr(schedule, name) for name in plain} | {
        "next_run_at": _instant(schedule.next_run_at),
        "last_run": newest.outcome.value if newest else None,
    }


def describe(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule with its next and its newest runs."""
    try:
        times = recurrence.next_runs(recurrence_of(schedule), timezone.now(), 5)
    except InvalidRecurrence:
        times = []
    runs = schedule.runs.select_related("schedule", "listing")[:RUNS_SHOWN]
    plain = (
        "windows", "catch_up", "overlap", "sources", "rules", "only_new", "study_order", "retries",
        "priority", "finish_within_seconds", "note",
    )  # fmt: skip
    targets = schedule.targets.select_related("destination", "template")
    return (
        {name: value for name, value in _row(schedule, None).items() if name != "last_run"}
        | {"first": _instant(schedule.anchor)}
        | {name: getattr(schedule, name) for name in plain}
        | {
            "to": [
                {"destination": target.destination.name, "template": target.template.name}
                for target in targets
            ],
            "next_runs": [_instant(time) for time in times] if schedule.enabled else [],
            "runs": [run_document(account) for account in accounts(list(runs))],
        }
    )


def run_document(account: RunAccount) -> dict[str, Any]:
    """Return a run with its sends."""
    run = account.run
    return {
        "run": run.pk,
        "intended_at": _instant(run.intended_at),
        "trigger": run.trigger,
        "state": run.state,
        "outcome": account.outcome.value,
        "detail": run.detail,
        "warning": run.warning,
        "requested_by": run.requested_by or None,
        "sends": [
            {"send": send.pk, "destination": send.destination.name, "state": send.state}
            for send in account.sends
        ],
        "instances": {outcome.value: number for outcome, number in account.counts.items()},
        "already_there": account.already_there,
        "excluded": account.listing.excluded if account.listing else {},
    }


def _instant(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
