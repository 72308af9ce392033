"""The borders of the house: who may import whom (docs/architecture.md)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

ROOMS = ("negotiation", "dicom", "models", "services", "analytics")
DOORS = (
    "web", "tasks", "management", "process", "admin", "apps", "checks", "migrations",
)  # fmt: skip
MAY_IMPORT = {
    "negotiation": set(),
    "dicom": {"negotiation"},
    "models": {"negotiation"},
    "analytics": {"negotiation", "models"},
    "services": {"negotiation", "dicom", "models", "analytics"},
    **{door: {"negotiation", "models", "analytics", "services"} for door in DOORS},
}
EXCEPTIONS = {
    # `up` and `sender` are commands that start the processes.
    ("sender/management/commands/up.py", "process"),
    ("sender/management/commands/sender.py", "process"),
    # The application registers its checks.
    ("sender/apps.py", "checks"),
}
THIRD_PARTY = {
    "negotiation": set(),
    "dicom": {"pydicom", "pynetdicom", "numpy", "gdcm", "openjpeg", "libjpeg", "rle", "jpeg_ls"},
    "models": {"django"},
    "analytics": {"django"},
    "services": {"django", "django_q", "cryptography", "cronsim", "redis"},
    "process": {"django", "django_q", "waitress", "dicomsite"},
    **{door: {"django", "django_htmx", "heroicons"} for door in DOORS if door != "process"},
}


def room_of(path: str) -> str:
    """Return the room or door that a file of sender/ belongs to."""
    return path.split("/")[1].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the modules that a source imports, with how many dots a relative import has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield module, node.level
            if module == "sender":
                yield from ((f"sender.{alias.name}", 0) for alias in node.names)


def faults(path: str, source: str) -> list[str]:
    """Return what a file imports against the rules."""
    room = room_of(path)
    found = []
    for module, level in imports(ast.parse(source)):
        top = module.split(".")[0]
        if level:
            found.append(f"{path}: a relative import")
        elif top == "sender" and module.count("."):
            target = module.split(".")[1]
            allowed = MAY_IMPORT[room] | {room}
            if target not in allowed and (path, target) not in EXCEPTIONS:
                found.append(f"{path}: {room} imports {target}")
        elif top not in sys.stdlib_module_names | THIRD_PARTY[room] | {"sender"}:
            found.append(f"{path}: {room} imports {top}")
    return found


def sources() -> list[Path]:
    return sorted(
        path
        for path in (ROOT / "sender").rglob("*.py")
        if path.parent != ROOT / "sender" or path.stem in DOORS
    )


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    assert faults(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) == []


def test_every_folder_of_the_house_is_a_known_room_or_door() -> None:
    folders = {path.parent.name for path in (ROOT / "sender").glob("*/__init__.py")}
    assert folders <= {*ROOMS, *DOORS}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sender/negotiation/x.py", "import django"),
        ("sender/negotiation/x.py", "from sender.models import Send"),
        ("sender/dicom/x.py", "from django.db import models"),
        ("sender/models/x.py", "from sender import services"),
        ("sender/analytics/x.py", "def f():\n    from sender.services import sending"),
        ("sender/services/x.py", "from sender.web import pages"),
        ("sender/services/x.py", "import pydicom"),
        ("sender/web/x.py", "from sender.dicom import files"),
        ("sender/web/x.py", "from sender.process import lock"),
        ("sender/web/x.py", "from . import pages"),
        ("sender/management/commands/x.py", "from sender.process import lock"),
    ],
)
def test_the_check_finds_what_it_should(path: str, source: str) -> None:
    assert len(faults(path, source)) == 1


def loaded_by(code: str) -> set[str]:
    """Return the top-level packages that a fresh Python has loaded after some code."""
    script = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.slow
def test_the_core_loads_nothing_but_the_standard_library() -> None:
    names = sorted(path.stem for path in (ROOT / "sender/negotiation").glob("[a-z]*.py"))
    loaded = loaded_by("\n".join(f"import sender.negotiation.{name}" for name in names))
    assert loaded.isdisjoint({"django", "pydicom", "pynetdicom", "numpy"})


@pytest.mark.slow
def test_the_pages_load_no_dicom_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORDAT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "dicomsite.settings")
    loaded = loaded_by("import django; django.setup(); import dicomsite.urls")
    assert "django" in loaded
    assert loaded.isdisjoint({"pydicom", "pynetdicom", "numpy"})


def test_files_stay_readable_in_size() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if "migrations" not in path.parts
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long, long
