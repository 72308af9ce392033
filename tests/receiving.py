"""The built-in receiver as a process that can be killed, with its own record of what it stored."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes import await_true, free_port


@dataclass
class ReceiverProcess:
    """Runs `python -m sender.dicom.acceptor --log`; use as a context manager.

    Its log goes on over restarts and outlives it.
    """

    log: Path
    port: int = field(default_factory=free_port)
    _process: "subprocess.Popen[str] | None" = None
    _read: int = 0
    _events: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> "ReceiverProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Listen; as soon as its port can be had again."""
        await_true(self._try_to_start, "the receiver")

    def _try_to_start(self) -> bool:
        module = "sender.dicom.acceptor"
        command = [sys.executable, "-m", module, "--port", str(self.port), "--log", str(self.log)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline().startswith("listening"):
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Have it say nothing any more, as if the network were cut."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def events(self) -> list[dict[str, Any]]:
        """Return what it has recorded so far."""
        if self.log.exists():
            with self.log.open("rb") as log:
                log.seek(self._read)
                content = log.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._read += len(whole)
            self._events += [json.loads(line) for line in whole.splitlines() if _is_whole(line)]
        return self._events

    def stored(self) -> Counter[str]:
        """Return how often it stored each SOP Instance UID."""
        return Counter(e["sop_instance"] for e in self.events() if e["event"] == "store")

    def most_open(self) -> int:
        """Return the largest number of associations that were open at once."""
        return max((e["open"] for e in self.events() if e["event"] == "association"), default=0)

    def open_now(self) -> int:
        """Return how many associations are open."""
        numbers: set[int] = set()
        for event in self.events():
            if event["event"] == "listening":
                numbers.clear()
            elif event["event"] == "association":
                numbers.add(event["association"])
            elif event["event"] == "end":
                numbers.discard(event["association"])
        return len(numbers)


def _is_whole(line: bytes) -> bool:
    """A line that was begun when the receiver was killed is followed by the next one's start."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
