"""Data sets written anew by pydicom in another encoding, around pixel data that pass through.

Everything but pixel data is read into memory, within bounds; pixel data are copied in blocks or
decoded frame by frame. What was written is read again and compared before anybody gets it.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from typing import Any, BinaryIO

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from sender.dicom import pixels
from sender.dicom.comparison import compare
from sender.dicom.dataset import DEEPEST, PIXEL_DATA, Encoding, Findings, Reader, walk
from sender.dicom.nesting import is_too_deep
from sender.dicom.pixels import Description
from sender.dicom.spool import Spool
from sender.negotiation.instances import DataKind

LARGEST_REST = 64 << 20
"""Bytes of all elements before or after pixel data; they are held in memory some times over."""
_LARGEST_VALUE = (1 << 32) - 2
_OFFSETS, _OFFSET_LENGTHS = 0x7FE00001, 0x7FE00002
_DECODED = frozenset({0x00280004, 0x00280006, _OFFSETS, _OFFSET_LENGTHS})
"""What decompression may change beside pixel data: Photometric Interpretation and Planar
Configuration; and the Extended Offset Table, which goes."""
_BLOCK = 1 << 20
_NOTHING: frozenset[int] = frozenset()


class NotRewritten(ValueError):
    """The data set can't be written anew; the message says why, as a clause."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that was walked to its end.

    Attributes:
        file: what it is read from.
        reader: over the same.
        start: where it begins.
        encoding: how it is written.
        kind: of the instance; what has been inflated counts as explicit.
        findings: of the walk.
    """

    file: BinaryIO
    reader: Reader
    start: int
    encoding: Encoding
    kind: DataKind
    findings: Findings


@dataclass(frozen=True, slots=True)
class _Written:
    """What must be found again: pixel data by their digest, decoded ones by their description."""

    digest: bytes = b""
    described: Description | None = None


def rewrite(source: Source, result: Spool, encoding: Encoding, *, largest: int) -> None:
    """Write a data set in another encoding, or its pixel data decoded, and verify the result.

    Args:
        result: receives the data set.
        largest: bytes of decoded pixel data beyond which nothing is decoded.

    Raises:
        NotRewritten, PixelsFailed: it can't be done, within bounds or at all.
        Different: something did not survive.
        Malformed: the result is no well-formed data set.
        OSError: the source can't be read.
        SpoolFailed: the result can't be written.
    """
    if source.encoding is encoding and not source.findings.encapsulated:
        result.copy(source.file, source.start, source.reader.size - source.start)
        return
    before, after = _elements(source)
    if source.findings.encapsulated:
        written = _write_decoded(source, before, result, encoding, largest)
    else:
        result.write(_encoded(before, encoding))
        written = _write_native(source, before, result, encoding)
    result.write(_encoded(after, encoding))
    _verify(source, result, encoding, written)


def _elements(source: Source) -> tuple[Dataset, Dataset]:
    """Return the elements before and after pixel data."""
    found, size = source.findings, source.reader.size
    ends = found.pixel_data_ends_at if found.pixel_data_at else size
    if (found.pixel_data_at or size) - source.start > LARGEST_REST or size - ends > LARGEST_REST:
        raise NotRewritten(f"its elements beside pixel data exceed {LARGEST_REST >> 20} MiB")
    begins = found.pixel_data_at or size  # the header of Pixel Data with it, at which reading stops
    source.file.seek(source.start)
    before = _read(source.file.read(begins - source.start), source.encoding)
    source.file.seek(ends)
    return before, _read(source.file.read(size - ends), source.encoding)


def _read(content: bytes, encoding: Encoding) -> Dataset:
    """Raises: NotRewritten: its sequences are nested too deeply."""
    if is_too_deep(content, encoding):
        raise NotRewritten(f"its sequences are nested more than {DEEPEST} deep")
    return read_dataset(
        BytesIO(content),
        is_implicit_VR=encoding.implicit,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag == PIXEL_DATA,
    )


def _encoded(dataset: Dataset, encoding: Encoding) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = encoding.implicit
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def _write_native(source: Source, before: Dataset, result: Spool, encoding: Encoding) -> _Written:
    """Copy native pixel data, which are the same in every little endian encoding."""
    found = source.findings
    if not found.pixel_data_at:
        return _Written()
    length = found.pixel_data_ends_at - found.pixel_data_at
    result.write(_pixel_data_header(encoding, length, int(before.get("BitsAllocated", 16) or 16)))
    result.copy(source.file, found.pixel_data_at, length)
    return _Written(_digest(source.file, found))


def _pixel_data_header(encoding: Encoding, length: int, bits: int) -> bytes:
    """Return the header of Pixel Data: OW, or OB for bytes in explicit VR (PS3.5 annex A.2)."""
    tag = struct.pack("<HH", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF)
    if encoding.implicit:
        return tag + struct.pack("<I", length)
    return tag + (b"OW\0\0" if bits > 8 else b"OB\0\0") + struct.pack("<I", length)


def _digest(file: BinaryIO, found: Findings) -> bytes:
    digest, left = hashlib.sha256(), found.pixel_data_ends_at - found.pixel_data_at
    file.seek(found.pixel_data_at)
    while left and (block := file.read(min(left, _BLOCK))):
        digest.update(block)
        left -= len(block)
    return digest.digest()


def _write_decoded(
    source: Source, before: Dataset, result: Spool, encoding: Encoding, largest: int
) -> _Written:
    """Decode encapsulated pixel data; what describes them is changed with them."""
    described = _check_description(source, before, largest)
    offsets = _take_offsets(before)
    frames = pixels.decoded_frames(
        source.file, source.findings.pixel_data_at, source.kind, described, offsets
    )
    first = next(frames, None)
    if first is None:
        raise pixels.PixelsFailed("it has no frame")
    if first.photometric != described.photometric:
        before.PhotometricInterpretation = first.photometric
    if described.samples > 1:
        before.PlanarConfiguration = 0
    result.write(_encoded(before, encoding))
    padding = described.length % 2
    result.write(_pixel_data_header(encoding, described.length + padding, described.bits))
    digest = _write_frames(chain([first], frames), result, described.frames)
    result.write(b"\0" * padding)
    return _Written(digest, described)


def _check_description(source: Source, before: Dataset, largest: int) -> Description:
    """Return the description of pixel data that may be decoded."""
    described = Description.of(before)
    if described.length > min(largest, _LARGEST_VALUE):
        raise NotRewritten(f"decoded it would exceed {min(largest, _LARGEST_VALUE) >> 20} MiB")
    if described.frame_length > pixels.LARGEST_FRAME:
        raise NotRewritten(f"a frame would exceed {pixels.LARGEST_FRAME >> 20} MiB")
    found = source.findings
    pixels.check_fragments(
        source.reader.at, found.pixel_data_at, found.pixel_data_ends_at, described
    )
    return described


def _take_offsets(before: Dataset) -> pixels.Offsets:
    """Take the Extended Offset Table (PS3.3 C.7.6.3.1.8) out of the data set."""
    values: list[Any] = [before.pop(tag, None) for tag in (_OFFSETS, _OFFSET_LENGTHS)]
    if any(value is None for value in values):
        return None
    return bytes(values[0].value), bytes(values[1].value)


def _write_frames(frames: Iterator[pixels.Frame], result: Spool, count: int) -> bytes:
    digest, done, colours = hashlib.sha256(), 0, set()
    for frame in frames:
        done += 1
        colours.add(frame.photometric)
        if done > count or len(colours) > 1:
            break
        digest.update(frame.content)
        result.write(frame.content)
    if len(colours) > 1:
        raise pixels.PixelsFailed("its frames have different colours")
    if done != count:
        found = "more" if done > count else str(done)
        raise pixels.PixelsFailed(f"its description says {count} frames, it has {found}")
    return digest.digest()


def _verify(source: Source, result: Spool, encoding: Encoding, written: _Written) -> None:
    """Read the result as a receiver would, and compare it with a fresh reading of the source."""
    reader = result.reader()
    found = walk(reader, 0, encoding, _NOTHING)
    again = Source(result.file, reader, 0, encoding, source.kind, found)
    before, after = _elements(again)
    source_before, source_after = _elements(source)
    compare(source_before, before, _DECODED if written.described else _NOTHING)
    compare(source_after, after)
    digest = b""
    if written.described:
        digest = _digest_frames(result.file, found, Description.of(before))
    elif found.pixel_data_at:
        digest = _digest(result.file, found)
    if digest != written.digest:
        raise NotRewritten("the pixels written differ from those decoded")


def _digest_frames(file: BinaryIO, found: Findings, described: Description) -> bytes:
    digest = hashlib.sha256()
    for frame in pixels.native_frames(file, found.pixel_data_at, described):
        digest.update(frame)
    return digest.digest()
