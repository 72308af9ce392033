"""Results on disk before they are in the database: what a killed process knew is not lost.

Each C-STORE answer is appended to a file of its association by one write. Results reach the
database in groups; after each group the file is emptied, and at the end it is removed. Whoever
looks after a batch that was abandoned on this host reads what is left.
"""

import errno
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.services.recording import InstanceResult

logger = logging.getLogger(__name__)
_SUFFIX = ".journal"
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Journal:
    """The results of one association that are not in the database yet.

    A disk that is full or gone is told once, and does no harm: results then go to the database one
    by one.
    """

    def __init__(self, *, batch_id: int, fence: int, attempt: UUID) -> None:
        self._name = f"{batch_id}-{fence}-{attempt}{_SUFFIX}"
        self._path = Path(settings.DATA_DIR) / "journal" / self._name
        self._file: int | None = None
        self._size = 0
        self._has_told = False
        try:
            self._path = _directory() / self._name
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            self._tell(error)

    def note(self, result: InstanceResult) -> bool:
        """Append a result; tell whether it is on disk, whole."""
        if self._file is None:
            return False
        line = _line(result)
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._tell(error)
            # Half a line would spoil the one that comes after it.
            os.ftruncate(self._file, self._size)
            return False
        self._size += len(line)
        return True

    def empty(self) -> None:
        """Forget what has been committed."""
        if self._file is not None and self._size:
            os.ftruncate(self._file, 0)
            self._size = 0

    def remove(self) -> None:
        """End: nothing is left to be known."""
        self.leave()
        self._path.unlink(missing_ok=True)

    def leave(self) -> None:
        """End, and keep the file for whoever takes the batch over. Safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _tell(self, error: OSError) -> None:
        if not self._has_told:
            logger.error(
                "The journal %s can't be written (%s). Until it can, every result goes to the "
                "database by itself, which is slow.",
                self._path,
                error.strerror or error,
            )
        self._has_told = True


def _line(result: InstanceResult) -> bytes:
    """Return a result as a line of JSON; numbers and texts as `_encode` puts them, but faster."""
    number, item_id, instance, study, sent_as, conversion, outcome = result
    state, context_id, status, detail, comment, offending, size, seconds = outcome
    said = _encode((detail, comment, offending)) if detail or comment or offending else _NOTHING
    code = "null" if status is None else status
    return (
        f"[{number},{item_id},{_encode(instance)},{_encode(study)},{_encode(sent_as)},"
        f"{_encode(conversion)},{_encode(state)},{context_id},{code},{said},{size},{seconds}]\n"
    ).encode("ascii")


_NOTHING = '["","",[]]'


@dataclass(frozen=True, slots=True)
class Remains:
    """A journal that may have been abandoned."""

    path: Path
    batch_id: int
    fence: int
    attempt: UUID

    def results(self) -> list[InstanceResult]:
        """Return the results that were written whole; a process may die within a line.

        None if the journal was removed meanwhile: then its worker has committed all of it.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for line in content.split(b"\n"):
            try:
                found.append(_result(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def remains(*, batch_id: int | None = None) -> Iterator[Remains]:
    """Yield the journals on this host, of one batch or of all."""
    for path in sorted(_directory().glob(f"*{_SUFFIX}")):
        try:
            number, fence, attempt = path.stem.split("-", 2)
            found = Remains(path, int(number), int(fence), UUID(attempt))
        except ValueError:
            _tell_stray(path)
            continue
        if batch_id in (None, found.batch_id):
            yield found


@cache
def _tell_stray(path: Path) -> None:
    """Say once of a file that it is passed over."""
    logger.warning("%s is no journal of ours, by its name: it is passed over.", path)


def _result(values: list[Any]) -> InstanceResult:
    (
        number, item_id, instance, study, sent_as, conversion,
        state, context_id, status, (detail, comment, offending), size, seconds,
    ) = values  # fmt: skip
    outcome = StoreOutcome(
        InstanceOutcome(state),
        context_id,
        status,
        detail,
        comment,
        tuple(offending),
        size,
        seconds,
    )
    return InstanceResult(number, item_id, instance, study, sent_as, conversion, outcome)


def _directory() -> Path:
    directory = Path(settings.DATA_DIR) / "journal"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory
