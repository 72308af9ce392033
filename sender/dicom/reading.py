"""Readers of encoded data: a file through a window, and deflated data as they inflate."""

import errno
import os
import zlib

from sender.dicom.dataset import LONGEST_HEADER, Malformed, Reader

LARGEST_INFLATED = 1 << 30
"""Bytes; more than this is refused unread. Nothing of it is kept in memory while it is walked."""
_FIRST = 1 << 12
_NEXT = 1 << 13
_DEFLATED_AT_ONCE = 1 << 16
_INFLATED_AT_ONCE = 1 << 16
_UNKNOWN = 1 << 62
_TIMES_END = 1 << 63
_YEARS = "the years 1678 to 2262"
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_carefully(path: str) -> int:
    """Open for reading, without following a link and without waiting for a pipe's other end.

    Raises:
        OSError: it can't be opened, or is a link.
    """
    return os.open(path, _FLAGS)


def times_of(found: os.stat_result) -> tuple[int, int]:
    """Return when a file's data changed, and when anything of it did, in nanoseconds since 1970.

    Raises:
        OSError: a time is one that no database keeps: a signed number of 64 bits.
    """
    for name, time_ns in (("modification", found.st_mtime_ns), ("change", found.st_ctime_ns)):
        if not -_TIMES_END <= time_ns < _TIMES_END:
            raise OSError(errno.EOVERFLOW, f"its time of {name} is not within {_YEARS}")
    return found.st_mtime_ns, found.st_ctime_ns


def say_cause(error: OSError) -> str:
    """Say why a file can't be opened or read: the system's words, or what they mean here."""
    return _MEANINGS.get(error.errno or 0) or (error.strerror or "unknown cause").lower()


_MEANINGS = {
    errno.ELOOP: "it is a link now, which is not followed",
    errno.ESPIPE: "it is no regular file any more",
}


def _seek_and_read(file: int, length: int, position: int) -> bytes:
    os.lseek(file, position, os.SEEK_SET)
    return os.read(file, length)


read_at = getattr(os, "pread", _seek_and_read)
"""Read up to a number of bytes from a position: descriptor, bytes, position."""


class FileReader:
    """Reads a file by its descriptor; see `Reader`."""

    __slots__ = ("_file", "size", "start", "window")

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self.size = size
        self.start = 0
        self.window: bytes = read_at(file, _FIRST, 0)

    def move(self, position: int, length: int = _NEXT) -> None:
        """Put the window at a position.

        Raises:
            Malformed: the file has become shorter than it was.
        """
        self.window = read_at(self._file, length, position)
        self.start = position
        if len(self.window) < min(LONGEST_HEADER, self.size - position):
            raise Malformed("it became shorter while it was read")

    def at(self, position: int, length: int) -> bytes:
        start = position - self.start
        if start < 0 or start + length > len(self.window):
            if position >= self.size:
                return b""
            self.move(position, max(length, _NEXT))
            start = 0
        return self.window[start : start + length]


class MemoryReader:
    """Reads what is in memory; see `Reader`."""

    start = 0

    def __init__(self, content: bytes) -> None:
        self.window = content
        self.size = len(content)

    def move(self, position: int) -> None:
        """Nothing needs to move."""

    def at(self, position: int, length: int) -> bytes:
        return self.window[position : position + length]


class InflatingReader:
    """Reads a deflated data set (PS3.5 annex A.5) as it inflates, forwards only; see `Reader`."""

    def __init__(self, deflated: Reader, position: int) -> None:
        self._deflated = deflated
        self._position = position
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self.size = _UNKNOWN
        self.start = 0
        self.window = b""

    def move(self, position: int) -> None:
        """Put the window at a position.

        Raises:
            Malformed: the data are cut off, broken, or inflate to more than they may.
        """
        while not self._inflater.eof and self.start + len(self.window) < position + _NEXT:
            self._drop(position)
            self.window += self._inflate()
            if self.start + len(self.window) > LARGEST_INFLATED:
                raise Malformed(f"it inflates to more than {LARGEST_INFLATED >> 20} MiB")
        self._drop(position)
        if self._inflater.eof:
            self.size = self.start + len(self.window)

    def at(self, position: int, length: int) -> bytes:
        if position + length > self.start + len(self.window):
            self.move(position)
        start = position - self.start
        return self.window[start : start + length]

    def _drop(self, position: int) -> None:
        """Forget what lies before a position."""
        passed = min(position - self.start, len(self.window))
        self.window = self.window[passed:]
        self.start += passed

    def _inflate(self) -> bytes:
        packed = self._inflater.unconsumed_tail
        if not packed:
            packed = self._deflated.at(self._position, _DEFLATED_AT_ONCE)
            self._position += len(packed)
        try:
            inflated = self._inflater.decompress(packed, _INFLATED_AT_ONCE)
        except zlib.error:
            raise Malformed("its deflated data are broken") from None
        if not packed and not inflated and not self._inflater.eof:
            raise Malformed("its deflated data are cut off")
        return inflated
