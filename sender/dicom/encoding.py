"""Data sets in another transfer syntax: converted or decompressed, verified before they are sent.

The client's rule: uncompressed and deflated data convert freely while endianness stays; otherwise
they are decompressed. The SOP Instance UID never changes here: pixel values stay as decoded.

Memory is bounded: pixel data pass through block by block or frame by frame, and what grows large
grows in a temporary file.
"""

import contextlib
import hashlib
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sender.dicom.comparison import Different
from sender.dicom.dataset import EXPLICIT, IMPLICIT, Malformed, walk
from sender.dicom.listed import CHANGED, FileRange, Watched
from sender.dicom.pixels import PixelsFailed
from sender.dicom.reading import FileReader, InflatingReader, open_carefully, say_cause
from sender.dicom.rewriting import NotRewritten, Source, rewrite
from sender.dicom.spool import Spool, SpoolFailed
from sender.negotiation import syntaxes
from sender.negotiation.instances import DataKind, ScannedInstance
from sender.negotiation.matching import is_lossy

LARGEST_DECODED = (1 << 32) - 2
"""Bytes of pixel data: what an element can hold."""
LARGEST_IN_MEMORY = 64 << 20
_LARGEST_WITHOUT_FILES = 1 << 30
_NOTHING: frozenset[int] = frozenset()
_BLOCK = 1 << 18
_IN_WORDS = (Different, Malformed, NotRewritten, PixelsFailed)


class ConversionFailed(ValueError):
    """The instance can't be sent in that syntax; the message says why, without patient data."""


class SourceUnusable(ConversionFailed):
    """The file is not as it was listed, or can't be read now; nothing is known of its data."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a conversion may take.

    Attributes:
        decoded: bytes of pixel data, decoded or inflated, beyond which an instance is refused.
        in_memory: bytes of the result beyond which it grows in a temporary file.
        folder: where that is made, mode 0600; "": results stay in memory.
    """

    decoded: int = LARGEST_DECODED
    in_memory: int = LARGEST_IN_MEMORY
    folder: str = ""


WITHOUT_FILES = Limits(decoded=_LARGEST_WITHOUT_FILES)


