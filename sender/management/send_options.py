"""What `manage.py send` is told: which files, to whom, when; turned into an order."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from sender.management.base import parse_instant
from sender.models import StudyOrder
from sender.models.sends import URGENT
from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.lists import (
    InvalidList,
    ListedUid,
    decoded,
    lines_of,
    parse_uid_list,
)
from sender.negotiation.rules import DERIVED_FROM_FILES
from sender.negotiation.selection import (
    InvalidSelection,
    Selection,
    parse_selection,
    tags_of_lines,
)
from sender.negotiation.windows import InvalidWindows, parse_windows
from sender.services import sources
from sender.services.installation import site_zone
from sender.services.path_lists import LARGEST_LIST, PathList, read_path_list
from sender.services.sources import InvalidSource

MOST_RETRIES = 20


def add_options(parser: ArgumentParser) -> None:
    """Declare paths and options."""
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="a folder or a file")
    add("--to", action="append", required=True, metavar="NAME", help="a destination; may repeat")
    add(
        "--template",
        action="append",
        metavar="T",
        help="NAME or NAME@N: one for all destinations, or one for each in their order; "
        f"default: {DERIVED_FROM_FILES.name}",
    )
    add("--inline", action="store_true", help="send in this process")
    add("--retries", type=int, help="automatic attempts after the first")
    add("--json", action="store_true")
    _add_rules(parser)
    _add_manner(parser)


def _add_rules(parser: ArgumentParser) -> None:
    rules = parser.add_argument_group("only some of the files (each may be repeated)")

    def add(name: str, metavar: str, help_text: str, dest: str | None = None) -> None:
        rules.add_argument(
            name, action="append", default=[], metavar=metavar, help=help_text, dest=dest
        )

    add("--path-list", "FILE", "a CSV with a path per line; lines that can't be used are told")
    add("--pattern", "GLOB", "file names such as '*.dcm'; '!GLOB' leaves out", "patterns")
    add("--modality", "CS", "such as CT", "modalities")
    add("--sop-class", "UID", "UID or name of a SOP class", "sop_classes")
    add("--transfer-syntax", "UID", "UID or name of the stored syntax", "transfer_syntaxes")
    add("--study", "UID", "a Study Instance UID", "studies")
    add("--series", "UID", "a Series Instance UID", "series")
    add("--instance", "UID", "a SOP Instance UID", "instances")
    add("--uid-list", "FILE", "a CSV with UID[,INSTANCES] per line, of studies, series, instances")
    add("--tag", "KEYWORD=PATTERN", "an attribute, such as StudyDescription=*KNEE*", "tags")
    rules.add_argument("--study-date", metavar="FROM..TO", help="such as 2026-01-01..2026-01-31")


def _add_manner(parser: ArgumentParser) -> None:
    manner = parser.add_argument_group("how")
    add = manner.add_argument
    add("--only-new", action="store_true", help="leave out what a destination has already")
    add("--order", choices=[o.value for o in StudyOrder], default="listed", help="of studies")
    add("--urgent", action="store_true", help="overtake other sends at the end of their batches")
    add(
        "--window", action="append", default=[], metavar="W", help="mon-fri 20:00-06:00; may repeat"
    )
    add("--finish-by", type=parse_instant, metavar="TIME", help="when it should be through")


def selection_of(options: dict[str, Any]) -> tuple[Selection, list[ListedUid]]:
    """Return the rules, and the UIDs that are expected to be found.

    Raises:
        CommandError: a rule can't be used.
    """
    listed = [entry for name in options["uid_list"] for entry in _uid_list(name)]
    levels = {"studies": "study", "series": "series", "instances": "instance"}
    listed += [ListedUid(uid, level) for name, level in levels.items() for uid in options[name]]
    first, last = _dates(options["study_date"] or "")
    document = {
        "patterns": options["patterns"],
        "modalities": options["modalities"],
        "sop_classes": [sop_classes.uid_named(text) for text in options["sop_classes"]],
        "transfer_syntaxes": [syntaxes.uid_named(text) for text in options["transfer_syntaxes"]],
        "studies": [entry.uid for entry in listed if entry.level == "study"],
        "series": [entry.uid for entry in listed if entry.level == "series"],
        "instances": [entry.uid for entry in listed if entry.level == "instance"],
        "uids": [entry.uid for entry in listed if not entry.level],
        "date_from": first,
        "date_to": last,
        "tags": tags_of_lines(_tag(text) for text in options["tags"]),
    }
    try:
        return parse_selection(document), listed
    except InvalidSelection as error:
        raise CommandError(str(error)) from None


def _dates(text: str) -> tuple[str, str]:
    if not text:
        return "", ""
    first, dots, last = text.partition("..")
    return (first, last) if dots else (first, first)


def _tag(text: str) -> tuple[str, str]:
    keyword, equals, pattern = text.partition("=")
    if not equals:
        raise CommandError(f"--tag {text}: write a keyword, =, and a pattern.")
    return keyword.strip(), pattern.strip()


def _uid_list(name: str) -> list[ListedUid]:
    try:
        found = parse_uid_list(lines_of(decoded(_read(name))))
    except InvalidList as error:
        raise CommandError(f"{name}: {error}") from None
    if not found:
        raise CommandError(f"{name} holds no UID.")
    return found


def path_list_of(options: dict[str, Any]) -> PathList | None:
    """Return the lists of paths as one; lines that are no whole paths begin at their list's folder.

    Raises:
        CommandError: a list can't be read, or there is more than one.
    """
    names = options["path_list"]
    if len(names) > 1:
        raise CommandError("--path-list may be given once.")
    if not names:
        return None
    content = _read(names[0])
    try:
        return read_path_list(content, folder=os.path.dirname(os.path.realpath(names[0])))
    except InvalidList as error:
        raise CommandError(f"{names[0]}: {error}") from None


def _read(name: str) -> bytes:
    """Return the content of a list, which the command line's user must be allowed to read."""
    try:
        real = sources.resolve_source(name, sources.shell_roots())
        if os.path.getsize(real) > LARGEST_LIST:
            raise CommandError(f"{name}: a list has at most {LARGEST_LIST >> 20} MB.")
        return Path(real).read_bytes()
    except InvalidSource as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{name} can't be read: {sources.say_cause(error)}.") from None


def manner_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return when and how, as `SendOrder` takes it.

    Raises:
        CommandError: something can't be as it is.
    """
    retries, finish_by = options["retries"], options["finish_by"]
    if retries is not None and not 0 <= retries <= MOST_RETRIES:
        raise CommandError(f"--retries is a number from 0 to {MOST_RETRIES}.")
    if finish_by is not None and finish_by <= timezone.now():
        raise CommandError("--finish-by: this time is past.")
    try:
        windows = str(parse_windows("; ".join(options["window"])))
    except InvalidWindows as error:
        raise CommandError(f"--window: {error}") from None
    return {
        "retries": retries,
        "only_new": options["only_new"],
        "study_order": StudyOrder(options["order"]),
        "priority": URGENT if options["urgent"] else 0,
        "windows": windows,
        "zone": site_zone().key,
        "finish_by": finish_by,
        "inline": options["inline"],
    }


def resolved_paths(options: dict[str, Any]) -> list[str]:
    """Return the real paths of the sources.

    Raises:
        CommandError: one can't be read, or there is none.
    """
    if not options["paths"] and not options["path_list"]:
        raise CommandError("Name at least one folder or file to send, or a --path-list.")
    roots = sources.Roots(sources.shell_roots())
    try:
        return [roots.resolve(path) for path in options["paths"]]
    except InvalidSource as error:
        raise CommandError(str(error)) from None
