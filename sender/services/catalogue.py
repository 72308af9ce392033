"""Files remembered as they were scanned, so that an unchanged one is never read twice."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeVar

from django.db import transaction

from sender.dicom.files import Entry
from sender.models import SourceFile, SourceFolder, SourceKind, SourceSeries, SourceStudy
from sender.models.sources import LOSSY_CODES, stored_path
from sender.negotiation.instances import DataKind, ScannedInstance, Unreadable
from sender.negotiation.selection import Candidate
from sender.services.upserting import upsert_rows

Found = ScannedInstance | Unreadable
CANT_BE_READ = "can't be read"
"""Such reasons lie outside the file: whoever comes next tries again."""
NO_KIND = DataKind("", "", None)
MOST_KEPT = 200_000
"""Of each sort of rows whose ids are kept in memory."""
NAMES_PER_QUERY = 900
_KEY = ("folder_id", "name", "size", "mtime_ns", "ctime_ns")
_FACTS = ("kind_id", "series_id", "sop_instance_uid", "dataset_offset", "reason")
_KIND = ("sop_class_uid", "transfer_syntax_uid", "lossy_code")
_SERIES = ("study_id", "uid", "modality")
_KNOWN = (
    "folder_id", "name", "size", "mtime_ns", "ctime_ns", "id", "kind_id", "series_id",
    "sop_instance_uid", "reason",
)  # fmt: skip
_Key = tuple[int, str, int, int, int]
_Facts = tuple[int, int | None, str, int, str]
_T = TypeVar("_T")


class Remembered(NamedTuple):
    """A file that the database knows.

    Attributes:
        series_id: None if it holds no instance.
    """

    file_id: int
    kind_id: int
    series_id: int | None
    size: int
    sop_instance: str


class SeriesFacts(NamedTuple):
    """A series, with the study that it belongs to."""

    study_id: int
    study: str
    study_date: str
    series: str
    modality: str


@dataclass(slots=True)
class Catalogue:
    """Looks files up and remembers new ones; keeps the ids of what repeats while it lives."""

    _folders: dict[str, int] = field(default_factory=dict)
    _kinds: dict[DataKind, int] = field(default_factory=dict)
    _kinds_by_id: dict[int, DataKind] = field(default_factory=dict)
    _studies: dict[str, tuple[int, str]] = field(default_factory=dict)
    _series: dict[tuple[int, str, str], int] = field(default_factory=dict)
    _series_by_id: dict[int, SeriesFacts] = field(default_factory=dict)
    _touched: dict[str, int] = field(default_factory=dict)
    """Files of the last look-up, by path, of which only the time of the last change is another."""

    def known(self, entries: Iterable[Entry]) -> dict[str, Remembered]:
        """Return the files among the entries that look as they did when they were scanned."""
        self._make_room()
        self._touched.clear()
        folders: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        for entry in entries:
            folder, name = os.path.split(entry.path)
            folders[folder][stored_path(name)] = entry
        self._find_folders(folders)
        found: dict[str, Remembered] = {}
        small: dict[tuple[int, str], Entry] = {}
        for folder, names in folders.items():
            folder_id = self._folders.get(folder)
            if folder_id is not None:
                small |= {(folder_id, name): entry for name, entry in names.items()}
            if len(small) >= NAMES_PER_QUERY:
                found |= self._known_of(small)
                small = {}
        found |= self._known_of(small)
        for path in found.keys() & self._touched.keys():
            del self._touched[path]
        self._find_series({row.series_id for row in found.values() if row.series_id is not None})
        return found

    def _known_of(self, asked: Mapping[tuple[int, str], Entry]) -> dict[str, Remembered]:
        """Look files up by folder and name; files of the same names elsewhere are passed over."""
        found = {}
        for part in _parts(asked):
            rows = SourceFile.objects.filter(
                folder_id__in={folder_id for folder_id, _ in part},
                name__in={name for _, name in part},
            )
            for folder_id, name, size, mtime_ns, ctime_ns, *rest, reason in rows.values_list(
                *_KNOWN
            ):
                entry = asked.get((folder_id, name))
                file_id, kind_id, series_id, uid = rest
                if entry is None or size != entry.size or mtime_ns != entry.mtime_ns:
                    continue
                is_whole = series_id is not None or reason  # rows of earlier versions have neither
                if not is_whole or CANT_BE_READ in reason:
                    continue
                if ctime_ns != entry.ctime_ns:
                    self._touched[entry.path] = max(file_id, self._touched.get(entry.path, 0))
                    continue
                series = None if reason else series_id
                found[entry.path] = Remembered(file_id, kind_id, series, size, uid)
        return found

    def learn(self, found: Sequence[Found]) -> None:
        """Write the folders, kinds, studies and series that files need; before `remember`.

        It is a transaction of its own, in one order, so that none of two scans waits for another.
        """
        instances = [one for one in found if isinstance(one, ScannedInstance)]
        with transaction.atomic():
            self._learn_folders({os.path.dirname(one.path) for one in found})
            self._learn_kinds({one.kind for one in instances} | {NO_KIND})
            self._learn_studies(instances)
            self._learn_series({self._series_key(one): one.study_instance for one in instances})

    def remember(self, found: Sequence[Found]) -> list[Remembered]:
        """Write files that were scanned, no path twice; return what is remembered of each.

        `learn` must have seen them.
        """
        keys = [self._key(one) for one in found]
        rows = {key: self._facts(one) for key, one in zip(keys, found, strict=True)}
        ids = self._renew(found, rows) if self._touched else {}
        ids |= upsert_rows(
            SourceFile,
            (*_KEY, *_FACTS),
            [(*key, *rows[key]) for key in sorted(rows) if key not in ids],
            key=_KEY,
            changed=_FACTS,
        )
        remembered = []
        for key, one in zip(keys, found, strict=True):
            kind_id, series_id, uid, _, reason = rows[key]
            series = None if reason else series_id
            remembered.append(Remembered(ids[key], kind_id, series, one.size, uid))
        return remembered

    def _renew(self, found: Sequence[Found], rows: Mapping[_Key, _Facts]) -> dict[_Key, int]:
        """Let rows whose files hold what they held take the new time; return their ids.

        What another file was put in the place of, size and modification time alike, is not among
        them, and becomes a row of its own; nor is what another scan has renewed meanwhile.
        """
        asked = {
            self._touched[one.path]: self._key(one) for one in found if one.path in self._touched
        }
        same: dict[_Key, int] = {}
        for part in _parts(asked):
            keys = [asked[file_id] for file_id in part]
            renewed = SourceFile.objects.filter(
                folder_id__in={key[0] for key in keys},
                name__in=[key[1] for key in keys],
                ctime_ns__in={key[4] for key in keys},
            )
            taken = set(renewed.values_list(*_KEY))
            then = SourceFile.objects.filter(pk__in=part)
            for file_id, *was in then.values_list("id", "size", "mtime_ns", *_FACTS):
                key = asked[file_id]
                if key not in taken and tuple(was) == (*key[2:4], *rows[key]):
                    same[key] = file_id
        # Its pixels may be others nevertheless, so that its digest is not known any more.
        SourceFile.objects.bulk_update(
            [
                SourceFile(pk=number, ctime_ns=key[4], content_digest=None)
                for key, number in sorted(same.items())
            ],
            ("ctime_ns", "content_digest"),
            batch_size=300,
        )
        return same

    def study_id(self, row: Remembered) -> int | None:
        """Return the row of the study that a file belongs to; None if it holds no instance."""
        return None if row.series_id is None else self._series_by_id[row.series_id].study_id

    def candidate(self, row: Remembered, tags: Mapping[str, str] | None = None) -> Candidate | None:
        """Return what rules look at; None if the file holds no instance."""
        if row.series_id is None:
            return None
        series = self._series_by_id[row.series_id]
        kind = self._kind(row.kind_id)
        return Candidate(
            kind.sop_class,
            kind.transfer_syntax,
            row.sop_instance,
            series.study,
            series.series,
            series.modality,
            series.study_date,
            tags or {},
        )

    def folder_id(self, path: str) -> int:
        """Return the row of a folder."""
        self._learn_folders({path})
        return self._folders[path]

    def kind_id(self, kind: DataKind) -> int:
        """Return the row of a kind of data."""
        self._learn_kinds({kind})
        return self._kinds[kind]

    def _make_room(self) -> None:
        for kept in (self._folders, self._studies, self._series, self._series_by_id):
            if len(kept) > MOST_KEPT:
                kept.clear()

    def _kind(self, kind_id: int) -> DataKind:
        if kind_id not in self._kinds_by_id:
            self._kinds_by_id[kind_id] = SourceKind.objects.get(pk=kind_id).kind
        return self._kinds_by_id[kind_id]

    def _key(self, one: Found) -> _Key:
        folder, name = os.path.split(one.path)
        return self._folders[folder], stored_path(name), one.size, one.mtime_ns, one.ctime_ns

    def _facts(self, one: Found) -> _Facts:
        if isinstance(one, Unreadable):
            return self._kinds[NO_KIND], None, one.sop_instance, 0, _clean(one.reason)[:400]
        series_id = self._series[self._series_key(one)]
        return self._kinds[one.kind], series_id, one.sop_instance, one.dataset_offset, ""

    def _series_key(self, one: ScannedInstance) -> tuple[int, str, str]:
        study_id, _ = self._studies[one.study_instance]
        return study_id, one.series_instance, _clean(one.modality)[:16]

    def _find_folders(self, paths: Iterable[str]) -> None:
        """Read the ids of folders that are known."""
        digests = {_digest(path): path for path in paths if path not in self._folders}
        for part in _parts(digests):
            rows = SourceFolder.objects.filter(digest__in=part)
            for digest, folder_id in rows.values_list("digest", "id"):
                self._folders[digests[bytes(digest)]] = folder_id

    def _learn_folders(self, paths: set[str]) -> None:
        """Make sure that folders have rows; which have been looked for and found is known."""
        new = {_digest(path): path for path in paths if path not in self._folders}
        ids = upsert_rows(
            SourceFolder,
            ("digest", "path"),
            [(digest, stored_path(new[digest])) for digest in sorted(new)],
            key=("digest",),
            changed=("path",),
        )
        for digest, path in new.items():
            self._folders[path] = ids[(digest,)]

    def _learn_kinds(self, kinds: set[DataKind]) -> None:
        new = {_key_of(kind): kind for kind in kinds if kind not in self._kinds}
        ids: dict[tuple[object, ...], int] = {}
        for part in _parts(sorted(new)):
            rows = SourceKind.objects.filter(
                sop_class_uid__in={sop_class for sop_class, _, _ in part},
                transfer_syntax_uid__in={syntax for _, syntax, _ in part},
            )
            ids |= {tuple(key): row_id for *key, row_id in rows.values_list(*_KIND, "id")}
        missing = [key for key in sorted(new) if key not in ids]
        ids |= upsert_rows(SourceKind, _KIND, missing, key=_KIND, changed=("lossy_code",))
        for key, kind in new.items():
            self._kinds[kind] = ids[key]
            self._kinds_by_id[ids[key]] = kind

    def _learn_studies(self, found: Sequence[ScannedInstance]) -> None:
        """Make sure that the studies have rows, and a date if an instance of theirs has one."""
        dates: dict[str, str] = {}
        for one in found:
            dates[one.study_instance] = dates.get(one.study_instance) or one.study_date
        new = sorted(set(dates) - set(self._studies))
        if new:
            self._find_studies(new)
            self._add_studies({uid: dates[uid] for uid in new if uid not in self._studies})
        for uid in sorted(dates):
            study_id, date = self._studies[uid]
            if dates[uid] and not date:
                SourceStudy.objects.filter(pk=study_id, study_date="").update(study_date=dates[uid])
                self._studies[uid] = study_id, dates[uid]
                self._date_series(study_id, dates[uid])

    def _find_studies(self, uids: Sequence[str]) -> None:
        for part in _parts(uids):
            rows = SourceStudy.objects.filter(uid__in=part)
            for uid, study_id, date in rows.values_list("uid", "id", "study_date"):
                self._studies[uid] = study_id, date

    def _add_studies(self, dates: Mapping[str, str]) -> None:
        """Write studies; of one that another scan has written meanwhile its date is kept."""
        SourceStudy.objects.bulk_create(
            [SourceStudy(uid=uid, study_date=dates[uid]) for uid in dates],
            ignore_conflicts=True,
            batch_size=500,
        )
        self._find_studies(list(dates))

    def _date_series(self, study_id: int, date: str) -> None:
        for series_id, facts in self._series_by_id.items():
            if facts.study_id == study_id:
                self._series_by_id[series_id] = facts._replace(study_date=date)

    def _learn_series(self, studies: Mapping[tuple[int, str, str], str]) -> None:
        """Make sure that series have rows.

        Args:
            studies: the Study Instance UID of each.
        """
        new = sorted(studies.keys() - self._series.keys())
        self._find_keys(new)
        missing = [key for key in new if key not in self._series]
        self._series |= upsert_rows(SourceSeries, _SERIES, missing, key=_SERIES, changed=("uid",))
        for key, study in studies.items():
            study_id, uid, modality = key
            date = self._studies[study][1]
            self._series_by_id.setdefault(
                self._series[key], SeriesFacts(study_id, study, date, uid, modality)
            )

    def _find_keys(self, keys: Sequence[tuple[int, str, str]]) -> None:
        for part in _parts(keys):
            rows = SourceSeries.objects.filter(
                study_id__in={study_id for study_id, _, _ in part},
                uid__in={uid for _, uid, _ in part},
            )
            for row in rows.values_list("id", "study_id", "uid", "modality"):
                series_id, study_id, uid, modality = row
                self._series[study_id, uid, modality] = series_id

    def _find_series(self, ids: set[int]) -> None:
        """Read what is known of series by their ids."""
        for part in _parts(sorted(ids - set(self._series_by_id))):
            rows = SourceSeries.objects.filter(pk__in=part).values_list(
                "id", "study_id", "study__uid", "study__study_date", "uid", "modality"
            )
            for series_id, study_id, study, date, uid, modality in rows:
                self._series_by_id[series_id] = SeriesFacts(study_id, study, date, uid, modality)


def _key_of(kind: DataKind) -> tuple[str, str, int]:
    return kind.sop_class, kind.transfer_syntax, LOSSY_CODES[kind.lossy]


def _digest(path: str) -> bytes:
    return hashlib.sha256(stored_path(path).encode()).digest()


def _clean(text: str) -> str:
    """Leave out what PostgreSQL does not take in a text."""
    return text.replace("\0", "")


def _parts(values: Iterable[_T]) -> Iterator[list[_T]]:
    waiting = iter(values)
    while part := list(islice(waiting, NAMES_PER_QUERY)):
        yield part