@dataclass(frozen=True, slots=True)
class EncodedDataset:
    """A data set in a transfer syntax, ready to be sent.

    Attributes:
        content: its bytes, or the temporary file that holds nothing else.
    """

    content: bytes | FileRange
    transfer_syntax: str

    @property
    def length(self) -> int:
        """Bytes of the encoded data set."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size

    def discard(self) -> None:
        """Remove the temporary file, if there is one."""
        if isinstance(self.content, FileRange):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.content.path)


def convert(
    instance: ScannedInstance,
    transfer_syntax: str,
    *,
    lossy_allowed: bool = False,
    limits: Limits = WITHOUT_FILES,
) -> EncodedDataset:
    """Encode an instance in one of the uncompressed or deflated little endian transfer syntaxes.

    Compressed pixel data are decompressed. The result is read again and compared with the source,
    element by element and frame by frame, before it is returned.

    Args:
        lossy_allowed: whether data that count as compressed with loss may be decompressed, which
            policy decides (`matching.conversion_of`).

    Raises:
        SourceUnusable: the file is not as it was listed.
        ConversionFailed: the syntax is no such target, the data are too large, or anything in
            them can't be decoded or does not survive.
        SpoolFailed: the temporary file can't be written; that says nothing about the instance.
    """
    with _own_words(instance.kind.transfer_syntax, transfer_syntax):
        _check_allowed(instance.kind, transfer_syntax, lossy_allowed=lossy_allowed)
        with _spool(limits) as result:
            with _opened(instance, limits) as source:
                implicit = transfer_syntax == syntaxes.IMPLICIT_VR_LE
                rewrite(source, result, IMPLICIT if implicit else EXPLICIT, largest=limits.decoded)
            if transfer_syntax == syntaxes.DEFLATED_EXPLICIT_VR_LE:
                return EncodedDataset(_deflated(result, limits), transfer_syntax)
            return EncodedDataset(result.finish(), transfer_syntax)


@contextmanager
def _own_words(stored: str, wanted: str) -> Iterator[None]:
    """Turn whatever decoders and pydicom raise into one clear reason; silence their warnings."""
    what = f"{syntaxes.short_name_of(stored)} could not be made {syntaxes.short_name_of(wanted)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ConversionFailed, SpoolFailed):
        raise
    except _IN_WORDS as error:
        raise ConversionFailed(f"{what}: {error}") from error
    except MemoryError as error:
        raise ConversionFailed(f"{what}: it needs more memory than there is") from error
    except Exception as error:  # pydicom raises what it likes over broken elements
        if isinstance(error, OSError) and error.errno:  # the system's own; decoders give no number
            raise SourceUnusable(f"the file can't be read: {say_cause(error)}") from error
        raise ConversionFailed(
            f"{what}: its elements can't be read ({type(error).__name__})"
        ) from error


def _check_allowed(kind: DataKind, wanted: str, *, lossy_allowed: bool) -> None:
    stored = kind.transfer_syntax
    if wanted not in syntaxes.FREELY_CONVERTIBLE:
        name = syntaxes.short_name_of(wanted)
        raise ConversionFailed(f"data are never converted to {name}")
    if stored in syntaxes.FREELY_CONVERTIBLE:
        return
    if stored == syntaxes.EXPLICIT_VR_BE:
        raise ConversionFailed("big endian data can't be sent in another syntax")
    if not syntaxes.is_decodable(stored):
        raise ConversionFailed(f"{syntaxes.short_name_of(stored)} data can't be decompressed")
    if is_lossy(kind) and not lossy_allowed:
        raise ConversionFailed("data compressed with loss are decompressed only by explicit policy")


@contextmanager
def _spool(limits: Limits) -> Iterator[Spool]:
    """Yield a spool, which is gone afterwards unless it was finished."""
    spool = Spool(limits.folder, limits.in_memory)
    try:
        yield spool
    finally:
        spool.discard()


@contextmanager
def _opened(instance: ScannedInstance, limits: Limits) -> Iterator[Source]:
    """Open the data set of an instance, inflated if need be; the file must be as it was listed."""
    try:
        file = os.fdopen(open_carefully(instance.path), "rb")
    except OSError as error:
        raise SourceUnusable(f"the file can't be opened: {say_cause(error)}") from error
    with file:
        watched = Watched(file.fileno(), FileRange.of(instance))
        _check_unchanged(watched)
        reader = FileReader(file.fileno(), instance.size)
        kind, start = instance.kind, instance.dataset_offset
        if syntaxes.is_deflated(kind.transfer_syntax):
            with _spool(limits) as plain:
                _inflate(InflatingReader(reader, start), plain, limits)
                explicit = DataKind(kind.sop_class, syntaxes.EXPLICIT_VR_LE, kind.lossy)
                inflated = plain.reader()
                found = walk(inflated, 0, EXPLICIT, _NOTHING)
                yield Source(plain.file, inflated, 0, EXPLICIT, explicit, found)
        else:
            implicit = kind.transfer_syntax == syntaxes.IMPLICIT_VR_LE
            encoding = IMPLICIT if implicit else EXPLICIT
            found = walk(reader, start, encoding, _NOTHING)
            yield Source(file, reader, start, encoding, kind, found)
        _check_unchanged(watched)


def _check_unchanged(watched: Watched) -> None:
    if not watched.is_unchanged():
        raise SourceUnusable(CHANGED)


def _inflate(reader: InflatingReader, plain: Spool, limits: Limits) -> None:
    """Write a deflated data set as it is inflated."""
    position = 0
    while block := reader.at(position, 1 << 13):
        position += len(block)
        if position > limits.decoded:
            raise NotRewritten(f"it inflates to more than {limits.decoded >> 20} MiB")
        plain.write(block)


def _deflated(plain: Spool, limits: Limits) -> bytes | FileRange:
    """Deflate a data set (PS3.5 annex A.5): raw, padded to an even length; verified."""
    with _spool(limits) as packed:
        deflater, digest = zlib.compressobj(wbits=-zlib.MAX_WBITS), hashlib.sha256()
        plain.file.seek(0)
        while block := plain.file.read(_BLOCK):
            digest.update(block)
            packed.write(deflater.compress(block))
        packed.write(deflater.flush())
        if packed.length % 2:
            packed.write(b"\0")
        if _digest_of_inflated(packed) != digest.digest():
            raise NotRewritten("what was deflated differs from what is inflated again")
        return packed.finish()


def _digest_of_inflated(packed: Spool) -> bytes:
    digest, inflater = hashlib.sha256(), zlib.decompressobj(-zlib.MAX_WBITS)
    packed.file.seek(0)
    while not inflater.eof and (block := inflater.unconsumed_tail or packed.file.read(_BLOCK)):
        digest.update(inflater.decompress(block, _BLOCK))
    return digest.digest()
