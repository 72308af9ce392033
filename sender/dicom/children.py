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
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

_LENGTH = struct.Struct(">Q")
_LARGEST_FRAME = 1 << 31
_ROOT = str(Path(__file__).resolve().parent.parent.parent)
_PATIENCE_SECONDS = 5.0
_ORPHAN_SECONDS = 0.5
_PARENT = "_CHILD_OF"
"""Names who started a child, which may be gone before the child could ask the system."""


class ChildDied(RuntimeError):
    """The child ended instead of answering; the message says how, as a clause.

    Attributes:
        is_late: it was ended because it took too long.
    """

    def __init__(self, how: str, *, is_late: bool = False) -> None:
        super().__init__(how)
        self.is_late = is_late


class Child:
    """One child; it answers requests in their order.

    A thread takes its answers, so that it need not wait with the next request until somebody
    has time for the last answer.

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
            env=os.environ
            | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", _PARENT: str(os.getpid())},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._unanswered: deque[Future[bytes]] = deque()
        self._is_late = False
        self._taker = threading.Thread(target=self._take_answers, daemon=True)
        self._taker.start()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def unanswered(self) -> int:
        """How many requests it has not answered yet."""
        return len(self._unanswered)

    def submit(self, request: bytes) -> "Future[bytes]":
        """Send a request; the future raises `ChildDied` if it is never answered."""
        future: Future[bytes] = Future()
        self._unanswered.append(future)
        # If it has died, its end is noticed by who takes its answers.
        with contextlib.suppress(OSError, ValueError):
            write_frame(self._requests.fileno(), request)
        if not self._taker.is_alive():
            self._fail_all()
        return future

    def ask(self, request: bytes, *, seconds: float | None = None) -> bytes:
        """Send a request and wait for the answer.

        Args:
            seconds: after these the child is killed.

        Raises:
            ChildDied: it ended, or had to be ended.
        """
        future = self.submit(request)
        try:
            return future.result(seconds)
        except TimeoutError:
            self._is_late = True
            self.kill()
            return future.result()

    def _take_answers(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (answer := read_frame(self._answers.fileno())) is not None:
                self._unanswered.popleft().set_result(answer)
        # It may have closed its output only; of a child that says nothing nothing is wanted.
        self._process.kill()
        self._process.wait()
        self._fail_all()

    def _fail_all(self) -> None:
        while self._unanswered:
            with contextlib.suppress(IndexError):
                died = ChildDied(self._how_it_ended(), is_late=self._is_late)
                self._unanswered.popleft().set_exception(died)

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if self._is_late:
            return "it took too long"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"it ended its process ({signal.Signals(-code).name})"
        return f"it ended its process ({code})"

    def kill(self) -> None:
        """End the child at once; whoever waits for its answers learns that it died."""
        self._process.kill()

    def close(self) -> None:
        """Let the child end by itself; kill it if it does not."""
        with contextlib.suppress(OSError):
            self._requests.close()
        self._taker.join(_PATIENCE_SECONDS)
        self._process.kill()
        self._taker.join()
        self._answers.close()


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Answer requests until standard input ends: the child's side.

    What a library prints goes to standard error, so that it can't stand between the answers.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)
    requests: SimpleQueue[bytes | None] = SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    while (request := requests.get()) is not None:
        write_frame(answers, answer(request))


def _read_requests(requests: "SimpleQueue[bytes | None]") -> None:
    """Read requests until standard input ends; then see to it that no orphan works on."""
    try:
        while (request := read_frame(0)) is not None:
            requests.put(request)
    finally:
        requests.put(None)
    while str(os.getppid()) == os.environ.get(_PARENT):
        time.sleep(_ORPHAN_SECONDS)
    os._exit(1)


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
