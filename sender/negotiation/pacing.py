"""How much is asked of a destination: slower when it can't follow, and back (SENDING.md 7.3).

A destination begins with one association. One is added while throughput grows by more than a tenth
and all statuses are good. Refusals that pass halve the associations, and make a pause between
instances where fewer associations are no answer; rising response times take one association away;
after a quiet time all comes back, step by step. There is always at least one association, and never
more than the destination allows.

The state is a value: whoever works for a destination reads it, takes a step and keeps what comes
out. Several workers may do so in turn, each with its own answers. Times of a clock that was put
back since hold nothing up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sender.negotiation import retry
from sender.negotiation.local_time import in_utc
from sender.negotiation.outcomes import InstanceOutcome, Rejection, StoreOutcome

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0
HOLD = timedelta(seconds=5)
"""Refusals so soon after a cut were earned before it."""
MEASURE = timedelta(seconds=1)
"""A rate is measured for so long before one more association is tried."""
QUIET = timedelta(seconds=30)
"""The same within `RECALL` after a cut."""
RECALL = timedelta(minutes=10)
"""For so long a number of associations that was refused, or brought nothing, is not tried again."""
IDLE = timedelta(seconds=60)
"""After a gap without answers a measurement begins anew."""
LARGEST_LEAD = timedelta(seconds=60)
"""What lies further ahead of an event is of a clock that was put back; hosts differ by less."""
ENOUGH_ANSWERS = 50
GROWTH = 1.1
BURST = 3.0
"""So many Cxxx are a burst; 20 good answers outweigh one."""
GOOD_PER_REFUSAL = 20

LOAD_BYTES = 1_000_000
"""An instance counts as one, and one more for each of these: large ones may take longer."""
EWMA_WEIGHT = 0.05
ENOUGH_TO_JUDGE = 20
SLOW_FACTOR = 3.0
SLOW_SECONDS = 0.05
"""Below this difference a factor is noise."""
FORGETTING_ANSWERS = 2000
"""In so many answers the best response time doubles, so that what stays slow becomes usual."""

_BUSY = (retry.BUSY, retry.CATCH_ALL_REJECTION)


@dataclass(frozen=True, slots=True)
class Answers:
    """C-STORE responses that came on one association since its last event.

    Attributes:
        at: when the last of them came.
        count: how many.
        good: of these, with a status of success or warning.
        out_of_resources: of these, with A7xx.
        not_understood: of these, with Cxxx.
        seconds: sum of the times from request to response.
        bytes: of their data sets.
        in_use: associations that are open to the destination, this one included.
    """

    at: datetime
    count: int
    good: int
    out_of_resources: int = 0
    not_understood: int = 0
    seconds: float = 0.0
    bytes: int = 0
    in_use: int = 1


@dataclass(frozen=True, slots=True)
class Rejected:
    """The destination rejected an association."""

    at: datetime
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class Allowed:
    """The destination's maximum was changed, by hand or by the time of day; at least 1."""

    at: datetime
    associations: int


@dataclass(frozen=True, slots=True)
class Change:
    """What a step changed, and one sentence why."""

    at: datetime
    was_associations: int
    associations: int
    was_delay_seconds: float
    delay_seconds: float
    why: str

    def __str__(self) -> str:
        parts = []
        if self.associations != self.was_associations:
            noun = "association" if self.associations == 1 else "associations"
            parts.append(f"{self.associations} {noun} instead of {self.was_associations}")
        if self.delay_seconds != self.was_delay_seconds:
            delay = f"{self.delay_seconds:g} s" if self.delay_seconds else "no pause"
            parts.append(f"{delay} between instances")
        return f"{', '.join(parts)}: {self.why}"


@dataclass(frozen=True, slots=True)
class Measure:
    """What was done at an unchanged pace: answers, and load (see `LOAD_BYTES`)."""

    since: datetime
    until: datetime
    answers: int = 0
    load: float = 0.0

    @property
    def rate(self) -> float:
        """Load per second, 0 before any time has passed."""
        seconds = (self.until - self.since).total_seconds()
        return self.load / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """What a destination is asked for now, and what this rests on.

    Attributes:
        maximum: associations that the destination allows.
        associations: associations to use now.
        delay_seconds: pause between two instances on each association.
        lower_rate: rate with one association fewer, while it is to be beaten.
        barrier: number of associations that is not tried before `barrier_until`.
        cut_at: when it was last slowed down for refusals.
        refusals: Cxxx, outweighed by good answers.
        typical_seconds: moving average of the response time per load.
        best_seconds: the best of these.
        judged: answers in `typical_seconds` since it last slowed anything down.
    """

    maximum: int
    associations: int
    measure: Measure
    delay_seconds: float = 0.0
    lower_rate: float | None = None
    barrier: int | None = None
    barrier_until: datetime | None = None
    cut_at: datetime | None = None
    refusals: float = 0.0
    typical_seconds: float | None = None
    best_seconds: float | None = None
    judged: int = 0

    def limit(self, at: datetime) -> int:
        """Return the most associations that may be tried at a time."""
        if self.barrier is None or self.barrier_until is None or at >= self.barrier_until:
            return self.maximum
        return max(1, min(self.maximum, self.barrier - 1))


