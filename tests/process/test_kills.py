"""Everything is killed in the middle of sends; the account stays exact (the whole: make soak)."""

from pathlib import Path

import pytest

from tests.postgresql import PostgreSQL
from tests.soak import LONGEST_BACK_SECONDS, Report, Soak, run

pytestmark = pytest.mark.slow


def soak(victims: tuple[str, ...], *, seed: int) -> Soak:
    """Return a soak that kills each victim once; a busy machine may take its time."""
    return Soak(
        instances=12 * (len(victims) + 1),
        kills=len(victims),
        seed=seed,
        sends=2,
        workers=2,
        victims=victims,
        back_seconds=LONGEST_BACK_SECONDS,
    )


def assert_held(report: Report, victims: tuple[str, ...]) -> None:
    assert report.faults == []
    assert {kill["victim"] for kill in report.kills} == set(victims)
    assert report.looks > len(victims), "the progress was watched"


def test_kills_lose_nothing_and_repeat_next_to_nothing(
    tmp_path: Path, migrated_database: Path
) -> None:
    victims = ("worker", "everything", "receiver", "web")
    assert_held(run(soak(victims, seed=7), tmp_path, migrated=migrated_database), victims)


def test_nor_do_kills_of_postgresql(tmp_path: Path) -> None:
    victims = ("database", "main")
    with PostgreSQL() as server:
        assert_held(run(soak(victims, seed=3), tmp_path, server), victims)
