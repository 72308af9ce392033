"""Which folders may be read: the allowed source roots, and paths that people name."""

import importlib.util
import os
import stat
from pathlib import Path

from django.conf import settings


class InvalidSource(ValueError):
    """A path can't be a source; the message says why, in the user's words."""


def web_roots() -> list[Path]:
    """Return the folders that sends from the browser may read."""
    if settings.SOURCE_ROOTS is not None:
        return [Path(root) for root in settings.SOURCE_ROOTS]
    return [settings.DATA_DIR / "uploads", sample_folder()]


def shell_roots() -> list[Path] | None:
    """Return the folders that the command line may read; None: whatever its user may read."""
    return None if settings.SOURCE_ROOTS is None else web_roots()


def sample_folder() -> Path:
    """Return the folder of DICOM files that ship inside the pydicom package."""
    found = importlib.util.find_spec("pydicom")
    if found is None or found.origin is None:
        raise RuntimeError("The pydicom package is not installed.")
    return Path(found.origin).parent / "data"


def resolve_source(path: str, roots: list[Path] | None) -> str:
    """Return the real absolute path of a source that exists, may be read and lies in a root.

    Args:
        roots: the allowed folders; None allows all.

    Raises:
        InvalidSource: it is missing, unreadable, neither folder nor regular file, or outside.
    """
    if not path or "\0" in path:
        raise InvalidSource("A source is the path of a folder or a file.")
    try:
        real = Path(path).resolve(strict=True)
        mode = real.stat().st_mode
    except FileNotFoundError:
        raise InvalidSource(f"{path} does not exist.") from None
    except (OSError, RuntimeError) as error:
        raise InvalidSource(f"{path} can't be read: {_cause(error)}.") from None
    if roots is not None and not _is_inside(real, roots):
        raise InvalidSource(
            f"{path} is outside the allowed source roots. "
            "An administrator sets them with CONCORDAT_SOURCE_ROOTS."
        )
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise InvalidSource(f"{path} is neither a folder nor a regular file.")
    readable = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)
    if not os.access(real, readable):
        raise InvalidSource(f"{path} can't be read: permission denied.")
    return str(real)


def check_source(path: str) -> None:
    """Make sure that a source is still what was resolved when it was named.

    Raises:
        InvalidSource: it is gone, can't be read, or a link stands in its place.
    """
    if resolve_source(path, None) != path:
        raise InvalidSource(f"{path} is no longer the folder or file that was named.")


def _is_inside(real: Path, roots: list[Path]) -> bool:
    return any(real.is_relative_to(root.resolve()) for root in roots)


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or "a loop of links"
