"""Sends: ordered, previewed, started, watched, cancelled, retried, accounted for."""

from datetime import datetime
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from sender.analytics import outlook, studies
from sender.analytics import sends as accounts
from sender.models import Listing, Send, SendItem, SendState
from sender.models.sends import ENDED_STATES
from sender.models.sources import CONFLICT
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import again, control, gate, waits
from sender.web.access import may, needs
from sender.web.control import OverrideForm
from sender.web.exports import csv_response
from sender.web.listings import findings_of
from sender.web.numbers import number_in
from sender.web.words import INSTANCES, say_nothing_to_send

PER_PAGE = 50
TABS: dict[str, tuple[str, tuple[SendState, ...]]] = {
    "open": (
        "Open",
        tuple(state for state in SendState if state not in ENDED_STATES and state != "draft"),
    ),
    "draft": ("Drafts", (SendState.DRAFT,)),
    "ended": ("Ended", tuple(ENDED_STATES)),
    "failed": ("Not all sent", (SendState.PARTIAL, SendState.FAILED, SendState.ERRORED)),
}
STOPPED_POLLING = 286
MOST_PICKS = 5


@needs("read")
def sends(request: HttpRequest) -> HttpResponse:
    """List sends by what they wait for."""
    tab = request.GET.get("tab", "")
    wanted = Send.objects.select_related("destination", "template_version__template")
    if tab in TABS:
        wanted = wanted.filter(state__in=TABS[tab][1])
    page = Paginator(wanted.order_by("-id"), PER_PAGE).get_page(request.GET.get("page"))
    listed = list(page.object_list)
    counts_of = accounts.counts_of(listed)
    rows = [(send, counts_of[send.pk]) for send in listed]
    empty = _empty([send for send, counts in rows if not sum(counts.values())])
    states = dict(Send.objects.order_by().values_list("state").annotate(n=Count("id")))
    context = {
        "rows": [
            (send, counts, sum(counts.values()) if send.planned_at else None, empty.get(send.pk))
            for send, counts in rows
        ],
        "page": page,
        "tab": tab,
        "tabs": [
            (name, word, sum(states.get(state, 0) for state in members))
            for name, (word, members) in TABS.items()
        ],
    }
    return render(request, "sender/sends.html", context)


def _empty(without_rows: list[Send]) -> dict[int, str]:
    """Return, by send, why there was nothing to send; only of those that succeeded."""
    found = [send for send in without_rows if send.state == SendState.SUCCEEDED]
    if not found:
        return {}
    wanted = Listing.objects.filter(pk__in=[send.listing_id for send in found])
    excluded: dict[int, dict[str, int]] = dict(wanted.values_list("pk", "excluded"))
    return {
        send.pk: say_nothing_to_send(
            excluded=sum(excluded.get(send.listing_id or 0, {}).values()),
            already_there=send.already_there,
        )
        for send in found
    }


def _find(number: int) -> Send:
    wanted: QuerySet[Send] = Send.objects.select_related(
        "destination__pace", "template_version__template", "listing"
    )
    return get_object_or_404(wanted, pk=number)


@needs("read")
def send(request: HttpRequest, number: int) -> HttpResponse:
    """Show a send: its plan while it is a draft, then how far it is and what will not arrive."""
    return render(request, "sender/send.html", _describe(_find(number), request))


@needs("read")
def send_progress(request: HttpRequest, number: int) -> HttpResponse:
    """Return the part of a send's page that changes; 286 ends the polling."""
    found = _find(number)
    context = _describe(found, request)
    status = 200 if context["is_live"] else STOPPED_POLLING
    return render(request, "sender/_send.html", context, status=status)


