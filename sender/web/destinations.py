"""Destinations: who we can send to, whether it answers, and how it is set up."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from sender.analytics import overview
from sender.analytics.history import HistoryQuery, find_associations
from sender.analytics.rates import RateQuery, acceptance, last_days, totals
from sender.models import Association, AssociationScope, ContextTemplate, Destination, Enquiry
from sender.negotiation.profiles import Limits
from sender.services import control, enquiries, gate, parked
from sender.services.destinations import (
    DestinationFacts,
    InvalidDestination,
    add_destination,
    change_destination,
    problems_of,
)
from sender.web.access import needs
from sender.web.control import OverrideForm
from sender.web.numbers import number_in
from sender.web.problems import given_to, readable, tell

PER_PAGE = 50
FIELDS = tuple(DestinationFacts.__dataclass_fields__)

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Destination]
else:
    _ModelForm = forms.ModelForm


class DestinationForm(_ModelForm):
    """What an administrator says of a destination; services decide whether it can be."""

    class Meta:
        model = Destination
        fields = FIELDS
        labels = {
            "address": "Address",
            "connect_timeout": "Connect, seconds",
            "tls_timeout": "TLS handshake, seconds",
            "acse_timeout": "Association answer, seconds",
            "progress_timeout": "No progress, seconds",
            "answer_timeout": "C-STORE answer, seconds",
            "maximum_length": "Maximum length received, bytes",
            "max_associations": "Associations at once",
            "retries": "Automatic attempts per instance after the first",
            "windows": "Windows: when it may be sent to",
            "profile": "Limits by time of day",
            "bytes_per_second": "Bytes per second",
            "instances_per_second": "Instances per second",
            "instances_per_association": "Instances per association",
            "association_scope": "One association carries",
            "sends_parked": "Send what waits for a fix as soon as a negotiation accepts it",
            "enabled": "Enabled: sends may go there",
            "tls": "TLS",
        }
        help_texts = {
            "ae_title": "Theirs, up to 16 characters.",
            "calling_ae_title": "Ours, as the other side must know it.",
            "tls": "TLS 1.2 or newer; their certificate is always verified.",
            "tls_ca_file": "On the sender's host. Empty: the system's authorities.",
            "tls_cert_file": "On the sender's host; only if they ask for one.",
            "tls_server_name": "Empty: the address.",
            "address": "Host name or IP address.",
            "windows": "Like mon-fri 20:00-06:00; sat,sun 00:00-24:00, in the site's time zone. "
            "Empty: at any time.",
            "profile": "One line each, like mon-fri 07:00-18:00: 2 MB/s, 10/s, 1 association. "
            "The first whose times fit counts.",
            "bytes_per_second": "Of all its associations together. Empty: no limit.",
            "instances_per_second": "Of all its associations together. Empty: no limit.",
            "instances_per_association": "Empty: no limit.",
        }
        widgets = {
            "notes": forms.Textarea(attrs={"rows": 3}),
            "windows": forms.TextInput(attrs={"spellcheck": "false"}),
            "profile": forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["association_scope"].required = False

    def clean_association_scope(self) -> str:
        """What was not said is as it is by default."""
        return self.cleaned_data["association_scope"] or AssociationScope.STUDIES.value

    def validate_unique(self) -> None:
        """Leave it to the service, which says it in its own words."""

    @property
    def facts(self) -> DestinationFacts:
        """What was filled in, as far as it could be read."""
        given = readable(self)
        return DestinationFacts(**{name: given[name] for name in FIELDS})

    def is_sound(self, changed: Destination | None = None) -> bool:
        """Tell whether a destination can be like this, everything that is wrong told at once."""
        is_valid = self.is_valid()
        problems = problems_of(self.facts, changed)
        tell(self, problems)
        return is_valid and not problems


@needs("read")
def destinations(request: HttpRequest) -> HttpResponse:
    """List destinations with how they did in the last 30 days."""
    text = request.GET.get("q", "").strip()[:80]
    wanted = Destination.objects.order_by("name")
    if text:
        wanted = wanted.filter(
            Q(name__icontains=text) | Q(ae_title__icontains=text) | Q(address__icontains=text)
        )
    page = Paginator(wanted, PER_PAGE).get_page(request.GET.get("page"))
    listed = list(page.object_list)
    first, last = last_days(30)
    strips = overview.strips(first, last, listed)
    newest = overview.newest_associations(listed)
    held = {
        hold.destination_id: hold
        for hold in gate.holds_in_force([found.pk for found in listed])
        if hold.destination_id is not None
    }
    rows = [
        (strip, newest.get(strip.destination.pk), held.get(strip.destination.pk))
        for strip in strips
    ]
    return render(request, "sender/destinations.html", {"rows": rows, "page": page, "text": text})


@needs("read")
def destination(request: HttpRequest, number: int) -> HttpResponse:
    """Show one destination: its facts, what it takes and its latest associations."""
    found = get_object_or_404(Destination.objects.select_related("pace"), pk=number)
    first, last = last_days(30)
    query = RateQuery(first, last, destination_id=found.pk)
    echoed = Association.objects.filter(destination=found, trigger="echo").order_by("-started_at")
    context = {
        "destination": found,
        "associations": find_associations(
            HistoryQuery(destination_id=found.pk), after=None, limit=10
        ).rows,
        "syntaxes": overview.syntax_rows(totals(acceptance(query)), {}),
        "strip": overview.strips(first, last, [found])[0],
        "templates": ContextTemplate.objects.filter(versions__context_count__gt=0).distinct(),
        "echo": echoed.select_related("peer_identity", "endpoint").first(),
        "sends": found.sends.order_by("-id")[:5],
        "revisions": found.revisions.count(),
        "certificates": found.certificates.all() if found.tls else [],
    }
    return render(request, "sender/destination.html", context | _standing(found))


def _standing(found: Destination) -> dict[str, Any]:
    """Return how a destination stands: what holds it back, its limits, what waits for a fix."""
    way = gate.look(found.pk)
    return {
        "closed": way.closed or way.awaited,
        "limits": Limits(
            found.bytes_per_second, found.instances_per_second, found.max_associations
        ),
        "overridden": control.is_overridden(found),
        "override": OverrideForm(),
        "past_holds": found.holds.filter(ended_at__isnull=False)[:10],
        "parked": [(pair, parked.parked_rows(found, pair)) for pair in found.parked.all()],
    }


@needs("configure")
def destination_add(request: HttpRequest) -> HttpResponse:
    """Add a destination."""
    form = DestinationForm(given_to(request), initial=_defaults())
    if form.is_bound and form.is_sound():
        try:
            made = add_destination(form.facts, actor=request.user.get_username(), confirmed=True)
        except InvalidDestination as error:
            tell(form, error.problems)
        else:
            messages.success(request, f"{made.name} was added. Echo it to see whether it answers.")
            return redirect("destination", made.pk)
    return render(request, "sender/destination_form.html", {"form": form})


def _defaults() -> dict[str, Any]:
    return {field.name: field.default for field in fields(DestinationFacts)[4:]}


@needs("configure")
def destination_change(request: HttpRequest, number: int) -> HttpResponse:
    """Change a destination; associations keep what it was then."""
    found = get_object_or_404(Destination, pk=number)
    # The form gets an own copy, so that a refused change leaves `found` as it is.
    form = DestinationForm(given_to(request), instance=Destination.objects.get(pk=number))
    if form.is_bound and form.is_sound(found):
        try:
            change_destination(found, form.facts, actor=request.user.get_username())
        except InvalidDestination as error:
            tell(form, error.problems)
        else:
            messages.success(request, f"{found.name} was changed.")
            return redirect("destination", number)
    context = {"form": form, "destination": Destination.objects.get(pk=number)}
    return render(request, "sender/destination_form.html", context)


@needs("operate")
@require_POST
def destination_echo(request: HttpRequest, number: int) -> HttpResponse:
    """Have the sender echo a destination."""
    found = get_object_or_404(Destination, pk=number)
    enquiry = enquiries.request_echo(found, requested_by=request.user.get_username())
    return redirect("destination_enquiry", enquiry.pk)


@needs("operate")
@require_POST
def destination_negotiate(request: HttpRequest, number: int) -> HttpResponse:
    """Have the sender propose a template to a destination, without data."""
    found = get_object_or_404(Destination, pk=number)
    template_id = request.POST.get("template", "")
    template = get_object_or_404(ContextTemplate, pk=number_in(template_id))
    try:
        enquiry = enquiries.request_negotiation(
            found, template.newest, requested_by=request.user.get_username()
        )
    except enquiries.NothingToPropose as error:
        messages.error(request, str(error))
        return redirect("destination", number)
    return redirect("destination_enquiry", enquiry.pk)


@needs("read")
def destination_enquiry(request: HttpRequest, number: int) -> HttpResponse:
    """Show how an echo or a negotiation goes, step by step; it is polled until it is over."""
    enquiry = get_object_or_404(
        Enquiry.objects.select_related("destination", "template_version__template"), pk=number
    )
    row = None
    if enquiry.association_uid is not None:
        row = (
            Association.objects.filter(uid=enquiry.association_uid)
            .select_related("peer_identity", "endpoint", "result_list")
            .first()
        )
    context: dict[str, Any] = {
        "enquiry": enquiry,
        "association": row,
        "destination": enquiry.destination,
    }
    if row is not None:
        context["steps"] = _steps(enquiry, row)
        context["certificates"] = enquiry.destination.certificates.filter(role="theirs")
    if request.headers.get("HX-Request"):
        status = 286 if enquiry.finished_at else 200
        return render(request, "sender/_enquiry.html", context, status=status)
    return render(request, "sender/enquiry.html", context)


def _steps(enquiry: Enquiry, row: Association) -> list[dict[str, Any]]:
    """Return the steps of a test with how each ended: True, False, or None (not reached)."""
    order = ["resolve", "connect", "tls", "negotiation", "transfer", "release"]
    if not enquiry.destination.tls:
        order.remove("tls")
    reached = order.index(row.phase) if row.phase in order else -1
    is_established = row.outcome == "established"
    names = {
        "resolve": "Host name resolved",
        "connect": "TCP connection",
        "tls": "TLS handshake, certificate verified",
        "negotiation": "Association",
        "transfer": "C-ECHO",
        "release": "Release",
    }
    found = []
    for index, phase in enumerate(order):
        if phase == "transfer" and enquiry.kind != "echo":
            continue
        went_well: bool | None = index < reached or (index == reached and row.ended == "released")
        if phase == "transfer":
            went_well = enquiry.status == 0 if is_established else None
        elif index > reached:
            went_well = None
        elif phase == "negotiation":
            went_well = row.outcome in ("established", "no_context_accepted")
        microseconds = getattr(row, f"{phase}_us")
        found.append(
            {
                "name": names[phase],
                "went_well": went_well,
                "seconds": None if microseconds is None else microseconds / 1_000_000,
            }
        )
    return found
