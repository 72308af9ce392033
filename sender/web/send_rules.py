"""The part of the form of a send that says what is taken of the files found."""

import re
from collections.abc import Iterable
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.lists import InvalidList, ListedUid, decoded, lines_of, parse_uid_list
from sender.negotiation.selection import (
    InvalidSelection,
    Selection,
    parse_selection,
    problems_of,
    tags_of_lines,
)
from sender.services import sending
from sender.services.path_lists import LARGEST_LIST

LONGEST_TEXT = 4_000_000
_SEPARATORS = re.compile(r"[,;\n]")


class DateInput(forms.DateInput):
    """A day, chosen in the browser's own calendar."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


def lines_field(label: str, help_text: str, *, rows: int = 2) -> forms.CharField:
    """Return a field of several lines that may stay empty."""
    widget = forms.Textarea(attrs={"rows": rows, "spellcheck": "false"})
    return forms.CharField(
        label=label,
        help_text=help_text,
        required=False,
        max_length=LONGEST_TEXT,
        widget=widget,
    )


class RulesForm(forms.Form):
    """Which of the files found are taken; what is left out is counted by rule, and no failure."""

    patterns = lines_field(
        "File names", "Patterns such as *.dcm, one per line; ! before one leaves out: !DICOMDIR."
    )
    modalities = forms.CharField(required=False, max_length=400, help_text="CT, MR, …")
    sop_classes = lines_field("SOP classes", "Names or UIDs, one per line.")
    transfer_syntaxes = lines_field("Stored transfer syntaxes", "Names or UIDs, one per line.")
    date_from = forms.DateField(label="Study date from", required=False, widget=DateInput())
    date_to = forms.DateField(label="Study date to", required=False, widget=DateInput())
    tags = lines_field(
        "Attributes",
        "Keyword and pattern, one per line: StudyDescription=*KNEE*. Of several patterns of one "
        "attribute, one has to fit. The files are then read anew.",
    )
    uids = lines_field(
        "UIDs of studies, series or instances",
        "One per line; behind a comma how many instances there should be. What is not found, or "
        "not whole, is told.",
        rows=3,
    )
    uid_file = forms.FileField(
        label="Or a list of UIDs as CSV", required=False, allow_empty_file=True
    )

    def clean(self) -> dict[str, Any]:
        """Build the rules, and what the UIDs lead to expect."""
        given = super().clean() or {}
        listed = self._listed_uids(given)
        document = {
            "patterns": _lines(given.get("patterns", "")),
            "modalities": _split(given.get("modalities", "")),
            "sop_classes": [
                sop_classes.uid_named(line) for line in _lines(given.get("sop_classes", ""))
            ],
            "transfer_syntaxes": [
                syntaxes.uid_named(line) for line in _lines(given.get("transfer_syntaxes", ""))
            ],
            **_by_level(listed),
        }
        given["selection"] = self._selection(given, document)
        given["listed_uids"] = listed
        return given

    def _selection(self, given: dict[str, Any], document: dict[str, Any]) -> Selection | None:
        try:
            document["tags"] = tags_of_lines(_tag(line) for line in _lines(given.get("tags", "")))
        except ValueError as error:
            self.add_error("tags", str(error))
        for name in ("date_from", "date_to"):
            if given.get(name):
                document[name] = given[name].isoformat()
        for name, problem in problems_of(document).items():
            self.add_error(name if name in self.fields else "uids", problem)
        if not self.has_error("tags") and "tags" in document:
            self._check_attributes(parse_selection({"tags": document["tags"]}))
        return None if self.errors else parse_selection(document)

    def _check_attributes(self, selection: Selection) -> None:
        try:
            sending.check_attributes(selection)
        except InvalidSelection as error:
            self.add_error("tags", str(error))

    def _listed_uids(self, given: dict[str, Any]) -> list[ListedUid]:
        found: list[ListedUid] = []
        for name, text in (("uids", given.get("uids")), ("uid_file", given.get("uid_file"))):
            if not text:
                continue
            try:
                content = text if isinstance(text, str) else decoded(read_list(text))
                found += parse_uid_list(lines_of(content))
            except InvalidList as error:
                self.add_error(name, str(error))
        return found


def read_list(file: "UploadedFile[Any]") -> bytes:
    """Return the content of a list that was uploaded.

    Raises:
        InvalidList: it is too large.
    """
    if (file.size or 0) > LARGEST_LIST:
        raise InvalidList(f"A list has at most {LARGEST_LIST >> 20} MB.")
    return bytes(file.read())


def _by_level(listed: Iterable[ListedUid]) -> dict[str, list[str]]:
    names = {"study": "studies", "series": "series", "instance": "instances", "": "uids"}
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for entry in listed:
        found[names[entry.level]].append(entry.uid)
    return found


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _split(text: str) -> list[str]:
    return [part.strip() for part in _SEPARATORS.split(text) if part.strip()]


def _tag(line: str) -> tuple[str, str]:
    keyword, equals, pattern = line.partition("=")
    if not equals:
        raise ValueError(f"“{line[:80]}”: write a keyword, =, and a pattern.")
    return keyword.strip(), pattern.strip()
