"""What all tests share. Where they run is decided before this: tests/environment.py.

Tests that need DCMTK, Orthanc or Chromium are skipped, loudly, where those are missing; with
CONCORDAT_REQUIRE_PEERS=1 that is a failure instead.
"""

import gc
import os
import shutil
import socketserver
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker, Settings
from xdist.scheduler import LoadScopeScheduling

hypothesis_settings.register_profile("concordat", deadline=None, max_examples=50)
hypothesis_settings.register_profile("quick", deadline=None, max_examples=15)
hypothesis_settings.load_profile("concordat")
"""No deadline: a busy machine is no defect. `make test-fast` chooses "quick"."""

_NEEDS = {
    "peers": {"storescp": "dcmtk", "dcmqrscp": "dcmtk", "Orthanc": "orthanc"},
    "browser": {"chromium": "chromium"},
}
_TOGETHER = (
    "tests/process/",
    "tests/browser/",
    "tests/models/test_migrations.py",
    "tests/misbehaviour/test_requestor.py::test_what_a_peer_does_wrong",
)
"""Tests that one worker runs one after another: whole sites keep a machine busy, and what took
long to make for several tests is made once."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Gives tests to workers one at a time, but those that belong together to one worker.

    pytest-xdist 3.8 loses the names of its own groups (--dist loadgroup) since pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((start for start in _TOGETHER if nodeid.startswith(start)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Say who runs what with `-n`."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what PostgreSQL has no part in."""
    if os.environ.get("CONCORDAT_TEST_DATABASE") == "postgresql":
        apart = [item for item in items if not _asks_for_database(item)]
        items[:] = [item for item in items if _asks_for_database(item)]
        config.hook.pytest_deselected(items=apart)


def pytest_collection_finish() -> None:
    """Spare the collector all that was imported and collected, which stays to the end anyway."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def quick_passwords(settings: Settings) -> None:
    """Hash passwords in no time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _asks_for_database(item: pytest.Item) -> bool:
    fixtures: Sequence[str] = getattr(item, "fixturenames", ())
    is_marked = item.get_closest_marker("django_db") is not None
    return is_marked or not {"db", "transactional_db", "live_db"}.isdisjoint(fixtures)


@cache
def _missing() -> dict[str, str]:
    """Return what has to be installed, by the mark of the tests that need it."""
    found = {}
    for marker, programs in _NEEDS.items():
        if lacking := {package for name, package in programs.items() if not _find(name)}:
            found[marker] = f"apt-get install {' '.join(sorted(lacking))}"
    return found


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(f"/usr/sbin/{program}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, what needs a program that is not here."""
    for marker, remedy in _missing().items():
        if item.get_closest_marker(marker):
            if os.environ.get("CONCORDAT_REQUIRE_PEERS") == "1":
                pytest.fail(f"Tests marked {marker} can't run: {remedy}", pytrace=False)
            pytest.skip(remedy)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly what was not tested."""
    reasons = "".join(str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    for marker, remedy in _missing().items():
        if remedy in reasons:
            terminalreporter.write_line(
                f"!!! NOT TESTED: everything marked '{marker}'. To test it: {remedy}", red=True
            )


@pytest.fixture(scope="session", autouse=True)
def _quick_ends() -> None:
    """Receivers look ten times as often whether they shall end, which each test waits for."""
    socketserver.BaseServer.serve_forever.__defaults__ = (0.05,)


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    """Tests don't see what an earlier one set for the command line."""
    yield
    os.environ.pop("CONCORDAT_STOP_FILE", None)


@pytest.fixture(autouse=True)
def _fresh_memory() -> Iterator[None]:
    """What a process remembers of interned rows does not outlive a test's database."""
    yield
    from sender.models import reading
    from sender.services import installation, interning, sight

    sight.SIGHT.forget()
    reading.forget()
    interning.forget()
    installation.site_zone.cache_clear()


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """The database of all tests of this process, in place of pytest-django's."""
    from django.db import connections

    from tests import databases

    with django_db_blocker.unblock():
        databases.begin()
    yield
    with django_db_blocker.unblock():
        connections.close_all()


@pytest.fixture
def live_db(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """A database whose commits other threads and processes see; it is renewed afterwards."""
    from tests import databases

    assert not {"db", "transactional_db"} & set(request.fixturenames), "one kind of database"
    with django_db_blocker.unblock():
        yield
        databases.renew()
