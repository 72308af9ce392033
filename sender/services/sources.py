"""Which folders may be read: the allowed source roots, and paths that people name."""

import importlib.util
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from sender.models.sources import printable

MOST_FOLDERS = 100_000
"""Whose real paths are kept while many paths are looked up."""


class InvalidSource(ValueError):
    """A path can't be a source; the message says why, in the user's words.

    Attributes:
        why: the message without the path.
    """

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(message)
        self.why = why or message


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


def resolve_source(path: str, roots: Sequence[Path] | None) -> str:
    """Return the real absolute path of a source that exists, may be read and lies in a root.

    Args:
        roots: the allowed folders; None allows all.

    Raises:
        InvalidSource: it is missing, unreadable, neither folder nor regular file, or outside.
    """
    return Roots(roots).resolve(path)


class Roots:
    """Folders that may be read; looks up many paths in them, each folder of theirs once."""

    def __init__(self, roots: Sequence[Path] | None) -> None:
        self._roots = None if roots is None else [str(root.resolve()) for root in roots]
        self._folders: dict[str, str] = {}

    def resolve(self, path: str) -> str:
        """Return the real path of a source; see `resolve_source`."""
        if not path or "\0" in path:
            raise InvalidSource("A source is the path of a folder or a file.")
        try:
            real = self._real(path)
            mode = os.stat(real).st_mode
        except FileNotFoundError:
            raise _invalid(path, "does not exist") from None
        except (OSError, ValueError) as error:
            raise _invalid(path, f"can't be read: {say_cause(error)}") from None
        if not self._allows(real):
            raise InvalidSource(
                f"{printable(path)} is outside the allowed source roots. "
                "An administrator sets them with CONCORDAT_SOURCE_ROOTS.",
                "is outside the allowed source roots",
            )
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise _invalid(path, "is neither a folder nor a regular file")
        readable = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)
        if not os.access(real, readable):
            raise _invalid(path, "can't be read: permission denied")
        return real

    def _real(self, path: str) -> str:
        folder, name = os.path.split(os.path.join(os.getcwd(), path))
        if name not in ("", ".", ".."):
            real = os.path.join(self._real_folder(folder), name)
            if not stat.S_ISLNK(os.lstat(real).st_mode):
                return real
        return os.path.realpath(path, strict=True)

    def _real_folder(self, folder: str) -> str:
        if folder not in self._folders:
            if len(self._folders) > MOST_FOLDERS:
                self._folders.clear()
            self._folders[folder] = os.path.realpath(folder, strict=True)
        return self._folders[folder]

    def _allows(self, real: str) -> bool:
        if self._roots is None:
            return True
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots)


def check_source(path: str) -> None:
    """Make sure that a source is still what was resolved when it was named.

    Raises:
        InvalidSource: it is gone, can't be read, or a link stands in its place.
    """
    if resolve_source(path, None) != path:
        raise _invalid(path, "is no longer the folder or file that was named")


def say_cause(error: Exception) -> str:
    """Say in a clause what the system answered."""
    said = (error.strerror if isinstance(error, OSError) else "") or "this is no path"
    return said[:1].lower() + said[1:]


def _invalid(path: str, why: str) -> InvalidSource:
    return InvalidSource(f"{printable(path)} {why}.", why)