def begin(maximum: int, at: datetime) -> Pace:
    """Return the pace of a destination that nothing is known of: one association.

    Raises:
        ValueError: `maximum` is below 1.
    """
    return Pace(_at_least_one(maximum), 1, _nothing(at))


def answers_of(outcomes: Iterable[StoreOutcome], *, at: datetime, in_use: int) -> Answers:
    """Sum up what a group of C-STORE requests came to; those without an answer don't count."""
    answered = [
        outcome
        for outcome in outcomes
        if outcome.status is not None and outcome.outcome is not InstanceOutcome.UNKNOWN
    ]
    statuses = [outcome.status for outcome in answered if outcome.status is not None]
    return Answers(
        at=at,
        count=len(answered),
        good=sum(outcome.outcome is not InstanceOutcome.FAILED for outcome in answered),
        out_of_resources=sum(0xA700 <= status <= 0xA7FF for status in statuses),
        not_understood=sum(0xC000 <= status <= 0xCFFF for status in statuses),
        seconds=sum(outcome.seconds for outcome in answered),
        bytes=sum(outcome.bytes_sent for outcome in answered),
        in_use=in_use,
    )


def step(pace: Pace, event: Answers | Rejected | Allowed) -> tuple[Pace, Change | None]:
    """Return the pace after an event, and what it changed, if anything.

    Raises:
        ValueError: a maximum below 1.
    """
    pace = _caught_up(pace, event.at)
    if isinstance(event, Answers):
        after, why = _after_answers(pace, event)
    elif isinstance(event, Rejected):
        after, why = _after_rejection(pace, event)
    else:
        after, why = _after_allowed(pace, event)
    before = (pace.associations, pace.delay_seconds)
    if before == (after.associations, after.delay_seconds):
        return after, None
    return after, Change(
        at=event.at,
        was_associations=pace.associations,
        associations=after.associations,
        was_delay_seconds=pace.delay_seconds,
        delay_seconds=after.delay_seconds,
        why=why,
    )


def _caught_up(pace: Pace, at: datetime) -> Pace:
    """Bring a pace's times back along with a clock that was put back, the newest of them to now."""
    measure = pace.measure
    newest = max(measure.until, pace.cut_at or measure.until)
    if pace.barrier_until is not None:
        newest = max(newest, pace.barrier_until - RECALL)
    lead = newest - at
    if lead <= LARGEST_LEAD:
        return pace
    return replace(
        pace,
        measure=replace(measure, since=measure.since - lead, until=measure.until - lead),
        barrier_until=pace.barrier_until and pace.barrier_until - lead,
        cut_at=pace.cut_at and pace.cut_at - lead,
    )


def _after_answers(pace: Pace, event: Answers) -> tuple[Pace, str]:
    pace = _judged(_measured(pace, event), event)
    if event.out_of_resources:
        return _cut(pace, event.at, with_delay=True), (
            f"The peer is out of resources; it refused {_instances(event.out_of_resources)} (A7xx)."
        )
    if pace.refusals >= BURST and pace.associations > 1:
        return _cut(pace, event.at, with_delay=True), (
            "The peer refused several instances (Cxxx) while associations ran in parallel."
        )
    if _is_slow(pace) and pace.associations > 1:
        return _lowered(replace(pace, judged=0), event.at), (
            f"The peer takes {_ratio(pace):.1f} times as long to answer as at its best."
        )
    if event.good < event.count:
        return replace(pace, measure=_nothing(event.at)), ""
    return _raised(pace, event)


def _after_rejection(pace: Pace, event: Rejected) -> tuple[Pace, str]:
    if retry.after_rejection(event.rejection) not in _BUSY:
        return pace, ""
    codes = event.rejection
    return _cut(pace, event.at, with_delay=pace.associations == 1), (
        f"The peer rejected an association as if it were busy "
        f"({codes.result}/{codes.source}/{codes.reason})."
    )


def _after_allowed(pace: Pace, event: Allowed) -> tuple[Pace, str]:
    maximum = _at_least_one(event.associations)
    pace = replace(pace, maximum=maximum)
    if pace.associations <= maximum:
        return pace, ""
    lowered = replace(
        pace, associations=maximum, lower_rate=None, measure=_nothing(event.at), judged=0
    )
    return lowered, f"The destination allows {maximum} at most."


def _measured(pace: Pace, event: Answers) -> Pace:
    """Count answers; those after a long gap, or from before the last change, say nothing."""
    measure = pace.measure
    if event.at < measure.since:
        return pace
    if event.at - measure.until > IDLE:
        return replace(pace, measure=_nothing(event.at))
    return replace(
        pace,
        measure=Measure(
            since=measure.since,
            until=max(measure.until, event.at),
            answers=measure.answers + event.count,
            load=measure.load + _load(event),
        ),
    )


