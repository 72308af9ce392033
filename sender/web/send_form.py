"""Ordering sends: from where, which files, to whom, when.

The plan is shown before anything leaves.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from django import forms
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render

from sender.models import ContextTemplate, Destination, StudyOrder, TemplateVersion
from sender.models.sends import URGENT
from sender.negotiation.rules import DERIVED_FROM_FILES
from sender.negotiation.selection import InvalidSelection
from sender.services import expectations, sending
from sender.services.installation import site_zone
from sender.web.access import needs
from sender.web.numbers import number_in
from sender.web.send_parts import MannerForm, SourcesForm
from sender.web.send_rules import RulesForm

MOST_TARGETS = 50
Target = tuple[Destination, TemplateVersion]


@dataclass(slots=True)
class TargetRow:
    """A destination and a template as chosen in the form.

    Attributes:
        destination, template: what was sent, "" for nothing.
    """

    destination: str
    template: str
    error: str = ""


def _target_rows(given: QueryDict) -> list[TargetRow]:
    templates = given.getlist("template")
    default = _default_template()
    rows = [
        TargetRow(destination, templates[index] if index < len(templates) else default)
        for index, destination in enumerate(given.getlist("destination")[:MOST_TARGETS])
    ]
    return rows or [TargetRow("", default)]


def _default_template() -> str:
    found = ContextTemplate.objects.filter(name=DERIVED_FROM_FILES.name).first()
    return str(found.pk) if found else ""


def _targets(rows: list[TargetRow]) -> list[Target]:
    """Return what the rows mean; rows that mean nothing get their error."""
    found: dict[int, Target] = {}
    for row in rows:
        if not row.destination:
            continue
        destination = _by_key(Destination.objects.filter(enabled=True), row.destination)
        template = _by_key(ContextTemplate.objects.all(), row.template)
        if destination is None:
            row.error = "There is no such destination, or it is disabled."
        elif template is None:
            row.error = "There is no such template."
        elif destination.pk in found:
            row.error = f"{destination} stands here twice."
        else:
            found[destination.pk] = destination, template.newest
    if not found and not any(row.error for row in rows):
        rows[0].error = "Choose a destination."
    return list(found.values())


def _by_key(rows: Any, key: str) -> Any:
    return rows.filter(pk=number_in(key)).first()


class Parts(NamedTuple):
    """The parts of the form."""

    where: SourcesForm
    rules: RulesForm
    manner: MannerForm


@needs("operate")
def send_new(request: HttpRequest) -> HttpResponse:
    """Order sends: they become drafts whose plans are shown before anything leaves."""
    chosen = [key for key in map(number_in, request.GET.getlist("upload")) if key is not None]
    if request.method != "POST":
        return _page(request, _empty({"uploads": chosen}, chosen), _target_rows(request.GET))
    rows = _target_rows(request.POST)
    if "add_row" in request.POST:
        rows.append(TargetRow("", _default_template()))
        return _page(request, _empty(_typed(request.POST), chosen), rows)
    files = request.FILES or None
    parts = Parts(
        SourcesForm(request.POST, files, chosen=chosen),
        RulesForm(request.POST, files),
        MannerForm(request.POST),
    )
    targets = _targets(rows)
    valid = [part.is_valid() for part in parts]
    if not all(valid) or any(row.error for row in rows):
        return _page(request, parts, rows)
    try:
        sends = sending.create_sends(_order(request, parts, targets), targets, start=False)
    except sending.InvalidSource as error:
        parts.where.add_error("sources", str(error))
    except InvalidSelection as error:
        parts.rules.add_error("tags", str(error))
    except sending.WrongState as error:
        rows[0].error = str(error)
    else:
        listing = sends[0].listing_id or 0
        return redirect("listing", listing) if sends[1:] else redirect("send", sends[0].pk)
    return _page(request, parts, rows)


def _empty(initial: dict[str, Any], chosen: list[int]) -> Parts:
    """Return forms that complain about nothing."""
    return Parts(
        SourcesForm(chosen=chosen, initial=initial),
        RulesForm(initial=initial),
        MannerForm(initial={"zone": site_zone().key} | initial),
    )


def _typed(given: QueryDict) -> dict[str, Any]:
    """Return what was typed, to be shown again; files have to be chosen anew."""
    typed: dict[str, Any] = {name: given[name] for name in given}
    checks = {name: name in given for name in ("only_new", "urgent")}
    return typed | checks | {"uploads": given.getlist("uploads")}


def _order(request: HttpRequest, parts: Parts, targets: list[Target]) -> sending.SendOrder:
    where, rules, manner = (part.cleaned_data for part in parts)
    return sending.SendOrder(
        *targets[0],
        sources=where["all_sources"],
        requested_by=request.user.get_username(),
        name=manner["name"],
        retries=manner["retries"],
        path_list=where["path_list"],
        selection=rules["selection"],
        expected=expectations.of_list(rules["listed_uids"]),
        study_order=StudyOrder(manner["study_order"] or StudyOrder.LISTED),
        windows=manner["windows"],
        zone=manner["zone"],
        finish_by=manner["finish_by"],
        only_new=manner["only_new"],
        priority=URGENT if manner["urgent"] else 0,
    )


def _page(request: HttpRequest, parts: Parts, rows: list[TargetRow]) -> HttpResponse:
    has_errors = any(part.errors for part in parts) or any(row.error for row in rows)
    context = {
        "where": parts.where,
        "rules": parts.rules,
        "manner": parts.manner,
        "rows": rows,
        "has_errors": has_errors,
        "opens_lists": _is_touched(parts.where, but=("sources", "uploads")),
        "opens_rules": _is_touched(parts.rules),
        "opens_manner": _is_touched(parts.manner, but=("name", "zone", "study_order")),
        "destinations": Destination.objects.filter(enabled=True),
        "templates": ContextTemplate.objects.all(),
        "roots": sending.source_roots(),
    }
    return render(request, "sender/send_form.html", context)


def _is_touched(form: forms.Form, but: tuple[str, ...] = ()) -> bool:
    """Tell whether a part of the form has errors or values, so that it is shown open."""
    names = [name for name in form.fields if name not in but]
    return any(form[name].errors or form[name].value() for name in names)
