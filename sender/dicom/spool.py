"""Where converted data grow: in memory at first, in a temporary file once they are many."""

import os
import shutil
import tempfile
from io import BytesIO
from typing import BinaryIO

from sender.dicom.dataset import Reader
from sender.dicom.listed import FileRange
from sender.dicom.reading import FileReader, MemoryReader

_BLOCK = 1 << 20


class SpoolFailed(OSError):
    """Nothing more can be written: the disk is full, or the folder can't be written to."""


class Spool:
    """Bytes that are written once and then read.

    Args:
        folder: where a temporary file (mode 0600) may be made; "": all stays in memory.
        in_memory: bytes beyond which it is made.
    """

    def __init__(self, folder: str, in_memory: int) -> None:
        self._folder = folder
        self._in_memory = in_memory
        self._path = ""
        self.file: BinaryIO = BytesIO()
        self.length = 0

    def write(self, content: bytes | memoryview) -> None:
        """Append.

        Raises:
            SpoolFailed: it can't be written.
        """
        try:
            if not self._path and self._folder and self.length + len(content) > self._in_memory:
                self._move_to_disk()
            self.file.write(content)
        except OSError as error:
            raise SpoolFailed(error.errno, error.strerror) from error
        self.length += len(content)

    def _move_to_disk(self) -> None:
        handle, self._path = tempfile.mkstemp(prefix="converted-", dir=self._folder)
        memory, self.file = self.file, os.fdopen(handle, "w+b")
        with memory:
            memory.seek(0)
            shutil.copyfileobj(memory, self.file, _BLOCK)

    def copy(self, source: BinaryIO, start: int, length: int) -> None:
        """Append a part of a file.

        Raises:
            EOFError: the file ends before.
            OSError: the file can't be read.
            SpoolFailed: as `write`.
        """
        source.seek(start)
        while length:
            block = source.read(min(length, _BLOCK))
            if not block:
                raise EOFError
            self.write(block)
            length -= len(block)

    def reader(self) -> Reader:
        """Return a reader of what has been written."""
        self.file.flush()
        if self._path:
            return FileReader(self.file.fileno(), self.length)
        self.file.seek(0)
        return MemoryReader(self.file.read())

    def finish(self) -> bytes | FileRange:
        """Return what was written; a file is the caller's to remove."""
        if not self._path:
            self.file.seek(0)
            return self.file.read()
        self.file.flush()
        found = os.fstat(self.file.fileno())
        finished, self._path = self._path, ""
        return FileRange(finished, 0, found.st_size, found.st_mtime_ns)

    def discard(self) -> None:
        """Forget what was written, unless it was finished."""
        self.file.close()
        if self._path:
            os.unlink(self._path)
