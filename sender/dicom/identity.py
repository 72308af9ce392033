"""Which instance a file holds: its UIDs, its kind, and whether it is whole."""

import os
import re
import stat
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

from sender.dicom import codestream, part10
from sender.dicom.attributes import SPECIFIC_CHARACTER_SET, text_of
from sender.dicom.dataset import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    Encoding,
    Findings,
    Malformed,
    ends_natively,
    looks_explicit,
    walk,
)
from sender.dicom.layouts import Layout, Layouts
from sender.dicom.reading import FileReader, InflatingReader, times_of
from sender.negotiation import syntaxes
from sender.negotiation.instances import NO_VALUES, DataKind, ScannedInstance, Unreadable
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
        *part10.UIDS,
    }
)
_LOSSY = {b"00": False, b"01": True}
_TOLD_BY_CODE_STREAM = frozenset({syntaxes.JPEG_2000, syntaxes.HTJ2K})
_LONGEST_CODE = 16
_PADDING = b"\0 "


class MustInflate(Exception):
    """The data set is deflated: to look at it takes a while, in which others can work."""


def read_instance(
    file: int,
    path: str,
    relative_path: str,
    wanted: frozenset[int] = frozenset(),
    *,
    may_inflate: bool = True,
) -> ScannedInstance | Unreadable:
    """Read an open file: the instance in it, or why there is none.

    Args:
        file: its descriptor.
        relative_path: for people.
        wanted: tags of further attributes whose text is wanted.
        may_inflate: whether a deflated data set is looked at now.

    Raises:
        MustInflate: it is deflated, and may not be inflated now.
        OSError: the file can't be read, or its times can't be kept.
    """
    found = os.fstat(file)
    size, (mtime_ns, ctime_ns) = found.st_size, times_of(found)
    findings = Findings()
    try:
        if not (size and stat.S_ISREG(found.st_mode)):
            is_file = stat.S_ISREG(found.st_mode)
            raise part10.NoDicomFile("an empty file" if is_file else "no regular file")
        reader = FileReader(file, size)
        common, sop_instance, dataset_at, values = _read(
            reader, wanted, findings, may_inflate=may_inflate
        )
    except (part10.NoDicomFile, Malformed) as error:
        instance = _known_instance(findings.values)
        return Unreadable(path, relative_path, str(error), instance, size, mtime_ns, ctime_ns)
    kind, study, series, modality, date_ = common
    return ScannedInstance(
        path,
        relative_path,
        size,
        mtime_ns,
        kind,
        sop_instance,
        dataset_at,
        study,
        series,
        modality,
        date_,
        values,
        ctime_ns,
    )


def is_as_scanned(file: int, instance: ScannedInstance) -> bool:
    """Tell whether an open file is still what was scanned.

    Another may have been put in its place with the same size and modification time, as programs
    that unpack or copy set it. When anything changed last nobody can set: if that is another time,
    the file is identified again.

    Raises:
        OSError: the file can't be read.
    """
    found = os.fstat(file)
    if (
        found.st_mtime_ns != instance.mtime_ns
        or found.st_size != instance.size
        or not stat.S_ISREG(found.st_mode)
    ):
        return False
    if found.st_ctime_ns == instance.ctime_ns:
        return True
    now = read_instance(file, instance.path, instance.relative_path)
    return isinstance(now, ScannedInstance) and _identity_of(now) == _identity_of(instance)


def _identity_of(instance: ScannedInstance) -> tuple[DataKind, str, int]:
    return instance.kind, instance.sop_instance, instance.dataset_offset


_Common = tuple[DataKind, str, str, str, str]
"""Kind, Study and Series Instance UID, modality, study date: alike within a series."""
_Found = tuple[_Common, str, int, Mapping[int, str]]
"""These, SOP Instance UID, where the data set begins, values that were asked for."""


def _read(
    reader: FileReader, wanted: frozenset[int], findings: Findings, *, may_inflate: bool
) -> _Found:
    """Walk a file to its end: from where a known layout ends, else from its beginning."""
    layouts = layouts_for(wanted)
    matched = layouts.match(reader.window)
    if matched is None:
        syntax, encoding, dataset_at = _read_whole(
            reader, layouts, findings, may_inflate=may_inflate
        )
        return *_facts(reader, findings, syntax), dataset_at, _texts(findings, wanted, encoding)
    layout, match = matched
    dataset_at = match.end(layout.border)
    if wanted or not ends_natively(reader, match.end(), layout.encoding):
        _walk_rest(reader, layouts, matched, findings)
        facts = _facts(reader, findings, layout.syntax)
        return *facts, dataset_at, _texts(findings, wanted, layout.encoding)
    raw, others = layout.parts(match)
    common, uid = layout.series.get(others), _uid(raw)
    if common is None or not uid:
        _walk_rest(reader, layouts, matched, findings)
        common, uid = _facts(reader, findings, layout.syntax)
        if others:
            layout.remember(others, common)
    return common, uid, dataset_at, NO_VALUES


def _walk_rest(
    reader: FileReader,
    layouts: Layouts,
    matched: tuple[Layout, re.Match[bytes]],
    findings: Findings,
) -> None:
    layout, match = matched
    findings.values, findings.vrs = layout.values(match), dict(layout.vrs)
    walk(reader, match.end(), layout.encoding, layouts.wanted, findings)


