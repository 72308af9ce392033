"""Listings: what was found at some sources, and the plans of all sends that share it."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from sender.analytics import sends as accounts
from sender.models import Listing, Send, SendState
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.selection import InvalidSelection, describe, parse_selection
from sender.services import expectations, path_lists, sending
from sender.web.access import may, needs
from sender.web.exports import csv_response

STOPPED_POLLING = 286
MOST_PROBLEMS = 20
MOST_SHORTFALLS = 50
NOT_OPENED = ("file name", "younger than the least age")
"""Rules that leave a file out before anybody looks into it."""


@dataclass(frozen=True, slots=True)
class PlannedKind:
    """A kind of data, and how it travels to each destination.

    Attributes:
        lossy: whether it was compressed with loss; None: not known.
        cells: of each send in their order; None: the send has none of it, or is not planned.
    """

    sop_class: str
    transfer_syntax: str
    lossy: bool | None
    cells: list[dict[str, Any] | None]


@needs("read")
def listing(request: HttpRequest, number: int) -> HttpResponse:
    """Show a listing: how far its scan is, what it found, and the plans side by side."""
    return render(request, "sender/listing.html", _describe(_find(number), request))


@needs("read")
def listing_progress(request: HttpRequest, number: int) -> HttpResponse:
    """Return the part of a listing's page that changes; 286 ends the polling."""
    context = _describe(_find(number), request)
    status = 200 if context["is_live"] else STOPPED_POLLING
    return render(request, "sender/_listing.html", context, status=status)


def _find(number: int) -> Listing:
    found: Listing = get_object_or_404(Listing, pk=number)
    return found


def _describe(found: Listing, request: HttpRequest) -> dict[str, Any]:
    sends = list(
        Send.objects.filter(listing=found)
        .select_related("destination", "template_version__template", "listing")
        .order_by("pk")
    )
    drafts = [send for send in sends if send.state == SendState.DRAFT]
    sees = may(request.user, "read_identifiers")
    return {
        "listing": found,
        "sends": sends,
        "counts": _counts(sends),
        "kinds": kinds_of(sends),
        "is_listing": any(_is_being_listed(send) for send in sends),
        "is_live": any(_is_under_way(send) for send in sends),
        "can_start": any(send.planned_at for send in drafts),
        "can_discard": bool(drafts),
        "drafts": len(drafts),
        "has_details": any(send.detail for send in sends),
        "sees_identifiers": sees,
        "found": findings_of(found, sees_identifiers=sees),
    }


def _is_being_listed(send: Send) -> bool:
    return not send.planned_at and not send.is_ended


def _is_under_way(send: Send) -> bool:
    """Tell whether a page about a send changes by itself; a planned draft waits for a person."""
    return not send.is_ended and (send.state != SendState.DRAFT or not send.planned_at)


def _counts(sends: list[Send]) -> list[dict[InstanceOutcome, int]]:
    """Return what became of the rows of sends, in their order; nothing while all are drafts."""
    if all(send.state == SendState.DRAFT for send in sends):
        return []
    counts = accounts.counts_of(sends)
    return [{} if send.state == SendState.DRAFT else counts[send.pk] for send in sends]


def kinds_of(sends: list[Send]) -> list[PlannedKind]:
    """Return the kinds of data of some sends, with how each of them travels."""
    rows: dict[tuple[str, str, str], PlannedKind] = {}
    for index, send in enumerate(sends):
        for entry in send.plan.get("kinds", ()):
            key = (entry["sop_class"], entry["transfer_syntax"], str(entry["lossy"]))
            kind = rows.setdefault(
                key, PlannedKind(*key[:2], entry["lossy"], cells=[None] * len(sends))
            )
            kind.cells[index] = entry
    return [kind for _, kind in sorted(rows.items())]


def findings_of(found: Listing | None, *, sees_identifiers: bool) -> dict[str, Any]:
    """Return what a scan came upon besides files to be sent, for `_found.html`."""
    if found is None:
        return {}
    short = expectations.shortfalls(found) if found.finished_at else []
    problems = path_lists.problems(found)
    excluded = sorted(found.excluded.items(), key=lambda pair: (-pair[1], pair[0]))
    left_out = sum(number for rule, number in excluded if rule in NOT_OPENED)
    return {
        "rules": _rules(found) if sees_identifiers else [],
        "excluded": excluded,
        "remembered": max(0, found.found_files - left_out - found.opened),
        "repeated": found.cursor.get("repeated", 0),
        "problems": problems.count(),
        "problem_rows": problems[:MOST_PROBLEMS] if sees_identifiers else [],
        "shortfalls": len(short),
        "shortfall_rows": short[:MOST_SHORTFALLS] if sees_identifiers else [],
    }


def _rules(found: Listing) -> list[tuple[str, str]]:
    try:
        return describe(parse_selection(found.rules))
    except InvalidSelection as error:
        return [("Rules", str(error))]


@needs("operate")
@require_POST
def listing_command(request: HttpRequest, number: int, verb: str) -> HttpResponse:
    """Start all planned drafts of a listing, or discard all drafts."""
    found = _find(number)
    commands = {"start": sending.start_send, "discard": sending.cancel_send}
    if verb not in commands:
        raise Http404
    drafts = Send.objects.filter(listing=found, state=SendState.DRAFT).order_by("pk")
    for send in drafts if verb == "discard" else drafts.filter(planned_at__isnull=False):
        try:
            commands[verb](send, request.user.get_username())
        except sending.WrongState as error:
            messages.error(request, str(error))
    return redirect("listing", number)


@needs("read_identifiers")
def listing_problems(request: HttpRequest, number: int) -> HttpResponseBase:
    """Export the lines of a list of paths that can't be used."""
    rows = path_lists.export(_find(number))
    return csv_response(rows, f"concordat-listing-{number}-lines.csv")


@needs("read_identifiers")
def listing_missing(request: HttpRequest, number: int) -> HttpResponseBase:
    """Export what of a list of UIDs was not found, or not whole."""
    rows = expectations.export(_find(number))
    return csv_response(rows, f"concordat-listing-{number}-missing.csv")
