"""Schedules, read: how their runs went, what comes next, and what somebody should look at."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db.models import OuterRef, Q, Subquery, Sum
from django.utils import timezone

from sender.models import (
    Listing,
    ListingState,
    RunState,
    RunTrigger,
    Schedule,
    ScheduleRun,
    Send,
    SendState,
    StudyPart,
)
from sender.models.sends import ENDED_STATES
from sender.negotiation.outcomes import InstanceOutcome

OVERDUE_SECONDS = 120


class RunOutcome(StrEnum):
    """How a run stands, its sends included; ended: its sends are no longer kept."""

    STARTING = "starting"
    WAITING = "waiting"
    RUNNING = "running"
    CHECKING = "checking"
    CHECKED = "checked"
    SUCCEEDED = "succeeded"
    NOTHING_NEW = "nothing_new"
    PARTIAL = "partial"
    FAILED = "failed"
    ERRORED = "errored"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    ENDED = "ended"


LIVE = frozenset({RunOutcome.STARTING, RunOutcome.WAITING, RunOutcome.RUNNING, RunOutcome.CHECKING})
BAD = frozenset({RunOutcome.PARTIAL, RunOutcome.FAILED, RunOutcome.ERRORED})
_BEFORE_SENDS = {
    RunState.DUE: RunOutcome.STARTING,
    RunState.QUEUED: RunOutcome.WAITING,
    RunState.SKIPPED: RunOutcome.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class RunAccount:
    """A run with its sends.

    Attributes:
        counts: rows of its sends by outcome, those that nothing has left out.
        strays: of each send, how many of these are files that hold no sendable instance.
        already_there: instances that destinations had already ("only what is new").
    """

    run: ScheduleRun
    sends: tuple[Send, ...]
    counts: Mapping[InstanceOutcome, int]
    strays: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def already_there(self) -> int:
        return sum(send.already_there for send in self.sends)

    @property
    def has_only_strays(self) -> bool:
        """Whether all its rows are files that hold no sendable instance."""
        return 0 < self.total == sum(self.strays)

    @property
    def listing(self) -> Listing | None:
        return self.run.listing

    @property
    def is_live(self) -> bool:
        return self.outcome in LIVE or self.has_open_sends

    @property
    def has_open_sends(self) -> bool:
        return any(
            send.state not in ENDED_STATES and send.state != SendState.DRAFT for send in self.sends
        )

    @property
    def outcome(self) -> RunOutcome:
        """How the run stands."""
        state = RunState(self.run.state)
        if state in _BEFORE_SENDS:
            return _BEFORE_SENDS[state]
        if state == RunState.CHECKED and not self.has_open_sends:
            return self._outcome_of_check()
        if state == RunState.FAILED:
            return RunOutcome.FAILED
        if self.has_open_sends:
            return RunOutcome.RUNNING
        return self._outcome_of_ended()

    def _outcome_of_check(self) -> RunOutcome:
        states = {SendState(send.state) for send in self.sends}
        if SendState.ERRORED in states:
            return RunOutcome.ERRORED
        if SendState.FAILED in states:
            return RunOutcome.FAILED
        planning = [s for s in self.sends if s.state == SendState.DRAFT and s.planned_at is None]
        return RunOutcome.CHECKING if planning else RunOutcome.CHECKED

    def _outcome_of_ended(self) -> RunOutcome:
        states = {SendState(send.state) for send in self.sends}
        if not states:
            return RunOutcome.ENDED
        if SendState.ERRORED in states:
            return RunOutcome.ERRORED
        if states <= {SendState.FAILED}:
            return RunOutcome.FAILED
        if states & {SendState.FAILED, SendState.PARTIAL}:
            return RunOutcome.PARTIAL
        if SendState.CANCELLED in states:
            return RunOutcome.CANCELLED
        return RunOutcome.SUCCEEDED if self.total else RunOutcome.NOTHING_NEW


def accounts(runs: Sequence[ScheduleRun]) -> list[RunAccount]:
    """Return runs with their sends, in the order given; three queries however many they are."""
    listings = {run.listing_id for run in runs if run.listing_id}
    sends: defaultdict[int, list[Send]] = defaultdict(list)
    wanted = Send.objects.filter(listing__in=listings).select_related("destination", "listing")
    for send in wanted.order_by("id"):
        assert send.listing_id is not None
        sends[send.listing_id].append(send)
    counts, strays = _counts([send.pk for group in sends.values() for send in group])
    return [
        RunAccount(
            run,
            tuple(sends[run.listing_id or 0]),
            {
                outcome: number
                for outcome in InstanceOutcome
                if (number := sum(counts[s.pk][outcome] for s in sends[run.listing_id or 0]))
            },
            tuple(strays[send.pk] for send in sends[run.listing_id or 0]),
        )
        for run in runs
    ]


def _counts(
    send_ids: list[int],
) -> tuple[defaultdict[int, defaultdict[InstanceOutcome, int]], defaultdict[int, int]]:
    """Return rows by outcome, and how many of them are no instances, of each send."""
    found: defaultdict[int, defaultdict[InstanceOutcome, int]] = defaultdict(
        lambda: defaultdict(int)
    )
    rows: Iterable[Any] = (
        StudyPart.objects.filter(send__in=send_ids)
        .order_by()
        .values("send_id")
        .annotate(
            strays=Sum("unsendable", filter=Q(kind__sop_class_uid=""), default=0),
            **{f"n_{outcome.value}": Sum(outcome.value) for outcome in InstanceOutcome},
        )
    )
    strays: defaultdict[int, int] = defaultdict(int)
    for row in rows:
        strays[row["send_id"]] = row["strays"]
        for outcome in InstanceOutcome:
            found[row["send_id"]][outcome] = row[f"n_{outcome.value}"]
    return found, strays


def newest_runs(schedules: Sequence[Schedule]) -> dict[int, RunAccount]:
    """Return the newest run of each schedule that has one, checks left out."""
    newest = (
        ScheduleRun.objects.filter(schedule=OuterRef("pk"))
        .exclude(trigger=RunTrigger.CHECK)
        .order_by("-intended_at", "-id")
        .values("pk")[:1]
    )
    numbers = (
        Schedule.objects.filter(pk__in=[schedule.pk for schedule in schedules])
        .annotate(newest=Subquery(newest))
        .values_list("newest", flat=True)
    )
    runs = ScheduleRun.objects.filter(pk__in=[number for number in numbers if number])
    return {
        account.run.schedule_id: account
        for account in accounts(list(runs.select_related("schedule", "listing")))
    }


@dataclass(frozen=True, slots=True)
class Attention:
    """A schedule that somebody should look at.

    Attributes:
        account: its newest run; None if it has none.
        overdue_since: the time at which it should have run and did not.
    """

    schedule: Schedule
    account: RunAccount | None
    overdue_since: datetime | None

    @property
    def is_bad(self) -> bool:
        """It did not do what it should; otherwise it only warns."""
        is_failed = self.account is not None and self.account.outcome in BAD
        return is_failed or self.overdue_since is not None


def attention(now: datetime | None = None) -> list[Attention]:
    """Return the enabled schedules whose newest run failed, was skipped or warns, or is overdue."""
    now = now or timezone.now()
    latest = now - timedelta(seconds=OVERDUE_SECONDS)
    schedules = list(Schedule.objects.filter(enabled=True))
    newest = newest_runs(schedules)
    found = []
    for schedule in schedules:
        account = newest.get(schedule.pk)
        due = schedule.next_run_at
        overdue = due if due is not None and due < latest else None
        if overdue or (account is not None and _asks_for_attention(account)):
            found.append(Attention(schedule, account, overdue))
    return sorted(found, key=lambda one: (not one.is_bad, one.schedule.name))


def _asks_for_attention(account: RunAccount) -> bool:
    return account.outcome in BAD | {RunOutcome.SKIPPED} or bool(account.run.warning)


def is_listing(account: RunAccount) -> bool:
    """Tell whether the sources of a run are being listed."""
    listing = account.listing
    return listing is not None and listing.state in (ListingState.WAITING, ListingState.SCANNING)
