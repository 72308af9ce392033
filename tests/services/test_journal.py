"""What a journal holds is whole, whatever the disk does."""

import resource
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.services.journal import Journal, remains
from sender.services.recording import InstanceResult


@pytest.fixture(autouse=True)
def _directory(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def little_room() -> Iterator[int]:
    """Files may not grow beyond some bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def result(number: int) -> InstanceResult:
    return InstanceResult(
        number=number,
        item_id=number,
        sop_instance=f"1.2.3.{number}",
        study_instance="1.2.3",
        sent_as="1.2.840.10008.1.2.1",
        conversion="none",
        outcome=StoreOutcome(InstanceOutcome.SENT, 1, status=0),
    )


def journal() -> Journal:
    return Journal(batch_id=1, fence=2, attempt=uuid.uuid4())


def test_results_come_back_as_they_were_noted() -> None:
    written = journal()
    assert all(written.note(result(number)) for number in range(5))
    written.leave()
    (left,) = remains()
    assert left.results() == [result(number) for number in range(5)]
    assert (left.batch_id, left.fence) == (1, 2)


def test_a_full_disk_spoils_nothing_that_was_noted(
    little_room: int, caplog: pytest.LogCaptureFixture
) -> None:
    written = journal()
    noted = [number for number in range(40) if written.note(result(number))]
    assert 0 < len(noted) < 40
    (left,) = remains()
    assert left.results() == [result(number) for number in noted]
    assert left.path.stat().st_size <= little_room
    assert len(caplog.messages) == 1, "it is told once"
    written.empty()
    assert written.note(result(41)), "there is room again"
    written.remove()
    assert list(remains()) == []


def test_a_journal_that_can_not_be_made_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal").write_text("in the way")
    written = journal()
    assert not written.note(result(1))
    written.empty()
    written.leave()
    assert "goes to the database" in caplog.text
