"""Many files at once: results in the order of the entries, with a bounded read-ahead.

A few thousand files are scanned where they are wanted; for more, children help. A child, or this
process, that waits for a disk or a network share more than it works goes on with threads. Deflated
data sets are inflated beside all that: the library that does so lets other threads work.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sender.dicom import files
from sender.dicom.children import Child, ChildDied, serve
from sender.dicom.files import Entry
from sender.dicom.identity import MustInflate, shared_kind
from sender.negotiation.instances import NO_VALUES, ScannedInstance, Unreadable

Listed = Entry | Unreadable
Scanned = ScannedInstance | Unreadable
Pending = Scanned | Future[Scanned]
ALONE_ENTRIES = 20_000
"""So many entries are scanned, or so many seconds spent, before children are worth their start."""
ALONE_SECONDS = 1.0
CHUNK = 64
"""Entries that this process scans at a time."""
_CHILDS_CHUNK = 256
_IN_HAND = 2
"""Chunks that a child has at a time: one to work on, one to go on with."""
_MOST_PENDING = 32
_MODULE = "sender.dicom.scanning"
_THREADS = 8
_INFLATING = 2
_MOST_AHEAD = 16
"""Chunks that are scanned before the first has to be whole."""
_SLOW_SECONDS = 0.001
_FAST_SECONDS = 0.0003
FATAL = "reading it ended the process that tried, twice"


def scan_many(
    entries: Iterable[Listed], *, wanted: frozenset[int] = frozenset(), processes: int = 1
) -> Iterator[Scanned]:
    """Scan entries; yield what stands behind each, in their order.

    Args:
        entries: read as they are needed, at most some thousand ahead; what a listing found
            unreadable already is passed on in its place.
        wanted: see `files.scan`.
        processes: how many may work at once, this one included.
    """
    waiting = iter(entries)
    scanner = Scanner(wanted)
    crew = _Crew(wanted, processes - 1)
    done, began = 0, time.monotonic()
    ahead: deque[list[Pending]] = deque()
    try:
        while not crew.is_ready and (chunk := list(islice(waiting, CHUNK))):
            ahead.append(scanner.scan(chunk))
            if len(ahead) > _MOST_AHEAD:
                yield from settled(ahead.popleft())
            done += len(chunk)
            if done >= ALONE_ENTRIES or time.monotonic() - began >= ALONE_SECONDS:
                crew.start()
        while ahead:
            yield from settled(ahead.popleft())
        if crew.is_ready:
            yield from crew.scan(waiting, scanner)
    finally:
        crew.close()
        scanner.close()


def settled(found: Sequence["Pending"]) -> list[Scanned]:
    """Return what was found, once all of it is."""
    return [one.result() if isinstance(one, Future) else one for one in found]


class Scanner:
    """Scans chunks of entries in this process; with threads while files make it wait."""

    def __init__(self, wanted: frozenset[int]) -> None:
        self._wanted = wanted
        self._threads: ThreadPoolExecutor | None = None
        self._inflating: ThreadPoolExecutor | None = None

    def scan(self, entries: Sequence[Listed]) -> list["Pending"]:
        """Return what stands behind each entry; of deflated data sets, what will tell of it."""
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

    def _scan(self, entry: Listed) -> "Pending":
        if isinstance(entry, Unreadable):
            return entry
        try:
            return self._scan_file(entry, may_inflate=False)
        except MustInflate:
            if self._inflating is None:
                self._inflating = ThreadPoolExecutor(_INFLATING)
            return self._inflating.submit(self._scan_file, entry, may_inflate=True)

    def _scan_file(self, entry: Entry, *, may_inflate: bool) -> Scanned:
        return files.scan(
            entry.path,
            relative_path=entry.relative_path,
            wanted=self._wanted,
            may_inflate=may_inflate,
        )

    def adapt(self, count: int, *, seconds: float, waits: int) -> None:
        """Take threads if most files were waited for, each for long; else do without."""
        if self._threads is None and seconds > count * _SLOW_SECONDS and waits > count // 2:
            self._threads = ThreadPoolExecutor(_THREADS)
        elif self._threads is not None and seconds < count * _FAST_SECONDS:
            self._end_threads()

    def close(self) -> None:
        """End the threads."""
        self._end_threads()
        if self._inflating is not None:
            self._inflating.shutdown(cancel_futures=True)
            self._inflating = None

    def _end_threads(self) -> None:
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
    """Children that scan beside this process."""

    def __init__(self, wanted: frozenset[int], size: int) -> None:
        self._wanted = wanted
        self._size = size
        self._children: list[Child] = []
        self._first_answers: list[Future[bytes]] = []

    def start(self) -> None:
        """Start the children, unless they are; without them, where none can be started."""
        while len(self._first_answers) < self._size:
            try:
                child = self._new_child()
            except OSError:
                self._size = len(self._first_answers)
                return
            self._first_answers.append(child.submit(_request([])))

    @property
    def is_ready(self) -> bool:
        """Whether all children have started."""
        return bool(self._first_answers) and all(answer.done() for answer in self._first_answers)

    def _new_child(self) -> Child:
        child = Child(_MODULE, *map(str, sorted(self._wanted)))
        self._children.append(child)
        return child

    def close(self) -> None:
        """End the children, whatever they do: they only read."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.close()

    def scan(self, entries: Iterator[Listed], scanner: "Scanner") -> Iterator[Scanned]:
        """Yield results in order; this process works too while it waits for children."""
        pending: deque[_Share] = deque()
        while True:
            is_due = pending and (pending[0].is_done or len(pending) >= _MOST_PENDING)
            share = None if is_due else self._next_share(entries, scanner)
            if share is not None:
                pending.append(share)
            elif pending:
                yield from self._results(pending.popleft())
            else:
                return

    def _next_share(self, entries: Iterator[Listed], scanner: "Scanner") -> "_Share | None":
        """Give the next entries to a child that has too little to do, else scan some here."""
        child = min(self._children, key=_load, default=None)
        if child is None or child.unanswered >= _IN_HAND:
            chunk = list(islice(entries, CHUNK))
            return _Share(chunk, found=scanner.scan(chunk)) if chunk else None
        chunk = list(islice(entries, _CHILDS_CHUNK))
        wanted = [entry for entry in chunk if isinstance(entry, Entry)]
        return _Share(chunk, child, child.submit(_request(wanted))) if chunk else None

    def _results(self, share: "_Share") -> list[Scanned]:
        """Wait for a share's results."""
        if share.answer is None:
            return settled(share.found)
        entries = [entry for entry in share.entries if isinstance(entry, Entry)]
        try:
            found = iter(_decode(entries, share.answer.result()))
        except ChildDied:
            self._forget(share.child)
            found = iter([self._scan_again(entry) for entry in entries])
        return [next(found) if isinstance(entry, Entry) else entry for entry in share.entries]

    def _scan_again(self, entry: Entry) -> Scanned:
        """Scan one entry of those that a child died over by itself, and once again if need be."""
        for _ in range(2):
            child = self._children[0] if self._children else self._new_child()
            try:
                return _decode([entry], child.ask(_request([entry])))[0]
            except ChildDied:
                self._forget(child)
        return Unreadable(
            entry.path,
            entry.relative_path,
            FATAL,
            size=entry.size,
            mtime_ns=entry.mtime_ns,
            ctime_ns=entry.ctime_ns,
        )

    def _forget(self, child: Child | None) -> None:
        if child in self._children:
            self._children.remove(child)
            child.close()


