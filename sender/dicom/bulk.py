"""The data of C-STORE requests on their way out: files as they are, or converted bytes.

Small files are read whole into buffers that are used again; large ones are streamed. A file is
sent only as it was when it was scanned.
"""

import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from sender.dicom.listed import CHANGED, FileRange, Watched, is_as_listed
from sender.dicom.reading import open_carefully, say_cause
from sender.dicom.upper_layer import P_DATA, PDV_HEADER_LENGTH
from sender.dicom.wire import Buffer

BLOCK = 1 << 20
LARGEST_WHOLE = 8 << 20
SMALLEST_PDU = PDV_HEADER_LENGTH + 2
LARGEST_PDU = 1 << 17
DEFAULT_PDU = 1 << 14

_LAST = 0x02
_COMMAND = 0x01


class SourceFailed(OSError):
    """The file can't be read as it was listed; the message says why."""


class StoreRequest(NamedTuple):
    """One instance to be stored.

    Attributes:
        source: the encoded data set, in the transfer syntax accepted for the context.
    """

    sop_class: str
    sop_instance: str
    context_id: int
    source: FileRange | bytes


class Framing:
    """Cuts messages into P-DATA-TF PDUs that a peer takes, PS3.8 section 9.3.5."""

    def __init__(self, maximum_length: int | None) -> None:
        """Take the peer's maximum length: 0 is no limit, None was not said."""
        limit = DEFAULT_PDU if maximum_length is None else maximum_length or LARGEST_PDU
        self.limit = min(limit, LARGEST_PDU)
        self._step = (self.limit - PDV_HEADER_LENGTH) & ~1  # fragments are of even length

    @property
    def is_possible(self) -> bool:
        """Tell whether the peer takes anything at all."""
        return self.limit >= SMALLEST_PDU

    def command(self, context_id: int, command: bytes) -> list[Buffer]:
        """Return the buffers of a command set."""
        if len(command) <= self._step:
            return [_header(context_id, len(command), _COMMAND | _LAST) + command]
        buffers: list[Buffer] = []
        self._add(buffers, context_id, memoryview(command), flags=_COMMAND, is_last=True)
        return buffers

    def response(self, context_id: int, command: bytes) -> bytes:
        """Return the one PDU in which a peer sends a command set whole."""
        return _header(context_id, len(command), _COMMAND | _LAST) + command

    def add_data(
        self, buffers: list[Buffer], context_id: int, data: memoryview, *, is_last: bool
    ) -> None:
        """Add (a part of) a data set to the buffers of a message: headers between slices of it."""
        self._add(buffers, context_id, data, flags=0, is_last=is_last)

    def block_length(self, length: int) -> int:
        """Return how many bytes whole PDUs of together about `length` carry."""
        return max(1, length // self._step) * self._step

    def _add(
        self,
        buffers: list[Buffer],
        context_id: int,
        data: memoryview,
        *,
        flags: int,
        is_last: bool,
    ) -> None:
        step, length, position = self._step, len(data), 0
        if length > step:
            full = _header(context_id, step, flags)
            while length - position > step:
                buffers += (full, data[position : position + step])
                position += step
            data = data[position:]
        ending = flags | _LAST if is_last else flags
        buffers += (_header(context_id, length - position, ending), data)


def _header(context_id: int, length: int, flags: int) -> bytes:
    """Return the headers of a P-DATA-TF with one presentation data value."""
    return _pack_header(P_DATA, 0, length + 6, length + 2, context_id, flags)


_pack_header = struct.Struct(">BBIIBB").pack


def _open(path: str) -> int:
    """Return a descriptor.

    Raises:
        SourceFailed: there is no such file, or we may not read it.
    """
    try:
        return open_carefully(path)
    except OSError as error:
        raise SourceFailed(f"the file can't be opened: {say_cause(error)}") from error


def _make_sure(is_unchanged: Callable[[], bool]) -> None:
    """See that a file still looks as it did when it was scanned.

    Raises:
        SourceFailed: it does not, can't be read, is no regular file, or holds another instance.
    """
    try:
        if is_unchanged():
            return
    except OSError as error:
        raise SourceFailed(f"the file can't be read: {say_cause(error)}") from error
    raise SourceFailed(CHANGED)


def _fill(descriptor: int, position: int, buffer: memoryview) -> None:
    """Read from a position until the buffer is full.

    Raises:
        SourceFailed: the file can't be read, or is shorter than it was.
    """
    while buffer:
        try:
            count = os.preadv(descriptor, (buffer,), position)
        except OSError as error:
            raise SourceFailed(f"the file can't be read: {say_cause(error)}") from error
        if count == len(buffer):
            return
        if not count:
            raise SourceFailed(CHANGED)
        position += count
        buffer = buffer[count:]


class OpenFile:
    """A file that is open to be sent block by block. A context manager."""

    def __init__(self, source: FileRange) -> None:
        """Open the file.

        Raises:
            SourceFailed: it is gone, no regular file, or not as it was scanned.
        """
        self._descriptor: int | None = _open(source.path)
        self._source = source
        try:
            self._watched = Watched(self._descriptor, source)
            _make_sure(self._watched.is_unchanged)
        except SourceFailed:
            self.close()
            raise

    def __enter__(self) -> "OpenFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def blocks(self, length: int) -> Iterator[tuple[memoryview, bool]]:
        """Yield the data set in blocks of one buffer, each with whether it is the last.

        Raises:
            SourceFailed: the file can't be read, or changed before its last block was given out.
        """
        assert self._descriptor is not None
        whole = self._source.size - self._source.offset
        buffer = memoryview(bytearray(min(length, whole)))
        position = 0
        while position < whole:
            part = buffer[: whole - position]
            _fill(self._descriptor, self._source.offset + position, part)
            position += len(part)
            if position >= whole:
                _make_sure(self._watched.is_unchanged)
            yield part, position >= whole

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Loader:
    """Loads requests ahead of their sending, into two buffers used in turn."""

    def __init__(self) -> None:
        self._buffers = [memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))]

    def load(self, request: StoreRequest) -> "memoryview | OpenFile | SourceFailed":
        """Return the data of a request: in memory, open for streaming, or why there are none."""
        source = request.source
        if isinstance(source, bytes):
            return memoryview(source)
        try:
            if source.size - source.offset > LARGEST_WHOLE:
                return OpenFile(source)
            return self._read_whole(source)
        except SourceFailed as failure:
            return failure

    def _read_whole(self, source: FileRange) -> memoryview:
        buffers, length = self._buffers, source.size - source.offset
        buffers.reverse()
        if len(buffers[0]) < length:
            buffers[0] = memoryview(bytearray(length))
        data = buffers[0][:length]
        descriptor = _open(source.path)
        try:
            _fill(descriptor, source.offset, data)
            _make_sure(partial(is_as_listed, descriptor, source))  # so it was the same all the time
        finally:
            os.close(descriptor)
        return data
