"""A sender as its documentation teaches it: `plain_pynetdicom.py PORT FOLDER`.

It prints how many instances the peer has answered with success.
"""

import sys
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE

AE_TITLE = "BENCH"


def main() -> int:
    """Send a folder in one association."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    paths = sorted(folder.rglob("*.dcm"))
    entity = AE()
    for sop_class, syntax in sorted({_kind(path) for path in paths}):
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=AE_TITLE)
    if not association.is_established:
        return 1
    stored = sum(_store(association, path) for path in paths)
    association.release()
    print(stored)
    return 0 if stored == len(paths) else 1


def _kind(path: Path) -> tuple[str, str]:
    found = dcmread(path, stop_before_pixels=True)
    return found.SOPClassUID, found.file_meta.TransferSyntaxUID


def _store(association: object, path: Path) -> bool:
    if not association.is_established:  # type: ignore[attr-defined]
        return False
    status = association.send_c_store(dcmread(path))  # type: ignore[attr-defined]
    return "Status" in status and status.Status == 0


if __name__ == "__main__":
    sys.exit(main())
