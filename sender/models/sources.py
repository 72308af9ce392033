"""Files as they were scanned, remembered, and the listings that sends share.

A row of `SourceFile` never changes: a file with another size or modification time is another row,
so that whatever refers to one keeps what was listed. Only the time of its last change moves on when
the file was read again and holds the same (its rights may have changed). Studies, series and kinds
are kept once.
"""

import os
import urllib.parse
from collections.abc import Sequence
from typing import Any

from django.db import models

from sender.negotiation.instances import DataKind

LOSSY_CODES: dict[bool | None, int] = {False: 0, True: 1, None: 2}
"""Null values would not be unique on SQLite."""
_LOSSY = {code: lossy for lossy, code in LOSSY_CODES.items()}

COPY, CONFLICT = "copy", "conflict"
"""What an entry of a listing is that shares its SOP Instance UID with others: the same, or not."""


def stored_path(path: str) -> str:
    """Write a path, or a part of one, so that any database takes it.

    Bytes that are no UTF-8 are escaped; two slashes, which no real path has, then stand before it.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "//" + urllib.parse.quote(os.fsencode(path))
    return path


def real_path(stored: str) -> str:
    """Return the path that `stored_path` wrote."""
    if stored.startswith("//"):
        return os.fsdecode(urllib.parse.unquote_to_bytes(stored[2:]))
    return stored


def printable(path: str) -> str:
    """Return a path as text that pages and exports take."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def relative_path(path: str, sources: Sequence[str]) -> str:
    """Return a path as people know it: below the source that it belongs to."""
    for source in sorted(sources, key=len, reverse=True):
        if path == source:
            return printable(os.path.basename(path))
        if path.startswith(source.rstrip("/") + "/"):
            return printable(os.path.relpath(path, source))
    return printable(path)


class SourceFolder(models.Model):
    """A folder in which files were found; `digest` is the SHA-256 of its path."""

    path = models.TextField()
    digest = models.BinaryField(max_length=32, unique=True)

    def __str__(self) -> str:
        return self.path


class SourceStudy(models.Model):
    """A study that files belong to; `study_date` orders studies, "" if no file has one."""

    uid = models.CharField(max_length=64, unique=True, blank=True)
    study_date = models.CharField(max_length=8, blank=True)

    def __str__(self) -> str:
        return self.uid


class SourceSeries(models.Model):
    """A series of a study, with the modality of its instances."""

    study = models.ForeignKey(SourceStudy, on_delete=models.PROTECT, related_name="series")
    uid = models.CharField(max_length=64, blank=True)
    modality = models.CharField(max_length=16, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(name="source_series_once", fields=("study", "uid", "modality")),
        )

    def __str__(self) -> str:
        return self.uid


class SourceKind(models.Model):
    """A kind of data, as planning sees it; without UIDs: what is no instance."""

    sop_class_uid = models.CharField(max_length=64, blank=True)
    transfer_syntax_uid = models.CharField(max_length=64, blank=True)
    lossy_code = models.PositiveSmallIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="source_kind_once",
                fields=("sop_class_uid", "transfer_syntax_uid", "lossy_code"),
            ),
        )

    def __str__(self) -> str:
        return f"{self.sop_class_uid} in {self.transfer_syntax_uid}"

    @property
    def lossy(self) -> bool | None:
        return _LOSSY[self.lossy_code]

    @property
    def kind(self) -> DataKind:
        """This kind as a value."""
        return DataKind(self.sop_class_uid, self.transfer_syntax_uid, self.lossy)


class SourceFile(models.Model):
    """A file as it was scanned; insert-only but for `content_digest`, which is found out later.

    Attributes:
        mtime_ns: modification time, nanoseconds since 1970.
        ctime_ns: when anything of the file changed last, which nobody can set back; 0: not known.
        dataset_offset: where the encoded data set begins.
        content_digest: SHA-256 of the encoded data set; null until somebody needed it.
        reason: why it holds no sendable instance, "" if it does.
    """

    folder = models.ForeignKey(
        SourceFolder, on_delete=models.PROTECT, related_name="files", db_index=False
    )
    name = models.TextField()
    size = models.PositiveBigIntegerField()
    mtime_ns = models.BigIntegerField()
    ctime_ns = models.BigIntegerField(db_default=0)
    kind = models.ForeignKey(SourceKind, on_delete=models.PROTECT, related_name="+", db_index=False)
    series = models.ForeignKey(
        SourceSeries, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    sop_instance_uid = models.CharField(max_length=64, blank=True)
    dataset_offset = models.PositiveIntegerField(default=0)
    content_digest = models.BinaryField(max_length=32, null=True)
    reason = models.CharField(max_length=400, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="source_file_once",
                fields=("folder", "name", "size", "mtime_ns", "ctime_ns"),
            ),
        )
        indexes = (
            models.Index(
                name="source_file_by_instance",
                fields=("sop_instance_uid",),
                condition=~models.Q(sop_instance_uid=""),
            ),
        )

    def __str__(self) -> str:
        return self.sop_instance_uid or self.name

    @property
    def path(self) -> str:
        """The real path."""
        return os.path.join(real_path(self.folder.path), real_path(self.name))


