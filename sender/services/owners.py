"""Who holds a lease: a thread of a process of a host, named so that its end can be noticed.

Of processes of the same running system it is known when they are gone; of all others nothing is:
their leases are watched (vigil.py).
"""

import hashlib
import os
import threading
import time
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

LEASE_SECONDS = 40
"""How long whatever somebody works on is held without a sign of life."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES = Path("/proc/self/ns/pid")
_STARTED = format(int(time.time() * 1000), "x")


def owner_name() -> str:
    """Name this thread so that no other process, thread or host has the same."""
    thread = f"{threading.get_ident():x}"
    return f"{settings.SENDER_HOST}:{os.getpid()}:{_STARTED}:{_system()}:{thread}"


def lease_end() -> datetime:
    """Return until when a lease holds that is given or extended now."""
    return timezone.now() + timedelta(seconds=LEASE_SECONDS)


def describe(owner: str) -> str:
    """Name an owner for people."""
    host, number, *_ = [*owner.split(":"), ""]
    return f"process {number} on {host}"


def is_of_this_system(owner: str) -> bool:
    """Tell whether an owner's process number means a process of the system that runs here."""
    host, _, _, system, *_ = [*owner.split(":"), "", "", ""]
    return (host, system) == (settings.SENDER_HOST, _system())


def is_dead(owner: str) -> bool:
    """Tell whether an owner was a process of this system that is gone; no answer for others."""
    number = [*owner.split(":"), ""][1]
    if not is_of_this_system(owner) or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def take_over(waiting: "QuerySet[Any]", **mine: object) -> bool:
    """Write who has a row from now on, if nobody else holds it; tell whether it was free.

    The tick ends the leases of those who vanished; of some it is known sooner that they are gone.

    Args:
        waiting: the row, if it may be taken at all; with the columns `owner` and `lease_until`.
        mine: what to write.
    """
    if waiting.filter(lease_until__isnull=True).update(**mine):
        return True
    holder = waiting.values_list("owner", flat=True).first()
    return bool(holder and is_dead(holder) and waiting.filter(owner=holder).update(**mine))


@cache
def _system() -> str:
    """Mark the running system within which a process number means one process.

    Two containers may bear the same host name, and do not see each other's processes.
    """
    marks = ""
    for read in (_BOOT.read_text, _PROCESSES.readlink):
        try:
            marks += str(read())
        except OSError:  # not Linux: the host name has to do
            continue
    return hashlib.sha256(marks.encode()).hexdigest()[:8]
