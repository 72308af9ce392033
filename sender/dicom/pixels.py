"""Encapsulated pixel data, decoded frame by frame within bounds.

What decoders would have to trust is checked first: sizes come from the description in the data set
(PS3.3 C.7.6.3), and the code streams must agree with it before anything is allocated.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian

from sender.dicom import codestream
from sender.dicom.dataset import ITEM
from sender.negotiation import syntaxes
from sender.negotiation.instances import DataKind

_ITEM = struct.Struct("<HHI")
LARGEST_FRAME = 256 << 20
"""Bytes of one frame, coded or decoded: what is in memory at a time, some times over."""
_PLUGINS: Mapping[str, tuple[str, ...]] = {
    syntaxes.RLE_LOSSLESS: ("pylibjpeg", "pydicom"),
    syntaxes.JPEG_LS_LOSSLESS: ("pyjpegls", "gdcm"),
    syntaxes.JPEG_LS_NEAR_LOSSLESS: ("pyjpegls", "gdcm"),
    syntaxes.JPEG_2000_LOSSLESS: ("pylibjpeg", "gdcm"),
    syntaxes.JPEG_2000: ("pylibjpeg", "gdcm"),
}
"""The fastest decoders first (SENDING.md section 6); elsewhere pydicom's own order holds."""


Offsets = tuple[bytes, bytes] | None
_Decoded = tuple[NDArray[Any], dict[str, Any]]


class PixelsFailed(ValueError):
    """The pixel data can't be decoded; the message says why, as a clause."""


@dataclass(frozen=True, slots=True)
class Description:
    """How native pixel data are laid out, PS3.3 C.7.6.3.

    Attributes:
        bits: allocated.
        is_exact: bits beyond those stored are kept, because an overlay stands in them.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    bits: int
    bits_stored: int
    signed: int
    photometric: str
    planar: int
    is_exact: bool

    @classmethod
    def of(cls, dataset: Dataset) -> "Description":
        """Read it from a data set.

        Raises:
            PixelsFailed: it is incomplete or impossible.
        """
        try:
            described = cls(
                rows=int(dataset.Rows),
                columns=int(dataset.Columns),
                samples=int(dataset.SamplesPerPixel),
                frames=int(dataset.get("NumberOfFrames", 1) or 1),
                bits=int(dataset.BitsAllocated),
                bits_stored=int(dataset.BitsStored),
                signed=int(dataset.PixelRepresentation),
                photometric=str(dataset.PhotometricInterpretation),
                planar=int(dataset.get("PlanarConfiguration", 0) or 0),
                is_exact=_has_embedded_overlay(dataset),
            )
        except (AttributeError, TypeError, ValueError):
            raise PixelsFailed("its description of pixel data is incomplete") from None
        if described.bits not in (8, 16, 32) or min(described.shape) < 1 or described.frames < 1:
            raise PixelsFailed(
                "its description of pixel data is of a kind that is not decoded here"
            )
        return described

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns and samples of a frame."""
        return self.rows, self.columns, self.samples

    @property
    def frame_length(self) -> int:
        """Bytes of a decoded frame."""
        return self.rows * self.columns * self.samples * self.bits // 8

    @property
    def length(self) -> int:
        """Bytes of all decoded frames."""
        return self.frame_length * self.frames

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Of a decoded sample."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits // 8}")

    def options(self) -> dict[str, Any]:
        """Return the same in the words of pydicom's decoders."""
        options: dict[str, Any] = {
            "rows": self.rows,
            "columns": self.columns,
            "samples_per_pixel": self.samples,
            "number_of_frames": self.frames,
            "bits_allocated": self.bits,
            "bits_stored": self.bits_stored,
            "pixel_representation": self.signed,
            "photometric_interpretation": self.photometric,
            "pixel_keyword": "PixelData",
        }
        if self.samples > 1:
            options["planar_configuration"] = self.planar
        if self.is_exact:
            options["correct_unused_bits"] = False
        return options


def _has_embedded_overlay(dataset: Dataset) -> bool:
    """Tell whether an overlay stands in unused bits of the pixels (PS3.5 8.1.2, retired)."""
    tags = {int(tag) for tag in dataset.keys()}  # noqa: SIM118 - iterating decodes elements
    return any(
        tag & 0xFF01FFFF == 0x60000102 and (tag & 0xFFFF0000 | 0x3000) not in tags for tag in tags
    )


def check_fragments(
    read: codestream.ReadAt, pixel_data_at: int, ends_at: int, described: Description
) -> None:
    """Refuse code streams that would have decoders allocate what the description does not say.

    Args:
        read: of the walked data set, at most some thousand bytes at a time.
        pixel_data_at: where the Basic Offset Table begins.
        ends_at: where the pixel data element ends.

    Raises:
        PixelsFailed: a fragment is too large, or declares another size.
    """
    position, is_offset_table = pixel_data_at, True
    while position < ends_at:
        group, number, length = _ITEM.unpack(read(position, _ITEM.size))
        if group << 16 | number != ITEM:
            return
        if length > LARGEST_FRAME:
            raise PixelsFailed(f"a frame has more than {LARGEST_FRAME >> 20} MiB")
        if not is_offset_table:
            _check_declared(codestream.frame_size(read, position + 8, length), described)
        is_offset_table = False
        position += 8 + length