def _load(child: Child) -> int:
    return child.unanswered


@dataclass(slots=True)
class _Share:
    """Entries that a child scans, or that this process has scanned."""

    entries: list[Listed]
    child: Child | None = None
    answer: "Future[bytes] | None" = None
    found: "list[Pending]" = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return self.answer is None or self.answer.done()


def _request(entries: Sequence[Entry]) -> bytes:
    return json.dumps([entry.path for entry in entries]).encode()


def _encode(found: Sequence[Scanned]) -> bytes:
    """Write results for a pipe; what many instances have in common is written once."""
    commons: dict[tuple[object, ...], int] = {}
    rows: list[list[object]] = []
    for one in found:
        if isinstance(one, Unreadable):
            rows.append([one.reason, one.sop_instance, one.size, one.mtime_ns, one.ctime_ns])
            continue
        kind = (one.kind.sop_class, one.kind.transfer_syntax, one.kind.lossy)
        common = (kind, one.study_instance, one.series_instance, one.modality, one.study_date)
        number = commons.setdefault(common, len(commons))
        values = list(one.values.items())
        times = (one.mtime_ns, one.ctime_ns)
        rows.append([number, one.sop_instance, one.size, *times, one.dataset_offset, values])
    return json.dumps([list(commons), rows]).encode()


def _decode(entries: Sequence[Entry], answer: bytes) -> list[Scanned]:
    told, rows = json.loads(answer)
    commons = [(shared_kind(*kind), *map(sys.intern, others)) for kind, *others in told]
    return [_scanned(entry, row, commons) for entry, row in zip(entries, rows, strict=True)]


def _scanned(entry: Entry, row: list[Any], commons: list[tuple[Any, ...]]) -> Scanned:
    if len(row) == 5:
        return Unreadable(entry.path, entry.relative_path, *row)
    number, sop_instance, size, mtime_ns, ctime_ns, offset, values = row
    kind, study, series, modality, day = commons[number]
    return ScannedInstance(
        entry.path,
        entry.relative_path,
        size,
        mtime_ns,
        kind,
        sop_instance,
        offset,
        study,
        series,
        modality,
        day,
        dict(values) if values else NO_VALUES,
        ctime_ns,
    )


def _answer(scanner: Scanner, request: bytes) -> bytes:
    return _encode(settled(scanner.scan([Entry(path, "", 0, 0) for path in json.loads(request)])))


def main() -> None:
    """Be a child: scan what standard input asks for."""
    scanner = Scanner(frozenset(map(int, sys.argv[1:])))
    serve(lambda request: _answer(scanner, request))


if __name__ == "__main__":
    main()
