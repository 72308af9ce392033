"""From paths to instances: lists a source, and scans what stands behind each entry.

Only regular files are opened, links are not followed, and a file counts as an instance only if it
can be walked to its end (RELIABILITY.md, traps 5 and 6).
"""

import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.datadict import tag_for_keyword

from sender.dicom.dataset import (
    BytesReader,
    Encoding,
    Findings,
    Malformed,
    Reader,
    WindowReader,
    inflate,
    looks_explicit,
    walk,
)
from sender.negotiation import syntaxes
from sender.negotiation.instances import DataKind, ScannedInstance, Unreadable
from sender.negotiation.sop_classes import MEDIA_STORAGE_DIRECTORY
from sender.negotiation.uids import is_valid_uid

PREAMBLE = 128
META_SOP_CLASS = 0x00020002
META_SOP_INSTANCE = 0x00020003
META_TRANSFER_SYNTAX = 0x00020010
SOP_CLASS = 0x00080016
SOP_INSTANCE = 0x00080018
MODALITY = 0x00080060
STUDY_DATE = 0x00080020
STUDY_INSTANCE = 0x0020000D
SERIES_INSTANCE = 0x0020000E
LOSSY_IMAGE_COMPRESSION = 0x00282110
_WANTED = frozenset(
    {
        SOP_CLASS,
        SOP_INSTANCE,
        MODALITY,
        STUDY_DATE,
        STUDY_INSTANCE,
        SERIES_INSTANCE,
        LOSSY_IMAGE_COMPRESSION,
    }
)
_LOSSY = {"00": False, "01": True}
_LONG_META_VRS = (b"OB", b"UN", b"OW", b"UT", b"SQ")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file found below a source, or the source itself."""

    path: str
    relative_path: str
    size: int
    mtime_ns: int


class NotSendable(ValueError):
    """A file is no sendable instance; the message is its reason."""

    def __init__(self, reason: str, sop_instance: str = "") -> None:
        super().__init__(reason)
        self.sop_instance = sop_instance


def list_files(source: str) -> Iterator[Entry | Unreadable]:
    """Yield the regular files at or below a path in a fixed order, and what can't be looked into.

    Links are not followed and come out as unreadable, as do pipes, devices and sockets.
    """
    if not os.path.isdir(source) or os.path.islink(source):
        yield _entry(source, os.path.basename(source), os.lstat(source))
        return
    waiting = [source]
    while waiting:
        folder = waiting.pop()
        try:
            found = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield Unreadable(folder, _relative(folder, source), f"the folder {_cause(error)}")
            continue
        folders = []
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                yield _listed(entry, source)
        waiting += reversed(folders)


def _listed(entry: os.DirEntry[str], source: str) -> Entry | Unreadable:
    relative = _relative(entry.path, source)
    try:
        return _entry(entry.path, relative, entry.stat(follow_symlinks=False))
    except OSError as error:
        return Unreadable(entry.path, relative, _cause(error))


def _entry(path: str, relative: str, found: os.stat_result) -> Entry | Unreadable:
    mode = found.st_mode
    if stat.S_ISREG(mode):
        return Entry(path, _printable(relative), found.st_size, found.st_mtime_ns)
    reason = "a link, which is not followed" if stat.S_ISLNK(mode) else "no regular file"
    return Unreadable(path, _printable(relative), reason)


def _relative(path: str, source: str) -> str:
    return _printable(os.path.relpath(path, source))


def _printable(name: str) -> str:
    """Return a file's name as text that any page and database takes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _cause(error: OSError) -> str:
    return f"can't be read: {(error.strerror or 'unknown cause').lower()}"


