"""How fast a send is, when it will be through, and if that is too late: from what it did lately."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Sum
from django.utils import timezone

from sender.models import (
    Association,
    AssociationAttempt,
    Installation,
    InstanceAttempt,
    Send,
    StudyPart,
)
from sender.negotiation.finish import Evidence, Forecast, Hours, forecast
from sender.negotiation.windows import ALWAYS, parse_windows

LATELY = timedelta(days=1)
"""Last night's rate is good enough for tonight."""
MOST_ASSOCIATIONS = 20
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be expected of a send.

    Attributes:
        rate: instances per second in its last while of work; None: nothing to tell yet.
        forecast: when it ends if it goes on at that rate; of one that has ended, nothing.
        seconds_left: until then; None: not known, or it has ended.
    """

    rate: float | None
    forecast: Forecast
    seconds_left: float | None = None


def outlook(send: Send) -> Outlook:
    """Return how fast a send is or was, when it will end, and a warning if that is too late."""
    now = timezone.now()
    evidence = evidence_of(send, send.finished_at or now)
    if send.is_ended:
        return Outlook(evidence.rate, Forecast())
    left = StudyPart.objects.filter(send=send).aggregate(n=Sum("pending", default=0))["n"]
    found = forecast(left, evidence, _hours(send, now), now=now, deadline=send.finish_by)
    seconds = (found.ends_at - now).total_seconds() if found.ends_at and left else None
    return Outlook(evidence.rate, found, seconds)


def evidence_of(send: Send, now: datetime) -> Evidence:
    """Return what the newest associations of a send carried, and for how long any was open.

    Those that ended without having carried anything tell no rate, unless there are no others.
    """
    attempts = list(
        AssociationAttempt.objects.filter(send=send, trigger="send", started_at__gte=now - LATELY)
        .order_by("-started_at")
        .values_list("uid", "started_at", "closed_at")[:MOST_ASSOCIATIONS]
    )
    of_ended = Association.objects.filter(uid__in=[uid for uid, _, ended in attempts if ended])
    carried = dict(of_ended.values_list("uid", "instances"))
    for uid, _, ended in attempts:
        if not ended:
            numbers = InstanceAttempt.objects.filter(attempt_id=uid).order_by("-number")
            carried[uid] = numbers.values_list("number", flat=True).first() or 0
    spans = [
        (began, ended or now) for uid, began, ended in attempts if not ended or carried.get(uid)
    ]
    spans = spans or [(began, ended or now) for _, began, ended in attempts]
    return Evidence(sum(carried.values()), _together(spans).total_seconds())


def _together(spans: list[tuple[datetime, datetime]]) -> timedelta:
    """Return for how long at least one of some spans lasted."""
    total, until = timedelta(), None
    for began, ended in sorted(spans):
        begins = began if until is None else max(began, until)
        if ended > begins:
            total += ended - begins
        until = ended if until is None else max(until, ended)
    return total


def _hours(send: Send, now: datetime) -> Hours:
    """Return the windows that bind a send: its own or its destination's, whichever are narrower."""
    site = ZoneInfo(Installation.objects.values_list("time_zone", flat=True).get())
    bound = [
        Hours(parse_windows(text), zone, overridden_until)
        for text, zone, overridden_until in (
            (send.windows, ZoneInfo(send.zone) if send.zone else site, send.window_override_until),
            (send.destination.windows, site, send.destination.window_override_until),
        )
        if text
    ]
    if not bound:
        return Hours(ALWAYS, site)
    return min(bound, key=lambda hours: hours.open_seconds(now, now + WEEK))
