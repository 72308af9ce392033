"""Which instance a file holds: its UIDs, its kind, and whether it is whole."""

import os
import stat
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

from sender.dicom import codestream, part10
from sender.dicom.attributes import SPECIFIC_CHARACTER_SET, text_of
from sender.dicom.dataset import (
    EXPLICIT,
    IMPLICIT,
    Encoding,
    Findings,
    Malformed,
    looks_explicit,
    walk,
)
from sender.dicom.reading import FileReader, InflatingReader
from sender.negotiation import syntaxes
from sender.negotiation.instances import DataKind, ScannedInstance, Unreadable
from sender.negotiation.sop_classes import MEDIA_STORAGE_DIRECTORY
from sender.negotiation.uids import is_valid_uid

SOP_CLASS = 0x00080016
SOP_INSTANCE = 0x00080018
STUDY_DATE = 0x00080020
MODALITY = 0x00080060
STUDY_INSTANCE = 0x0020000D
SERIES_INSTANCE = 0x0020000E
LOSSY_IMAGE_COMPRESSION = 0x00282110
_ALWAYS = frozenset(
    {
        SOP_CLASS,
        SOP_INSTANCE,
        STUDY_DATE,
        MODALITY,
        STUDY_INSTANCE,
        SERIES_INSTANCE,
        LOSSY_IMAGE_COMPRESSION,
    }
)
_LOSSY = {b"00": False, b"01": True}
_TOLD_BY_CODE_STREAM = frozenset({syntaxes.JPEG_2000, syntaxes.HTJ2K})
_LONGEST_CODE = 16
_PADDING = b"\0 "
_DIRECTORY = MEDIA_STORAGE_DIRECTORY.encode()
_NAMED = (
    ("SOP Class UID", part10.SOP_CLASS, SOP_CLASS),
    ("SOP Instance UID", part10.SOP_INSTANCE, SOP_INSTANCE),
)
_NO_VALUES: Mapping[int, str] = {}
"""Shared by all instances of scans that ask for none; nobody writes to it."""


def read_instance(
    file: int, path: str, relative_path: str, wanted: frozenset[int] = frozenset()
) -> ScannedInstance | Unreadable:
    """Read an open file: the instance in it, or why there is none.

    Args:
        file: its descriptor.
        relative_path: for people.
        wanted: tags of further attributes whose text is wanted.

    Raises:
        OSError: the file can't be read.
    """
    found = os.fstat(file)
    meta, findings = part10.FileMeta(), Findings()
    try:
        reader = FileReader(file, _content_size(found))
        meta = part10.read_file_meta(reader)
        syntax = _transfer_syntax(meta, reader.size)
        encoding = _encoding(reader, meta.ends_at, syntax)
        _walk(reader, meta.ends_at, syntax, encoding, wanted, findings)
        _check_identity(meta, findings)
        _check_pixel_data(findings, syntax)
        lossy = _is_lossy(reader, findings, syntax)
    except (part10.NoDicomFile, Malformed) as error:
        instance = _uid(findings.raw(SOP_INSTANCE)) or _uid(meta.uids.get(part10.SOP_INSTANCE, b""))
        return Unreadable(
            path, relative_path, str(error), instance, found.st_size, found.st_mtime_ns
        )
    raw = findings.raw
    return ScannedInstance(
        path,
        relative_path,
        found.st_size,
        found.st_mtime_ns,
        _kind(_shared_uid(raw(SOP_CLASS)), syntax, lossy),
        _uid(raw(SOP_INSTANCE)),
        meta.ends_at,
        _shared_uid(raw(STUDY_INSTANCE)),
        _shared_uid(raw(SERIES_INSTANCE)),
        _code(raw(MODALITY)),
        _date(raw(STUDY_DATE)),
        _texts(findings, wanted, encoding) if wanted else _NO_VALUES,
    )


def _content_size(found: os.stat_result) -> int:
    if not stat.S_ISREG(found.st_mode):
        raise part10.NoDicomFile("no regular file")
    if not found.st_size:
        raise part10.NoDicomFile("an empty file")
    return found.st_size


def _transfer_syntax(meta: part10.FileMeta, size: int) -> str:
    if meta.uids.get(part10.SOP_CLASS) == _DIRECTORY:
        raise part10.NoDicomFile("a DICOMDIR, which is an index and no instance")
    if meta.ends_at >= size:
        raise part10.NoDicomFile(
            "it is cut off within its file meta information, or has no data set"
        )
    syntax = _shared_uid(meta.uids.get(part10.TRANSFER_SYNTAX, b""))
    if not syntax:
        raise part10.NoDicomFile("no transfer syntax in its file meta information")
    return syntax