class ListingState(models.TextChoices):
    """The life of a listing."""

    WAITING = "waiting", "Waiting"
    SCANNING = "scanning", "Scanning"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    ERRORED = "errored", "Errored"


class Listing(models.Model):
    """What was found at some sources under some rules, once, for all sends that share it.

    Attributes:
        sources: the absolute paths of folders and files.
        roots: folders in which the lines of its list of paths must lie; null: anywhere.
        rules: what is taken of them (negotiation/selection.py writes and reads it).
        expected: entries of a list of UIDs: {level, uid, instances, found}; also sources in which
            nothing was found.
        cursor: how far a scan came, so that another process can go on there; `kinds` are the ids
            of the kinds of data that were found.
        tries: how often its scan was begun since it last got on.
        files: entries so far; `opened`: files that had to be read because nobody remembered them.
        excluded: how many files each rule left out.
    """

    sources: "models.JSONField[list[str], list[str]]" = models.JSONField(default=list)
    roots: "models.JSONField[list[str] | None, list[str] | None]" = models.JSONField(
        default=None, null=True
    )
    rules: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    expected: "models.JSONField[list[dict[str, Any]], list[dict[str, Any]]]" = models.JSONField(
        default=list
    )
    state = models.CharField(
        max_length=16, choices=ListingState.choices, default=ListingState.WAITING, db_index=True
    )
    detail = models.CharField(max_length=400, blank=True)
    inline = models.BooleanField(default=False)
    cursor: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    tries = models.PositiveSmallIntegerField(default=0)
    files = models.PositiveIntegerField(default=0)
    opened = models.PositiveIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    excluded: "models.JSONField[dict[str, int], dict[str, int]]" = models.JSONField(default=dict)
    owner = models.CharField(max_length=128, blank=True)
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    @property
    def excluded_files(self) -> int:
        """Files that rules left out."""
        return sum(self.excluded.values())

    @property
    def found_files(self) -> int:
        """Files found so far, whether a rule left them out or not."""
        return self.files + self.excluded_files


class ListedPath(models.Model):
    """A line of a list of paths that belongs to a listing.

    Attributes:
        number: of the line, from 1.
        path: as written, see `stored_path`; `first_cell` is what it is if that is no path.
        problem: why it can't be used, "" if it can or has not been looked at.
    """

    pk = models.CompositePrimaryKey("listing_id", "number")
    listing = models.ForeignKey(
        Listing, on_delete=models.CASCADE, related_name="paths", db_index=False
    )
    number = models.PositiveIntegerField()
    path = models.TextField()
    first_cell = models.TextField(blank=True)
    problem = models.CharField(max_length=400, blank=True)

    class Meta:
        indexes = (
            models.Index(
                name="listed_path_problem",
                fields=("listing", "number"),
                condition=~models.Q(problem=""),
            ),
        )

    def __str__(self) -> str:
        return f"line {self.number}"

    @property
    def said(self) -> str:
        """What the line says, as text that pages and exports take."""
        return printable(real_path(self.path))


class ListingStudy(models.Model):
    """A study of a listing whose scan is through: what planners go by. Goes with the entries.

    Attributes:
        first: the least number of its entries: its place as listed.
        study_date: as it was then, so that the order of studies is one for all planners.
        files: entries, copies left out.
    """

    pk = models.CompositePrimaryKey("listing_id", "first")
    listing = models.ForeignKey(
        Listing, on_delete=models.CASCADE, related_name="studies", db_index=False
    )
    first = models.PositiveIntegerField()
    study = models.ForeignKey(
        SourceStudy, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    study_date = models.CharField(max_length=8, blank=True)
    files = models.PositiveIntegerField()


class ListingEntry(models.Model):
    """A file of a listing. Rows go once all sends of the listing are planned.

    Attributes:
        number: its place in the order of paths, from 1.
        standing: "" | "copy" (another file has the very same instance: `first`) | "conflict".
    """

    pk = models.CompositePrimaryKey("listing_id", "number")
    listing = models.ForeignKey(
        Listing, on_delete=models.CASCADE, related_name="entries", db_index=False
    )
    number = models.PositiveIntegerField()
    file = models.ForeignKey(SourceFile, on_delete=models.PROTECT, related_name="+", db_index=False)
    study = models.ForeignKey(
        SourceStudy, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    standing = models.CharField(max_length=8, blank=True)
    first = models.ForeignKey(
        SourceFile, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )

    class Meta:
        indexes = (models.Index(name="listing_entry_by_study", fields=("listing", "study")),)
