"""Files that this host does not see, though others may: a share that is not mounted here.

What is to be read there, or sent with certificates that are not here, is left to the other hosts
for a while. If none of them gets on with it, this host goes ahead, and says what is wrong.
"""

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Max, Model

from sender.models import Destination, Hold, Send, SendBatch
from sender.services import heartbeat

PATIENCE_SECONDS = 300.0
"""How long something is left to other hosts of which none gets on with it."""
LOOK_EVERY_SECONDS = 30.0
"""Whatever was left to others is not looked at again before that."""


@dataclass(frozen=True, slots=True)
class _Left:
    """Something that is left to others.

    Attributes:
        since: when it was, or when another host had got on with it, by the monotonic clock.
        looked_at: when this process saw last that its source is not to be seen.
        progress: how far others were then.
    """

    since: float
    looked_at: float
    progress: object


class Sight:
    """What one process does not see of the sources.

    Args:
        clock: seconds that never step.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[tuple[type[Model], int], _Left] = {}

    def leaves(self, model: type[Model], number: int, progress: object = None) -> bool:
        """Leave something to other hosts; False if there is none, or it was left for long enough.

        Args:
            model, number: which row this is about.
            progress: how far others are with it: while that changes, it stays left to them.
        """
        if not heartbeat.others_live():
            return False
        what, now = (model, number), self._clock()
        before = self._left.get(what, _Left(now, now, progress))
        since = before.since if progress == before.progress else now
        self._left[what] = _Left(since, now, progress)
        return now - since < PATIENCE_SECONDS

    def sees(self, model: type[Model], number: int) -> None:
        """Note that a source is to be seen."""
        self._left.pop((model, number), None)

    def forget(self) -> None:
        """Drop what is remembered: for tests, whose databases start anew."""
        self._left.clear()

    def left_sends(self) -> frozenset[int]:
        """Return the sends that were left to others a moment ago."""
        border = self._clock() - LOOK_EVERY_SECONDS
        return frozenset(
            number
            for (model, number), left in self._left.items()
            if model is Send and left.looked_at > border
        )


SIGHT = Sight()
"""What this process does not see."""


def leaves_file(send: Send, path: str) -> bool:
    """Tell whether a file of a send is to be left to other hosts, because its folder is not here.

    A file that is gone from a folder that is there is gone for all.
    """
    if send.inline or is_in_sight(path):
        SIGHT.sees(Send, send.pk)
        return False
    return SIGHT.leaves(Send, send.pk, _progress(send))


def leaves_peer(send: Send) -> bool:
    """Tell whether a send is to be left to other hosts, because what its TLS needs is not here."""
    if send.inline or has_keys_of(send.destination):
        return False
    return SIGHT.leaves(Send, send.pk, _progress(send))


def leaves_probe(hold: Hold) -> bool:
    """Tell whether others are to ask a blocked destination, for the same reason."""
    if hold.destination is None or has_keys_of(hold.destination):
        return False
    return SIGHT.leaves(Hold, hold.pk)


def has_keys_of(destination: Destination) -> bool:
    """Tell whether the files that TLS to a destination needs can be read here."""
    needed = (destination.tls_ca_file, destination.tls_cert_file, destination.tls_key_file)
    return not destination.tls or all(os.access(path, os.R_OK) for path in needed if path)


def is_in_sight(path: str) -> bool:
    """Tell whether a file can be looked at, or at least its folder, with something in it."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return os.access(path, os.R_OK)
    except OSError:
        pass
    try:
        with os.scandir(os.path.dirname(path)) as found:
            return next(found, None) is not None
    except OSError:
        return False


def _progress(send: Send) -> object:
    batches = SendBatch.objects.filter(send=send)
    return batches.aggregate(at=Max("last_outcome_at"))["at"]
