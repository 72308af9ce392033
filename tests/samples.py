"""The DICOM files inside the pydicom package; its own look-ups would download what it lacks."""

from pathlib import Path

import pydicom

FOLDER = Path(pydicom.__file__).parent / "data"
ALL = tuple(sorted(path for path in FOLDER.rglob("*.dcm") if path.is_file()))


def sample(name: str) -> Path:
    """Return the file of that name.

    Raises:
        AssertionError: pydicom has no such file (any more).
    """
    found = sorted(FOLDER.rglob(name))
    assert found, f"pydicom has no {name}"
    return found[0]
