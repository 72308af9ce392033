"""From paths to instances: lists a source, and scans what stands behind each entry.

Only regular files are opened, links are not followed, and a file counts as an instance only if it
can be walked to its end (RELIABILITY.md, traps 5 and 6).
"""

import errno
import fnmatch
import hashlib
import operator
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sender.dicom.attributes import tag_of
from sender.dicom.identity import read_instance
from sender.dicom.reading import open_carefully, say_cause, times_of
from sender.negotiation.instances import ScannedInstance, Unreadable
from sender.negotiation.texts import printable

__all__ = [
    "Entry", "Tally", "dataset_digest", "is_unchanged", "list_files", "scan", "tag_of",
]  # fmt: skip
_BLOCK = 1 << 20


class Entry(NamedTuple):
    """A regular file found below a source, or the source itself.

    Attributes:
        path: as it is opened; absolute if the source was.
        relative_path: the path below the source, as text that any page and database takes.
        size: bytes.
        mtime_ns: modification time, nanoseconds since 1970, as the file system tells it.
        ctime_ns: when anything of it changed last, its rights and its name included.
    """

    path: str
    relative_path: str
    size: int
    mtime_ns: int
    ctime_ns: int = 0


@dataclass(slots=True)
class Tally:
    """Counts what a listing passed over, for whoever asks while it runs."""

    left_out: int = 0


def list_files(
    source: str, patterns: Sequence[str] = (), *, tally: Tally | None = None
) -> Iterator[Entry | Unreadable]:
    """Yield the regular files at or below a path in a fixed order, and what can't be looked into.

    Links are not followed and come out as unreadable, as do pipes, devices and sockets.

    Args:
        patterns: shell patterns on the names of what lies within folders, upper and lower case
            alike; "!" before one excludes. A source that is itself a file is always listed.
        tally: counts the files that the patterns leave out.

    Raises:
        OSError: nothing is there, or it can't be looked at.
    """
    found = os.lstat(source)
    if not stat.S_ISDIR(found.st_mode):
        yield _entry(source, _printable(os.path.basename(source)), found)
        return
    is_wanted, tally = _matcher(patterns), tally or Tally()
    below = len(os.path.join(source, ""))
    waiting = [source]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=_name)
        except OSError as error:
            relative = _printable(folder[below:]) or "."
            yield Unreadable(folder, relative, f"the folder {_cause(error)}")
            continue
        folders: list[str] = []
        for entry in entries:
            if is_wanted is not None and not is_wanted(entry):
                tally.left_out += 1
            elif listed := _listed(entry, below, folders):
                yield listed
        waiting += reversed(folders)


_name = operator.attrgetter("name")


def _matcher(patterns: Sequence[str]) -> Callable[[os.DirEntry[str]], bool] | None:
    """Return whether an entry is wanted, as a function; None if all are. Folders always are."""
    included = _union([pattern for pattern in patterns if not pattern.startswith("!")])
    excluded = _union([pattern[1:] for pattern in patterns if pattern.startswith("!")])
    if included is None and excluded is None:
        return None

    def is_wanted(entry: os.DirEntry[str]) -> bool:
        name = entry.name
        if (included is None or included.match(name)) and not (excluded and excluded.match(name)):
            return True
        try:
            return entry.is_dir(follow_symlinks=False)
        except OSError:
            return True

    return is_wanted


def _union(patterns: Sequence[str]) -> re.Pattern[str] | None:
    parts = [fnmatch.translate(pattern) for pattern in patterns if pattern]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _listed(entry: os.DirEntry[str], below: int, folders: list[str]) -> Entry | Unreadable | None:
    """Return what an entry is; a folder is put with the others."""
    path = entry.path
    try:
        if entry.is_dir(follow_symlinks=False):
            folders.append(path)
            return None
        found = entry.stat(follow_symlinks=False)
    except OSError as error:
        return Unreadable(path, _printable(path[below:]), _cause(error))
    relative = path[below:]
    return _entry(path, relative if relative.isprintable() else _printable(relative), found)


def _entry(path: str, relative: str, found: os.stat_result) -> Entry | Unreadable:
    if stat.S_ISREG(found.st_mode):
        try:
            return Entry(path, relative, found.st_size, *times_of(found))
        except OSError as error:
            return Unreadable(path, relative, _cause(error), size=found.st_size)
    reason = "a link, which is not followed" if stat.S_ISLNK(found.st_mode) else "no regular file"
    return Unreadable(path, relative, reason)


def _printable(name: str) -> str:
    """Return a file's name as text that any page and database takes."""
    if name.isprintable():
        return name
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return printable(text)


def _cause(error: OSError) -> str:
    if error.errno == errno.ENAMETOOLONG:
        return "can't be read: its path is longer than this system can open"
    return f"can't be read: {say_cause(error)}"


def scan(
    path: str,
    *,
    relative_path: str,
    wanted: frozenset[int] = frozenset(),
    may_inflate: bool = True,
) -> ScannedInstance | Unreadable:
    """Read what a send needs of a file, and walk its data set to the end.

    Args:
        wanted: further top-level attributes whose text is wanted, by tag (see `tag_of`).
        may_inflate: whether a deflated data set is looked at now.

    Returns:
        the instance, or why the file is none: empty, cut off, not DICOM, a DICOMDIR, mislabelled …

    Raises:
        MustInflate: it is deflated, and may not be inflated now.
    """
    try:
        file = open_carefully(path)
    except OSError as error:
        return Unreadable(path, relative_path, _cause(error))
    try:
        return read_instance(file, path, relative_path, wanted, may_inflate=may_inflate)
    except OSError as error:
        return Unreadable(path, relative_path, _cause(error))
    finally:
        os.close(file)


def dataset_digest(instance: ScannedInstance) -> str:
    """Return the SHA-256 of the encoded data set, to tell copies from conflicts.

    Raises:
        OSError: the file can't be read any more.
    """
    digest = hashlib.sha256()
    with open(open_carefully(instance.path), "rb", buffering=0) as file:
        file.seek(instance.dataset_offset)
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_unchanged(instance: ScannedInstance) -> bool:
    """Tell whether the file still has the size and modification time of its scan."""
    try:
        found = os.lstat(instance.path)
    except OSError:
        return False
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_size == instance.size
        and found.st_mtime_ns == instance.mtime_ns
    )