def _facts(reader: FileReader, findings: Findings, syntax: str) -> tuple[_Common, str]:
    """Return what a walked file is, if it is what it says."""
    sop_class, sop_instance = _identity(findings.values)
    _check_pixel_data(findings, syntax)
    value = findings.values.get
    common = (
        shared_kind(sop_class, syntax, _is_lossy(reader, findings, syntax)),
        _shared_uid(value(STUDY_INSTANCE, b"")),
        _shared_uid(value(SERIES_INSTANCE, b"")),
        _code(value(MODALITY, b"")),
        _date(value(STUDY_DATE, b"")),
    )
    return common, sop_instance


def _known_instance(values: Mapping[int, bytes]) -> str:
    said = values.get(part10.SOP_INSTANCE, b"")
    return _uid(values.get(SOP_INSTANCE, b"")) or _uid(said)


@lru_cache(maxsize=64)
def layouts_for(wanted: frozenset[int]) -> Layouts:
    """Return the layouts known to this process for scans that want these attributes."""
    return Layouts((_ALWAYS | wanted | {SPECIFIC_CHARACTER_SET}) if wanted else _ALWAYS)


def _read_whole(
    reader: FileReader, layouts: Layouts, findings: Findings, *, may_inflate: bool
) -> tuple[str, Encoding, int]:
    """Return the transfer syntax, how the data set is written, and where it begins."""
    window = reader.window
    dataset_at = part10.read_file_meta(reader, findings.values)
    syntax = _transfer_syntax(findings.values, dataset_at, reader.size)
    if syntaxes.is_deflated(syntax):
        if not may_inflate:
            raise MustInflate
        inflating = InflatingReader(reader, dataset_at)
        walk(inflating, 0, EXPLICIT, layouts.wanted, findings)
        return syntax, EXPLICIT, dataset_at
    encoding = _encoding(reader, dataset_at, syntax)
    walk(reader, dataset_at, encoding, layouts.wanted, findings)
    layouts.learn(window, dataset_at, syntax, encoding)
    return syntax, encoding, dataset_at


def _transfer_syntax(uids: Mapping[int, bytes], dataset_at: int, size: int) -> str:
    if _shared_uid(uids.get(part10.SOP_CLASS, b"")) == MEDIA_STORAGE_DIRECTORY:
        raise part10.NoDicomFile("a DICOMDIR, which is an index and no instance")
    if dataset_at >= size:
        raise part10.NoDicomFile(
            "it is cut off within its file meta information, or has no data set"
        )
    syntax = _shared_uid(uids.get(part10.TRANSFER_SYNTAX, b""))
    if not syntax:
        raise part10.NoDicomFile("no transfer syntax in its file meta information")
    return syntax


def _encoding(reader: FileReader, offset: int, syntax: str) -> Encoding:
    """Return how the data set is written; data of unknown syntaxes are looked at."""
    known = syntaxes.find(syntax)
    if known is None:
        return EXPLICIT if looks_explicit(reader, offset) else IMPLICIT
    if not known.implicit:
        return BIG_ENDIAN if known.big_endian else EXPLICIT
    if looks_explicit(reader, offset):
        raise Malformed(f"it is labelled {known.short_name}, but its data are explicit VR")
    return IMPLICIT


def _identity(values: Mapping[int, bytes]) -> tuple[str, str]:
    """Return SOP Class and Instance UID; file meta information and data set must agree on them."""
    sop_class, sop_instance = values.get(SOP_CLASS, b""), values.get(SOP_INSTANCE, b"")
    known = _shared_uid(sop_class), _uid(sop_instance)
    if values.get(part10.SOP_CLASS) != sop_class or not known[0]:
        _check_uid(values.get(part10.SOP_CLASS, b""), sop_class, "SOP Class UID")
    if values.get(part10.SOP_INSTANCE) != sop_instance or not known[1]:
        _check_uid(values.get(part10.SOP_INSTANCE, b""), sop_instance, "SOP Instance UID")
    return known


def _check_uid(said: bytes, found: bytes, name: str) -> None:
    said, found = said.strip(_PADDING), found.strip(_PADDING)
    if said and found and said != found:
        raise Malformed(f"file meta information and data set disagree on the {name}")
    if not _uid(found):
        raise Malformed(f"{'an invalid' if found else 'no'} {name} in its data set")


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
    declared = _LOSSY.get(findings.values.get(LOSSY_IMAGE_COMPRESSION, b"").strip(_PADDING))
    if declared or syntax not in _TOLD_BY_CODE_STREAM or findings.first_fragment is None:
        return declared
    position, length = findings.first_fragment
    return codestream.is_irreversible(reader.at, position, length) or declared


def _uid(raw: bytes) -> str:
    """Return a valid UID as text, "" otherwise."""
    text = raw.strip(_PADDING).decode("latin-1")
    return text if is_valid_uid(text) else ""


@lru_cache(maxsize=1 << 12)
def _shared_uid(raw: bytes) -> str:
    """Return a UID that many instances have in common: once in memory, once checked."""
    return _uid(raw)


@lru_cache(maxsize=1024)
def shared_kind(sop_class: str, syntax: str, lossy: bool | None) -> DataKind:
    """Return a kind of data, once in memory however many instances are of it."""
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


def _texts(findings: Findings, wanted: frozenset[int], encoding: Encoding) -> Mapping[int, str]:
    if not wanted:
        return NO_VALUES
    character_set = findings.values.get(SPECIFIC_CHARACTER_SET, b"")
    texts = {
        tag: text_of(
            tag,
            findings.vrs[tag],
            findings.values[tag],
            big_endian=encoding.big_endian,
            character_set=character_set,
        )
        for tag in wanted & findings.values.keys()
    }
    return {tag: text for tag, text in texts.items() if text is not None}
