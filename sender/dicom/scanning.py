"""Many files at once: results in the order of the entries, with a bounded read-ahead.

A few thousand files are scanned where they are wanted; for more, children help. A child, or this
process, that waits for a disk or a network share more than it works goes on with threads.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from sender.dicom import files
from sender.dicom.children import Child, ChildDied, serve
from sender.dicom.files import Entry
from sender.dicom.identity import NO_VALUES, shared_kind
from sender.negotiation.instances import ScannedInstance, Unreadable

Listed = Entry | Unreadable
Scanned = ScannedInstance | Unreadable
ALONE_ENTRIES = 2000
"""So many entries are scanned, or so many seconds spent, before children are worth their start."""
ALONE_SECONDS = 0.5
CHUNK = 256
_CHUNK_ALONE = 64
_MODULE = "sender.dicom.scanning"
_THREADS = 8
_SLOW_SECONDS = 0.001
_FAST_SECONDS = 0.0003
FATAL = "reading it ended the process that tried, twice"


def scan_many(
    entries: Iterable[Listed], *, wanted: frozenset[int] = frozenset(), processes: int = 1
) -> Iterator[Scanned]:
    """Scan entries; yield what stands behind each, in their order.

    Args:
        entries: read as they are needed, at most some hundred per process ahead; what a listing
            found unreadable already is passed on in its place.
        wanted: see `files.scan`.
        processes: how many may work at once beside this one; 1: all is done in this process.
    """
    waiting = iter(entries)
    yield from _scan_alone(waiting, wanted, is_helped=processes > 1)
    first = list(islice(waiting, CHUNK))
    if first:
        with _Crew(wanted, processes) as crew:
            yield from crew.scan(first, waiting)


def _scan_alone(
    entries: Iterator[Listed], wanted: frozenset[int], *, is_helped: bool
) -> Iterator[Scanned]:
    """Scan in this process: everything, or until help is worth its start."""
    scanner = Scanner(wanted)
    done, began = 0, time.monotonic()
    while chunk := list(islice(entries, _CHUNK_ALONE)):
        yield from scanner.scan(chunk)
        done += len(chunk)
        if is_helped and (done >= ALONE_ENTRIES or time.monotonic() - began >= ALONE_SECONDS):
            break
    scanner.close()


class Scanner:
    """Scans chunks of entries in this process; with threads while files make it wait."""

    def __init__(self, wanted: frozenset[int]) -> None:
        self._wanted = wanted
        self._threads: ThreadPoolExecutor | None = None

    def scan(self, entries: Sequence[Listed]) -> list[Scanned]:
        """Return what stands behind each entry."""
        began, waits = time.perf_counter(), _waits()
        if self._threads is None:
            found = [self._scan(entry) for entry in entries]
        else:
            found = list(self._threads.map(self._scan, entries))
        self.adapt(len(entries), seconds=time.perf_counter() - began, waits=_waits() - waits)
        return found

    @property
    def has_threads(self) -> bool:
        """Whether the next chunk is scanned by threads."""
        return self._threads is not None

    def _scan(self, entry: Listed) -> Scanned:
        if isinstance(entry, Unreadable):
            return entry
        return files.scan(entry.path, relative_path=entry.relative_path, wanted=self._wanted)

    def adapt(self, count: int, *, seconds: float, waits: int) -> None:
        """Take threads if most files were waited for, each for long; else do without."""
        if self._threads is None and seconds > count * _SLOW_SECONDS and waits > count // 2:
            self._threads = ThreadPoolExecutor(_THREADS)
        elif self._threads is not None and seconds < count * _FAST_SECONDS:
            self.close()

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None


def _waits() -> int:
    """Return how often this thread has waited for something, such as a disk."""
    try:
        import resource  # noqa: PLC0415 - not on all systems
    except ImportError:
        return 0
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_nvcsw


class _Crew:
    """Children at work, each led by a thread."""

    def __init__(self, wanted: frozenset[int], processes: int) -> None:
        self._wanted = wanted
        self._processes = processes
        self._leaders = ThreadPoolExecutor(processes)
        self._own = threading.local()
        self._children: list[Child] = []
        self._is_closed = False

    def __enter__(self) -> "_Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self._leaders.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children):
            child.kill()
        self._leaders.shutdown()
        for child in self._children:
            child.close()

    def scan(self, first: list[Listed], entries: Iterator[Listed]) -> Iterator[Scanned]:
        """Yield results in order, with one chunk in hand for each child and one more."""
        pending: deque[Future[list[Scanned]]] = deque()
        chunk = first
        while chunk or pending:
            while chunk and len(pending) <= self._processes:
                pending.append(self._leaders.submit(self._scan_chunk, chunk))
                chunk = list(islice(entries, CHUNK))
            yield from pending.popleft().result()

    def _scan_chunk(self, chunk: list[Listed]) -> list[Scanned]:
        entries = [entry for entry in chunk if isinstance(entry, Entry)]
        found = iter(self._ask(entries) or [self._scan_again(entry) for entry in entries])
        return [next(found) if isinstance(entry, Entry) else entry for entry in chunk]

    def _scan_again(self, entry: Entry) -> Scanned:
        """Scan one entry of those that a child died over by itself, and once again if need be."""
        found = self._ask([entry]) or self._ask([entry])
        if found:
            return found[0]
        return Unreadable(
            entry.path, entry.relative_path, FATAL, size=entry.size, mtime_ns=entry.mtime_ns
        )

    def _ask(self, entries: list[Entry]) -> list[Scanned]:
        """Have a child scan entries; nothing if it died over them."""
        request = json.dumps([[entry.path, entry.relative_path] for entry in entries])
        try:
            answer = self._child().ask(request.encode())
        except ChildDied:
            self._children.remove(self._own.child)
            self._own.child = None
            return []
        except OSError:  # no process can be started
            return Scanner(self._wanted).scan(entries)
        told = json.loads(answer)
        return [_decode(entry, facts) for entry, facts in zip(entries, told, strict=True)]

    def _child(self) -> Child:
        """Return the child of this thread, a new one if it has none.

        Raises:
            OSError: no process can be started.
        """
        if self._is_closed:
            raise CancelledError
        child: Child | None = getattr(self._own, "child", None)
        if child is None:
            child = self._own.child = Child(_MODULE, *map(str, sorted(self._wanted)))
            self._children.append(child)
        return child


def _encode(found: Scanned) -> list[Any]:
    if isinstance(found, Unreadable):
        return [found.reason, found.sop_instance, found.size, found.mtime_ns]
    kind = found.kind
    return [
        found.size,
        found.mtime_ns,
        [kind.sop_class, kind.transfer_syntax, kind.lossy],
        found.sop_instance,
        found.dataset_offset,
        found.study_instance,
        found.series_instance,
        found.modality,
        found.study_date,
        list(found.values.items()),
    ]


def _decode(entry: Entry, told: list[Any]) -> Scanned:
    if len(told) == 4:
        return Unreadable(entry.path, entry.relative_path, *told)
    size, mtime_ns, kind, sop_instance, offset, study, series, modality, day, values = told
    return ScannedInstance(
        entry.path,
        entry.relative_path,
        size,
        mtime_ns,
        shared_kind(*kind),
        sop_instance,
        offset,
        sys.intern(study),
        sys.intern(series),
        sys.intern(modality),
        sys.intern(day),
        dict(values) if values else NO_VALUES,
    )


def _answer(scanner: Scanner, request: bytes) -> bytes:
    entries = [Entry(path, relative, 0, 0) for path, relative in json.loads(request)]
    return json.dumps([_encode(found) for found in scanner.scan(entries)]).encode()


def main() -> None:
    """Be a child: scan what standard input asks for."""
    scanner = Scanner(frozenset(map(int, sys.argv[1:])))
    serve(lambda request: _answer(scanner, request))


if __name__ == "__main__":
    main()
