"""What is taken of the files that a source holds: rules that leave out, never "unsendable"."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.uids import is_valid_uid

_DATE = re.compile(r"[0-9]{8}")
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*|\(?[0-9A-Fa-f]{4},?[0-9A-Fa-f]{4}\)?")
_UID_RULES = ("sop_classes", "transfer_syntaxes", "studies", "series", "instances", "uids")
_SET_RULES = (*_UID_RULES, "modalities")
LONGEST_VALUE = 400
MOST_VALUES = 100_000
MOST_TAGS = 50
MOST_TAG_PATTERNS = 50


class InvalidSelection(ValueError):
    """The rules can't be used; the message says why, in the user's words."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What rules look at.

    Attributes:
        study_date: YYYYMMDD, "" if there is none.
        tags: text of further attributes by keyword, as far as rules ask for them; several values
            are joined by backslashes.
    """

    sop_class: str
    transfer_syntax: str
    sop_instance: str
    study: str
    series: str
    modality: str
    study_date: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """The rules of a listing; an empty rule takes everything.

    Attributes:
        patterns: shell patterns of file names; one that begins with "!" leaves out.
        uids: UIDs of studies, series or instances, whichever they are.
        date_from, date_to: Study Date, YYYYMMDD, both inclusive; data without one are left out.
        tags: keyword of a data element -> shell patterns of its value, case-insensitive; one of
            them has to fit.
        least_age_seconds: younger files wait for the next run.
    """

    patterns: tuple[str, ...] = ()
    sop_classes: frozenset[str] = frozenset()
    transfer_syntaxes: frozenset[str] = frozenset()
    modalities: frozenset[str] = frozenset()
    studies: frozenset[str] = frozenset()
    series: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()
    uids: frozenset[str] = frozenset()
    date_from: str = ""
    date_to: str = ""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    least_age_seconds: float = 0.0

    @property
    def looks_into_data(self) -> bool:
        """Tell whether a rule needs more than the file's name and age."""
        return bool(self.tags or self.date_from or self.date_to) or any(
            getattr(self, name) for name in _SET_RULES
        )


EVERYTHING = Selection()


def parse_selection(document: Mapping[str, Any]) -> Selection:
    """Build the rules from what was stored or written.

    Raises:
        InvalidSelection: a rule is unknown or can't be used.
    """
    known = {item.name for item in fields(Selection)}
    unknown = sorted(set(document) - known)
    if unknown:
        raise InvalidSelection(f"There is no rule {unknown[0]}.")
    values: dict[str, Any] = {
        name: frozenset(_texts(name, document.get(name, ()))) for name in _SET_RULES
    }
    values["patterns"] = _patterns(_texts("patterns", document.get("patterns", ())))
    for name in _UID_RULES:
        for uid in sorted(values[name]):
            if not is_valid_uid(uid):
                raise InvalidSelection(f"“{uid}” is no UID.")
    values["modalities"] = frozenset(text.upper() for text in values["modalities"])
    for name in ("date_from", "date_to"):
        values[name] = _date(document.get(name, ""))
    if values["date_from"] and values["date_to"] and values["date_from"] > values["date_to"]:
        raise InvalidSelection("The first study date is later than the last.")
    return Selection(
        **values,
        tags=_tags(document.get("tags", {})),
        least_age_seconds=_age(document.get("least_age_seconds", 0.0)),
    )


def problems_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Say what is wrong with rules, by the name of each; {} if `parse_selection` takes them."""
    found: dict[str, str] = {}
    for name, rule in document.items():
        try:
            parse_selection({name: rule})
        except InvalidSelection as error:
            found[name] = str(error)
    try:
        parse_selection({name: rule for name, rule in document.items() if name not in found})
    except InvalidSelection as error:
        found["date_to"] = str(error)  # no other rule depends on one
    return found


def _patterns(given: tuple[str, ...]) -> tuple[str, ...]:
    for text in given:
        if "/" in text:
            raise InvalidSelection(
                f"“{text}” names folders; a pattern is for the file's name alone, such as *.dcm."
            )
        if text == "!":
            raise InvalidSelection("“!” leaves out nothing; write a pattern behind it.")
    return given


def tags_of_lines(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return rules on attributes by keyword, of keywords with one pattern each."""
    found: dict[str, list[str]] = {}
    for keyword, pattern in pairs:
        found.setdefault(keyword, []).append(pattern)
    return found


def lines_of_tags(stored: Mapping[str, str | Sequence[str]]) -> list[tuple[str, str]]:
    """Return rules on attributes as they are stored: keywords, in order, with one pattern each."""
    return [
        (keyword, pattern)
        for keyword, patterns in sorted(stored.items())
        for pattern in ([patterns] if isinstance(patterns, str) else patterns)
    ]


def _tags(given: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, Mapping):
        raise InvalidSelection("A rule on an attribute is its keyword and a pattern.")
    if len(given) > MOST_TAGS:
        raise InvalidSelection(f"There may be rules on at most {MOST_TAGS} attributes.")
    for keyword in given:
        if not isinstance(keyword, str) or not _KEYWORD.fullmatch(keyword):
            raise InvalidSelection(
                f"“{keyword}” is no keyword of an attribute, such as StudyDescription."
            )
    return {keyword: _tag_patterns(keyword, given[keyword]) for keyword in sorted(given)}


def _tag_patterns(keyword: str, given: object) -> tuple[str, ...]:
    """Take one pattern of an attribute, or several of which one has to fit."""
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, Sequence) or not all(isinstance(text, str) for text in patterns):
        raise InvalidSelection("A rule on an attribute is its keyword and a pattern.")
    if not 0 < len(patterns) <= MOST_TAG_PATTERNS:
        raise InvalidSelection(f"{keyword} has 1 to {MOST_TAG_PATTERNS} patterns.")
    if any(len(pattern) > LONGEST_VALUE or "\0" in pattern for pattern in patterns):
        raise InvalidSelection(f"The pattern for {keyword} is too long.")
    return tuple(dict.fromkeys(patterns))


