"""An association at work: what it carries, and how it is looked after each second.

The thread that holds the leases (services/tenure.py) does so: it ends the work when the gate closes
(services/gate.py) or the destination becomes another, hands out a new share of the limits, and
takes in how the peer keeps up (services/limits.py).
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from sender.models import Send, SendBatch
from sender.negotiation import pacing
from sender.negotiation.outcomes import StoreOutcome
from sender.negotiation.peers import Peer
from sender.services import fairness, gate, leases, limits, recording
from sender.services.associating import RecordedAssociation
from sender.services.conversions import Conversions
from sender.services.delays import new_jitter
from sender.services.gate import View
from sender.services.journal import Journal
from sender.services.leases import BatchLease
from sender.services.limits import SharePacer
from sender.services.results import Change, DueItem
from sender.services.stalling import StallWatch
from sender.services.tenure import Tenure

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5
"""How long the C-STORE in flight may take once its time is over."""


@dataclass(frozen=True, slots=True)
class Barred:
    """What is not worth trying any more within a batch, and by which rule."""

    rule: str
    reason: str


@dataclass(slots=True)
class Run:
    """A batch at work: what has come of it since the last group was written.

    Attributes:
        parked: SOP class and transfer syntax of what no context carried.
        barred: what is not tried any more, by SOP class, "" for all; `left_out`: what was not.
        jitter: lengthens the pauses before its instances are tried again.
    """

    batch: SendBatch
    send: Send
    lease: BatchLease
    journal: Journal
    acknowledged: int = 0
    results: list[recording.InstanceResult] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    parked: set[tuple[str, str]] = field(default_factory=set)
    barred: dict[str, Barred] = field(default_factory=dict)
    left_out: list[DueItem] = field(default_factory=list)
    jitter: float = field(default_factory=new_jitter)
    written_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Passage:
    """An association at work for one batch after another, and when to stop.

    Attributes:
        tenure: the leases of the worker.
        number: instances tried so far.
        stopping: nothing more is to be begun.
        closes_at: when the windows close (of the monotonic clock), as of the last look.
        ends_at: when what is in flight is cut off (of the monotonic clock); None: it may finish.
        is_interrupted: we cut it off.
        conversions: of the data that no context carries as they are.
        pacer: how fast it may go; None: nothing is limited.
        in_use: associations that are open to the destination, this one included.
        answers: outcomes that nobody has taken in for the pace yet.
        stored: SOP classes of which the peer has stored something.
        gives_way: something more urgent waits for the end of the study at work.
        is_proof: answers of it are committed, so that the destination is known to work.
    """

    opened: RecordedAssociation
    tenure: Tenure
    is_stopping: Callable[[], bool]
    conversions: Conversions
    pacer: SharePacer | None = None
    number: int = 0
    run: Run | None = None
    in_use: int = 1
    closes_at: float = math.inf
    ends_at: float | None = None
    is_interrupted: bool = False
    answers: deque[StoreOutcome] = field(default_factory=deque)
    stored: set[str] = field(default_factory=set)
    gives_way: bool = False
    is_proof: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def at_work(self) -> Run:
        """The batch at work."""
        assert self.run is not None
        return self.run

    def may_begin(self) -> bool:
        """Tell whether another instance may be begun; from the instant a window closes, none."""
        if time.monotonic() >= self.closes_at:
            self.stopping.set()
        return not self.stopping.is_set()

    def end(self) -> None:
        """Begin nothing more, and let what is in flight have 5 s."""
        if self.ends_at is None:
            self.ends_at = time.monotonic() + GRACE_SECONDS
        self.stopping.set()


def begin(passage: Passage) -> None:
    """Look at gate and limits before the first instance: nothing begins that is held by now."""
    view = gate.look_at_work(passage.at_work.send.pk)
    destination = view.send.destination
    share = limits.share_of(destination, timezone.now(), view.in_use)
    if limits.is_ever_limited(destination) or not share.is_free:
        passage.pacer = SharePacer(share)
    _take_in(passage, view)


def _take_in(passage: Passage, view: View) -> None:
    """Take in how the destination stands: the share of its limits, and whether to stop."""
    passage.in_use = view.in_use
    passage.closes_at = time.monotonic() + view.seconds_left
    destination, now = view.send.destination, timezone.now()
    share = limits.share_of(destination, now, view.in_use)
    if passage.pacer is not None:
        passage.pacer.share(share)
    if view.closed is not None or _is_another(destination.peer, passage.opened.peer):
        passage.end()
    # A transfer that began without limits can't slow down: the next association does.
    is_too_fast = passage.pacer is None and not share.is_free
    if is_too_fast or passage.tenure.slot.number > limits.pace_of(destination, now).associations:
        passage.stopping.set()


def _is_another(now: Peer, then: Peer) -> bool:
    """Tell whether a destination was changed so that an open association is not with it any more.

    Other timeouts and another maximum length are for the next association.
    """
    return replace(now, timeouts=then.timeouts, maximum_length=then.maximum_length) != then


def _is_overtaken(batch: SendBatch) -> bool:
    """Tell whether something more urgent waits, here or for a worker elsewhere."""
    if leases.is_overtaken(batch):
        return True
    return not batch.send.inline and fairness.more_urgent_than(batch.destination_id) is not None


def let_go_if_due(passage: Passage) -> None:
    """End the association once others may hold our leases; from the thread that uses it."""
    if passage.tenure.must_let_go:
        passage.is_interrupted = True
        passage.stopping.set()
        passage.opened.association.abort()


class Keeper:
    """Looks after an association, from another thread than the one that uses it."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._stalls = StallWatch(passage.opened)

    def beat(self) -> None:
        """Do what is due: cut off what has had its time, then look at the database.

        Raises:
            DatabaseError, InterfaceError: it is away; the next beat tries again.
        """
        passage = self._passage
        if passage.tenure.must_let_go:
            passage.stopping.set()
            self._cut_off()
            return
        if passage.is_stopping():
            passage.end()
        if passage.ends_at is not None and time.monotonic() >= passage.ends_at:
            self._cut_off()
        if passage.ends_at is None:
            _take_in(passage, gate.look_at_work(passage.at_work.send.pk))
            passage.gives_way = _is_overtaken(passage.at_work.batch)
        self._stalls.look()
        self.take_in_answers()

    def _cut_off(self) -> None:
        self._passage.is_interrupted = True
        self._passage.opened.association.interrupt()
        self._passage.conversions.close()

    def take_in_answers(self) -> None:
        """Let the pace of the destination follow what the peer answered since the last beat."""
        passage = self._passage
        outcomes = [passage.answers.popleft() for _ in range(len(passage.answers))]
        answers = pacing.answers_of(outcomes, at=timezone.now(), in_use=passage.in_use)
        if answers.count:
            limits.note(passage.at_work.send.destination_id, answers)

    def take_in_last(self) -> None:
        """Let the pace follow the last answers too; once nothing beats any more."""
        try:
            self.take_in_answers()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The last answers don't count for the pace: %s", str(error).strip())