def _judged(pace: Pace, event: Answers) -> Pace:
    """Take in response times and Cxxx."""
    if not event.count:
        return pace
    outweighed = max(0.0, pace.refusals - event.good / GOOD_PER_REFUSAL)
    sample = event.seconds / _load(event)
    typical = pace.typical_seconds if pace.typical_seconds is not None else sample
    typical += (1 - (1 - EWMA_WEIGHT) ** event.count) * (sample - typical)
    judged = pace.judged + event.count
    best = pace.best_seconds
    if judged >= ENOUGH_TO_JUDGE:
        usual = None if best is None else best * 2 ** (event.count / FORGETTING_ANSWERS)
        best = typical if usual is None else min(usual, typical)
    return replace(
        pace,
        refusals=outweighed + event.not_understood,
        typical_seconds=typical,
        best_seconds=best,
        judged=judged,
    )


def _is_slow(pace: Pace) -> bool:
    if pace.typical_seconds is None or pace.best_seconds is None:
        return False
    if pace.judged < ENOUGH_TO_JUDGE:
        return False
    return (
        pace.typical_seconds > SLOW_FACTOR * pace.best_seconds
        and pace.typical_seconds - pace.best_seconds > SLOW_SECONDS
    )


def _ratio(pace: Pace) -> float:
    assert pace.typical_seconds is not None
    assert pace.best_seconds is not None
    return pace.typical_seconds / pace.best_seconds


def _cut(pace: Pace, at: datetime, *, with_delay: bool) -> Pace:
    """Halve the associations, and lengthen the pause; once per `HOLD`."""
    pace = replace(pace, refusals=0.0, measure=_nothing(at))
    if pace.cut_at is not None and at < pace.cut_at + HOLD:
        return pace
    delay = pace.delay_seconds
    if with_delay:
        delay = min(max(2 * delay, FIRST_DELAY_SECONDS), LONGEST_DELAY_SECONDS)
    cut = replace(pace, delay_seconds=delay, lower_rate=None, cut_at=at)
    return _barred(cut, at, associations=max(1, pace.associations // 2))


def _lowered(pace: Pace, at: datetime) -> Pace:
    lowered = replace(pace, lower_rate=None, measure=_nothing(at))
    return _barred(lowered, at, associations=max(1, pace.associations - 1))


def _barred(pace: Pace, at: datetime, *, associations: int) -> Pace:
    """Go down to fewer associations, and not back to as many for a while."""
    if associations == pace.associations:
        return pace
    return replace(
        pace, associations=associations, barrier=pace.associations, barrier_until=at + RECALL
    )


def _raised(pace: Pace, event: Answers) -> tuple[Pace, str]:
    """Take one step up once it was quiet for long enough, or back from one that brought nothing."""
    measure, at = pace.measure, event.at
    is_recovering = pace.cut_at is not None and at < pace.cut_at + RECALL
    patience = QUIET if is_recovering else MEASURE
    if measure.answers < ENOUGH_ANSWERS or measure.until - measure.since < patience:
        return pace, ""
    fresh = replace(pace, measure=_nothing(at), lower_rate=None)
    if pace.delay_seconds:
        half = pace.delay_seconds / 2
        return replace(fresh, delay_seconds=half if half >= FIRST_DELAY_SECONDS else 0.0), (
            f"The peer answered {measure.answers} instances well."
        )
    if event.in_use < pace.associations:
        return replace(fresh, lower_rate=pace.lower_rate), ""
    if pace.lower_rate is not None and measure.rate <= GROWTH * pace.lower_rate:
        return _lowered(fresh, at), (
            f"{pace.associations} associations were hardly faster than {pace.associations - 1}."
        )
    if pace.associations < pace.limit(at):
        return (
            replace(fresh, associations=pace.associations + 1, lower_rate=measure.rate),
            f"The peer answered {measure.answers} instances well; one association more is tried.",
        )
    return fresh, ""


def _nothing(at: datetime) -> Measure:
    return Measure(since=at, until=at)


def _load(event: Answers) -> float:
    return event.count + event.bytes / LOAD_BYTES


def _at_least_one(maximum: int) -> int:
    if maximum < 1:
        raise ValueError(f"A destination allows at least 1 association, not {maximum}.")
    return maximum


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"


def to_document(pace: Pace) -> dict[str, Any]:
    """Return a pace as JSON can hold it; `from_document` gives the same pace back."""
    document = asdict(pace)
    for holder in (document, document["measure"]):
        for key, value in holder.items():
            if isinstance(value, datetime):
                holder[key] = in_utc(value).isoformat()
    return document


def from_document(document: Mapping[str, Any]) -> Pace:
    """Build a pace from what `to_document` made of it.

    Raises:
        KeyError, TypeError, ValueError: it made no such document.
    """
    measure = dict(document["measure"])
    for key in ("since", "until"):
        measure[key] = datetime.fromisoformat(measure[key])
    values = {**document, "measure": Measure(**measure)}
    for key in ("barrier_until", "cut_at"):
        if values[key] is not None:
            values[key] = datetime.fromisoformat(values[key])
    return Pace(**values)