def _encoding(reader: FileReader, offset: int, syntax: str) -> Encoding:
    """Return how the data set is written; data of unknown syntaxes are looked at."""
    encoding = _encoding_of(syntax)
    if encoding is None:
        return EXPLICIT if looks_explicit(reader, offset) else IMPLICIT
    if encoding.implicit and looks_explicit(reader, offset):
        name = syntaxes.short_name_of(syntax)
        raise Malformed(f"it is labelled {name}, but its data are explicit VR")
    return encoding


@lru_cache(maxsize=256)
def _encoding_of(syntax: str) -> Encoding | None:
    known = syntaxes.find(syntax)
    return Encoding(implicit=known.implicit, big_endian=known.big_endian) if known else None


def _walk(
    reader: FileReader,
    offset: int,
    syntax: str,
    encoding: Encoding,
    wanted: frozenset[int],
    findings: Findings,
) -> None:
    everything = _with(wanted) if wanted else _ALWAYS
    known = syntaxes.find(syntax)
    if known is not None and known.deflated:
        walk(InflatingReader(reader, offset), 0, encoding, everything, findings)
    else:
        walk(reader, offset, encoding, everything, findings)


@lru_cache(maxsize=64)
def _with(wanted: frozenset[int]) -> frozenset[int]:
    return _ALWAYS | wanted | {SPECIFIC_CHARACTER_SET}


def _check_identity(meta: part10.FileMeta, findings: Findings) -> None:
    """File meta information and data set must name the same class and instance."""
    for name, meta_tag, tag in _NAMED:
        said = meta.uids.get(meta_tag, b"")
        raw = findings.raw(tag).strip(_PADDING)
        if said and raw and said != raw:
            raise Malformed(f"file meta information and data set disagree on the {name}")
        if not (_shared_uid(raw) if tag == SOP_CLASS else _uid(raw)):
            raise Malformed(f"{'an invalid' if raw else 'no'} {name} in its data set")


def _check_pixel_data(findings: Findings, syntax: str) -> None:
    known = syntaxes.find(syntax)
    if known is None or not findings.pixel_data_at or findings.encapsulated == known.encapsulated:
        return
    kept = "encapsulated" if findings.encapsulated else "native"
    raise Malformed(f"{kept} pixel data labelled {known.short_name}")


def _is_lossy(reader: FileReader, findings: Findings, syntax: str) -> bool | None:
    """Tell whether pixel data lost information, None if nobody says so.

    Lossy Image Compression (0028,2110) "01" is believed (PS3.3 C.7.6.1.1.5), "00" unless the code
    stream proves the contrary; a code stream alone never proves that nothing was lost.
    """
    declared = _LOSSY.get(findings.raw(LOSSY_IMAGE_COMPRESSION).strip(_PADDING))
    if declared or syntax not in _TOLD_BY_CODE_STREAM or findings.first_fragment is None:
        return declared
    position, length = findings.first_fragment
    return codestream.is_irreversible(reader.at, position, length) or declared


def _uid(raw: bytes) -> str:
    """Return a valid UID as text, "" otherwise."""
    text = raw.strip(_PADDING).decode("latin-1")
    return text if is_valid_uid(text) else ""


@lru_cache(maxsize=1 << 14)
def _shared_uid(raw: bytes) -> str:
    """Return a UID that many instances have in common: once in memory, once checked."""
    return _uid(raw)


@lru_cache(maxsize=1024)
def _kind(sop_class: str, syntax: str, lossy: bool | None) -> DataKind:
    return DataKind(sop_class, syntax, lossy)


@lru_cache(maxsize=1024)
def _code(raw: bytes) -> str:
    text = raw.strip(_PADDING).decode("latin-1")
    return text[:_LONGEST_CODE] if text.isprintable() else ""


@lru_cache(maxsize=1024)
def _date(raw: bytes) -> str:
    """Return a date as YYYYMMDD; the form with dots is that of ACR-NEMA (PS3.5 section 6.2)."""
    digits = raw.strip(_PADDING).decode("latin-1").replace(".", "")
    if not (len(digits) == 8 and digits.isascii() and digits.isdigit()):
        return ""
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return ""
    return digits


def _texts(findings: Findings, wanted: frozenset[int], encoding: Encoding) -> dict[int, str]:
    character_set = findings.raw(SPECIFIC_CHARACTER_SET)
    texts = {
        tag: text_of(tag, vr, value, big_endian=encoding.big_endian, character_set=character_set)
        for tag, (vr, value) in findings.values.items()
        if tag in wanted
    }
    return {tag: text for tag, text in texts.items() if text is not None}
