"""Lists that people bring: UIDs with expected counts, paths of files. One entry per line.

Lines are read one by one, so that an open quote spoils its own line and no other.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sender.negotiation.uids import is_valid_uid

MOST_UIDS = 100_000
MOST_LINES = 200_000
LONGEST_LINE = 8192
LARGEST_COUNT = 100_000_000
_MOST_FAULTS = 5
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_SAMPLE = 100_000
_BLANKS = re.compile(r"[\s_\-]+")
_LEVELS = {
    "study": "study", "studyuid": "study", "studyinstanceuid": "study", "studies": "study",
    "series": "series", "seriesuid": "series", "seriesinstanceuid": "series",
    "instance": "instance", "instances": "instance", "sopinstanceuid": "instance",
    "instanceuid": "instance", "sopuid": "instance", "iuid": "instance",
}  # fmt: skip
_UID_HEADS = frozenset({*_LEVELS, "uid", "uids"})
_PATH_HEADS = frozenset({"path", "paths", "file", "files", "filepath", "filename", "source"})
ANY_LEVEL = ""


class InvalidList(ValueError):
    """A list can't be used; the message names its lines, in the user's words."""


@dataclass(frozen=True, slots=True)
class ListedUid:
    """An entry of a list of UIDs.

    Attributes:
        level: study, series or instance; "": whichever it is.
        instances: how many there should be; None: nobody said.
    """

    uid: str
    level: str = ANY_LEVEL
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class ListedLine:
    """A line of a list of paths.

    Attributes:
        number: of the line, from 1.
        path: as written: the whole line, or what its quotes enclose.
        first_cell: what stands before the first comma or semicolon, if there is one: the path if
            the whole line is none; "" otherwise.
        fault: why the line can't be a path, "" if it may be one.
    """

    number: int
    path: str
    first_cell: str = ""
    fault: str = ""


def decoded(content: bytes) -> str:
    """Return a list's text: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Bytes that are no UTF-8 are kept as Python keeps them in file names.

    Raises:
        InvalidList: it is no text, but an archive or the like: it is full of control characters.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16", "replace")
    else:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    sample = text[:_SAMPLE]
    if len(_CONTROLS.findall(sample)) > 1 + len(sample) / 100:
        raise InvalidList("This is no text; a list is a CSV with one entry per line.")
    return text


def lines_of(text: str) -> Iterator[str]:
    """Yield the lines of a text; only line feed and carriage return end one."""
    yield from text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def parse_uid_list(lines: Iterable[str]) -> list[ListedUid]:
    """Read a list of UIDs: a UID per line, and behind a comma how many instances are expected.

    A heading may name the level (StudyInstanceUID …); an entry that stands twice counts once, and
    can't have two numbers of instances.

    Raises:
        InvalidList: lines that can't be used; it names the first of them.
    """
    found: dict[str, ListedUid] = {}
    faults: list[str] = []
    level, is_first = ANY_LEVEL, True
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in _cells(line)]
        if not any(cells):
            continue
        if is_first and _word(cells[0]) in _UID_HEADS:
            level = _LEVELS.get(_word(cells[0]), ANY_LEVEL)
        else:
            entry = _listed_uid(cells, level, found)
            if isinstance(entry, str):
                faults.append(f"Line {number}: {entry}")
            else:
                found[entry.uid] = entry
        is_first = False
        if len(found) > MOST_UIDS:
            raise InvalidList(f"A list has at most {MOST_UIDS} UIDs.")
    if faults:
        raise InvalidList(_say(faults))
    return list(found.values())


def _listed_uid(cells: list[str], level: str, before: Mapping[str, ListedUid]) -> ListedUid | str:
    """Read a line; return what is wrong with it if it can't be used."""
    uid, count = cells[0], cells[1] if len(cells) > 1 else ""
    if not is_valid_uid(uid):
        return f"“{uid[:80]}” is no UID."
    known = before[uid].instances if uid in before else None
    if not count:
        return ListedUid(uid, level, known)
    if not count.isdecimal() or not 0 < int(count[:12]) <= LARGEST_COUNT:
        return f"“{count[:20]}” is no number of instances."
    if known not in (None, int(count)):
        return f"{uid} stands here twice, with {known} and with {int(count)} instances."
    return ListedUid(uid, level, int(count))


def parse_path_list(lines: Iterable[str]) -> Iterator[ListedLine]:
    """Yield the lines of a list of paths that are not empty: a path per line, quoted or plain.

    A heading (path, file, …) is left out. A line that can't be a path comes with its fault.

    Raises:
        InvalidList: there are more lines than a list may have.
    """
    is_first = True
    for number, line in enumerate(lines, start=1):
        if number > MOST_LINES:
            raise InvalidList(f"A list has at most {MOST_LINES} lines.")
        if not line.strip():
            continue
        listed = _listed_line(number, line)
        is_heading = is_first and _word(listed.first_cell or listed.path) in _PATH_HEADS
        is_first = False
        if not is_heading:
            yield listed


def _listed_line(number: int, line: str) -> ListedLine:
    text = line.strip()
    if len(text) > LONGEST_LINE:
        return ListedLine(number, text[:80], fault="the line is too long")
    if "\0" in text:
        return ListedLine(number, text.replace("\0", "\\x00"), fault="no path has a NUL character")
    cells = _cells(text)
    if text.startswith('"'):
        return ListedLine(number, cells[0] if cells else "")
    return ListedLine(number, text, first_cell=cells[0].strip() if len(cells) > 1 else "")


def _cells(line: str) -> list[str]:
    delimiter = next((mark for mark in "\t;," if mark in line), ",")
    try:
        return next(csv.reader([line.strip()], delimiter=delimiter), [])
    except csv.Error:
        return [line]


def _word(text: str) -> str:
    return _BLANKS.sub("", text).casefold()


def _say(faults: list[str]) -> str:
    more = len(faults) - _MOST_FAULTS
    said = " ".join(faults[:_MOST_FAULTS])
    return f"{said} {more} more lines can't be used." if more > 0 else said
