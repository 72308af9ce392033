"""A converting child that some files kill, as a fault in a codec would; used by test_converting."""

import os
import signal
import threading
from typing import Any

from sender.dicom import converting, encoding
from sender.dicom.encoding import EncodedDataset, Limits
from sender.negotiation.instances import ScannedInstance

_rewrite = encoding.rewrite  # type: ignore[attr-defined]


def rewrite(source: Any, result: Any, *rest: Any, **options: Any) -> None:
    """Rewrite, but come to grief over files named so, in the middle of it."""
    name = os.path.basename(PATH[0])
    if name.startswith("slow"):
        threading.Event().wait()
    if name.startswith("greedy"):
        bytearray(16 << 30)
    if name.startswith("once") and not os.path.exists(PATH[0] + ".died"):
        open(PATH[0] + ".died", "x").close()
        name = "deadly"
    if name.startswith("deadly"):
        result.write(bytes(8 << 20))
        os.kill(os.getpid(), signal.SIGSEGV)
    _rewrite(source, result, *rest, **options)


PATH = [""]
"""What is being converted."""


def convert(
    instance: ScannedInstance,
    transfer_syntax: str,
    *,
    lossy_allowed: bool = False,
    limits: Limits = encoding.WITHOUT_FILES,
) -> EncodedDataset:
    """Convert, remembering what."""
    PATH[0] = instance.path
    return encoding.convert(instance, transfer_syntax, lossy_allowed=lossy_allowed, limits=limits)


if __name__ == "__main__":
    encoding.rewrite = rewrite  # type: ignore[attr-defined]
    converting.convert = convert  # type: ignore[attr-defined]
    converting.main()
