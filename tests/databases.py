"""The database of tests: migrated once for all workers; each has a copy, renewed where needed.

Migrating takes seconds, copying next to nothing. A test that commits ends with a new copy, which
is as quick as emptying tables and leaves nothing of it, in numbers of rows neither.
"""

import fcntl
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from django.db import connection, connections

from tests.environment import SHARED, WORK, WORKER

ROOT = Path(__file__).resolve().parent.parent
_KEPT = ROOT / ".pytest_cache" / "migrated"
"""Migrated SQLite databases of earlier runs, each named after all that it was made by."""
_TEMPLATE = "migrated"
_DONE = SHARED / "migrated.done"


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keep other workers from doing the same."""
    with (SHARED / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def migrated_file() -> Path:
    """Return a migrated SQLite database that nobody uses; the first who asks brings it."""
    path = SHARED / "migrated" / "concordat.sqlite3"
    with _alone("sqlite"):
        if not path.exists():
            _bring(path)
    return path


def _bring(path: Path) -> None:
    """Copy what an earlier run of the very same program migrated, or migrate and keep it."""
    kept = _KEPT / f"{_made_by()}.sqlite3"
    path.parent.mkdir(exist_ok=True)
    with suppress(FileNotFoundError):
        shutil.copy(kept, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        return
    _migrate(path.parent)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.rmtree(_KEPT, ignore_errors=True)
    _KEPT.mkdir(parents=True, exist_ok=True)
    mine = kept.with_suffix(f".{os.getpid()}")
    shutil.copy(path, mine)
    mine.rename(kept)


def _made_by() -> str:
    """Return a digest of everything that has a say in what a new database holds."""
    found = hashlib.sha256(f"{sys.version} {sqlite3.sqlite_version}".encode())
    for package in ("Django", "django-q2"):
        found.update(f"{package} {version(package)}".encode())
    for folder in ("dicomsite", "sender"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found.update(f"{path.relative_to(ROOT)} {path.stat().st_size}".encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def _migrate(data_directory: Path, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "migrate", "-v0"],
        env={
            **{name: text for name, text in os.environ.items() if name != "DATABASE_URL"},
            "CONCORDAT_DATA_DIR": str(data_directory),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _address(database: str) -> str:
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}").geturl()


def _make_template() -> None:
    """Make the migrated PostgreSQL database that others are copies of."""
    with _alone("postgresql"):
        if not _DONE.exists():
            with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
                server.execute(f"CREATE DATABASE {_TEMPLATE}")
            _migrate(SHARED / "migrated", DATABASE_URL=_address(_TEMPLATE))
            _DONE.touch()


def begin() -> None:
    """Have Django use a copy that is this process's own."""
    connections.close_all()
    if connection.vendor == "postgresql":
        _make_template()
        connection.settings_dict["NAME"] = f"concordat_{WORKER or 'first'}"
    else:
        connection.settings_dict["NAME"] = WORK / "test.sqlite3"
    renew()


def renew() -> None:
    """Take a new copy; whoever still has the old one is cut off from it."""
    connections.close_all()
    name = connection.settings_dict["NAME"]
    if connection.vendor == "postgresql":
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            server.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
        return
    for suffix in ("", "-wal", "-shm"):
        Path(f"{name}{suffix}").unlink(missing_ok=True)
    shutil.copy(migrated_file(), name)
