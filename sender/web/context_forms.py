"""The form of a context template: its name and options, and a row per presentation context."""

from typing import Any

from django import forms
from django.forms import formset_factory

from sender.models import ContextTemplate
from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.contexts import MAXIMUM_CONTEXTS
from sender.negotiation.rules import FORMAT, LONGEST_NAME, LONGEST_NOTE
from sender.web.problems import readable

ROLE_CHOICES = (("", "not proposed"), ("true", "yes"), ("false", "no"))
DECOMPRESS_CHOICES = (
    ("lossless", "Data compressed without loss"),
    ("any", "Any compressed data, lossy included"),
    ("never", "Nothing"),
)
_ROLES = {"": None, "true": True, "false": False}


class TemplateForm(forms.Form):
    """What stands above the contexts."""

    name = forms.CharField(max_length=LONGEST_NAME)
    note = forms.CharField(
        max_length=LONGEST_NOTE, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    derive_from_files = forms.BooleanField(
        required=False, label="Add the contexts that the files to be sent need"
    )
    convert_uncompressed = forms.BooleanField(
        required=False,
        label="Convert freely among uncompressed and deflated",
    )
    decompress = forms.ChoiceField(
        choices=DECOMPRESS_CHOICES,
        label="Decompress, where only an uncompressed context is accepted",
    )

    def __init__(self, *args: Any, template: ContextTemplate | None, **kwargs: Any) -> None:
        initial = dict(kwargs.pop("initial", None) or {})
        options = initial.pop("options", None) or {}
        defaults = {"convert_uncompressed": True, "decompress": "lossless"}
        kwargs["initial"] = defaults | options | initial
        super().__init__(*args, **kwargs)
        if template is not None:
            self.fields["name"].disabled = True
            self.initial["name"] = template.name


class ContextForm(forms.Form):
    """One presentation context; an empty row is none."""

    abstract_syntax = forms.CharField(
        max_length=128,
        required=False,
        label="Abstract syntax (SOP class)",
        widget=forms.TextInput(attrs={"list": "sop-classes", "placeholder": "Name or UID"}),
    )
    transfer_syntaxes = forms.CharField(
        max_length=4000,
        required=False,
        label="Transfer syntaxes, one per line, preferred first",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    private_ok = forms.BooleanField(required=False, label="Private UIDs are meant")
    scu_role = forms.ChoiceField(choices=ROLE_CHOICES, required=False, label="SCU role")
    scp_role = forms.ChoiceField(choices=ROLE_CHOICES, required=False, label="SCP role")
    DELETE = forms.BooleanField(required=False, label="Leave this context out")

    @property
    def is_meant(self) -> bool:
        """Whether the row holds a context, be it one that can't be read."""
        given = self.cleaned_data
        is_written = given.get("abstract_syntax") or given.get("transfer_syntaxes") or self.errors
        return not given["DELETE"] and bool(is_written)


ContextFormSet = formset_factory(
    ContextForm, extra=1, max_num=MAXIMUM_CONTEXTS + 1, absolute_max=MAXIMUM_CONTEXTS + 60
)


def rows_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a template file, with names where the standard has them."""
    return [
        {
            "abstract_syntax": sop_classes.name_of(context["abstract_syntax"]),
            "transfer_syntaxes": "\n".join(
                syntaxes.short_name_of(uid) for uid in context["transfer_syntaxes"]
            ),
            "private_ok": context["private_ok"],
            "scu_role": _say_role(context["scu_role"]),
            "scp_role": _say_role(context["scp_role"]),
        }
        for context in document.get("contexts", [])
    ]


def _say_role(role: bool | None) -> str:
    return "" if role is None else str(role).lower()


def document_of(form: TemplateForm, rows: Any) -> tuple[dict[str, Any], list[int]]:
    """Return the template file that was filled in, and the form's row of each of its contexts.

    What could not be read is replaced by something that can be.
    """
    given = readable(form, name="unnamed", decompress="lossless")
    numbers = [index for index, row in enumerate(rows.forms) if row.is_meant]
    document = {
        "format": FORMAT,
        "name": given["name"],
        "note": given["note"],
        "contexts": [_context_of(readable(rows.forms[index])) for index in numbers],
        "options": {
            "derive_from_files": given["derive_from_files"],
            "decompress": given["decompress"],
            "convert_uncompressed": given["convert_uncompressed"],
        },
    }
    return document, numbers


def _context_of(given: dict[str, Any]) -> dict[str, Any]:
    lines = [line.strip() for line in given["transfer_syntaxes"].splitlines()]
    return {
        "abstract_syntax": sop_class_uid(given["abstract_syntax"]),
        "transfer_syntaxes": [transfer_syntax_uid(line) for line in lines if line],
        "private_ok": given["private_ok"],
        "scu_role": _ROLES[given["scu_role"]],
        "scp_role": _ROLES[given["scp_role"]],
    }


def sop_class_uid(text: str) -> str:
    """Return the UID of the SOP class that has this name or keyword; else the text."""
    return _SOP_CLASSES.get(_key(text), text)


def transfer_syntax_uid(text: str) -> str:
    """Return the UID of the transfer syntax that has this name or short name; else the text."""
    return _SYNTAXES.get(_key(text), text)


def _key(text: str) -> str:
    return " ".join(text.split()).casefold()


_SOP_CLASSES = {
    _key(name): sop_class.uid
    for sop_class in reversed(sop_classes.SOP_CLASSES)
    for name in (sop_class.keyword, sop_class.name)
}
_SYNTAXES = {
    _key(name): syntax.uid
    for syntax in syntaxes.TRANSFER_SYNTAXES
    for name in (syntax.name, syntax.short_name)
}
