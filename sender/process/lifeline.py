"""A child's side of supervision: it ends when told to, or when its supervisor is gone."""

import contextlib
import os
import signal
import threading
from types import FrameType


class Lifeline:
    """Set once this process should end: by a signal, or by the end of standard input.

    The supervisor holds the other end of standard input; however it dies, that end closes.
    """

    def __init__(self, *, with_stdin: bool) -> None:
        self._ended = threading.Event()
        self._with_stdin = with_stdin
        for number in _signals():
            signal.signal(number, self._end)

    def watch(self) -> None:
        """Begin to watch standard input; starts a thread, so only after any fork."""
        if self._with_stdin:
            threading.Thread(target=self._read, daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait up to some seconds; True once this process should end."""
        return self._ended.wait(seconds)

    @property
    def has_ended(self) -> bool:
        """Whether this process should end."""
        return self._ended.is_set()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ended.set()

    def _read(self) -> None:
        # Not through sys.stdin, whose lock would be held when the interpreter ends.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        self._ended.set()


def _signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
