"""What all commands share: exit codes, JSON on standard output, messages on standard error."""

import argparse
import getpass
import json
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    SystemCheckError,
)
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from sender.models import Destination, TemplateVersion
from sender.negotiation.spreadsheets import csv_lines
from sender.services.templates import UnknownName, find_version

OK = 0
NOT_ALL = 1
WRONG_USE = 2
OUR_ERROR = 3
MOST_WORKERS = 64


def worker_count(text: str) -> int:
    """Read a number of worker processes, 1 to 64.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST_WORKERS}, not {text!r}")
    return int(text)


def parse_instant(text: str) -> datetime:
    """Parse an ISO 8601 instant; without a zone it is UTC, a date is its first moment.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ISO 8601 time, such as 2026-11-24T09:30:00+01:00."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class ConcordatCommand(BaseCommand):
    """A command with the contract's exit codes: subclasses write `run`, which returns one."""

    requires_migrations_checks = False
    migrates = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = argparse.HelpFormatter
        return parser

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Check the settings; what is wrong there is wrong use, not our error."""
        try:
            super().check(*args, **kwargs)
        except SystemCheckError as error:
            error.returncode = WRONG_USE
            raise

    def run(self, **options: Any) -> int:
        """Do the work; return the exit code.

        Raises:
            CommandError: the use or a name is wrong: exit code 2.
        """
        raise NotImplementedError

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the command and end the process with its exit code."""
        raise SystemExit(self._exit_code(options))

    def _exit_code(self, options: dict[str, Any]) -> int:
        try:
            if not self.migrates:
                self._check_schema()
            return self.run(**options)
        except CommandError as error:
            self.say(str(error))
            return WRONG_USE
        except Exception:  # the last resort: our own error is told from wrong use by its code
            self.say(traceback.format_exc())
            return OUR_ERROR

    def _check_schema(self) -> None:
        try:
            executor = MigrationExecutor(connection)
            plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError as error:
            raise CommandError(f"The database can't be used: {error}") from error
        if plan:
            raise CommandError("The database is not up to date: run manage.py migrate.")

    @property
    def actor(self) -> str:
        """Who acts, for the audit log."""
        try:
            return f"cli:{getpass.getuser()}"
        except (KeyError, OSError):
            return "cli:unknown"

    def destination(self, name: str) -> Destination:
        """Return the destination of that name.

        Raises:
            CommandError: there is none.
        """
        found = Destination.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"There is no destination {name}.")
        return found

    def template_version(self, name: str) -> TemplateVersion:
        """Return the template version NAME or NAME@N.

        Raises:
            CommandError: there is none.
        """
        try:
            return find_version(name)
        except UnknownName as error:
            raise CommandError(str(error)) from error

    def say(self, message: str) -> None:
        """Write a message for people to standard error."""
        self.stderr.write(message, self.style.NOTICE)

    def write(self, line: str) -> None:
        """Write a line of the result."""
        self.stdout.write(line)

    def write_json(self, document: object) -> None:
        """Write the result as one JSON document."""
        self.stdout.write(json.dumps(document, ensure_ascii=False, default=str))

    def write_csv(self, rows: Iterable[Sequence[object]]) -> None:
        """Write rows as CSV."""
        for line in csv_lines(rows, line_end="\n"):
            self.stdout.write(line, ending="")

    def show(
        self, rows: Sequence[dict[str, Any]], *, as_json: bool, columns: Sequence[str]
    ) -> None:
        """Write rows as JSON, or as a table of some columns for people."""
        if as_json:
            self.write_json(list(rows))
            return
        cells = [[_cell(row[name]) for name in columns] for row in rows]
        widths = [
            max(len(name), *(len(line[index]) for line in cells)) if cells else len(name)
            for index, name in enumerate(columns)
        ]
        for line in [list(columns), *cells]:
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            self.write("  ".join(padded).rstrip())

    def show_progress(self, *, done: int, total: int, what: str) -> None:
        """Show a bar on standard error where that is a terminal."""
        if not self.stderr.isatty():
            return
        filled = 30 * done // total if total else 0
        bar = "#" * filled + "." * (30 - filled)
        self.stderr.write(f"\r[{bar}] {done} of {total}  {what}   ", ending="")


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "-" if value is None else str(value)
