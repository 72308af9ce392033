"""Who holds a lease: names of threads that no other process, thread or host has."""

import os
import threading
import time

from django.conf import settings

_STARTED = format(int(time.time() * 1000), "x")


def owner_name() -> str:
    """Name this thread so that no other process, thread or host has the same."""
    return f"{settings.SENDER_HOST}:{os.getpid()}:{_STARTED}:{threading.get_ident():x}"


def is_dead(owner: str) -> bool:
    """Tell whether an owner was a process of this host that is gone; no answer for others."""
    host, _, rest = owner.partition(":")
    number = rest.partition(":")[0]
    if host != settings.SENDER_HOST or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
