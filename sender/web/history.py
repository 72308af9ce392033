"""The negotiation history: found by filters in the address, and one association in full."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, render

from sender.analytics.history import (
    Cursor,
    HistoryQuery,
    as_document,
    associations,
    find_associations,
    seconds_document,
)
from sender.models import (
    AbstractSyntax,
    Association,
    ContextTemplate,
    Destination,
    InstanceAttempt,
    SendItem,
    TransferSyntax,
    Trigger,
)
from sender.models.reading import contexts_of, strays_of
from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.outcomes import AssociationKind, ContextOutcome, InstanceOutcome
from sender.services.installation import site_zone
from sender.services.records import verify_record
from sender.web import words
from sender.web.access import may, needs
from sender.web.exports import csv_response

PER_PAGE = 50
MOST_EXPORTED_AS_JSON = 1000
CSV_COLUMNS = (
    "number", "association", "started_at", "destination", "called_ae_title", "template",
    "trigger", "send", "outcome", "ended", "phase", "detail", "contexts", "accepted",
    "instances", "implementation_version_name",
)  # fmt: skip


@dataclass(slots=True)
class Filters:
    """What the address asks for, what of it could not be understood, and how to say it."""

    query: HistoryQuery = field(default_factory=HistoryQuery)
    chips: list[tuple[str, str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    after: Cursor | None = None


def read_filters(parameters: QueryDict) -> Filters:
    """Read the filters of the history; a value that is wrong is named and left out."""
    filters = Filters()
    for name, read in _READERS.items():
        text = parameters.get(name, "").strip()[:200]
        if not text:
            continue
        try:
            changes, word = read(text)
        except (ValueError, LookupError, OverflowError):
            filters.ignored.append(f"{name} “{text[:64]}”")
            continue
        if "after" in changes:
            filters.after = changes["after"]
        else:
            filters.query = replace(filters.query, **changes)
            filters.chips.append((name, _LABELS[name], word))
    return filters


Found = tuple[dict[str, Any], str]


def _read_destination(text: str) -> Found:
    found = Destination.objects.filter(pk=int(text)).first()
    if found is None:
        raise LookupError
    return {"destination_id": found.pk}, found.name


def _read_template(text: str) -> Found:
    found = ContextTemplate.objects.filter(pk=int(text)).first()
    if found is None:
        raise LookupError
    return {"template_id": found.pk}, found.name


def _read_syntax(text: str) -> Found:
    found = TransferSyntax.objects.get(uid=text)
    return {"transfer_syntax": found.uid}, found.name


def _read_sop_class(text: str) -> Found:
    found = AbstractSyntax.objects.get(uid=text)
    return {"abstract_syntax": found.uid}, found.name


def _read_answer(text: str) -> Found:
    word, verdicts = words.ANSWERS[text]
    return {"verdicts": verdicts}, word


def _read_outcome(text: str) -> Found:
    kind = AssociationKind(text)
    return {"outcome": kind.value}, words.ASSOCIATIONS[kind].word


def _read_negotiated(text: str) -> Found:
    return {"is_negotiated": {"yes": True, "no": False}[text]}, text


def _read_trigger(text: str) -> Found:
    return {"trigger": Trigger(text).value}, words.TRIGGERS[text]


def _read_send(text: str) -> Found:
    number = int(text)
    if not 0 < number < 1 << 62:
        raise ValueError
    return {"send": number}, text


def _read_instant(text: str) -> datetime:
    """Read a site-local day (its first moment) or an instant."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=site_zone() if len(text) == 10 else ZoneInfo("UTC"))
    return moment.astimezone(UTC)


def _read_since(text: str) -> Found:
    return {"since": _read_instant(text)}, text


def _read_until(text: str) -> Found:
    return {"until": _read_instant(text)}, text


def _read_study(text: str) -> Found:
    return {"study": text[:64]}, text[:64]


def _read_after(text: str) -> Found:
    microseconds, _, number = text.partition("-")
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(microseconds))
    return {"after": Cursor(moment, int(number))}, ""


_READERS = {
    "destination": _read_destination,
    "template": _read_template,
    "transfer_syntax": _read_syntax,
    "abstract_syntax": _read_sop_class,
    "answer": _read_answer,
    "outcome": _read_outcome,
    "negotiated": _read_negotiated,
    "trigger": _read_trigger,
    "send": _read_send,
    "since": _read_since,
    "until": _read_until,
    "study": _read_study,
    "after": _read_after,
}
_LABELS = {
    "destination": "Destination",
    "template": "Template",
    "transfer_syntax": "Transfer syntax",
    "abstract_syntax": "SOP class",
    "answer": "Answer",
    "outcome": "Outcome",
    "negotiated": "Negotiated",
    "trigger": "For",
    "send": "Send",
    "since": "From",
    "until": "Before",
    "study": "Study Instance UID",
}