def _age(given: object) -> float:
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given <= 86400:
        raise InvalidSelection("The least age of a file is 0 to 86400 seconds.")
    return float(given)


def _texts(name: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > MOST_VALUES:
        raise InvalidSelection(f"The rule {name} is a list of at most {MOST_VALUES} values.")
    texts = tuple(dict.fromkeys(str(value).strip() for value in given))
    if any(not text or len(text) > LONGEST_VALUE or "\0" in text for text in texts):
        raise InvalidSelection(f"The rule {name} has a value that is empty or too long.")
    return texts


def _date(text: object) -> str:
    if text == "":
        return ""
    plain = str(text).strip().replace("-", "")
    try:
        if not _DATE.fullmatch(plain):
            raise ValueError
        date(int(plain[:4]), int(plain[4:6]), int(plain[6:]))
    except ValueError:
        raise InvalidSelection(f"“{text}” is no date such as 2026-11-24.") from None
    return plain


def to_document(selection: Selection) -> dict[str, Any]:
    """Return the rules as they are stored; only those that are set.

    The only pattern of an attribute is a text, as it was stored before there could be several.
    """
    document: dict[str, Any] = {}
    for item in fields(Selection):
        value = getattr(selection, item.name)
        if isinstance(value, frozenset):
            value = sorted(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Mapping):
            value = {
                key: texts[0] if len(texts) == 1 else list(texts) for key, texts in value.items()
            }
        if value:
            document[item.name] = value
    return document


_LISTED = (
    ("sop_classes", "sop_class", "SOP class"),
    ("transfer_syntaxes", "transfer_syntax", "transfer syntax"),
    ("modalities", "modality", "modality"),
)
_HIERARCHY = (("studies", "study"), ("series", "series"), ("instances", "sop_instance"))
BY_UID = "list of UIDs"


def excluded_by(candidate: Candidate, selection: Selection) -> str:
    """Return the rule that leaves an instance out, in words; "" if none does.

    UID lists add up: an instance is taken if its study, its series or itself is listed.
    """
    return excluded_by_identity(candidate, selection) or excluded_by_tags(candidate, selection)


def excluded_by_identity(candidate: Candidate, selection: Selection) -> str:
    """Return the rule that leaves an instance out whatever its further attributes are."""
    for rule, attribute, words in _LISTED:
        wanted = getattr(selection, rule)
        if wanted and getattr(candidate, attribute) not in wanted:
            return words
    if not _is_listed(candidate, selection):
        return BY_UID
    if _is_out_of_range(candidate.study_date, selection):
        return "study date"
    return ""


def excluded_by_tags(candidate: Candidate, selection: Selection) -> str:
    """Return the keyword of an attribute whose value no pattern fits; "" if all do.

    An attribute with several values fits if one of them or all together do.
    """
    for keyword, patterns in selection.tags.items():
        text = candidate.tags.get(keyword, "").casefold()
        values = {text, *(value.strip() for value in text.split("\\"))}
        if not any(
            fnmatchcase(value, pattern.casefold()) for value in values for pattern in patterns
        ):
            return keyword
    return ""


def _is_listed(candidate: Candidate, selection: Selection) -> bool:
    listed = [(getattr(selection, rule), attribute) for rule, attribute in _HIERARCHY]
    if not selection.uids and not any(uids for uids, _ in listed):
        return True
    return any(
        getattr(candidate, attribute) in uids or getattr(candidate, attribute) in selection.uids
        for uids, attribute in listed
    )


def _is_out_of_range(study_date: str, selection: Selection) -> bool:
    if not selection.date_from and not selection.date_to:
        return False
    if not study_date:
        return True
    return study_date < selection.date_from or study_date > (selection.date_to or "99999999")


def takes_name(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a file's name fits the patterns, upper and lower case alike."""
    plain = name.casefold()
    against = [p[1:].casefold() for p in patterns if p.startswith("!")]
    wanted = [p.casefold() for p in patterns if not p.startswith("!")]
    if any(fnmatchcase(plain, pattern) for pattern in against):
        return False
    return not wanted or any(fnmatchcase(plain, pattern) for pattern in wanted)


_NAMES = {
    "patterns": "File name",
    "sop_classes": "SOP class",
    "transfer_syntaxes": "Transfer syntax",
    "modalities": "Modality",
    "studies": "Study Instance UID",
    "series": "Series Instance UID",
    "instances": "SOP Instance UID",
    "uids": "UID of a study, series or instance",
}
_MOST_NAMED = 6
_SAID = dict.fromkeys(_NAMES, str) | {
    "sop_classes": sop_classes.name_of,
    "transfer_syntaxes": syntaxes.short_name_of,
}


def describe(selection: Selection) -> list[tuple[str, str]]:
    """Return the rules that are set for people: what they look at, and what is taken."""
    found = []
    for name, words in _NAMES.items():
        values = getattr(selection, name)
        if values:
            listed = list(values) if name == "patterns" else sorted(map(_SAID[name], values))
            more = len(listed) - _MOST_NAMED
            said = ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            found.append((words, said))
    if selection.date_from or selection.date_to:
        said = f"{_iso(selection.date_from) or 'any'} to {_iso(selection.date_to) or 'any'}"
        found.append(("Study date", said))
    found += [(keyword, ", ".join(patterns)) for keyword, patterns in selection.tags.items()]
    if selection.least_age_seconds:
        found.append(("Age of the file", f"at least {selection.least_age_seconds:g} s"))
    return found


def _iso(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text else ""
