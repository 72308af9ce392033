"""What services find wrong, told in one round with what a form finds by itself.

A form that could not read some fields asks the service about the others all the same: nobody wants
to mend one field only to learn of the next.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import HttpRequest, QueryDict


def given_to(request: HttpRequest) -> QueryDict | None:
    """Return what was filled in, be it nothing; None: the form is only asked for."""
    return request.POST if request.method == "POST" else None


def readable(form: forms.BaseForm, **otherwise: Any) -> dict[str, Any]:
    """Return what a form could read of its fields, for a service to look at.

    Args:
        otherwise: what stands for fields that could not be read; of others that is "" for text and
            choices, None for all else.
    """
    blank = {
        name: "" if isinstance(field, forms.CharField | forms.ChoiceField) else None
        for name, field in form.fields.items()
    }
    return blank | otherwise | form.cleaned_data


def tell(
    form: forms.BaseForm,
    problems: Mapping[str, Sequence[str]],
    shown_as: Mapping[str, str] | None = None,
) -> None:
    """Show problems beside their fields; those of no field stand above the form.

    A field that could not be read keeps its own error alone: the service never saw what was written
    there.

    Args:
        shown_as: fields of the form for names that it does not have.
    """
    unread = set(form.errors)
    for name, said in problems.items():
        field = (shown_as or {}).get(name, name)
        if field not in unread:
            for problem in said:
                form.add_error(field if field in form.fields else None, problem)
