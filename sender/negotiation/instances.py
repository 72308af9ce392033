"""What a scan learns of a file, as values: an instance that could be sent, or why there is none."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_VALUES: Mapping[int, str] = MappingProxyType({})
"""Shared by all instances of scans that ask for none."""


class DataKind(NamedTuple):
    """All that decides which presentation context data need.

    Attributes:
        sop_class: SOP Class UID.
        transfer_syntax: the transfer syntax the data are stored in.
        lossy: whether pixel data have been compressed with loss; None: not known, counts so.
    """

    sop_class: str
    transfer_syntax: str
    lossy: bool | None = None


class ScannedInstance(NamedTuple):
    """A regular file that holds one composite SOP instance, whole to its end.

    Attributes:
        path: absolute path.
        relative_path: the path below the source that was listed, for people.
        size: bytes of the whole file.
        mtime_ns: modification time, nanoseconds since 1970, as the file system tells it.
        sop_instance: SOP Instance UID.
        dataset_offset: where the encoded data set begins: after preamble and file meta information.
        study_instance: Study Instance UID, "" if absent.
        series_instance: Series Instance UID, "" if absent.
        modality: Modality (0008,0060), "" if absent.
        study_date: Study Date (0008,0020) as YYYYMMDD, "" if absent or no date.
        values: the text of the attributes that the scan was asked for, by tag; only for filters.
        ctime_ns: when anything of the file changed last, as the file system tells it; 0: not known.
            What is sent need not have it still: it changes with a file's rights, too.
    """

    path: str
    relative_path: str
    size: int
    mtime_ns: int
    kind: DataKind
    sop_instance: str
    dataset_offset: int
    study_instance: str = ""
    series_instance: str = ""
    modality: str = ""
    study_date: str = ""
    values: Mapping[int, str] = NO_VALUES
    ctime_ns: int = 0


class Unreadable(NamedTuple):
    """Something at or below a source that is no sendable instance.

    Attributes:
        path: absolute path.
        relative_path: the path below the source that was listed, for people.
        reason: one clause in the user's words, without patient data: "not a DICOM file", …
        sop_instance: its SOP Instance UID where it could be read, else "".
        size: bytes of the whole file; 0 if it is no regular file or can't be looked at.
        mtime_ns, ctime_ns: as of an instance; 0 likewise.
    """

    path: str
    relative_path: str
    reason: str
    sop_instance: str = ""
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
