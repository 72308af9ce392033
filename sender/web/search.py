"""One search field for everything: numbers, UIDs, AE titles, names."""

import uuid
from dataclasses import dataclass

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from sender.analytics import studies
from sender.models import (
    AbstractSyntax,
    Association,
    ContextTemplate,
    Destination,
    InstanceAttempt,
    Send,
    TransferSyntax,
)
from sender.web.access import may, needs
from sender.web.numbers import number_in

MOST = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that the text names."""

    kind: str
    name: str
    address: str


@needs("read")
def search(request: HttpRequest) -> HttpResponse:
    """Go to what the text names; show a list where it names several things."""
    text = request.GET.get("q", "").strip().replace("\0", "")[:128]
    hits = _find(text, with_identifiers=may(request.user, "read_identifiers")) if text else []
    if len(hits) == 1:
        return redirect(hits[0].address)
    return render(request, "sender/search.html", {"hits": hits, "search_text": text})


def _find(text: str, *, with_identifiers: bool) -> list[Hit]:
    hits = [*_by_number(text), *_by_uuid(text)]
    # A number, too, is part of many a syntax's name, but who types one means what has it.
    hits += _by_name(text) if hits else [*_by_name(text), *_by_syntax(text)]
    if with_identifiers and "." in text:
        hits += _by_identifier(text)
    return hits


def _by_number(text: str) -> list[Hit]:
    number = number_in(text)
    if number is None:
        return []
    hits = [
        Hit("Send", str(send), reverse("send", args=[number]))
        for send in Send.objects.filter(pk=number)
    ]
    if Association.objects.filter(pk=number).exists():
        hits.append(
            Hit("Association", f"Association {number}", reverse("association", args=[number]))
        )
    return hits


def _by_uuid(text: str) -> list[Hit]:
    try:
        wanted = uuid.UUID(text)
    except ValueError:
        return []
    return [
        Hit("Association", f"Association {row.pk}", reverse("association", args=[row.pk]))
        for row in Association.objects.filter(uid=wanted)
    ]


def _by_name(text: str) -> list[Hit]:
    destinations = Destination.objects.filter(
        Q(name__icontains=text) | Q(ae_title__iexact=text) | Q(address__iexact=text)
    )
    templates = ContextTemplate.objects.filter(name__icontains=text)
    sends = Send.objects.filter(name__icontains=text).order_by("-pk")
    return [
        *(
            Hit("Destination", d.name, reverse("destination", args=[d.pk]))
            for d in destinations[:MOST]
        ),
        *(Hit("Template", t.name, reverse("template", args=[t.pk])) for t in templates[:MOST]),
        *(Hit("Send", str(s), reverse("send", args=[s.pk])) for s in sends[:MOST]),
    ]


def _by_syntax(text: str) -> list[Hit]:
    history = reverse("history")
    wanted = Q(uid=text) | Q(name__icontains=text)
    return [
        *(
            Hit("Transfer syntax", row.name, f"{history}?transfer_syntax={row.uid}")
            for row in TransferSyntax.objects.filter(wanted)[:MOST]
        ),
        *(
            Hit("SOP class", row.name, f"{history}?abstract_syntax={row.uid}")
            for row in AbstractSyntax.objects.filter(wanted)[:MOST]
        ),
    ]


def _by_identifier(text: str) -> list[Hit]:
    if studies.is_known(text):
        return [Hit("Study", text, reverse("study", args=[text]))]
    attempts = InstanceAttempt.objects.filter(sop_instance_uid=text).order_by("-attempt_id")
    uids = list(attempts.values_list("attempt_id", flat=True)[:MOST])
    return [
        Hit("Instance in", f"Association {row.pk}", reverse("association", args=[row.pk]))
        for row in Association.objects.filter(uid__in=uids)
    ]
