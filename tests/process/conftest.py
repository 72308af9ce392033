"""Sites for tests of whole processes; migrating takes longest, so it is done once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Site, make_site


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database that nobody uses."""
    site = make_site(tmp_path_factory.mktemp("migrated"))
    assert site.run("migrate", "-v0").returncode == 0
    return Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"


@pytest.fixture
def migrated_site(migrated_database: Path, tmp_path: Path) -> Callable[..., Site]:
    """Make a migrated site with these variables."""

    def make(**environment: str) -> Site:
        site = make_site(tmp_path, **environment)
        target = Path(site.environment["CONCORDAT_DATA_DIR"])
        target.mkdir(exist_ok=True)
        shutil.copy(migrated_database, target / "concordat.sqlite3")
        return site

    return make
