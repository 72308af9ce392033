"""What stands at the sources of a listing, in one fixed order, from any place on.

The order is that of names, so that a scan goes on behind the last file it took even if that file,
or its whole folder, is gone by then.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sender.dicom import files
from sender.dicom.files import Entry
from sender.models import ListedPath
from sender.models.sources import real_path, stored_path
from sender.negotiation.instances import Unreadable
from sender.services.sight import is_in_sight
from sender.services.sources import InvalidSource, Roots, check_source, say_cause

LINES = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was found; a scan can go on behind it.

    Attributes:
        source: index of the source; behind the last one stands the list of paths.
        line: number of the line in the list of paths; 0 for sources.
        path: what was found there last.
        is_folder: it is a folder that could not be looked into.
    """

    source: int = 0
    line: int = 0
    path: str = ""
    is_folder: bool = False

    def to_cursor(self) -> dict[str, object]:
        """Return the place as it is stored."""
        return {
            "source": self.source,
            "line": self.line,
            "path": stored_path(self.path),
            "folder": self.is_folder,
        }

    @classmethod
    def of_cursor(cls, cursor: dict[str, object]) -> "Place":
        """Return the place that was stored; the beginning if there is none."""
        return cls(
            source=int(str(cursor.get("source", 0))),
            line=int(str(cursor.get("line", 0))),
            path=real_path(str(cursor.get("path", ""))),
            is_folder=bool(cursor.get("folder")),
        )


class OutOfSight(InvalidSource):
    """A line of the list names what this host does not see, though others may: it is theirs."""