def _write_cursor(cursor: Cursor) -> str:
    delta = cursor.started_at - datetime.fromtimestamp(0, UTC)
    return f"{delta // timedelta(microseconds=1)}-{cursor.association_id}"


@needs("read")
def history(request: HttpRequest) -> HttpResponse:
    """List associations, newest first."""
    filters = _allowed(request)
    page = find_associations(filters.query, after=filters.after, limit=PER_PAGE)
    context = {
        "filters": filters,
        "values": request.GET,
        "associations": page.rows,
        "next": _write_cursor(page.after) if page.after else "",
        "is_first": filters.after is None,
        "destinations": Destination.objects.order_by("name"),
        "transfer_syntaxes": TransferSyntax.objects.order_by("name"),
        "abstract_syntaxes": AbstractSyntax.objects.order_by("name"),
        "answers": [(value, word) for value, (word, _) in words.ANSWERS.items()],
        "outcomes": [(kind.value, mark.word) for kind, mark in words.ASSOCIATIONS.items()],
        "triggers": list(words.TRIGGERS.items()),
        "show_destination": True,
    }
    return render(request, "sender/history.html", context)


def _allowed(request: HttpRequest) -> Filters:
    """Read the filters; whoever may not see identifiers may not filter by them either."""
    parameters = request.GET.copy()
    if not may(request.user, "read_identifiers"):
        parameters.pop("study", None)
    return read_filters(parameters)


@needs("read")
def history_csv(request: HttpRequest) -> HttpResponseBase:
    """Export the associations that the filters find."""
    wanted = associations(_allowed(request).query).order_by("-started_at", "-id")

    def rows() -> Iterator[tuple[object, ...]]:
        yield CSV_COLUMNS
        for row in wanted.iterator(chunk_size=500):
            revision, peer = row.destination_revision, row.peer_identity
            yield (
                row.pk, row.uid, row.started_at.isoformat(), revision.name,
                revision.called_ae_title, row.template_version, row.trigger, row.send_number,
                row.outcome, row.ended, row.phase, row.detail, row.definition_list.context_count,
                row.result_list.accepted_count, row.instances,
                peer.implementation_version_name if peer else "",
            )  # fmt: skip

    return csv_response(rows(), "concordat-history.csv")


@needs("read")
def history_json(request: HttpRequest) -> HttpResponse:
    """Export the newest associations that the filters find, contexts included."""
    page = find_associations(_allowed(request).query, after=None, limit=MOST_EXPORTED_AS_JSON)
    documents = [as_document(row) for row in page.rows]
    return JsonResponse(documents, safe=False, json_dumps_params={"indent": 1})


def _find(number: int) -> Association:
    wanted = Association.objects.select_related(
        "destination_revision",
        "template_version__template",
        "peer_identity",
        "result_list",
        "definition_list",
        "endpoint",
        "tls_session",
    )
    return get_object_or_404(wanted, pk=number)


@needs("read")
def association_json(_request: HttpRequest, number: int) -> HttpResponse:
    """Return an association as the command line's JSON."""
    return JsonResponse(as_document(_find(number)), json_dumps_params={"indent": 2})


@needs("read")
def association(request: HttpRequest, number: int) -> HttpResponse:
    """Show what was proposed, what the peer answered and why, and what travelled."""
    row = _find(number)
    contexts = contexts_of(row)
    traffic = {t.presentation_context_id: t for t in row.traffic.all()}
    previous = (
        Association.objects.filter(destination_id=row.destination_id, pk__lt=row.pk)
        .exclude(result_list_id=0)
        .order_by("-started_at", "-id")
        .select_related("result_list", "definition_list")
        .first()
    )
    context = {
        "row": row,
        "contexts": [_describe(c, traffic.get(c.proposed.context_id)) for c in contexts],
        "accepted": sum(1 for c in contexts if c.is_accepted),
        "strays": strays_of(row),
        "counts": _instance_counts(row),
        "consequence": _consequence(row, contexts),
        "rejection": _say_rejection(row),
        "timeline": _timeline(row),
        "pdus": [
            (link.sent, link.pdu.name, bytes(link.pdu.content))
            for link in row.pdus.select_related("pdu").order_by("position")
        ],
        "studies": row.studies.order_by("study_instance_uid")
        if may(request.user, "read_identifiers")
        else None,
        "study_count": row.studies.count(),
        "previous": previous,
        "differences": _differences(contexts, previous),
        "is_intact": verify_record(row),
    }
    return render(request, "sender/association.html", context)


