"""From sources to a listing: every file found once, scanned or remembered, rules applied.

It runs in the background in slices, says how far it is, and goes on where another process left
it. What is found is shared by all sends of the listing; what each of them sends is planner.py.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from sender.dicom import files, scanning
from sender.dicom.files import Entry
from sender.models import Listing, ListingEntry, ListingState, SourceFile
from sender.models.sources import real_path, relative_path, stored_path
from sender.negotiation.instances import ScannedInstance, Unreadable
from sender.negotiation.selection import (
    Candidate,
    Selection,
    excluded_by,
    parse_selection,
    takes_name,
)
from sender.services import expectations
from sender.services.catalogue import Catalogue, Remembered, candidate_of
from sender.services.sources import InvalidSource, check_source
from sender.services.vigil import LEASE_SECONDS

CHUNK = 1000
SLICE_SECONDS = 45.0
"""Bulk work must not wait long behind a scan (design README, decision 17)."""
BY_NAME = "file name"
TOO_YOUNG = "younger than the least age"
CONFLICT = "conflict"
COPY = "copy"

Found = ScannedInstance | Unreadable


class Lost(RuntimeError):
    """Somebody else scans the listing now, or nobody wants it any more."""


class Moved(RuntimeError):
    """The file at which a scan was interrupted is gone: nobody can tell where to go on."""


@dataclass(slots=True)
class Scan:
    """A listing at work.

    Attributes:
        position: the path of the last entry that was taken.
        wanted: keywords of tags that rules look at, by tag.
    """

    listing: Listing
    owner: str
    selection: Selection
    wanted: dict[int, str]
    deadline: float | None
    catalogue: Catalogue = field(default_factory=Catalogue)
    excluded: Counter[str] = field(default_factory=Counter)


def holds_files(paths: Sequence[str]) -> bool:
    """Tell whether there is anything at all to list at these paths."""
    return any(True for path in paths for _ in files.list_files(path))


def scan_listing(listing_id: int, owner: str, *, in_slices: bool) -> bool:
    """Scan a listing that waits for it, or go on with one; tell whether it is through.

    Args:
        in_slices: come back after 45 s; who calls has it go on later.

    Returns False too if another process is at it.
    """
    listing = _claim(listing_id, owner)
    if listing is None:
        return Listing.objects.filter(
            pk=listing_id, state__in=(ListingState.DONE, ListingState.FAILED)
        ).exists()
    selection = parse_selection(listing.rules)
    scan = Scan(
        listing=listing,
        owner=owner,
        selection=selection,
        wanted={files.tag_of(keyword): keyword for keyword in selection.tags},
        deadline=time.monotonic() + SLICE_SECONDS if in_slices else None,
        excluded=Counter(listing.excluded),
    )
    try:
        is_through = _scan_again(scan)
    except Lost:
        return False
    except (InvalidSource, OSError) as error:
        _end(scan, ListingState.FAILED, str(error))
        return True
    if is_through:
        mark_copies(listing)
        expectations.settle(listing)
        _end(scan, ListingState.DONE, "")
    else:
        Listing.objects.filter(pk=listing.pk, owner=owner).update(owner="", lease_until=None)
    return is_through


def _claim(listing_id: int, owner: str) -> Listing | None:
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    taken = Listing.objects.filter(
        free, pk=listing_id, state__in=(ListingState.WAITING, ListingState.SCANNING)
    ).update(
        state=ListingState.SCANNING,
        owner=owner,
        lease_until=now + timedelta(seconds=LEASE_SECONDS),
    )
    if not taken:
        return None
    Listing.objects.filter(pk=listing_id, started_at__isnull=True).update(started_at=now)
    return Listing.objects.get(pk=listing_id)


def _scan_again(scan: Scan) -> bool:
    """Scan; from the start if the place where to go on is gone."""
    try:
        return _scan(scan)
    except Moved:
        listing = scan.listing
        ListingEntry.objects.filter(listing=listing).delete()
        listing.files = listing.opened = listing.bytes = 0
        listing.cursor = {}
        scan.excluded.clear()
        return _scan(scan)


def _scan(scan: Scan) -> bool:
    """Take all chunks that are left; False if the slice was over before."""
    cursor = scan.listing.cursor
    first, last = int(cursor.get("source", 0)), real_path(cursor.get("path", ""))
    for index, source in enumerate(scan.listing.sources[first:], start=first):
        check_source(source)
        for chunk in _chunks(_left(source, last)):
            _take(scan, index, chunk)
            if scan.deadline is not None and time.monotonic() > scan.deadline:
                return False
        last = ""
    return True


def _left(source: str, last: str) -> Iterator[Entry | Unreadable]:
    """Yield the entries of a source after the one where a scan was interrupted.

    Raises:
        Moved: that entry is gone.
    """
    entries = files.list_files(source)
    if last:
        for entry in entries:
            if entry.path == last:
                break
        else:
            raise Moved
    yield from entries


def _chunks(entries: Iterable[Entry | Unreadable]) -> Iterator[list[Entry | Unreadable]]:
    """Cut entries into chunks of one folder each."""
    for _, members in groupby(entries, key=lambda entry: os.path.dirname(entry.path)):
        chunk: list[Entry | Unreadable] = []
        for member in members:
            chunk.append(member)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def _take(scan: Scan, index: int, chunk: list[Entry | Unreadable]) -> None:
    """Look the files of a chunk up or scan them, apply the rules, write the entries."""
    excluded: Counter[str] = Counter()
    entries = [entry for entry in chunk if not _is_left_out(scan, entry, excluded)]
    regular = [entry for entry in entries if isinstance(entry, Entry)]
    folder = os.path.dirname(chunk[0].path)
    known = scan.catalogue.known(folder, regular) if regular else {}
    fresh = [entry for entry in regular if entry.path not in known or scan.wanted]
    scanned = list(_read(scan, fresh))
    others = [entry for entry in entries if isinstance(entry, Unreadable)]
    with transaction.atomic():
        remembered = {path: (row, row.candidate) for path, row in known.items()}
        for one, row in scan.catalogue.remember([*scanned, *others]):
            remembered[one.path] = (row, _candidate(scan, one))
        taken = []
        for entry in entries:
            row, candidate = remembered[entry.path]
            rule = excluded_by(candidate, scan.selection) if candidate else ""
            if rule:
                excluded[rule] += 1
            else:
                taken.append(row)
        _write(scan, index, chunk[-1].path, taken, excluded, opened=len(fresh))


def _is_left_out(scan: Scan, entry: Entry | Unreadable, excluded: Counter[str]) -> bool:
    selection = scan.selection
    if selection.patterns and not takes_name(os.path.basename(entry.path), selection.patterns):
        excluded[BY_NAME] += 1
        return True
    if isinstance(entry, Unreadable):
        return False
    youngest = time.time() - selection.least_age_seconds
    if selection.least_age_seconds and entry.mtime_ns / 1e9 > youngest:
        excluded[TOO_YOUNG] += 1
        return True
    return False


def _read(scan: Scan, entries: Sequence[Entry]) -> Iterator[Found]:
    return scanning.scan_many(entries, wanted=frozenset(scan.wanted))


def _candidate(scan: Scan, one: Found) -> Candidate | None:
    if isinstance(one, Unreadable):
        return None
    plain = candidate_of(one)
    if not scan.wanted:
        return plain
    tags = {keyword: one.values.get(tag, "") for tag, keyword in scan.wanted.items()}
    return Candidate(
        plain.sop_class,
        plain.transfer_syntax,
        plain.sop_instance,
        plain.study,
        plain.series,
        plain.modality,
        plain.study_date,
        tags,
    )


def _write(
    scan: Scan,
    index: int,
    path: str,
    taken: Sequence[Remembered],
    excluded: Counter[str],
    *,
    opened: int,
) -> None:
    """Write entries and how far the scan is, if the listing is still ours.

    Raises:
        Lost: it is not.
    """
    listing = scan.listing
    ListingEntry.objects.bulk_create(
        [
            ListingEntry(
                listing_id=listing.pk, number=number, file_id=row.file_id, study_id=row.study_id
            )
            for number, row in enumerate(taken, start=listing.files + 1)
        ]
    )
    scan.excluded += excluded
    listing.files += len(taken)
    listing.opened += opened
    listing.bytes += sum(row.size for row in taken)
    kept = Listing.objects.filter(
        pk=listing.pk, owner=scan.owner, state=ListingState.SCANNING
    ).update(
        files=listing.files,
        opened=listing.opened,
        bytes=listing.bytes,
        cursor={"source": index, "path": stored_path(path)},
        excluded=dict(scan.excluded),
        lease_until=timezone.now() + timedelta(seconds=LEASE_SECONDS),
    )
    if not kept:
        raise Lost


def _end(scan: Scan, state: ListingState, detail: str) -> None:
    Listing.objects.filter(pk=scan.listing.pk, owner=scan.owner).update(
        state=state,
        detail=detail[:400],
        excluded=dict(scan.excluded),
        owner="",
        lease_until=None,
        finished_at=timezone.now(),
    )


def mark_copies(listing: Listing) -> None:
    """Find files that hold the same SOP Instance UID: copies of the first, or a conflict.

    Identical data sets are one instance. Where they differ, or can't be read any more, all files
    of the group are marked.
    """
    instances = ListingEntry.objects.filter(listing=listing, file__reason="")
    repeated = (
        instances.exclude(file__sop_instance_uid="")
        .values_list("file__sop_instance_uid")
        .annotate(n=Count("file"))
        .filter(n__gt=1)
    )
    for uid, _ in list(repeated):
        _settle(listing, uid)


def _settle(listing: Listing, sop_instance: str) -> None:
    group = list(
        ListingEntry.objects.filter(
            listing=listing, file__sop_instance_uid=sop_instance, file__reason=""
        )
        .select_related("file__folder", "file__kind", "file__series__study")
        .order_by("number")
    )
    first, *others = group
    digests = {digest_of(entry.file) for entry in group if entry.file_id != first.file_id}
    is_same = digests <= {digest_of(first.file)} and None not in digests
    numbers = [entry.number for entry in (others if is_same else group)]
    ListingEntry.objects.filter(listing=listing, number__in=numbers).update(
        standing=COPY if is_same else CONFLICT, first=first.file if is_same else None
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
