"""What a scan learns of a file, as values: an instance that could be sent, or why there is none."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataKind:
    """All that decides which presentation context data need.

    Attributes:
        sop_class: SOP Class UID.
        transfer_syntax: the transfer syntax the data are stored in.
        lossy: whether pixel data have been compressed with loss; None: not known, counts so.
    """

    sop_class: str
    transfer_syntax: str
    lossy: bool | None = None


@dataclass(frozen=True, slots=True)
class ScannedInstance:
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

    @property
    def dataset_length(self) -> int:
        """Bytes of the encoded data set."""
        return self.size - self.dataset_offset


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A regular file that is no sendable instance.

    Attributes:
        path: absolute path.
        relative_path: the path below the source that was listed, for people.
        reason: one clause in the user's words, without patient data: "not a DICOM file", …
        sop_instance: its SOP Instance UID where it could be read, else "".
    """

    path: str
    relative_path: str
    reason: str
    sop_instance: str = ""
