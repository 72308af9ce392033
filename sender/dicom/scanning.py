"""Many files scanned, in order."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sender.dicom.files import Entry, scan
from sender.negotiation.instances import ScannedInstance, Unreadable


def scan_many(
    entries: Iterable[Entry], *, wanted: frozenset[int] = frozenset()
) -> Iterator[ScannedInstance | Unreadable]:
    """Yield what stands behind each entry, in their order; see `files.scan`."""
    for entry in entries:
        found = scan(entry.path, relative_path=entry.relative_path, wanted=wanted)
        if isinstance(found, Unreadable):
            found = replace(found, size=entry.size, mtime_ns=entry.mtime_ns)
        yield found
