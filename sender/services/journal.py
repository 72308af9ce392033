"""Results on disk before they are in the database: what a killed process knew is not lost.

Each C-STORE answer is appended to a file of its association by one write. Results reach the
database in groups; after each group the file is emptied, and at the end it is removed. Whoever
looks after a batch that was abandoned on this host reads what is left.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.services.recording import InstanceResult

_SUFFIX = ".journal"
_PLAIN = tuple(field.name for field in fields(InstanceResult) if field.name != "outcome")
_OF_OUTCOME = tuple(field.name for field in fields(StoreOutcome))
_plain_values = attrgetter(*_PLAIN)
_outcome_values = attrgetter(*_OF_OUTCOME)
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Journal:
    """The results of one association that are not in the database yet."""

    def __init__(self, *, batch_id: int, fence: int, attempt: UUID) -> None:
        self._path = _directory() / f"{batch_id}-{fence}-{attempt}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(self._path, flags, 0o600)

    def note(self, result: InstanceResult) -> None:
        """Append a result.

        Raises:
            OSError: the disk is full or gone.
        """
        values = (*_plain_values(result), _outcome_values(result.outcome))
        os.write(self._file, _encode(values).encode("ascii") + b"\n")

    def empty(self) -> None:
        """Forget what has been committed."""
        os.ftruncate(self._file, 0)

    def remove(self) -> None:
        """End: nothing is left to be known."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    def leave(self) -> None:
        """End, and keep the file for whoever takes the batch over."""
        os.close(self._file)


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
        number, fence, attempt = path.stem.split("-", 2)
        if batch_id in (None, int(number)):
            yield Remains(path, int(number), int(fence), UUID(attempt))


def _result(values: list[Any]) -> InstanceResult:
    *plain, rest = values
    outcome = dict(zip(_OF_OUTCOME, rest, strict=True))
    outcome["outcome"] = InstanceOutcome(outcome["outcome"])
    outcome["offending_elements"] = tuple(outcome["offending_elements"])
    return InstanceResult(**dict(zip(_PLAIN, plain, strict=True)), outcome=StoreOutcome(**outcome))


def _directory() -> Path:
    directory = Path(settings.DATA_DIR) / "journal"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory
