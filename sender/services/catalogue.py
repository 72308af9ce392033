"""Files remembered as they were scanned, so that an unchanged one is never read twice."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sender.dicom.files import Entry
from sender.models import SourceFile, SourceFolder, SourceKind, SourceSeries, SourceStudy
from sender.models.sources import LOSSY_CODES, stored_path
from sender.negotiation.instances import DataKind, ScannedInstance, Unreadable
from sender.negotiation.selection import Candidate

CANT_BE_READ = "can't be read"
"""Such reasons lie outside the file: whoever comes next tries again."""
NO_KIND = DataKind("", "", None)
_COLUMNS = (
    "name",
    "size",
    "mtime_ns",
    "id",
    "series__study_id",
    "reason",
    "kind__sop_class_uid",
    "kind__transfer_syntax_uid",
    "sop_instance_uid",
    "series__study__uid",
    "series__uid",
    "series__modality",
    "series__study__study_date",
)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A file that the database knows.

    Attributes:
        study_id: the row of its study, None if it holds no instance.
        candidate: what rules look at; None if it holds no instance.
    """

    file_id: int
    study_id: int | None
    size: int
    candidate: Candidate | None


@dataclass(slots=True)
class Catalogue:
    """Looks files up and remembers new ones; keeps the ids of what repeats while it lives."""

    _folders: dict[str, int] = field(default_factory=dict)
    _kinds: dict[DataKind, int] = field(default_factory=dict)
    _studies: dict[str, int] = field(default_factory=dict)
    _dated: set[str] = field(default_factory=set)
    _series: dict[tuple[int, str, str], int] = field(default_factory=dict)

    def known(self, folder: str, entries: Sequence[Entry]) -> dict[str, Remembered]:
        """Return the files among entries of one folder that look as they did when scanned."""
        folder_id = self.folder_id(folder)
        names = {stored_path(os.path.basename(entry.path)): entry for entry in entries}
        rows = SourceFile.objects.filter(folder_id=folder_id, name__in=list(names))
        found = {}
        for name, size, mtime_ns, *rest in rows.values_list(*_COLUMNS):
            entry = names[name]
            is_same = (size, mtime_ns) == (entry.size, entry.mtime_ns)
            if is_same and CANT_BE_READ not in rest[2]:
                found[entry.path] = _remembered(size, rest)
        return found

    def remember(
        self, found: Sequence[ScannedInstance | Unreadable]
    ) -> list[tuple[ScannedInstance | Unreadable, Remembered]]:
        """Write files that were scanned; return each with what is remembered of it."""
        self._learn([one for one in found if isinstance(one, ScannedInstance)])
        rows = SourceFile.objects.bulk_create(
            [self._row(one) for one in found],
            update_conflicts=True,
            unique_fields=["folder", "name", "size", "mtime_ns"],
            update_fields=["kind", "series", "sop_instance_uid", "dataset_offset", "reason"],
        )
        return [(one, self._remember(one, row.pk)) for one, row in zip(found, rows, strict=True)]

    def _remember(self, one: ScannedInstance | Unreadable, file_id: int) -> Remembered:
        if isinstance(one, Unreadable):
            return Remembered(file_id, None, one.size, None)
        return Remembered(file_id, self._studies[one.study_instance], one.size, candidate_of(one))

    def folder_id(self, path: str) -> int:
        """Return the row of a folder."""
        if path not in self._folders:
            if len(self._folders) > 10_000:
                self._folders.clear()
            stored = stored_path(path)
            row, _ = SourceFolder.objects.get_or_create(
                digest=hashlib.sha256(stored.encode()).digest(), defaults={"path": stored}
            )
            self._folders[path] = row.pk
        return self._folders[path]

    def kind_id(self, kind: DataKind) -> int:
        """Return the row of a kind of data."""
        if kind not in self._kinds:
            row, _ = SourceKind.objects.get_or_create(
                sop_class_uid=kind.sop_class,
                transfer_syntax_uid=kind.transfer_syntax,
                lossy_code=LOSSY_CODES[kind.lossy],
            )
            self._kinds[kind] = row.pk
        return self._kinds[kind]

    def _row(self, one: ScannedInstance | Unreadable) -> SourceFile:
        folder, name = os.path.split(one.path)
        row = SourceFile(
            folder_id=self.folder_id(folder),
            name=stored_path(name),
            size=one.size,
            mtime_ns=one.mtime_ns,
            sop_instance_uid=one.sop_instance,
        )
        if isinstance(one, Unreadable):
            row.kind_id = self.kind_id(NO_KIND)
            row.reason = one.reason[:400]
        else:
            row.kind_id = self.kind_id(one.kind)
            row.series_id = self._series[self._series_key(one)]
            row.dataset_offset = one.dataset_offset
        return row

    def _series_key(self, one: ScannedInstance) -> tuple[int, str, str]:
        return self._studies[one.study_instance], one.series_instance, one.modality

    def _learn(self, found: Sequence[ScannedInstance]) -> None:
        """Make sure that the studies and series of instances have rows."""
        if len(self._series) > 200_000:
            self._studies.clear()
            self._series.clear()
            self._dated.clear()
        new = {one.study_instance for one in found} - set(self._studies)
        if new:
            _insert(SourceStudy(uid=uid) for uid in sorted(new))
            rows = SourceStudy.objects.filter(uid__in=new).values_list("uid", "id", "study_date")
            for uid, study_id, date in rows:
                self._studies[uid] = study_id
                if date:
                    self._dated.add(uid)
        for one in found:
            if one.study_date and one.study_instance not in self._dated:
                self._dated.add(one.study_instance)
                SourceStudy.objects.filter(uid=one.study_instance, study_date="").update(
                    study_date=one.study_date
                )
        self._learn_series({self._series_key(one) for one in found} - set(self._series))

    def _learn_series(self, new: set[tuple[int, str, str]]) -> None:
        if not new:
            return
        SourceSeries.objects.bulk_create(
            [SourceSeries(study_id=s, uid=uid, modality=m) for s, uid, m in sorted(new)],
            ignore_conflicts=True,
        )
        rows = SourceSeries.objects.filter(study_id__in={study_id for study_id, _, _ in new})
        for series_id, study_id, uid, modality in rows.values_list(
            "id", "study_id", "uid", "modality"
        ):
            self._series[study_id, uid, modality] = series_id


def _insert(rows: Iterable[SourceStudy]) -> None:
    SourceStudy.objects.bulk_create(list(rows), ignore_conflicts=True)


def candidate_of(one: ScannedInstance) -> Candidate:
    """Return what rules look at, tags left out."""
    return Candidate(
        sop_class=one.kind.sop_class,
        transfer_syntax=one.kind.transfer_syntax,
        sop_instance=one.sop_instance,
        study=one.study_instance,
        series=one.series_instance,
        modality=one.modality,
        study_date=one.study_date,
    )


def _remembered(size: int, row: Sequence[object]) -> Remembered:
    file_id, study_id, reason, *facts = row
    assert isinstance(file_id, int)
    if reason or study_id is None:
        return Remembered(file_id, None, size, None)
    assert isinstance(study_id, int)
    sop_class, syntax, instance, study, series, modality, date = map(str, facts)
    candidate = Candidate(sop_class, syntax, instance, study, series, modality, date)
    return Remembered(file_id, study_id, size, candidate)