def scan(
    path: str, *, relative_path: str, wanted: frozenset[int] = frozenset()
) -> ScannedInstance | Unreadable:
    """Read what a send needs of a file, and walk its data set to the end.

    Args:
        wanted: tags whose text `ScannedInstance.values` shall have.

    Returns:
        the instance, or why the file is none: empty, cut off, not DICOM, a DICOMDIR, mislabelled …
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_carefully) as file:
            return _scan(file, path, relative_path, wanted)
    except NotSendable as error:
        return Unreadable(path, relative_path, str(error), error.sop_instance)
    except OSError as error:
        return Unreadable(path, relative_path, _cause(error))


def _open_carefully(path: str, flags: int) -> int:
    """Open without following a link and without waiting for a pipe's other end."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _scan(file: BinaryIO, path: str, relative_path: str, wanted: frozenset[int]) -> ScannedInstance:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise NotSendable("no regular file")
    if found.st_size == 0:
        raise NotSendable("an empty file")
    reader = WindowReader(lambda at, length: _read_at(file, at, length), found.st_size)
    meta, offset = _read_meta(reader)
    if meta.get(META_SOP_CLASS) == MEDIA_STORAGE_DIRECTORY:
        raise NotSendable("a DICOMDIR, which is an index and no instance")
    syntax = meta.get(META_TRANSFER_SYNTAX, "")
    instance = meta.get(META_SOP_INSTANCE, "")
    if not is_valid_uid(syntax):
        raise NotSendable("no transfer syntax in its file meta information", instance)
    try:
        findings = _walk(reader, offset, syntax, _WANTED | wanted)
    except Malformed as error:
        raise NotSendable(str(error), _valid_or_empty(instance)) from error
    _check_pixel_data(findings, syntax, _valid_or_empty(instance))
    sop_class, sop_instance = _identify(meta, findings)
    return ScannedInstance(
        path=path,
        relative_path=relative_path,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        kind=DataKind(
            sop_class, syntax, _LOSSY.get(findings.values.get(LOSSY_IMAGE_COMPRESSION, ""))
        ),
        sop_instance=sop_instance,
        dataset_offset=offset,
        study_instance=_valid_or_empty(findings.values.get(STUDY_INSTANCE, "")),
        series_instance=_valid_or_empty(findings.values.get(SERIES_INSTANCE, "")),
        modality=findings.values.get(MODALITY, "")[:16],
        study_date=_date_or_empty(findings.values.get(STUDY_DATE, "")),
        values={tag: findings.values.get(tag, "") for tag in wanted},
    )


def _read_at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _read_meta(reader: Reader) -> tuple[dict[int, str], int]:
    """Return the UIDs of the file meta information (PS3.10 section 7.1), and where it ends."""
    if reader.at(PREAMBLE, 4) == b"DICM":
        position = PREAMBLE + 4
    elif reader.at(0, 4) == b"DICM":
        position = 4
    elif reader.at(0, 6) == b"\x02\x00\x00\x00UL":
        position = 0
    elif _begins_like_a_data_set(reader):
        raise NotSendable("a data set without file meta information")
    else:
        raise NotSendable("not a DICOM file")
    values: dict[int, str] = {}
    while reader.at(position, 2) == b"\x02\x00":
        tag, value_at, length = _meta_element(reader, position)
        if tag in (META_SOP_CLASS, META_SOP_INSTANCE, META_TRANSFER_SYNTAX) and length <= 128:
            text = reader.at(value_at, length).rstrip(b"\0 ").decode("latin-1")
            values[tag] = text
        position = value_at + length
    if position >= reader.size:
        raise NotSendable(
            "it is cut off within its file meta information, or has no data set",
            _valid_or_empty(values.get(META_SOP_INSTANCE, "")),
        )
    return values, position


def _begins_like_a_data_set(reader: Reader) -> bool:
    head = reader.at(0, 8)
    return len(head) == 8 and head[:2] == b"\x08\x00" and head[3] == 0


