"""Context templates: what is proposed, in versions that never change."""

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import slugify

from sender.models import ContextTemplate, NegotiationDay, TemplateVersion
from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.contexts import MAXIMUM_CONTEXTS
from sender.negotiation.rules import (
    LONGEST_NAME,
    InvalidTemplate,
    TemplateSpec,
    diff,
    lint,
    parse,
    parse_json,
    to_document,
)
from sender.services.templates import BuiltIn, save_version
from sender.web.access import needs
from sender.web.context_forms import ContextFormSet, TemplateForm, document_of, rows_of
from sender.web.numbers import number_in
from sender.web.problems import given_to

LARGEST_FILE_BYTES = 1 << 20
EVERY_ROW = {"empty_permitted": False, "use_required_attribute": False}
"""Rows that nobody touched are read like all others; empty ones are left out afterwards."""


class TemplateFileForm(forms.Form):
    """A template file to import."""

    file = forms.FileField(help_text="A template file (JSON), as the download of a template.")


@needs("read")
def templates(request: HttpRequest) -> HttpResponse:
    """List the templates."""
    listed = ContextTemplate.objects.prefetch_related("versions")
    rows = [(template, template.versions.all()[0]) for template in listed]
    return render(request, "sender/templates.html", {"rows": rows})


@needs("read")
def template(request: HttpRequest, number: int, version: int | None = None) -> HttpResponse:
    """Show a version of a template: its contexts, what changed, what is doubtful."""
    found = get_object_or_404(ContextTemplate, pk=number)
    versions = list(found.versions.order_by("-version"))
    shown = _version(found, version)
    spec = shown.spec
    before = next((v for v in versions if v.version < shown.version), None)
    ids = [f"{2 * index + 1}" for index in range(len(spec.contexts))]
    context = {
        "template": found,
        "version": shown,
        "versions": versions,
        "spec": spec,
        "contexts": list(zip(ids, spec.contexts, strict=True)),
        "most": MAXIMUM_CONTEXTS,
        "before": before,
        "changes": diff(before.spec, spec) if before else (),
        "doubts": lint(spec),
        "associations": _used(shown),
    }
    return render(request, "sender/template.html", context)


def _version(template: ContextTemplate, version: int | None) -> TemplateVersion:
    if version is None:
        return template.newest
    return get_object_or_404(TemplateVersion, template=template, version=version)


def _used(version: TemplateVersion) -> int:
    days = NegotiationDay.objects.filter(template_version=version)
    return int(days.aggregate(n=Sum("associations", default=0))["n"])


@needs("read")
def template_json(request: HttpRequest, number: int, version: int) -> HttpResponse:
    """Download a version as a template file."""
    found = get_object_or_404(ContextTemplate, pk=number)
    document = to_document(_version(found, version).spec)
    response = JsonResponse(document, json_dumps_params={"indent": 2})
    name = f"{slugify(found.name) or 'template'}-{version}.json"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@needs("configure")
def template_add(request: HttpRequest) -> HttpResponse:
    """Write a new template."""
    return _edit(request, None, {})


@needs("configure")
def template_change(request: HttpRequest, number: int) -> HttpResponse:
    """Write a new version of a template."""
    found = get_object_or_404(ContextTemplate, pk=number)
    if found.built_in:
        messages.error(request, f"{found.name} is built in: clone it, and change the clone.")
        return redirect("template", number)
    return _edit(request, found, to_document(found.newest.spec))


@needs("configure")
def template_clone(request: HttpRequest, number: int) -> HttpResponse:
    """Write a new template that begins as a copy."""
    found = get_object_or_404(ContextTemplate, pk=number)
    document = to_document(found.newest.spec) | {"name": f"Copy of {found.name}"[:LONGEST_NAME]}
    return _edit(request, None, document)


def _edit(
    request: HttpRequest, template: ContextTemplate | None, document: dict[str, Any]
) -> HttpResponse:
    data = given_to(request)
    form = TemplateForm(data, initial=document, template=template)
    rows = ContextFormSet(data, initial=rows_of(document), prefix="contexts", form_kwargs=EVERY_ROW)
    if request.method == "POST" and "add_row" in request.POST:
        rows = ContextFormSet(_with_another_row(request), prefix="contexts", form_kwargs=EVERY_ROW)
        form = TemplateForm(initial=request.POST.dict(), template=template)
    elif request.method == "POST":
        saved = _save(request, template, form, rows)
        if saved is not None:
            messages.success(request, f"{saved} was saved.")
            return redirect("template", saved.template_id)
    context = {
        "form": form,
        "rows": rows,
        "template": template,
        "most": MAXIMUM_CONTEXTS,
        "sop_classes": [s for s in sop_classes.SOP_CLASSES if not s.retired],
        "syntaxes": syntaxes.TRANSFER_SYNTAXES,
    }
    return render(request, "sender/template_form.html", context)


def _with_another_row(request: HttpRequest) -> Any:
    data = request.POST.copy()
    total = data.get("contexts-TOTAL_FORMS", "0")
    data["contexts-TOTAL_FORMS"] = str(min(number_in(total) or 0, 127) + 1)
    return data


def _save(
    request: HttpRequest, template: ContextTemplate | None, form: TemplateForm, rows: Any
) -> TemplateVersion | None:
    """Save what was written; what is wrong with it stands beside it afterwards."""
    is_valid, are_valid = form.is_valid(), rows.is_valid()
    spec = _spec(form, rows)
    name = form.cleaned_data.get("name")
    if template is None and ContextTemplate.objects.filter(name=name).exists():
        form.add_error("name", f"There is a template {name} already.")
    if spec is None or form.errors or not (is_valid and are_valid):
        return None
    try:
        return save_version(spec, actor=request.user.get_username())
    except BuiltIn as error:
        form.add_error("name", str(error))
    return None


def _spec(form: TemplateForm, rows: Any) -> TemplateSpec | None:
    """Return the template that was filled in; None after telling what is wrong with it.

    Of a row that could not be read that is told already.
    """
    document, numbers = document_of(form, rows)
    try:
        return parse(document)
    except InvalidTemplate as error:
        unread = {index for index in numbers if rows.forms[index].errors}
        for problem in error.problems:
            if problem.context_number is None:
                form.add_error(None, problem.message)
            elif (index := numbers[problem.context_number - 1]) not in unread:
                rows.forms[index].add_error(None, problem.message)
    return None


@needs("configure")
def template_import(request: HttpRequest) -> HttpResponse:
    """Import a template file: a new template, or a new version of the one it names."""
    form = TemplateFileForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        try:
            spec = _read_file(form.cleaned_data["file"])
            saved = save_version(spec, actor=request.user.get_username())
        except (InvalidTemplate, BuiltIn) as error:
            for line in str(error).splitlines()[:50]:
                form.add_error("file", line)
        else:
            messages.success(request, f"{saved} is what new sends use.")
            return redirect("template", saved.template_id)
    return render(request, "sender/template_import.html", {"form": form})


def _read_file(file: Any) -> TemplateSpec:
    content = file.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        content = b"too large"
    try:
        return parse_json(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return parse_json("this is no JSON")