def _check_declared(declared: codestream.FrameSize | None, described: Description) -> None:
    if declared is None:
        return
    size = (declared.rows, declared.columns, declared.samples)
    if size != described.shape:
        raise PixelsFailed(
            "a frame says that it has {} x {} pixels of {} samples, the data set says {} x {} of {}"
            "".format(*size, *described.shape)
        )
    if declared.bits > described.bits:
        raise PixelsFailed(
            f"a frame has {declared.bits} bits, the data set allows {described.bits}"
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: its bytes, and what its colours now are."""

    content: memoryview
    photometric: str


def decoded_frames(
    file: BinaryIO, pixel_data_at: int, kind: DataKind, described: Description, offsets: Offsets
) -> Iterator[Frame]:
    """Decode frame by frame; colours by pixel (planar configuration 0).

    Data that were compressed with loss come out as RGB; others keep their colours, as turning
    them into RGB would round them.

    Args:
        file: the data set, positioned anywhere.
        offsets: values of the Extended Offset Table and its lengths, None if there is none.

    Raises:
        PixelsFailed: no decoder can do it, or frames are missing.
    """
    syntax = kind.transfer_syntax
    if syntax == syntaxes.ENCAPSULATED_EXPLICIT_VR_LE:
        yield from _native_frames(file, pixel_data_at, described, offsets)
        return
    is_lossless = syntaxes.is_lossy(syntax) is False or kind.lossy is False
    options = described.options()
    if offsets:
        options["extended_offsets"] = offsets
    arrays = _arrays(file, pixel_data_at, syntax, options, is_raw=is_lossless)
    for array, properties in arrays:
        photometric = str(properties["photometric_interpretation"])
        if photometric == "YBR_FULL_422":  # no longer subsampled
            photometric = "YBR_FULL"
        yield Frame(_bytes(array, described), photometric)


def _arrays(
    file: BinaryIO, pixel_data_at: int, syntax: str, options: dict[str, Any], *, is_raw: bool
) -> Iterator[_Decoded]:
    """Decode with the first decoder that can do the first frame."""
    decoder = get_decoder(UID(syntax))
    available = decoder.available_plugins
    preferred = [name for name in _PLUGINS.get(syntax, available) if name in available]
    failure = PixelsFailed("there is no decoder")
    for plugin in preferred:
        file.seek(pixel_data_at)
        arrays = decoder.iter_array(file, raw=is_raw, decoding_plugin=plugin, **options)
        try:
            first = _next(arrays)
        except PixelsFailed as failed:
            failure = failed
            continue
        while first is not None:
            yield first
            first = _next(arrays)
        return
    raise failure


def _next(arrays: Iterator[_Decoded]) -> _Decoded | None:
    """Return the next frame, None behind the last one."""
    try:
        return next(arrays, None)
    except BaseException as error:  # decoders of five libraries raise what they like
        if _is_for_others(error):
            raise
        raise PixelsFailed(f"no decoder could read a frame ({type(error).__name__})") from error


def _is_for_others(error: BaseException) -> bool:
    """Tell whether an exception ends more than one decoding.

    The panics of decoders written in Rust are no `Exception`, but concern one frame only.
    """
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | MemoryError)


def _native_frames(
    file: BinaryIO, pixel_data_at: int, described: Description, offsets: Offsets
) -> Iterator[Frame]:
    """Take frames out of their fragments, PS3.5 annex A.4.11."""
    file.seek(pixel_data_at)
    frames = generate_frames(file, number_of_frames=described.frames, extended_offsets=offsets)
    for frame in frames:
        if len(frame) not in (described.frame_length, described.frame_length + 1):
            raise PixelsFailed("a frame is not as long as its description says")
        yield Frame(memoryview(frame)[: described.frame_length], described.photometric)


def _bytes(array: NDArray[Any], described: Description) -> memoryview:
    """Return a decoded frame as little endian samples of the bits allocated."""
    shape = described.shape if described.samples > 1 else described.shape[:2]
    if array.shape != shape:
        raise PixelsFailed("a decoded frame is not as large as its description says")
    if array.dtype.itemsize > described.bits // 8:
        raise PixelsFailed("a decoded frame has more bits than its description says")
    return memoryview(np.ascontiguousarray(array, described.dtype).view(np.uint8).data).cast("B")


def native_frames(
    file: BinaryIO, pixel_data_at: int, described: Description
) -> Iterator[memoryview]:
    """Read native little endian frames as a receiver would, by their description."""
    file.seek(pixel_data_at)
    arrays = get_decoder(ExplicitVRLittleEndian).iter_array(file, raw=True, **described.options())
    for array, _ in arrays:
        yield _bytes(array, described)
