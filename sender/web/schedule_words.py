"""What pages say of schedules and their runs; paths and UIDs only to whom they are for."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from sender.analytics.schedules import Attention, RunAccount, RunOutcome
from sender.models import RunTrigger, Schedule
from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.local_time import UnknownZone, zone_named
from sender.negotiation.selection import lines_of_tags
from sender.negotiation.windows import InvalidWindows, parse_windows
from sender.services import expectations, recurrence, uploads
from sender.services.schedule_times import recurrence_of
from sender.web.words import INSTANCES, without_paths

COUNTED = {
    "patterns": "File names",
    "studies": "Study Instance UIDs",
    "series": "Series Instance UIDs",
    "instances": "SOP Instance UIDs",
    "uids": "UIDs of studies, series or instances",
    "tags": "Attributes",
}
"""Rules whose values may tell of a patient."""
NAMED = {
    "modalities": "Modalities",
    "sop_classes": "SOP classes",
    "transfer_syntaxes": "Transfer syntaxes",
}


def both(zone: str, moment: datetime) -> tuple[str, str]:
    """Write a time in a zone, with the day of the week, and in UTC; whole minutes without :00."""
    clock = "%H:%M:%S" if moment.second else "%H:%M"
    try:
        shown = f"{moment.astimezone(zone_named(zone)):%a %Y-%m-%d {clock}}"
    except UnknownZone:
        shown = "–"
    return shown, f"{moment.astimezone(UTC):%Y-%m-%d {clock}}"


def local(schedule: Schedule, moment: datetime | None) -> str:
    """Write a time in a schedule's zone, "" if there is none."""
    return "" if moment is None else both(schedule.zone, moment)[0]


def next_runs(schedule: Schedule, now: datetime, count: int = 5) -> list[dict[str, str]]:
    """Return the next times of an enabled schedule, with when its sends may begin."""
    if not schedule.enabled:
        return []
    try:
        times = recurrence.next_runs(recurrence_of(schedule), now, count)
    except recurrence.InvalidRecurrence:
        return []
    found = []
    for time in times:
        shown, utc = both(schedule.zone, time)
        found.append({"local": shown, "utc": utc, "sends_from": _closed_until(schedule, time)})
    return found


def rules(schedule: Schedule, *, with_identifiers: bool) -> list[tuple[str, str]]:
    """Return the rules that are set: their name, and what they take."""
    found = [
        (words, ", ".join(_named(name, schedule.rules[name])))
        for name, words in NAMED.items()
        if schedule.rules.get(name)
    ]
    first, last = schedule.rules.get("date_from", ""), schedule.rules.get("date_to", "")
    if first or last:
        found.append(("Study date", f"{_iso(first) or 'any'} to {_iso(last) or 'any'}"))
    for name, words in COUNTED.items():
        values = schedule.rules.get(name)
        if values:
            found.append((words, _told(values) if with_identifiers else f"{len(values):,}"))
    return found


def _named(name: str, values: Iterable[str]) -> Iterator[str]:
    names = {"sop_classes": sop_classes.name_of, "transfer_syntaxes": syntaxes.short_name_of}
    return (names[name](value) if name in names else value for value in values)


def _iso(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text else ""


def _told(values: Any, most: int = 6) -> str:
    told = (
        [f"{k} = {v}" for k, v in lines_of_tags(values)]
        if isinstance(values, dict)
        else list(values)
    )
    more = len(told) - most
    return ", ".join(told[:most]) + (f" and {more:,} more" if more > 0 else "")


def notes(account: RunAccount, *, with_identifiers: bool) -> Iterator[str]:
    """Yield what is to be said of a run besides its outcome, one sentence or more each."""
    run = account.run
    if run.detail:
        yield uploads.in_words([run.detail])[0] if with_identifiers else without_paths(run.detail)
    if _failed_for_strays(account):
        files = max(account.strays)
        hold = "1 file holds" if files == 1 else f"{files:,} files hold"
        yield f"It failed only because {hold} no sendable instance; there was nothing else to send."
    if run.warning:
        began = "" if run.trigger == RunTrigger.CHECK else " before it began"
        yield f"Foreseen{began}: {run.warning}."
    closed = _closed_until(run.schedule, timezone.now()) if account.has_open_sends else ""
    if closed:
        yield f"Its windows are closed until {closed}."
    if account.already_there:
        yield f"{_instances(account.already_there)} already there, left out."
    if run.listing:
        for rule, number in sorted(run.listing.excluded.items()):
            yield f"{number:,} file{'' if number == 1 else 's'} left out by rule: {rule}."


def _failed_for_strays(account: RunAccount) -> bool:
    """Tell whether a run failed for files that are no instances, and for nothing else."""
    if account.outcome != RunOutcome.FAILED or not account.has_only_strays:
        return False
    return account.listing is None or not expectations.shortfalls(account.listing)


def _closed_until(schedule: Schedule, now: datetime) -> str:
    """Say when the windows of a schedule open; "" if they are open."""
    try:
        windows, zone = parse_windows(schedule.windows), zone_named(schedule.zone)
    except (InvalidWindows, UnknownZone):
        return ""
    opens_at = windows.opens_at(now, zone)
    return "" if opens_at is None or opens_at <= now else local(schedule, opens_at)


def _instances(number: int) -> str:
    return "1 instance was" if number == 1 else f"{number:,} instances were"


def attention(one: Attention, *, with_identifiers: bool) -> str:
    """Say why somebody should look at a schedule."""
    if one.overdue_since is not None:
        shown = local(one.schedule, one.overdue_since)
        return (
            f"It should have run at {shown} {one.schedule.zone} and did not: is a sender running?"
        )
    assert one.account is not None
    shown = local(one.schedule, one.account.run.intended_at)
    became = ", ".join(
        f"{number:,} {INSTANCES[outcome].word.lower()}"
        for outcome, number in one.account.counts.items()
    )
    said = " ".join(notes(one.account, with_identifiers=with_identifiers))
    heading = f"Run of {shown} {one.schedule.zone}{f': {became}' if became else ''}."
    return f"{heading} {said}".strip()