def _describe(found: Send, request: HttpRequest) -> dict[str, Any]:
    is_draft = found.state == SendState.DRAFT
    context: dict[str, Any] = {
        "send": found,
        "is_draft": is_draft,
        "is_live": not found.is_ended and not (is_draft and found.planned_at),
        "poll_seconds": 10 if found.state == SendState.PAUSED else 2,
        "sees_identifiers": may(request.user, "read_identifiers"),
        "override": OverrideForm(),
        "overridden": control.is_overridden(found),
        "can_pause": found.state in control.PAUSABLE and not found.control,
        "listing": found.listing,
        "found": findings_of(found.listing, sees_identifiers=may(request.user, "read_identifiers")),
        "shares": Send.objects.filter(listing=found.listing).count() if found.listing else 1,
    }
    if is_draft:
        return context | {"outlook": _outlook(found)}
    progress = accounts.progress(found)
    closed = None if found.is_ended else gate.why_closed(found)
    waits_for = None if found.is_ended else waits.waits_for(found)
    at_work = accounts.at_work(found)
    is_held = bool(closed or waits_for or found.is_ended)
    moves = not is_held and accounts.may_move(found, at_work)
    is_told = moves or found.is_ended
    expected, may_retry = _outlook(found), again.is_retriable(found)
    left_to_take_up = waits.what_is_left_to_take_up(found)
    groups = accounts.failure_groups(found)
    if not context["sees_identifiers"]:
        groups = [group for group in groups if not accounts.names_a_file(group)]
    return context | {
        "progress": progress,
        "empty": "" if progress.total else _empty([found]).get(found.pk, ""),
        "announced": int(progress.fraction * 10) * 10,
        "groups": groups,
        "picks": _latest_picks(found, groups),
        "kinds": accounts.kinds(found),
        "studies": studies.summary_of(found),
        "at_work": at_work,
        "knows_end": moves or (closed is not None and closed.by == gate.By.WINDOW),
        "associations": accounts.associations_of(found),
        "closed": closed,
        "waits_for": waits_for,
        "left_to_take_up": left_to_take_up,
        "left_to_cancel": waits.what_is_left_to_cancel(found),
        "run_by": waits.run_by(found),
        "slowed_by": "" if found.is_ended else waits.slowed_by(found),
        "outlook": expected,
        "rate": expected.rate if expected and progress.delivered and is_told else None,
        "waiting": accounts.waiting(found),
        "held_until": _held_until(closed),
        "may_retry": may_retry,
        "can_retry_part": may_retry and any(group.retriable for group in groups),
        "can_retry": may_retry
        and not left_to_take_up
        and progress.counts[InstanceOutcome.FAILED] + progress.counts[InstanceOutcome.UNKNOWN] > 0,
        "may_take_up": progress.counts[InstanceOutcome.CANCELLED]
        if may_retry and found.is_wholly_planned
        else 0,
    }


def _latest_picks(found: Send, groups: list[accounts.FailureGroup]) -> list[Send]:
    """Return the latest sends that were made for files of conflicts of a send."""
    if all(group.reason != CONFLICT for group in groups):
        return []
    return [pick.send for pick in again.picks_of(found).values()][-MOST_PICKS:]


def _held_until(closed: gate.Closed | None) -> datetime | None:
    """Return when what closes a send's way ends or is tried next; None: nobody can tell."""
    if closed is None:
        return None
    at = closed.until or (closed.hold.probe_at if closed.hold else None)
    return at if at and at > timezone.now() else None


def _outlook(found: Send) -> outlook.Outlook | None:
    """Return what is to be expected of a send; None: it is not planned yet."""
    return outlook.outlook(found) if found.planned_at else None


@needs("operate")
def send_cancel(request: HttpRequest, number: int) -> HttpResponse:
    """Ask before a send is cancelled."""
    return render(request, "sender/send_cancel.html", {"send": _find(number)})


@needs("read")
def send_csv(request: HttpRequest, number: int) -> HttpResponseBase:
    """Export what became of every row; UIDs and file names only for those who may see them."""
    found = _find(number)
    rows = accounts.export_rows(found, with_identifiers=may(request.user, "read_identifiers"))
    return csv_response(rows, f"concordat-send-{number}.csv")


@needs("read_identifiers")
def send_instances(request: HttpRequest, number: int) -> HttpResponse:
    """List the rows of a send, with UIDs and paths, page by page at the same cost."""
    found = _find(number)
    outcome = request.GET.get("outcome", "")
    reason = request.GET.get("reason", "")[:600]
    after = request.GET.get("after", "")
    wanted = SendItem.objects.filter(send=found).order_by("position")
    if outcome in {o.value for o in InstanceOutcome}:
        wanted = wanted.filter(outcome=outcome)
    if reason:
        wanted = wanted.filter(reason=reason)
    if (position := number_in(after)) is not None:
        wanted = wanted.filter(position__gt=position)
    wanted = wanted.select_related("sent_as", "file__folder", "part__kind", "send__listing")
    rows = list(wanted[: PER_PAGE + 1])
    statuses = {row.pk: row.status for row in rows[:PER_PAGE]}
    counts = accounts.progress(found).counts
    conflicts = [row for row in rows if row.reason == CONFLICT]
    picks = again.picks_of(found) if conflicts else {}
    decided = again.picks_for(found, picks, {row.file.sop_instance_uid for row in conflicts})
    context = {
        "send": found,
        "rows": rows[:PER_PAGE],
        "remarks": accounts.remarks(found, statuses),
        "total": counts[InstanceOutcome(outcome)] if outcome in counts else sum(counts.values()),
        "after": after,
        "following": rows[PER_PAGE - 1].position if len(rows) > PER_PAGE else "",
        "outcome": outcome,
        "reason": reason,
        "outcomes": [(choice, INSTANCES[choice].word) for choice in INSTANCES],
        "may_pick": bool(conflicts) and may(request.user, "operate"),
        "picks": {row.pk: picks.get(row.file.path) for row in conflicts},
        "decided": {row.pk: decided.get(row.file.sop_instance_uid) for row in conflicts},
    }
    return render(request, "sender/send_instances.html", context)