def _meta_element(reader: Reader, position: int) -> tuple[int, int, int]:
    """Return tag, position and length of a value; meta information is Explicit VR LE."""
    header = reader.at(position, 12)
    if len(header) < 8:
        raise NotSendable("it is cut off within its file meta information")
    group, number = struct.unpack_from("<HH", header)
    if header[4:6] in _LONG_META_VRS and len(header) == 12:
        (length,) = struct.unpack_from("<I", header, 8)
        return group << 16 | number, position + 12, length
    (length,) = struct.unpack_from("<H", header, 6)
    return group << 16 | number, position + 8, length


def _walk(reader: WindowReader, offset: int, syntax: str, wanted: frozenset[int]) -> Findings:
    known = syntaxes.find(syntax)
    if known is None:
        return _walk_unknown(reader, offset, wanted)
    if known.deflated:
        content = inflate(reader.at(offset, reader.size - offset))
        return walk(BytesReader(content), 0, Encoding(implicit=False), wanted)
    implicit = syntax == syntaxes.IMPLICIT_VR_LE or known.keyword.endswith("ImplicitVRLittleEndian")
    if implicit and looks_explicit(reader, offset):
        raise Malformed(f"it is labelled {known.short_name}, but its data are explicit VR")
    encoding = Encoding(implicit=implicit, big_endian=known.big_endian)
    return walk(reader, offset, encoding, wanted)


def _walk_unknown(reader: Reader, offset: int, wanted: frozenset[int]) -> Findings:
    """Walk data of a transfer syntax that the standard does not know."""
    implicit = not looks_explicit(reader, offset)
    return walk(reader, offset, Encoding(implicit=implicit), wanted)


def _check_pixel_data(findings: Findings, syntax: str, sop_instance: str) -> None:
    known = syntaxes.find(syntax)
    if known is None or not findings.has_pixel_data:
        return
    if findings.encapsulated and not known.encapsulated:
        raise NotSendable(f"encapsulated pixel data labelled {known.short_name}", sop_instance)
    if known.encapsulated and not findings.encapsulated:
        raise NotSendable(f"native pixel data labelled {known.short_name}", sop_instance)


def _identify(meta: dict[int, str], findings: Findings) -> tuple[str, str]:
    """Return SOP class and instance as the data set has them; meta information must agree."""
    identity = []
    for name, meta_tag, tag in (
        ("SOP Class UID", META_SOP_CLASS, SOP_CLASS),
        ("SOP Instance UID", META_SOP_INSTANCE, SOP_INSTANCE),
    ):
        said, uid = meta.get(meta_tag, ""), findings.values.get(tag, "")
        instance = _valid_or_empty(findings.values.get(SOP_INSTANCE, ""))
        if said and uid and said != uid:
            raise NotSendable(
                f"file meta information and data set disagree on the {name}", instance
            )
        if not is_valid_uid(uid):
            raise NotSendable(f"{'an invalid' if uid else 'no'} {name} in its data set", instance)
        identity.append(uid)
    return identity[0], identity[1]


def _valid_or_empty(uid: str) -> str:
    return uid if is_valid_uid(uid) else ""


def _date_or_empty(text: str) -> str:
    return text if len(text) == 8 and text.isdecimal() else ""


def tag_of(keyword: str) -> int:
    """Return the tag of a data element by its keyword (PS3.6).

    Raises:
        ValueError: there is none; in the user's words.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of a DICOM data element.")
    return tag


def dataset_digest(instance: ScannedInstance) -> str:
    """Return the SHA-256 of the encoded data set, to tell copies from conflicts.

    Raises:
        OSError: the file can't be read any more.
    """
    digest = hashlib.sha256()
    with open(instance.path, "rb", buffering=0, opener=_open_carefully) as file:
        file.seek(instance.dataset_offset)
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_unchanged(instance: ScannedInstance) -> bool:
    """Tell whether the file still has the size and modification time of its scan."""
    try:
        found = os.lstat(instance.path)
    except OSError:
        return False
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_size == instance.size
        and found.st_mtime_ns == instance.mtime_ns
    )
