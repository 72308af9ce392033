"""The data of C-STORE requests on their way out: files as they are, or converted bytes.

Small files are read whole into buffers that are used again; large ones are streamed. A file is
sent only as it was when it was scanned.
"""

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sender.dicom.upper_layer import P_DATA, PDV_HEADER_LENGTH
from sender.negotiation.instances import ScannedInstance

BLOCK = 1 << 20
LARGEST_WHOLE = 8 << 20
CHANGED = "the file changed after it was listed"
SMALLEST_PDU = PDV_HEADER_LENGTH + 2
LARGEST_PDU = 1 << 17
DEFAULT_PDU = 1 << 14

_LAST = 0x02
_COMMAND = 0x01


class SourceFailed(OSError):
    """The file can't be read as it was listed; the message says why."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """The data set within a file, and how the file looked when it was scanned."""

    path: str
    offset: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, instance: ScannedInstance) -> "FileRange":
        return cls(instance.path, instance.dataset_offset, instance.size, instance.mtime_ns)


@dataclass(frozen=True, slots=True)
class StoreRequest:
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
        self.limit = min(limit, LARGEST_PDU) & ~1  # fragments have an even length, PS3.7 annex F
        self._step = self.limit - PDV_HEADER_LENGTH

    @property
    def is_possible(self) -> bool:
        """Tell whether the peer takes anything at all."""
        return self.limit >= SMALLEST_PDU

    def command(self, context_id: int, command: bytes) -> list[bytes | memoryview]:
        """Return the buffers of a command set."""
        return self._cut(context_id, memoryview(command), flags=_COMMAND, is_last=True)

    def data(self, context_id: int, data: memoryview, *, is_last: bool) -> list[bytes | memoryview]:
        """Return the buffers of (a part of) a data set, headers between slices of `data`."""
        return self._cut(context_id, data, flags=0, is_last=is_last)

    def block_length(self) -> int:
        """Return how much of a file is streamed at a time: whole PDUs of about 1 MiB."""
        return max(1, BLOCK // self._step) * self._step

    def _cut(
        self, context_id: int, data: memoryview, *, flags: int, is_last: bool
    ) -> list[bytes | memoryview]:
        step, length, position = self._step, len(data), 0
        full = _header(context_id, step, flags)
        buffers: list[bytes | memoryview] = []
        while length - position > step:
            buffers += (full, data[position : position + step])
            position += step
        ending = flags | _LAST if is_last else flags
        buffers += (_header(context_id, length - position, ending), data[position:])
        return buffers


def _header(context_id: int, length: int, flags: int) -> bytes:
    return struct.pack(">BBIIBB", P_DATA, 0, length + 6, length + 2, context_id, flags)


class OpenFile:
    """A file opened for one request: read whole, or block by block."""

    def __init__(self, source: FileRange) -> None:
        """Open the file.

        Raises:
            SourceFailed: it is gone, no regular file, or not as it was scanned.
        """
        try:
            self._file = open(source.path, "rb", buffering=0, opener=_open_carefully)  # noqa: SIM115
        except OSError as error:
            raise SourceFailed(f"the file can't be opened: {_cause(error)}") from error
        self._source = source
        self.length = source.size - source.offset
        if not self.is_unchanged():
            self.close()
            raise SourceFailed(CHANGED)

    def is_unchanged(self) -> bool:
        """Tell whether the file still looks as it did when it was scanned."""
        found = os.fstat(self._file.fileno())
        return (
            stat.S_ISREG(found.st_mode)
            and found.st_size == self._source.size
            and found.st_mtime_ns == self._source.mtime_ns
        )

    def read(self, position: int, buffer: memoryview) -> None:
        """Fill `buffer` from a position within the data set.

        Raises:
            SourceFailed: the file can't be read, or is shorter than it was.
        """
        done = 0
        try:
            self._file.seek(self._source.offset + position)
            while done < len(buffer):
                count = self._file.readinto(buffer[done:])
                if not count:
                    break
                done += count
        except OSError as error:
            raise SourceFailed(f"the file can't be read: {_cause(error)}") from error
        if done < len(buffer):
            raise SourceFailed(CHANGED)

    def blocks(self, length: int) -> Iterator[tuple[memoryview, bool]]:
        """Yield the data set in blocks of one buffer, each with whether it is the last.

        Raises:
            SourceFailed: as `read`; or the file changed before its last block was given out.
        """
        buffer = memoryview(bytearray(min(length, max(1, self.length))))
        position = 0
        while position < self.length:
            part = buffer[: min(len(buffer), self.length - position)]
            self.read(position, part)
            position += len(part)
            is_last = position >= self.length
            if is_last and not self.is_unchanged():
                raise SourceFailed(CHANGED)
            yield part, is_last

    def close(self) -> None:
        self._file.close()


def _open_carefully(path: str, flags: int) -> int:
    """Open without following a link and without waiting for a pipe's other end."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _cause(error: OSError) -> str:
    return (error.strerror or "unknown cause").lower()


class Loader:
    """Loads requests ahead of their sending, into two buffers used in turn."""

    def __init__(self) -> None:
        self._buffers = [bytearray(BLOCK), bytearray(BLOCK)]

    def load(self, request: StoreRequest) -> "memoryview | OpenFile | SourceFailed":
        """Return the data of a request: in memory, open for streaming, or why there are none."""
        if isinstance(request.source, bytes):
            return memoryview(request.source)
        try:
            file = OpenFile(request.source)
        except SourceFailed as failure:
            return failure
        if file.length > LARGEST_WHOLE:
            return file
        try:
            return self._read_whole(file)
        except SourceFailed as failure:
            return failure
        finally:
            file.close()

    def _read_whole(self, file: OpenFile) -> memoryview:
        self._buffers.reverse()
        if len(self._buffers[0]) < file.length:
            self._buffers[0] = bytearray(file.length)
        data = memoryview(self._buffers[0])[: file.length]
        file.read(0, data)
        if not file.is_unchanged():
            raise SourceFailed(CHANGED)
        return data