class LostFolder(Unreadable):
    """A folder that was listed up to some file and now can't be: what else it holds is unknown."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Found:
    """Something at a source.

    Attributes:
        source, line: as `Place` has them.
        problem: why the line of the list that named it can't be used, "" if it can.
    """

    source: int
    line: int
    entry: Entry | Unreadable
    problem: str = ""

    @property
    def place(self) -> Place:
        """Where it was found."""
        if self.problem:
            return Place(self.source, self.line)
        path = self.entry.path
        is_folder = isinstance(self.entry, Unreadable) and os.path.isdir(path)
        is_folder = is_folder and not os.path.islink(path)
        return Place(self.source, self.line, path, is_folder or isinstance(self.entry, LostFolder))


@dataclass(slots=True)
class Walk:
    """A walk through sources and the list of paths of a listing.

    Attributes:
        empty: indices of sources that hold nothing at all.
        lines: returns the lines of the list of paths behind one, at most LINES.
        leaves: tells whether lines that name what this host does not see are left to others.
        goes_ahead: they were left for long enough, and are told now as lines that can't be used.
    """

    sources: Sequence[str]
    lines: "Callable[[int], Sequence[ListedPath]]"
    roots: Sequence[Path] | None
    empty: set[int] = field(default_factory=set)
    leaves: Callable[[], bool] = lambda: False
    goes_ahead: bool = False

    def __call__(self, start: Place) -> Iterator[Found]:
        """Yield what stands behind a place.

        Raises:
            InvalidSource: a source is gone, or no longer what was named.
            OutOfSight: the next line is left to others.
        """
        for index in range(start.source, len(self.sources)):
            yield from self._source(index, start if index == start.source else Place(index))
        at = start if start.source >= len(self.sources) else Place(len(self.sources))
        yield from self._lines(at)

    def _source(self, index: int, start: Place) -> Iterator[Found]:
        source = self.sources[index]
        check_source(source)
        entries = files_behind(source, start)
        is_empty = not start.path
        for entry in entries:
            is_empty = False
            yield Found(index, 0, entry)
        if is_empty:
            self.empty.add(index)

    def _lines(self, start: Place) -> Iterator[Found]:
        roots = Roots(self.roots)
        last = start.line
        if start.path:
            yield from self._rest_of_line(start)
        while lines := self.lines(last):
            for line in lines:
                yield from self._line(line, roots)
            last = lines[-1].number

    def _rest_of_line(self, start: Place) -> Iterator[Found]:
        """Go on within the folder that a line names; a file has no rest."""
        line = self.lines(start.line - 1)[0]
        try:
            source = _resolve(line, Roots(self.roots))
        except InvalidSource as error:
            self._leave_unseen(line, error)
            return
        if os.path.isdir(source):
            for entry in files_behind(source, start):
                yield Found(start.source, line.number, entry)

    def _line(self, line: ListedPath, roots: Roots) -> Iterator[Found]:
        index = len(self.sources)
        problem = line.problem
        try:
            source = "" if problem else _resolve(line, roots)
        except InvalidSource as error:
            self._leave_unseen(line, error)
            problem = error.why
        is_empty = True
        if not problem:
            for entry in files_behind(source, Place()):
                is_empty = False
                yield Found(index, line.number, entry)
        if is_empty:
            problem = problem or "holds no files"
            yield Found(index, line.number, _useless(line, problem), problem)

    def _leave_unseen(self, line: ListedPath, why: InvalidSource) -> None:
        """Raises: OutOfSight: what a line names is left to others."""
        named = filter(None, (real_path(line.path), real_path(line.first_cell)))
        if self.goes_ahead or any(map(is_in_sight, named)):
            return
        if self.leaves():
            raise OutOfSight(str(why)) from None
        self.goes_ahead = True


def _resolve(line: ListedPath, roots: Roots) -> str:
    """Return the real path of a line: of all of it, else of what stands before its first comma."""
    whole, first_cell = real_path(line.path), real_path(line.first_cell)
    try:
        return roots.resolve(whole)
    except InvalidSource:
        if not first_cell:
            raise
        try:
            return roots.resolve(first_cell)
        except InvalidSource:
            pass
        raise


def _useless(line: ListedPath, problem: str) -> Unreadable:
    """Return a line that names nothing as an entry, so that it is a row of the account.

    The number of the line stands for a time of change: the same path may be wrong for one reason
    today and for another tomorrow.
    """
    why = f"line {line.number} of the list {problem}"
    return Unreadable(line.said, line.said, why, mtime_ns=line.number)


def files_behind(source: str, start: Place) -> Iterator[Entry | Unreadable]:
    """Yield the entries of a source behind a place within it; all of them if it names no path.

    Nothing that stands before it is looked at but the folders above it.

    Raises:
        InvalidSource: the source can't be looked at.
    """
    if not start.path:
        yield from _listed(source)
        return
    if start.path == source:
        return
    folder, name = os.path.split(start.path)
    yield from _rest_of(folder, name, is_file=not start.is_folder)
    while folder != source and len(folder) > len(source):
        folder, name = os.path.split(folder)
        yield from _rest_of(folder, name, is_file=False)


def _listed(source: str) -> Iterator[Entry | Unreadable]:
    try:
        yield from files.list_files(source)
    except OSError as error:
        raise InvalidSource(f"{source} can't be read: {say_cause(error)}.") from None


def _rest_of(folder: str, name: str, *, is_file: bool) -> Iterator[Entry | Unreadable]:
    """Yield what of a folder comes behind one of its files or folders; its files come first."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        why = f"the folder can't be listed to its end: {say_cause(error)}"
        yield LostFolder(folder, os.path.basename(folder), why)
        return
    its_files = [one for one in entries if is_file and one.name > name and not _is_folder(one)]
    folders = [one for one in entries if (is_file or one.name > name) and _is_folder(one)]
    for entry in (*its_files, *folders):
        try:
            yield from files.list_files(entry.path)
        except OSError as error:
            what = "the folder can't be read" if _is_folder(entry) else "can't be read"
            yield Unreadable(entry.path, entry.name, f"{what}: {say_cause(error)}")


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    return entry.is_dir(follow_symlinks=False)
