"""Files that hold the same SOP Instance UID: copies of one instance, or a conflict.

Identical data sets are one instance. Where they differ, or can't be read any more, all files of the
group are marked, and none of them is sent.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from django.db import transaction
from django.db.models import Count

from sender.dicom import files
from sender.models import Listing, ListingEntry, SourceFile
from sender.models.sources import CONFLICT, COPY, relative_path
from sender.negotiation.instances import ScannedInstance

CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Member:
    """An entry whose SOP Instance UID another entry has too."""

    uid: str
    number: int
    file_id: int
    kind_id: int
    length: int


def drop_repeats(listing: Listing) -> int:
    """Remove entries of files that are listed already; return how many that were.

    Sources may lie within each other, and a list of paths may name a file twice.
    """
    entries = ListingEntry.objects.filter(listing=listing).order_by()
    repeated = entries.values("file_id").annotate(n=Count("number")).filter(n__gt=1)
    rows = (
        entries.filter(file_id__in=repeated.values("file_id"))
        .order_by("file_id", "number")
        .values_list("file_id", "number", "file__size")
    )
    dropped, dropped_bytes, last = [], 0, 0
    for file_id, number, size in rows.iterator(chunk_size=CHUNK):
        if file_id == last:
            dropped.append(number)
            dropped_bytes += size
        last = file_id
    if not dropped:
        return 0
    with transaction.atomic():
        for start in range(0, len(dropped), CHUNK):
            entries.filter(number__in=dropped[start : start + CHUNK]).delete()
        listing.files -= len(dropped)
        listing.bytes -= dropped_bytes
        Listing.objects.filter(pk=listing.pk).update(files=listing.files, bytes=listing.bytes)
    return len(dropped)


def mark_copies(
    listing: Listing, after: str = "", *, is_over: Callable[[], bool] = lambda: False
) -> str | None:
    """Mark the entries whose SOP Instance UID stands more than once.

    Args:
        after: go on behind this SOP Instance UID.
        is_over: asked after each group whether to come back for the rest.

    Returns:
        the SOP Instance UID of the last group that was marked, if there may be more; else None.
    """
    for uid, members in groupby(_members(listing, after), key=attrgetter("uid")):
        _mark(listing, list(members))
        if is_over():
            return str(uid)
    return None


def _members(listing: Listing, after: str) -> Iterator[Member]:
    instances = ListingEntry.objects.filter(
        listing=listing, file__reason="", file__sop_instance_uid__gt=after
    )
    repeated = (
        instances.order_by()
        .values("file__sop_instance_uid")
        .annotate(n=Count("number"))
        .filter(n__gt=1)
        .values("file__sop_instance_uid")
    )
    rows = (
        instances.filter(file__sop_instance_uid__in=repeated)
        .order_by("file__sop_instance_uid", "number")
        .values_list(
            "file__sop_instance_uid",
            "number",
            "file_id",
            "file__kind_id",
            "file__size",
            "file__dataset_offset",
        )
    )
    for uid, number, file_id, kind_id, size, offset in rows.iterator(chunk_size=CHUNK):
        yield Member(uid, number, file_id, kind_id, size - offset)


def _mark(listing: Listing, members: Sequence[Member]) -> None:
    first, *others = members
    is_same = _are_same(members)
    marked = [member.number for member in (others if is_same else members)]
    for start in range(0, len(marked), CHUNK):
        ListingEntry.objects.filter(
            listing=listing, number__in=marked[start : start + CHUNK]
        ).update(
            standing=COPY if is_same else CONFLICT, first_id=first.file_id if is_same else None
        )


def _are_same(members: Sequence[Member]) -> bool:
    """Tell whether all files hold the same data set in the same encoding; read only if need be."""
    first, *others = members
    if any((m.kind_id, m.length) != (first.kind_id, first.length) for m in others):
        return False
    rows = SourceFile.objects.select_related("folder", "kind", "series__study")
    digest = digest_of(rows.get(pk=first.file_id))
    return digest is not None and all(
        digest_of(rows.get(pk=member.file_id)) == digest for member in others
    )


def digest_of(file: SourceFile) -> bytes | None:
    """Return the SHA-256 of a file's data set, computed once; None if it can't be read."""
    if file.content_digest is None:
        instance = scanned_instance(file)
        try:
            digest = bytes.fromhex(files.dataset_digest(instance))
        except OSError:
            return None
        if not files.is_unchanged(instance):
            return None
        SourceFile.objects.filter(pk=file.pk).update(content_digest=digest)
        file.content_digest = digest
    return bytes(file.content_digest)


def scanned_instance(file: SourceFile) -> ScannedInstance:
    """Return a file that holds an instance as the DICOM room knows it."""
    series = file.series
    return ScannedInstance(
        path=file.path,
        relative_path=relative_path(file.path, ()),
        size=file.size,
        mtime_ns=file.mtime_ns,
        kind=file.kind.kind,
        sop_instance=file.sop_instance_uid,
        dataset_offset=file.dataset_offset,
        study_instance=series.study.uid if series else "",
        series_instance=series.uid if series else "",
        modality=series.modality if series else "",
    )
