"""The dashboard: rates over time, figures, destinations; and the first steps."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from sender.analytics import overview
from sender.analytics.rates import Bucket, RateQuery, RateRow, acceptance, last_days, totals
from sender.models import AbstractSyntax, Association, ContextTemplate, Destination, Send
from sender.negotiation.rules import STARTER
from sender.web import attention, charts
from sender.web.access import needs
from sender.web.exports import csv_response
from sender.web.numbers import number_in

PERIODS = (7, 30, 90)
MOST_STRIPS = 12
MOST_ABSTRACT_SYNTAXES = 300


@dataclass(frozen=True, slots=True)
class Choice:
    """What the visitor asked for; what can't be understood is left out and named."""

    days: int
    destination: Destination | None
    abstract_syntax: str
    supported_only: bool
    sole_only: bool
    ignored: tuple[str, ...]

    @property
    def query(self) -> RateQuery:
        """The query of the period, per day."""
        first, last = last_days(self.days)
        return RateQuery(
            first,
            last,
            destination_id=self.destination.pk if self.destination else None,
            abstract_syntax=self.abstract_syntax,
            supported_only=self.supported_only,
            sole_only=self.sole_only,
        )


def read_choice(parameters: QueryDict) -> Choice:
    """Read the filters of the dashboard from its address."""
    ignored = []
    days = parameters.get("days", "30")
    if days not in {str(period) for period in PERIODS}:
        ignored.append(f"period {days[:20]}")
        days = "30"
    number = parameters.get("destination", "")
    destination = Destination.objects.filter(pk=number_in(number) or 0).first()
    if number and destination is None:
        ignored.append(f"destination {number[:20]}")
    uid = parameters.get("abstract_syntax", "")[:64]
    if uid and not AbstractSyntax.objects.filter(uid=uid).exists():
        ignored.append(f"SOP class {uid}")
        uid = ""
    return Choice(
        days=int(days),
        destination=destination,
        abstract_syntax=uid,
        supported_only=parameters.get("supported") == "1",
        sole_only=parameters.get("sole") == "1",
        ignored=tuple(ignored),
    )


@needs("read")
def dashboard(request: HttpRequest) -> HttpResponse:
    """Show what peers accept, and whether that changes."""
    if not Association.objects.exists():
        return get_started(request)
    choice = read_choice(request.GET)
    query = choice.query
    # Days before the period feed the trailing rates and the comparison.
    earlier = replace(query, first=query.first - timedelta(days=choice.days))
    rows = acceptance(earlier)
    now = [row for row in rows if _day(row) >= query.first]
    before = [row for row in rows if _day(row) < query.first]
    syntaxes = overview.syntax_rows(totals(now), totals(before))
    destinations = _strip_destinations(choice)
    context = {
        "attention": attention.items(request.user),
        "choice": choice,
        "query": query,
        "periods": PERIODS,
        "updated_at": timezone.now(),
        "figures": overview.figures(query, now),
        "syntaxes": syntaxes,
        "chart": _chart(choice, rows, [row.transfer_syntax for row in syntaxes]),
        "is_weekly": choice.days > 31,
        "strips": overview.strips(query.first, query.last, destinations),
        "more_destinations": Destination.objects.count() - len(destinations),
        "destinations": Destination.objects.order_by("name"),
        "abstract_syntaxes": AbstractSyntax.objects.order_by("name")[:MOST_ABSTRACT_SYNTAXES],
        "history_days": f"since={query.first}&until={query.last + timedelta(days=1)}",
    }
    return render(request, "sender/dashboard.html", context)


def _day(row: RateRow) -> date:
    assert isinstance(row.bucket, date)
    return row.bucket


def _strip_destinations(choice: Choice) -> list[Destination]:
    if choice.destination is not None:
        return [choice.destination]
    return list(Destination.objects.filter(enabled=True).order_by("name")[:MOST_STRIPS])


def _chart(choice: Choice, rows: list[RateRow], uids: list[str]) -> charts.Chart:
    query = choice.query
    if choice.days > 31:
        weekly = acceptance(replace(query, bucket=Bucket.WEEK))
        lines = [(uid, overview.bucketed(weekly, uid)) for uid in uids]
        gap, first = 7, query.first - timedelta(days=query.first.weekday())
    else:
        lines = [(uid, overview.trailing(rows, uid, query.first, query.last)) for uid in uids]
        gap, first = overview.TRAILING_DAYS - 1, query.first
    most = sorted(lines, key=lambda line: -sum(p.own.accepted + p.own.rejected for p in line[1]))

    def link(uid: str, day: date) -> str:
        length = 7 if choice.days > 31 else 1
        parameters = QueryDict(mutable=True)
        parameters.update({"transfer_syntax": uid, "since": str(day)})
        parameters["until"] = str(day + timedelta(days=length))
        if choice.destination is not None:
            parameters["destination"] = str(choice.destination.pk)
        if choice.abstract_syntax:
            parameters["abstract_syntax"] = choice.abstract_syntax
        return f"{reverse('history')}?{parameters.urlencode()}"

    return charts.draw(most, first, query.last, widest_gap_days=gap, link=link)


@needs("read")
def rates_csv(request: HttpRequest) -> HttpResponseBase:
    """Export the rates that the dashboard shows, per day."""

    def rows() -> Any:
        yield (
            "day", "transfer_syntax", "accepted", "rejected", "not_chosen", "other", "unknown",
            "rate", "associations",
        )  # fmt: skip
        for row in acceptance(read_choice(request.GET).query):
            tally = row.tally
            rate = "" if tally.rate is None else f"{tally.rate:.4f}"
            yield (
                row.bucket, row.transfer_syntax, tally.accepted, tally.rejected, tally.not_chosen,
                tally.other, tally.unknown, rate, tally.associations,
            )  # fmt: skip

    return csv_response(rows(), "concordat-rates.csv")


@needs("read")
def get_started(request: HttpRequest) -> HttpResponse:
    """Show the first steps, done ones marked."""
    demo = Destination.objects.filter(ae_title="DEMO_SCP", address="127.0.0.1").first()
    starter = ContextTemplate.objects.filter(name=STARTER.name).first()
    associations = Association.objects.order_by("-id")
    own = Destination.objects.exclude(ae_title__startswith="DEMO_").first()
    context = {
        "attention": attention.items(request.user),
        "demo": demo,
        "starter": starter.newest if starter else None,
        "echo": associations.filter(trigger="echo", outcome="established").first(),
        "negotiation": associations.filter(trigger="negotiate").first(),
        "send": Send.objects.order_by("id").first(),
        "own": own,
    }
    return render(request, "sender/get_started.html", context)
