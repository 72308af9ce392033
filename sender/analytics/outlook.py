"""When a send will be through, and whether that is too late: read from what it did lately."""

from datetime import datetime, timedelta, tzinfo
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
from sender.negotiation.finish import Evidence, Forecast, forecast
from sender.negotiation.windows import ALWAYS, Windows, parse_windows

LATELY = timedelta(days=1)
"""Last night's rate is good enough for tonight."""
MOST_ASSOCIATIONS = 20
WEEK = timedelta(days=7)


def outlook(send: Send) -> Forecast:
    """Return when a send that has not ended will end, and a warning if that is too late."""
    now = timezone.now()
    windows, zone = _windows(send, now)
    left = StudyPart.objects.filter(send=send).aggregate(n=Sum("pending", default=0))["n"]
    return forecast(left, evidence_of(send, now), windows, zone, now=now, deadline=send.finish_by)


def evidence_of(send: Send, now: datetime) -> Evidence:
    """Return what the newest associations of a send carried, and for how long any was open."""
    attempts = list(
        AssociationAttempt.objects.filter(send=send, trigger="send", started_at__gte=now - LATELY)
        .order_by("-started_at")
        .values_list("uid", "started_at", "closed_at")[:MOST_ASSOCIATIONS]
    )
    spans = [(began, ended or now) for _, began, ended in attempts]
    ended_ones = [uid for uid, _, ended in attempts if ended]
    instances = Association.objects.filter(uid__in=ended_ones).aggregate(
        n=Sum("instances", default=0)
    )["n"]
    for uid, _, ended in attempts:
        if not ended:
            numbers = InstanceAttempt.objects.filter(attempt_id=uid).order_by("-number")
            instances += numbers.values_list("number", flat=True).first() or 0
    return Evidence(instances, _together(spans).total_seconds())


def _together(spans: list[tuple[datetime, datetime]]) -> timedelta:
    """Return for how long at least one of some spans lasted."""
    total, until = timedelta(), None
    for began, ended in sorted(spans):
        begins = began if until is None else max(began, until)
        if ended > begins:
            total += ended - begins
        until = ended if until is None else max(until, ended)
    return total


def _windows(send: Send, now: datetime) -> tuple[Windows, tzinfo]:
    """Return the windows that bind a send: its own or its destination's, whichever are narrower."""
    site = ZoneInfo(Installation.objects.values_list("time_zone", flat=True).get())
    bound = [
        (parse_windows(text), zone)
        for text, zone in (
            (send.windows, ZoneInfo(send.zone) if send.zone else site),
            (send.destination.windows, site),
        )
        if text
    ]
    if not bound:
        return ALWAYS, site
    return min(bound, key=lambda pair: pair[0].open_seconds(now, now + WEEK, pair[1]))
