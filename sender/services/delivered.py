"""What a destination has already: by SOP Instance UID and content, as the C-STORE-RSPs said."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from sender.models import SendItem, SourceFile
from sender.services.copies import digest_of
from sender.services.tallies import DELIVERED

CHUNK = 500


class ListedRow(Protocol):
    """What is asked about."""

    @property
    def number(self) -> int: ...
    @property
    def file_id(self) -> int: ...
    @property
    def sop_instance(self) -> str: ...


def at_destination(destination_id: int, rows: Sequence[ListedRow]) -> set[int]:
    """Return the numbers of rows whose instance is at a destination with the same content.

    Content is the same if it is the same file, or if both data sets have the same digest; where
    that can't be told any more, the row counts as new.
    """
    found: set[int] = set()
    asked = [row for row in rows if row.sop_instance]
    for start in range(0, len(asked), CHUNK):
        found |= _chunk(destination_id, asked[start : start + CHUNK])
    return found


def _chunk(destination_id: int, rows: Sequence[ListedRow]) -> set[int]:
    there: defaultdict[str, set[int]] = defaultdict(set)
    delivered = SendItem.objects.filter(
        file__sop_instance_uid__in={row.sop_instance for row in rows},
        send__destination_id=destination_id,
        outcome__in=DELIVERED,
    ).order_by()
    for uid, file_id in delivered.values_list("file__sop_instance_uid", "file_id").distinct():
        there[uid].add(file_id)
    found = set()
    for row in rows:
        files = there.get(row.sop_instance, set())
        if row.file_id in files or (files and _is_same(row.file_id, files)):
            found.add(row.number)
    return found


def _is_same(file_id: int, others: set[int]) -> bool:
    rows = SourceFile.objects.select_related("folder", "kind", "series__study")
    file = rows.get(pk=file_id)
    for other in rows.filter(pk__in=others):
        if other.size - other.dataset_offset != file.size - file.dataset_offset:
            continue
        digest = digest_of(file)
        if digest is not None and digest == digest_of(other):
            return True
    return False
