"""Data sets in another transfer syntax: converted or decompressed, verified before they are sent.

The client's rule: uncompressed and deflated data convert freely while endianness stays; otherwise
they are decompressed. The SOP Instance UID never changes here: pixel values stay as decoded.
"""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID

from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance

LARGEST_DECODED = 1 << 30
_PLUGINS = {
    syntaxes.RLE_LOSSLESS: ("pylibjpeg", "pydicom"),
    syntaxes.JPEG_LS_LOSSLESS: ("pyjpegls", "gdcm"),
    syntaxes.JPEG_LS_NEAR_LOSSLESS: ("pyjpegls", "gdcm"),
}
"""The fastest decoders first (SENDING.md section 6); elsewhere pydicom's own order holds."""
_DECODED_TAGS = frozenset(
    {
        0x00280002,  # Samples per Pixel
        0x00280004,  # Photometric Interpretation
        0x00280006,  # Planar Configuration
        0x00280100,  # Bits Allocated
        0x00280101,  # Bits Stored
        0x00280102,  # High Bit
        0x00280103,  # Pixel Representation
        0x7FE00001,  # Extended Offset Table
        0x7FE00002,  # Extended Offset Table Lengths
        0x7FE00010,  # Pixel Data
    }
)
"""What decompression may change; its pixels are compared instead."""
_TRAILING_PADDING = 0xFFFCFFFC


class ConversionFailed(ValueError):
    """The instance can't be sent in that syntax; the message says why, without patient data."""


@dataclass(frozen=True, slots=True)
class EncodedDataset:
    """A data set in a transfer syntax, ready to be sent."""

    content: bytes
    transfer_syntax: str


def convert(
    instance: ScannedInstance, transfer_syntax: str, *, largest: int = LARGEST_DECODED
) -> EncodedDataset:
    """Encode an instance in one of the uncompressed or deflated little endian transfer syntaxes.

    Compressed pixel data are decompressed. The result is compared with the source, element by
    element and pixel by pixel, before it is returned.

    Args:
        largest: bytes of decoded data beyond which the instance is refused.

    Raises:
        ConversionFailed: the syntax is no such target, the data are too large, or anything in
            them can't be decoded or does not survive.
    """
    stored = instance.kind.transfer_syntax
    if transfer_syntax not in syntaxes.FREELY_CONVERTIBLE:
        name = syntaxes.short_name_of(transfer_syntax)
        raise ConversionFailed(f"data are never converted to {name}")
    with _own_words(stored, transfer_syntax):
        dataset = dcmread(instance.path)
        if not syntaxes.is_native(stored) and "PixelData" in dataset:
            _decompress(dataset, stored, largest)
        elif stored == syntaxes.EXPLICIT_VR_BE:
            raise ConversionFailed("big endian data can't be sent in another syntax")
        content = _encode(dataset, transfer_syntax)
        _verify(instance, content, transfer_syntax)
    return EncodedDataset(content, transfer_syntax)


@contextmanager
def _own_words(stored: str, wanted: str) -> Iterator[None]:
    """Turn whatever a decoder or pydicom raises into one clear reason; silence its warnings."""
    what = f"{syntaxes.short_name_of(stored)} could not be made {syntaxes.short_name_of(wanted)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ConversionFailed as error:
        raise ConversionFailed(f"{what}: {error}") from error
    except Exception as error:  # decoders of five libraries raise what they like
        raise ConversionFailed(f"{what}: {type(error).__name__} while decoding") from error


def _decompress(dataset: Dataset, stored: str, largest: int) -> None:
    """Decompress in place: the same instance, colour as RGB with a matching description."""
    if _decoded_length(dataset) > largest:
        raise ConversionFailed(f"decoded it would exceed {largest >> 20} MiB")
    dataset.decompress(generate_instance_uid=False, decoding_plugin=_plugin(stored))


def _decoded_length(dataset: Dataset) -> int:
    """Return the bytes of the decoded pixel data."""
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    samples = int(dataset.get("SamplesPerPixel", 1))
    return int(dataset.Rows * dataset.Columns * samples * frames * dataset.BitsAllocated) // 8


def _plugin(stored: str) -> str:
    """Return the decoder to use; "" leaves the choice to pydicom."""
    available = get_decoder(UID(stored)).available_plugins
    for plugin in _PLUGINS.get(stored, ()):
        if plugin in available:
            return plugin
    return ""


def _encode(dataset: Dataset, transfer_syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = transfer_syntax == syntaxes.IMPLICIT_VR_LE
    write_dataset(buffer, dataset)
    content = buffer.getvalue()
    if transfer_syntax != syntaxes.DEFLATED_EXPLICIT_VR_LE:
        return bytes(content)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(content) + deflater.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def _verify(instance: ScannedInstance, content: bytes, transfer_syntax: str) -> None:
    """Compare the encoded data set with a fresh reading of the source."""
    source = dcmread(instance.path)
    result = _decode(content, transfer_syntax)
    decompressed = not syntaxes.is_native(instance.kind.transfer_syntax)
    _compare(source, result, _DECODED_TAGS if decompressed else frozenset())
    if decompressed and "PixelData" in source:
        result.file_meta = source.file_meta
        result.file_meta.TransferSyntaxUID = UID(transfer_syntax)
        expected = pixel_array(
            instance.path, decoding_plugin=_plugin(instance.kind.transfer_syntax)
        )
        if not np.array_equal(expected, pixel_array(result)):
            raise ConversionFailed("the decompressed pixels differ from the source")


def _decode(content: bytes, transfer_syntax: str) -> Dataset:
    if transfer_syntax == syntaxes.DEFLATED_EXPLICIT_VR_LE:
        content = zlib.decompress(content, -zlib.MAX_WBITS)
    # No preamble, no meta information: pydicom is told what the bytes are.
    return read_dataset(
        BytesIO(content),
        is_implicit_VR=transfer_syntax == syntaxes.IMPLICIT_VR_LE,
        is_little_endian=True,
    )


def _compare(source: Dataset, result: Dataset, ignored: frozenset[int]) -> None:
    """Compare two data sets at the top level, and sequences within them by value."""
    tags = _data_tags(source) - ignored
    if tags != _data_tags(result) - ignored:
        raise ConversionFailed("elements appeared or vanished")
    for tag in sorted(tags):
        if not _is_same(source, result, tag):
            raise ConversionFailed(f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) did not survive")


def _data_tags(dataset: Dataset) -> set[int]:
    """Return the tags of elements that hold data: no group lengths, no padding (PS3.5 7.2, 7.1)."""
    return {int(tag) for tag in list(dataset.keys()) if tag & 0xFFFF and tag != _TRAILING_PADDING}


def _is_same(source: Dataset, result: Dataset, tag: int) -> bool:
    before: object = source.get_item(tag)
    after: object = result.get_item(tag)
    if isinstance(before, RawDataElement) and isinstance(after, RawDataElement):
        unpadded = ((raw.value or b"").rstrip(b"\0 ") for raw in (before, after))
        if next(unpadded) == next(unpadded):
            return True
    one: DataElement = source[tag]
    other: DataElement = result[tag]
    return bool(one.value == other.value) or _raw(one) == _raw(other)


def _raw(element: DataElement) -> bytes:
    """Return an element as implicit VR bytes: what counts when only one side knows its VR."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = True
    holder = Dataset()
    holder.add(element)
    write_dataset(buffer, holder)
    return bytes(buffer.getvalue())
