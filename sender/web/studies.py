"""Studies: how complete they arrived, send by send, and the journey of each."""

from itertools import islice

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render

from sender.analytics import studies
from sender.models import Send
from sender.negotiation.uids import is_valid_uid
from sender.services import again
from sender.web.access import may, needs
from sender.web.exports import csv_response

PER_PAGE = 100


@needs("read_identifiers")
def send_studies(request: HttpRequest, number: int) -> HttpResponse:
    """List the studies of a send, all or those that did not arrive whole."""
    found = get_object_or_404(Send.objects.select_related("destination"), pk=number)
    only_incomplete = request.GET.get("incomplete") == "1"
    after = request.GET.get("after", "")[:64]
    rows = studies.studies_of(found, only_incomplete=only_incomplete, after=after)
    page = list(islice(rows, PER_PAGE + 1))
    may_retry = again.is_retriable(found) and may(request.user, "operate")
    incomplete = [row.uid for row in page if row.not_sent]
    context = {
        "send": found,
        "rows": page[:PER_PAGE],
        "following": page[PER_PAGE - 1].uid if len(page) > PER_PAGE else "",
        "after": after,
        "only_incomplete": only_incomplete,
        "summary": studies.summary_of(found),
        "may_retry": may_retry,
        "retriable": again.retriable_studies(found, incomplete) if may_retry else set(),
    }
    return render(request, "sender/send_studies.html", context)


@needs("read_identifiers")
def send_studies_csv(request: HttpRequest, number: int) -> HttpResponseBase:
    """Export the account of a send by study."""
    found = get_object_or_404(Send, pk=number)
    only_incomplete = request.GET.get("incomplete") == "1"
    kind = "incomplete-studies" if only_incomplete else "studies"
    rows = studies.export_studies(found, only_incomplete=only_incomplete)
    return csv_response(rows, f"concordat-send-{number}-{kind}.csv")


@needs("read_identifiers")
def study(request: HttpRequest, uid: str) -> HttpResponse:
    """Show where a study went, when, how completely, in which syntax, by whom."""
    if not is_valid_uid(uid) or not studies.is_known(uid):
        raise Http404
    context = {"uid": uid, "journeys": studies.journeys(uid)}
    return render(request, "sender/study.html", context)
