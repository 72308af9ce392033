"""Conversions ahead of their sending, in children: what a decoder does ends a child at worst.

Decompression does some ten to a hundred instances a second on one processor, sending thousands; so
conversions are asked for before they are needed, and several run at once. Only a few results wait
to be fetched at any time.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from sender.dicom.children import Child, ChildDied, serve
from sender.dicom.encoding import (
    LARGEST_DECODED,
    ConversionFailed,
    EncodedDataset,
    Limits,
    SourceUnusable,
    convert,
)
from sender.dicom.listed import FileRange
from sender.dicom.spool import SpoolFailed
from sender.negotiation import syntaxes
from sender.negotiation.instances import DataKind, ScannedInstance

LONGEST_SECONDS = 300.0
AHEAD = 4
"""Conversions per process that may be running or done before anybody asks for their results."""
_MODULE = "sender.dicom.converting"
_IN_MEMORY = 4 << 20
_MEMORY = 3 << 30
"""Bytes of address space that a child may take beyond what it needs to start."""
_OURS = re.compile(r"converting-(\d+)-")


@dataclass(slots=True, eq=False)
class Job:
    """A conversion that was asked for; `Converter.result` tells what became of it."""

    instance: ScannedInstance
    transfer_syntax: str
    lossy_allowed: bool
    outcome: EncodedDataset | Exception | None = field(default=None, repr=False)
    is_awaited: bool = False
    is_cancelled: bool = False


class Closed(RuntimeError):
    """The converter was closed before this conversion was done."""


class Converter:
    """Children that convert; each is led by a thread and started when first needed.

    Args:
        folder: on this host; results that are not small become files in a folder of their own
            within, which is removed when this is closed. What a killed process left is removed.
        processes: how many conversions may run at once.
        decoded: see `Limits`.
        seconds: after which a conversion is given up.
    """

    def __init__(
        self,
        *,
        folder: str,
        processes: int = 1,
        decoded: int = LARGEST_DECODED,
        seconds: float = LONGEST_SECONDS,
    ) -> None:
        _sweep(folder)
        self._folder = tempfile.mkdtemp(prefix=f"converting-{os.getpid()}-", dir=folder)
        self._processes = processes
        self._decoded = decoded
        self._seconds = seconds
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._ahead = 0
        self._is_closed = False
        self._leaders: list[threading.Thread] = []
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Converter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self, instance: ScannedInstance, transfer_syntax: str, *, lossy_allowed: bool = False
    ) -> Job:
        """Ask for a conversion (see `encoding.convert`); returns at once."""
        job = Job(instance, transfer_syntax, lossy_allowed)
        with self._changed:
            self._waiting.append(job)
            if len(self._leaders) < min(self._processes, self._ahead + len(self._waiting)):
                self._start_leader()
            self._changed.notify_all()
        return job

    def result(self, job: Job) -> EncodedDataset:
        """Wait for a conversion; ask once for each job.

        The caller discards the result when it is done with it.

        Raises:
            SourceUnusable, ConversionFailed, SpoolFailed: as `encoding.convert`; also when the
                decoder ended its process twice, or took too long.
            OSError: no process can be started; says nothing about the instance.
            Closed: the converter was closed, by whatever thread.
        """
        self.wait(job)
        with self._changed:
            if job.outcome is None:
                raise Closed("the converter was closed")
            self._ahead -= 1
            self._changed.notify_all()
        if isinstance(job.outcome, Exception):
            raise job.outcome
        return job.outcome

    def wait(self, job: Job, seconds: float | None = None) -> None:
        """Wait until a conversion is done, put before all that nobody waits for.

        Args:
            seconds: wait no longer; None: until it is done, or the converter is closed.
        """
        with self._changed:
            job.is_awaited = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._is_closed or job.outcome is not None, timeout=seconds
            )

    def cancel(self, job: Job) -> None:
        """Do without a conversion that was asked for and whose result was not fetched."""
        with self._changed:
            job.is_cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
            elif job.outcome is not None:
                self._drop(job)

    def close(self) -> None:
        """End the children and remove all files. Safe to call twice, from any thread."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            for worker in self._workers:
                worker.kill()
            self._changed.notify_all()
        for leader in self._leaders:
            leader.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_leader(self) -> None:
        number = len(self._leaders)
        leader = threading.Thread(target=self._lead, args=(number,), daemon=True)
        self._leaders.append(leader)
        leader.start()

    def _lead(self, number: int) -> None:
        """Work off jobs with a child: what a leader does."""
        worker = _Worker(Path(self._folder, str(number)), self._decoded, self._seconds)
        with self._changed:
            self._workers.append(worker)
        while job := self._next_job():
            outcome = worker.outcome(job)
            with self._changed:
                if not self._is_closed:  # else the child was ended, whatever it says
                    job.outcome = outcome
                if job.is_cancelled:
                    self._drop(job)
                self._changed.notify_all()
        worker.close()

    def _drop(self, job: Job) -> None:
        self._ahead -= 1
        if isinstance(job.outcome, EncodedDataset):
            job.outcome.discard()
        self._changed.notify_all()

    def _next_job(self) -> Job | None:
        """Wait for a job that may begin; None once the converter is closed."""
        with self._changed:
            while not self._is_closed:
                job = self._startable()
                if job is not None:
                    self._waiting.remove(job)
                    self._ahead += 1
                    return job
                self._changed.wait()
        return None

    def _startable(self) -> Job | None:
        awaited = next((job for job in self._waiting if job.is_awaited), None)
        if awaited is None and self._waiting and self._ahead < self._processes * AHEAD:
            return self._waiting[0]
        return awaited


