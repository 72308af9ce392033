"""A scanning child that some files kill, as a fault in a library would; used by test_scanning."""

import os
import signal

from sender.dicom import files, scanning
from sender.negotiation.instances import ScannedInstance, Unreadable

_scan = files.scan


def scan(
    path: str,
    *,
    relative_path: str,
    wanted: frozenset[int] = frozenset(),
    may_inflate: bool = True,
) -> ScannedInstance | Unreadable:
    """Scan, but die over files named so; over some only once."""
    name = os.path.basename(path)
    if name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("once") and not os.path.exists(path + ".died"):
        with open(path + ".died", "x"):
            os.kill(os.getpid(), signal.SIGKILL)
    return _scan(path, relative_path=relative_path, wanted=wanted, may_inflate=may_inflate)


if __name__ == "__main__":
    files.scan = scan
    scanning.main()
