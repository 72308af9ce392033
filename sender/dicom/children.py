"""Children: Python processes of our own that answer requests over standard input and output.

They run modules of this room, without Django, and never through multiprocessing, whose processes
a task may not have (design, decision 19). A child ends when its standard input does, so that it
does not outlive whoever started it; what a codec does to it, it does to nobody else.
"""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_LENGTH = struct.Struct(">Q")
_LARGEST_FRAME = 1 << 31
_ROOT = str(Path(__file__).resolve().parent.parent.parent)
_PATIENCE_SECONDS = 5.0


class ChildDied(RuntimeError):
    """The child ended instead of answering; the message says how, as a clause.

    Attributes:
        is_late: it was ended because it took too long.
    """

    def __init__(self, how: str, *, is_late: bool = False) -> None:
        super().__init__(how)
        self.is_late = is_late


class Child:
    """One child, for one thread at a time.

    Args:
        module: what it runs, as with `python -m`.
        arguments: of its command line.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(  # noqa: S603 - our own modules only
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )
        self._is_late = False

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def ask(self, request: bytes, *, seconds: float | None = None) -> bytes:
        """Send a request and wait for the answer.

        Args:
            seconds: after these the child is killed.

        Raises:
            ChildDied: it ended, or had to be ended.
        """
        timer = threading.Timer(seconds, self._give_up) if seconds is not None else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            return self._exchange(request)
        finally:
            if timer:
                timer.cancel()

    def _exchange(self, request: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            write_frame(self._process.stdin.fileno(), request)
            answer = read_frame(self._process.stdout.fileno())
        except (OSError, ValueError):
            answer = None
        if answer is None:
            self._process.kill()
            self._reap()
            raise ChildDied(self._how_it_ended(), is_late=self._is_late)
        return answer

    def _give_up(self) -> None:
        self._is_late = True
        self._process.kill()

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if self._is_late:
            return "it took too long"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"it ended its process ({signal.Signals(-code).name})"
        return f"it ended its process ({code})"

    def kill(self) -> None:
        """End the child at once; whoever waits for its answer learns that it died."""
        self._process.kill()

    def close(self) -> None:
        """Let the child end by itself; kill it if it does not."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def _reap(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Answer requests until standard input ends: the child's side.

    What a library prints goes to standard error, so that it can't stand between the answers.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)
    while (request := read_frame(0)) is not None:
        write_frame(answers, answer(request))


def read_frame(file: int) -> bytes | None:
    """Read a frame from a descriptor; None at the end, or if it ends within a frame.

    Raises:
        ValueError: what stands there is no frame.
        OSError: it can't be read.
    """
    header = _read_exactly(file, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    if length > _LARGEST_FRAME:
        raise ValueError("no frame")
    return _read_exactly(file, length)


def _read_exactly(file: int, length: int) -> bytes | None:
    parts = []
    while length:
        part = os.read(file, min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def write_frame(file: int, content: bytes) -> None:
    """Write a frame to a descriptor.

    Raises:
        OSError: nobody reads it any more.
    """
    for part in (_LENGTH.pack(len(content)), content):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(file, rest) :]
