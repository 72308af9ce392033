"""The form of a schedule: its times, what it takes, where that goes."""

import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.forms import formset_factory
from django.utils import timezone

from sender.models import (
    CatchUp,
    ContextTemplate,
    Destination,
    Overlap,
    RecurrenceKind,
    Schedule,
    StudyOrder,
)
from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.local_time import UnknownZone, instant_of, zone_named
from sender.negotiation.rules import DERIVED_FROM_FILES
from sender.negotiation.selection import lines_of_tags, tags_of_lines
from sender.services.schedule_facts import (
    FINISH_WITHIN_SECONDS,
    LONGEST_NOTE,
    MOST_RETRIES,
    Problems,
    ScheduleFacts,
)
from sender.web.context_forms import sop_class_uid, transfer_syntax_uid
from sender.web.problems import readable, tell

REGIONS = (
    "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe",
    "Indian", "Pacific",
)  # fmt: skip
PRIORITY_CHOICES = (
    (-10, "Low: after all others"),
    (0, "Normal"),
    (10, "High: before others"),
    (100, "Urgent: overtakes others at the next batch"),
)
KIND_CHOICES = (
    (RecurrenceKind.CRON, "By a cron expression"),
    (RecurrenceKind.INTERVAL, "Every so often"),
    (RecurrenceKind.ONCE, "Once, at a time"),
)
CATCH_UP_CHOICES = (
    (CatchUp.LATEST, "Run once for all that was missed"),
    (CatchUp.SKIP, "Skip what was missed"),
)
OVERLAP_CHOICES = ((Overlap.SKIP, "Skip the run"), (Overlap.QUEUE, "Run after it"))
LIST_RULES = ("patterns", "studies", "series", "instances")
FORM_RULES = (
    *LIST_RULES, "modalities", "sop_classes", "transfer_syntaxes", "date_from", "date_to", "tags",
)  # fmt: skip
SECONDS_PER_HOUR = 3600


def zone_choices(current: str = "") -> list[Any]:
    """Return the zones by region, as a select shows them; `current` is there in any case."""
    names = sorted(zoneinfo.available_timezones())
    groups: list[Any] = [("UTC", "UTC")]
    for region in REGIONS:
        members = [name for name in names if name.startswith(f"{region}/")]
        groups.append((region, [(name, name) for name in members]))
    known = {"UTC", *(name for name in names if name.split("/")[0] in REGIONS and "/" in name)}
    return groups if not current or current in known else [(current, current), *groups]


def _lines(rows: int = 2) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "spellcheck": "false"})


