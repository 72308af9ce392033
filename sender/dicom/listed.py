"""Files as they were listed: the data set within one, and whether it is still the same."""

import os
from typing import NamedTuple

from sender.dicom.identity import is_as_scanned
from sender.negotiation.instances import ScannedInstance

CHANGED = "the file changed after it was listed"


class FileRange(NamedTuple):
    """The data set within a file, and how the file looked when it was scanned.

    Attributes:
        scanned: what was found in it; None: a file of ours.
    """

    path: str
    offset: int
    size: int
    mtime_ns: int
    scanned: ScannedInstance | None = None

    @classmethod
    def of(cls, instance: ScannedInstance) -> "FileRange":
        about = instance.dataset_offset, instance.size, instance.mtime_ns
        return cls(instance.path, *about, instance)


def is_as_listed(descriptor: int, source: FileRange) -> bool:
    """Tell whether an open file looks as it did when it was scanned, and holds what it did.

    Raises:
        OSError: the file can't be read.
    """
    if source.scanned is not None:
        return is_as_scanned(descriptor, source.scanned)
    found = os.fstat(descriptor)
    return (found.st_size, found.st_mtime_ns) == (source.size, source.mtime_ns)


class Watched:
    """An open file that must be as it was listed, and that nobody may write to for a while.

    When anything of a file changed last nobody can set; but links to it that come or go are such
    changes too, and harm nobody.
    """

    __slots__ = ("_changed_at", "_descriptor", "_links", "_source")

    def __init__(self, descriptor: int, source: FileRange) -> None:
        """Watch from now on; raises OSError if the file can't be looked at."""
        found = os.fstat(descriptor)
        self._descriptor, self._source = descriptor, source
        self._changed_at, self._links = found.st_ctime_ns, found.st_nlink

    def is_unchanged(self) -> bool:
        """Tell whether it is as it was listed, and was not written to since it is watched.

        Raises:
            OSError: the file can't be read.
        """
        return is_as_listed(self._descriptor, self._source) and not self._was_touched()

    def _was_touched(self) -> bool:
        """Tell whether it was written to, or may have been."""
        found = os.fstat(self._descriptor)
        return found.st_ctime_ns != self._changed_at and found.st_nlink == self._links