class _Worker:
    """One child, for one thread; the files it makes are its own until it has answered."""

    def __init__(self, folder: Path, decoded: int, seconds: float) -> None:
        self._folder = folder
        self._decoded = decoded
        self._seconds = seconds
        self._child: Child | None = None
        self._killed = threading.Event()

    def outcome(self, job: Job) -> EncodedDataset | Exception:
        """Convert; failures are values."""
        try:
            return self._convert(job)
        except Exception as error:  # raised again for whoever asks for the result
            return error

    def _convert(self, job: Job) -> EncodedDataset:
        request = _request(job)
        try:
            try:
                answer = self._started().ask(request, seconds=self._seconds)
            except ChildDied as died:
                self._forget()
                if died.is_late:
                    raise
                # Perhaps it was ended from outside: once more, with another.
                answer = self._started().ask(request, seconds=self._seconds)
        except ChildDied as died:
            self._forget()
            stored = syntaxes.short_name_of(job.instance.kind.transfer_syntax)
            wanted = syntaxes.short_name_of(job.transfer_syntax)
            raise ConversionFailed(f"{stored} could not be made {wanted}: {died}") from died
        return self._told(answer, job.transfer_syntax)

    def _started(self) -> Child:
        """Return the child, a new one if there is none.

        Raises:
            OSError: no process can be started.
            ChildDied: nothing is converted any more.
        """
        if self._killed.is_set():
            raise ChildDied("it was stopped")
        if self._child is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._child = Child(_MODULE, str(self._folder), str(self._decoded))
            if self._killed.is_set():
                self._child.kill()
        return self._child

    def _told(self, answer: bytes, transfer_syntax: str) -> EncodedDataset:
        kind, content = answer[:1], answer[1:]
        if kind == _BYTES:
            return EncodedDataset(content, transfer_syntax)
        told = json.loads(content)
        if kind == _FILE:
            # Out of the child's folder, which is emptied when it dies.
            path = self._folder.with_name(f"{self._folder.name}-{Path(told['path']).name}")
            os.rename(told["path"], path)
            found = FileRange(str(path), 0, told["size"], told["mtime_ns"])
            return EncodedDataset(found, transfer_syntax)
        if kind == _NO_SPACE:
            raise SpoolFailed(told["errno"], told["reason"])
        raise (SourceUnusable if kind == _UNUSABLE else ConversionFailed)(told["reason"])

    def _forget(self) -> None:
        """Remove what a dead child left."""
        child, self._child = self._child, None
        if child is not None:
            child.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End the child at once, from any thread."""
        self._killed.set()
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()


_BYTES, _FILE, _FAILED, _UNUSABLE, _NO_SPACE = b"B", b"F", b"C", b"U", b"S"
"""What an answer begins with."""


def _request(job: Job) -> bytes:
    instance = job.instance
    kind = instance.kind
    facts = {
        "path": instance.path,
        "relative_path": instance.relative_path,
        "size": instance.size,
        "mtime_ns": instance.mtime_ns,
        "ctime_ns": instance.ctime_ns,
        "kind": [kind.sop_class, kind.transfer_syntax, kind.lossy],
        "sop_instance": instance.sop_instance,
        "dataset_offset": instance.dataset_offset,
        "transfer_syntax": job.transfer_syntax,
        "lossy_allowed": job.lossy_allowed,
    }
    return json.dumps(facts).encode()


def _answer(request: bytes, limits: Limits) -> bytes:
    told = json.loads(request)
    wanted, lossy_allowed = told.pop("transfer_syntax"), told.pop("lossy_allowed")
    instance = ScannedInstance(**{**told, "kind": DataKind(*told["kind"])})
    try:
        content = convert(instance, wanted, lossy_allowed=lossy_allowed, limits=limits).content
    except SourceUnusable as error:
        return _UNUSABLE + _packed(reason=str(error))
    except ConversionFailed as error:
        return _FAILED + _packed(reason=str(error))
    except SpoolFailed as error:
        return _NO_SPACE + _packed(errno=error.errno, reason=error.strerror)
    if isinstance(content, bytes):
        return _BYTES + content
    return _FILE + _packed(path=content.path, size=content.size, mtime_ns=content.mtime_ns)


def _packed(**facts: object) -> bytes:
    return json.dumps(facts).encode()


def _sweep(folder: str) -> None:
    """Remove the folders of processes that were killed."""
    for path in Path(folder).glob("converting-*"):
        ours = _OURS.match(path.name)
        if ours and not _is_alive(int(ours[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _limit_resources() -> None:
    """Have this process fail rather than take the whole machine's memory; leave no core dump."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on all systems

        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = taken * resource.getpagesize() + _MEMORY
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    """Be a child: convert what standard input asks for."""
    folder, decoded = sys.argv[1:]
    limits = Limits(decoded=int(decoded), in_memory=_IN_MEMORY, folder=folder)
    _limit_resources()
    serve(lambda request: _answer(request, limits))


if __name__ == "__main__":
    main()