class ScheduleForm(forms.Form):
    """What a person says of a schedule; services decide whether it can be."""

    name = forms.CharField(max_length=80)
    enabled = forms.BooleanField(required=False, label="Enabled: it runs at its times")
    kind = forms.ChoiceField(choices=KIND_CHOICES, label="It runs")
    expression = forms.CharField(
        max_length=200,
        label="When",
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
        help_text="As the examples show.",
    )
    zone = forms.ChoiceField(label="Time zone", help_text="Of the times and of the windows.")
    anchor = forms.CharField(
        required=False,
        max_length=20,
        label="First run of an interval",
        widget=forms.TextInput(attrs={"placeholder": "2026-11-25 20:00", "autocomplete": "off"}),
        help_text="Local time. Empty: one interval from now.",
    )
    catch_up = forms.ChoiceField(
        choices=CATCH_UP_CHOICES, label="If no sender was running at its time"
    )
    overlap = forms.ChoiceField(choices=OVERLAP_CHOICES, label="If its last run is not over yet")
    windows = forms.CharField(
        required=False,
        max_length=400,
        label="When it may send",
        widget=forms.TextInput(
            attrs={"placeholder": "mon-fri 20:00-06:00; sat,sun 00:00-24:00", "spellcheck": "false"}
        ),
        help_text="Empty: at any time. Those of the destination hold besides.",
    )
    finish_within_hours = forms.FloatField(
        required=False,
        min_value=0.02,
        max_value=FINISH_WITHIN_SECONDS[-1] / SECONDS_PER_HOUR,
        label="It should be through within, hours",
        help_text="From its time on. Empty: it does not matter.",
    )
    sources = forms.CharField(
        label="Folders or files, one per line",
        max_length=8000,
        widget=_lines(3),
        help_text="Files younger than 60 s wait for the next run.",
    )
    only_new = forms.BooleanField(
        required=False,
        label="Only what is new: what a destination has not got yet, or has with other content",
    )
    study_order = forms.ChoiceField(choices=StudyOrder.choices, label="Order of the studies")
    patterns = forms.CharField(
        required=False,
        max_length=4000,
        widget=_lines(),
        label="File names, one pattern per line",
        help_text="Such as *.dcm; one that begins with ! leaves out. Empty: all.",
    )
    modalities = forms.CharField(
        required=False, max_length=400, help_text="Such as CT, MR. Empty: all."
    )
    sop_classes = forms.CharField(
        required=False,
        max_length=8000,
        widget=_lines(),
        label="SOP classes, one per line",
        help_text="Names or UIDs. Empty: all.",
    )
    transfer_syntaxes = forms.CharField(
        required=False,
        max_length=4000,
        widget=_lines(),
        label="Stored in these transfer syntaxes, one per line",
        help_text="Names or UIDs. Empty: all.",
    )
    studies = forms.CharField(
        required=False, max_length=400_000, widget=_lines(), label="Study Instance UIDs"
    )
    series = forms.CharField(
        required=False, max_length=400_000, widget=_lines(), label="Series Instance UIDs"
    )
    instances = forms.CharField(
        required=False, max_length=400_000, widget=_lines(), label="SOP Instance UIDs"
    )
    date_from = forms.DateField(
        required=False,
        label="Study date from",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    date_to = forms.DateField(
        required=False,
        label="Study date to",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    tags = forms.CharField(
        required=False,
        max_length=4000,
        widget=_lines(),
        label="Attributes, one per line",
        help_text="Keyword = pattern, such as StationName = CT1*. Of several patterns of one "
        "attribute, one has to fit.",
    )
    retries = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MOST_RETRIES,
        label="Automatic attempts after the first",
        help_text="Empty: as the destination says.",
    )
    priority = forms.TypedChoiceField(choices=PRIORITY_CHOICES, coerce=int)
    note = forms.CharField(
        required=False, max_length=LONGEST_NOTE, widget=forms.Textarea(attrs={"rows": 2})
    )

    def __init__(self, *args: Any, zone: str, priority: int = 0, **kwargs: Any) -> None:
        """Build the form.

        Args:
            zone: what is chosen at first, and stays choosable.
            priority: the priority that the schedule has.
        """
        super().__init__(*args, **kwargs)
        zones, priorities = self.fields["zone"], self.fields["priority"]
        assert isinstance(zones, forms.ChoiceField)
        assert isinstance(priorities, forms.ChoiceField)
        zones.choices = zone_choices(zone)
        self.initial.setdefault("zone", zone)
        if priority not in dict(PRIORITY_CHOICES):
            priorities.choices = [*PRIORITY_CHOICES, (priority, str(priority))]

    def clean_anchor(self) -> datetime | None:
        """Read a local time of the chosen zone."""
        return read_anchor(self.cleaned_data["anchor"], str(self.data.get("zone", "")))

    def clean_tags(self) -> dict[str, list[str]]:
        """Read lines of the form keyword = pattern."""
        found = []
        for line in filter(str.strip, self.cleaned_data["tags"].splitlines()):
            keyword, sign, pattern = (part.strip() for part in line.partition("="))
            if not keyword or not sign or not pattern:
                raise forms.ValidationError(f"{line.strip()}: write a keyword, = and a pattern.")
            found.append((keyword, pattern))
        return tags_of_lines(found)

    def facts(
        self,
        targets: Sequence[tuple[Destination, ContextTemplate]],
        stored_rules: Mapping[str, Any],
    ) -> ScheduleFacts:
        """Return what was filled in, as far as it could be read.

        Rules that the form does not know stay as they are stored.
        """
        kept = {name: rule for name, rule in stored_rules.items() if name not in FORM_RULES}
        given = readable(self, anchor=None, tags={})
        hours = given["finish_within_hours"]
        plain = (
            "name", "kind", "expression", "zone", "anchor", "windows", "catch_up", "overlap",
            "only_new", "study_order", "retries", "priority", "note", "enabled",
        )  # fmt: skip
        return ScheduleFacts(
            sources=_split(given["sources"]),
            targets=targets,
            rules=kept | _rules(given),
            finish_within_seconds=None if hours is None else round(hours * SECONDS_PER_HOUR),
            **{name: given[name] for name in plain},
        )

    def tell(self, problems: Problems) -> None:
        """Show what the service found wrong beside its fields."""
        tell(self, problems, {"finish_within_seconds": "finish_within_hours"})


def read_anchor(text: str, zone: str) -> datetime | None:
    """Read the first run of an interval: a local time, or nothing.

    Raises:
        ValidationError: it is neither.
    """
    if not text.strip():
        return None
    try:
        wall = datetime.fromisoformat(text.strip())
        return wall if wall.tzinfo else instant_of(wall, zone_named(zone))
    except (ValueError, OverflowError):
        raise forms.ValidationError(
            f'"{text[:40]}" is no time; write the local time like 2026-11-25 20:00.'
        ) from None


def _split(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _rules(given: Mapping[str, Any]) -> dict[str, Any]:
    rules: dict[str, Any] = {name: _split(given[name]) for name in LIST_RULES}
    rules["modalities"] = given["modalities"].replace(",", " ").split()
    rules["sop_classes"] = [sop_class_uid(line) for line in _split(given["sop_classes"])]
    rules["transfer_syntaxes"] = [
        transfer_syntax_uid(line) for line in _split(given["transfer_syntaxes"])
    ]
    for name in ("date_from", "date_to"):
        rules[name] = f"{given[name]:%Y%m%d}" if given[name] else ""
    rules["tags"] = given["tags"]
    return {name: value for name, value in rules.items() if value}


def initial_of(schedule: Schedule) -> dict[str, Any]:
    """Return what a schedule says, as the form shows it."""
    rules = schedule.rules
    plain = (
        "name", "kind", "expression", "zone", "windows", "catch_up", "overlap", "only_new",
        "study_order", "retries", "priority", "note", "enabled",
    )  # fmt: skip
    within = schedule.finish_within_seconds
    return {name: getattr(schedule, name) for name in plain} | {
        "anchor": _local(schedule.anchor, schedule.zone),
        "finish_within_hours": within / SECONDS_PER_HOUR if within else None,
        "sources": "\n".join(schedule.sources),
        "modalities": ", ".join(rules.get("modalities", [])),
        "sop_classes": "\n".join(map(sop_classes.name_of, rules.get("sop_classes", []))),
        "transfer_syntaxes": "\n".join(
            map(syntaxes.short_name_of, rules.get("transfer_syntaxes", []))
        ),
        "date_from": _date(rules.get("date_from", "")),
        "date_to": _date(rules.get("date_to", "")),
        "tags": "\n".join(
            f"{key} = {value}" for key, value in lines_of_tags(rules.get("tags", {}))
        ),
        **{name: "\n".join(rules.get(name, [])) for name in LIST_RULES},
    }


def _local(moment: datetime | None, zone: str) -> str:
    if moment is None:
        return ""
    try:
        return f"{moment.astimezone(zone_named(zone)):%Y-%m-%d %H:%M:%S}"
    except UnknownZone:
        return moment.isoformat()


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text else ""


def defaults(zone: str) -> dict[str, Any]:
    """Return what a new schedule says at first."""
    return {
        "enabled": True,
        "kind": RecurrenceKind.CRON,
        "expression": "0 20 * * MON-FRI",
        "zone": zone,
        "catch_up": CatchUp.LATEST,
        "overlap": Overlap.SKIP,
        "only_new": True,
        "study_order": StudyOrder.LISTED,
        "priority": 0,
    }


class TargetForm(forms.Form):
    """One destination with its template; an empty row is none."""

    destination = forms.ModelChoiceField(Destination.objects.all(), required=False)
    template = forms.ModelChoiceField(
        ContextTemplate.objects.all(),
        required=False,
        help_text="Each run takes its newest version.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("template", _derived())

    @property
    def target(self) -> tuple[Destination, ContextTemplate] | None:
        """What was chosen; None if no destination was."""
        destination = self.cleaned_data.get("destination")
        template = self.cleaned_data.get("template") or _derived()
        return (destination, template) if destination and template else None


def _derived() -> ContextTemplate | None:
    return ContextTemplate.objects.filter(name=DERIVED_FROM_FILES.name).first()


TargetFormSet = formset_factory(TargetForm, extra=1, max_num=100, absolute_max=120)


def targets_of(rows: Any) -> list[tuple[Destination, ContextTemplate]]:
    """Return the targets that were chosen in the rows, as far as they could be read."""
    return [target for row in rows.forms if (target := row.target) is not None]


EXAMPLES = (
    (RecurrenceKind.CRON, "0 20 * * MON-FRI", "Monday to Friday at 20:00"),
    (RecurrenceKind.CRON, "*/15 7-18 * * *", "every 15 minutes from 7:00 to 18:45"),
    (RecurrenceKind.CRON, "30 2 1 * *", "on the first of each month at 2:30"),
    (RecurrenceKind.CRON, "0 3 * * SAT#1", "on the first Saturday of each month at 3:00"),
    (RecurrenceKind.INTERVAL, "6h", "every 6 hours; 30m, 1d and 1d12h are others"),
)


def once_example(zone: str) -> tuple[RecurrenceKind, str, str]:
    """Return an example of a single time, which must not be past."""
    now = timezone.now().astimezone(zone_named(zone))
    return (RecurrenceKind.ONCE, f"{now.year + 1}-01-02 20:00", "at this time and never again")
