"""The parts of the form of a send that say where the files are, and how they travel."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from django import forms
from django.utils import timezone

from sender.models import StudyOrder, Upload
from sender.negotiation.lists import InvalidList
from sender.negotiation.local_time import UnknownZone, instant_of, zone_named
from sender.negotiation.windows import EXAMPLE, InvalidWindows, parse_windows
from sender.services import sources
from sender.services.installation import site_zone
from sender.services.path_lists import PathList, read_path_list
from sender.web.send_rules import lines_field, read_list

LATEST_UPLOADS = 20
MOST_PROBLEMS = 20


class InstantInput(forms.DateTimeInput):
    """A day and a time, chosen in the browser's own way."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M")


class SourcesForm(forms.Form):
    """Where the files are."""

    sources = lines_field("Folders or files, one per line", "", rows=3)
    uploads = forms.ModelMultipleChoiceField(
        Upload.objects.none(),
        required=False,
        label="Uploads",
        widget=forms.CheckboxSelectMultiple,
    )
    path_file = forms.FileField(
        label="A list of paths (CSV), one per line",
        required=False,
        allow_empty_file=True,
        help_text="Lines that can't be used are told before anything is sent; the others are.",
    )
    path_file_here = forms.CharField(
        label="Or the path of such a list on the server", required=False, max_length=4096
    )

    def __init__(self, *args: Any, chosen: list[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ready = Upload.objects.filter(state="ready")
        latest = list(ready.values_list("pk", flat=True)[:LATEST_UPLOADS])
        field = self.fields["uploads"]
        assert isinstance(field, forms.ModelMultipleChoiceField)
        field.queryset = ready.filter(pk__in=[*latest, *chosen])

    def clean_sources(self) -> list[str]:
        """Each line is a whole path that may be read: nobody knows where the web server runs."""
        lines = [line.strip() for line in self.cleaned_data["sources"].splitlines()]
        paths = [line for line in lines if line]
        known = sources.Roots(sources.web_roots())
        problems = [problem for path in paths if (problem := _problem_of(path, known))]
        if problems[MOST_PROBLEMS:]:
            problems[MOST_PROBLEMS:] = [f"{len(problems) - MOST_PROBLEMS} more can't be used."]
        if problems:
            raise forms.ValidationError(problems)
        return paths

    def clean(self) -> dict[str, Any]:
        """Bring paths, uploads and the list together."""
        given = super().clean() or {}
        given["path_list"] = self._path_list(given)
        uploads = [upload.path for upload in given.get("uploads", ())]
        given["all_sources"] = [*given.get("sources", ()), *uploads]
        if not self.errors and not given["all_sources"] and not given["path_list"]:
            self.add_error("sources", "Name at least one folder or file to send.")
        return given

    def _path_list(self, given: dict[str, Any]) -> PathList | None:
        if given.get("path_file") and given.get("path_file_here"):
            self.add_error("path_file_here", "Give one list, from here or from there.")
            return None
        try:
            if given.get("path_file"):
                return read_path_list(read_list(given["path_file"]))
        except InvalidList as error:
            self.add_error("path_file", str(error))
        try:
            if given.get("path_file_here"):
                return _list_here(given["path_file_here"])
        except (InvalidList, sources.InvalidSource) as error:
            self.add_error("path_file_here", str(error))
        return None


def _problem_of(path: str, known: sources.Roots) -> str:
    """Say why a path can't be a source; "" if it can."""
    if not os.path.isabs(path):
        return f"{path}: write the whole path, from the root on."
    try:
        known.resolve(path)
    except sources.InvalidSource as error:
        return str(error)
    return ""


def _list_here(path: str) -> PathList:
    """Read a list of paths that lies in an allowed root; its lines may begin at its folder."""
    real = sources.resolve_source(path.strip(), sources.web_roots())
    if os.path.isdir(real):
        raise InvalidList(f"{path} is a folder, and no list.")
    try:
        return read_path_list(Path(real).read_bytes(), folder=os.path.dirname(real))
    except OSError as error:
        raise InvalidList(f"{path} can't be read: {sources.say_cause(error)}.") from None


class MannerForm(forms.Form):
    """When and how the files travel."""

    name = forms.CharField(max_length=120, required=False, help_text="For you to find it again.")
    study_order = forms.ChoiceField(
        label="Studies travel",
        choices=StudyOrder.choices,
        initial=StudyOrder.LISTED,
        required=False,
    )
    only_new = forms.BooleanField(
        required=False,
        label="Only what is new: leave out what has arrived there already, by UID and content",
    )
    urgent = forms.BooleanField(
        required=False, label="Urgent: overtakes other sends at the end of their batches"
    )
    windows = forms.CharField(
        required=False,
        max_length=400,
        label="Only at these times",
        help_text=f"Empty: at any time. For example {EXAMPLE}.",
    )
    zone = forms.CharField(max_length=64, required=False, label="Time zone of these times")
    finish_by = forms.DateTimeField(
        required=False,
        label="Should be through by",
        help_text="You are warned as soon as the rate will not do.",
        widget=InstantInput(),
        input_formats=("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"),
    )
    retries = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=20,
        label="Automatic attempts after the first",
        help_text="Empty: as the destination says.",
    )

    def clean_windows(self) -> str:
        """Return windows as they are written shortest."""
        try:
            return str(parse_windows(self.cleaned_data["windows"]))
        except InvalidWindows as error:
            raise forms.ValidationError(str(error)) from None

    def clean_zone(self) -> str:
        """Return a zone, the site's if none was named."""
        name = self.cleaned_data["zone"] or site_zone().key
        try:
            return zone_named(name).key
        except UnknownZone as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        """Read the end as a local time of the zone."""
        given = super().clean() or {}
        wall: datetime | None = given.get("finish_by")
        if wall is not None and given.get("zone"):
            plain = wall.replace(tzinfo=None)
            given["finish_by"] = instant_of(plain, zone_named(given["zone"]))
            if given["finish_by"] <= timezone.now():
                self.add_error("finish_by", "This time is past.")
        return given