def _describe(context: ContextOutcome, traffic: Any) -> dict[str, Any]:
    code = context.result
    known = code in words.RESULTS
    return {
        "proposed": context.proposed,
        "verdicts": [
            (uid, verdict.value, words.VERDICTS[verdict])
            for uid, verdict in context.verdicts.items()
        ],
        "outcome": context,
        "code": code,
        "says": words.RESULTS[code] if known and code is not None else "",
        "remedy": words.REMEDIES.get(code, "") if code is not None else "",
        "instances": traffic.instances if traffic else 0,
        "bytes": traffic.bytes if traffic else 0,
    }


def _instance_counts(row: Association) -> dict[str, int]:
    attempts = InstanceAttempt.objects.filter(attempt_id=row.uid).order_by()
    counts: dict[str, int] = {}
    for outcome, conversion in attempts.values_list("outcome", "conversion"):
        counts[outcome] = counts.get(outcome, 0) + 1
        if conversion != "none":
            counts["converted"] = counts.get("converted", 0) + 1
    return counts


def _consequence(row: Association, contexts: tuple[ContextOutcome, ...]) -> dict[str, Any]:
    """Say what the answers meant for the data: colour follows this, not a mere rejection."""
    counts = _instance_counts(row)
    failed = counts.get(InstanceOutcome.FAILED, 0) + counts.get(InstanceOutcome.UNKNOWN, 0)
    accepted = sum(1 for context in contexts if context.is_accepted)
    if row.outcome not in (AssociationKind.ESTABLISHED, AssociationKind.NO_CONTEXT_ACCEPTED):
        return {"tone": "bad", "text": row.detail or "The association was not established."}
    said = [f"{accepted} of {len(contexts)} contexts accepted."]
    tone = "good" if accepted else "caution"
    if row.instances:
        delivered = counts.get(InstanceOutcome.SENT, 0) + counts.get(InstanceOutcome.WARNING, 0)
        said.append(f"{delivered:,} of {row.instances:,} instances stored by the peer.")
    if counts.get("converted"):
        said.append(f"{counts['converted']:,} were converted before sending.")
    refused = _refused(row)
    if refused:
        tone = "caution"
        said.append(f"{refused:,} not sent: no accepted presentation context.")
    if failed:
        tone = "bad"
        said.append(f"{failed:,} failed or are unknown.")
    if row.ended not in ("released", ""):
        tone = "bad"
        said.append(row.detail or f"It ended: {words.ENDED[row.ended]}.")
    return {"tone": tone, "text": " ".join(said)}


def _refused(row: Association) -> int:
    """Return how many instances of its send this association could not carry."""
    if row.send_number is None:
        return 0
    items = SendItem.objects.filter(
        send_id=row.send_number,
        outcome=InstanceOutcome.UNSENDABLE,
        last_attempt=row.uid,
        attempts=0,
    )
    return items.count()


def _say_rejection(row: Association) -> dict[str, str] | None:
    if row.reject_result is None or row.reject_source is None or row.reject_reason is None:
        return None
    return {
        "text": words.say_rejection(row.reject_result, row.reject_source, row.reject_reason),
        "remedy": words.REJECTION_REMEDIES.get((row.reject_source, row.reject_reason), ""),
    }


_PHASES = {
    "resolve": "Host name resolved",
    "connect": "TCP connection",
    "tls": "TLS handshake",
    "negotiation": "A-ASSOCIATE",
    "transfer": "Transfer",
    "release": "A-RELEASE",
}


def _timeline(row: Association) -> list[dict[str, Any]]:
    """Return the phases with when each began, in seconds from the start, and how long it took."""
    found, clock = [], 0.0
    for phase, spent in seconds_document(row).items():
        if spent is None:
            continue
        found.append({"name": _PHASES[phase], "at": clock, "seconds": spent})
        clock += spent
    return found


def _differences(contexts: tuple[ContextOutcome, ...], previous: Association | None) -> list[str]:
    """Say what the peer answers differently from the association before, pair by pair."""
    if previous is None:
        return []
    now, before = _answers(contexts), _answers(contexts_of(previous))
    return [
        f"{pair[0]}, {pair[1]}: {' and '.join(sorted(before[pair]))} then, "
        f"{' and '.join(sorted(now[pair]))} now"
        for pair in sorted(now.keys() & before.keys())
        if now[pair] != before[pair]
    ][:40]


def _answers(contexts: tuple[ContextOutcome, ...]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for context in contexts:
        for uid, verdict in context.verdicts.items():
            pair = (
                sop_classes.name_of(context.proposed.abstract_syntax),
                syntaxes.short_name_of(uid),
            )
            found.setdefault(pair, set()).add(words.VERDICTS[verdict].word.lower())
    return found
