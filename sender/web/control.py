"""What people hold back and let go: pauses, windows, priorities, retries, parked data."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from sender.analytics import sends as accounts
from sender.models import Destination, Hold, ParkedPair, Send
from sender.models.sends import URGENT
from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.uids import is_valid_uid
from sender.services import again, control, holds, parked, sending
from sender.services.holds import InvalidHold
from sender.services.sending import InvalidSource, WrongState
from sender.services.subsets import MAY_RETRY, NOT_ARRIVED, Subset
from sender.web.access import needs
from sender.web.numbers import number_in
from sender.web.people import safe_next
from sender.web.tags import counted

HOURS = (("", "until it is resumed"), ("1", "for 1 hour"), ("4", "for 4 hours"),
         ("12", "for 12 hours"), ("24", "for a day"))  # fmt: skip
NOTHING_CHOSEN = "Nothing was chosen."
RETRIED = {
    "": ("Failed or unknown", NOT_ARRIVED),
    "failed": ("Failed", frozenset({InstanceOutcome.FAILED})),
    "unknown": ("Unknown", frozenset({InstanceOutcome.UNKNOWN})),
    "unsendable": ("Not sent", frozenset({InstanceOutcome.UNSENDABLE})),
    "cancelled": ("Cancelled", frozenset({InstanceOutcome.CANCELLED})),
    "any": ("Any of these", MAY_RETRY),
}
"""What may be tried again, as a form offers it."""


class PauseForm(forms.Form):
    """Why sending is paused, and until when."""

    reason = forms.CharField(
        max_length=200, label="Reason", help_text="Everybody reads it, on every page."
    )
    hours = forms.ChoiceField(choices=HOURS, required=False, label="How long")
    until = forms.DateTimeField(
        required=False,
        label="Or until",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def clean(self) -> dict[str, Any]:
        """Take one end."""
        given = super().clean() or {}
        if given.get("hours") and given.get("until"):
            self.add_error("until", "Choose how long, or until when, but not both.")
        return given

    @property
    def end(self) -> datetime | None:
        """When it ends, as chosen; None: when it is resumed."""
        until: datetime | None = self.cleaned_data["until"]
        hours = self.cleaned_data["hours"]
        if until is None and hours:
            return timezone.now() + timedelta(hours=int(hours))
        return until


class OverrideForm(forms.Form):
    """For how long windows don't count."""

    hours = forms.TypedChoiceField(choices=HOURS[1:], coerce=int, label="Send outside the windows")


class AgainForm(forms.Form):
    """Why everything is sent again."""

    reason = forms.CharField(
        max_length=200, label="Reason", help_text="It stands in the audit log and at the new send."
    )


@needs("operate")
def pause_all(request: HttpRequest) -> HttpResponse:
    """Pause all sending, with a reason and an end."""
    form = PauseForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and _pause(request, form, None):
        return redirect("dashboard")
    return render(request, "sender/pause_all.html", {"form": form})


@needs("operate")
def destination_pause(request: HttpRequest, number: int) -> HttpResponse:
    """Pause sending to one destination, with a reason and an end."""
    found = get_object_or_404(Destination, pk=number)
    form = PauseForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and _pause(request, form, found):
        return redirect("destination", number)
    return render(request, "sender/pause_destination.html", {"form": form, "destination": found})


def _pause(request: HttpRequest, form: PauseForm, destination: Destination | None) -> bool:
    try:
        holds.pause(
            destination, reason=form.cleaned_data["reason"], until=form.end, actor=_actor(request)
        )
    except InvalidHold as error:
        form.add_error(None, str(error))
        return False
    messages.success(request, f"Paused: {destination or 'all sending'}.")
    return True


@needs("operate")
@require_POST
def hold_resume(request: HttpRequest, number: int) -> HttpResponse:
    """End a hold of any kind."""
    found = get_object_or_404(Hold.objects.select_related("destination"), pk=number)
    try:
        holds.resume(found, _actor(request))
    except InvalidHold as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Resumed: {found.destination or 'all sending'}.")
    return redirect(safe_next(request))


@needs("operate")
@require_POST
def destination_override(request: HttpRequest, number: int) -> HttpResponse:
    """Let a destination be sent to outside its windows for a while, or no longer."""
    _override(request, get_object_or_404(Destination, pk=number))
    return redirect("destination", number)


@needs("operate")
@require_POST
def send_override(request: HttpRequest, number: int) -> HttpResponse:
    """Let a send run outside its windows for a while, or no longer."""
    _override(request, _find(number))
    return redirect("send", number)


def _override(request: HttpRequest, target: Send | Destination) -> None:
    form, ends = OverrideForm(request.POST), "end" in request.POST
    if not ends and not form.is_valid():
        messages.error(request, NOTHING_CHOSEN)
        return
    try:
        if ends:
            control.end_override(target, _actor(request))
        else:
            until = timezone.now() + timedelta(hours=form.cleaned_data["hours"])
            control.override_window(target, _actor(request), until)
    except WrongState as error:
        messages.error(request, str(error))


@needs("operate")
@require_POST
def destination_parked(request: HttpRequest, number: int) -> HttpResponse:
    """Send data that wait for a fix."""
    found = get_object_or_404(Destination, pk=number)
    chosen = [pair for pair in map(number_in, request.POST.getlist("pair")) if pair is not None]
    pairs = ParkedPair.objects.filter(destination=found, pk__in=chosen)
    if not pairs:
        messages.error(request, NOTHING_CHOSEN)
        return redirect("destination", number)
    count = parked.send_parked(
        found,
        [(pair.sop_class_uid, pair.transfer_syntax_uid) for pair in pairs],
        _actor(request),
    )
    rows = counted(count, "row is,rows are")
    messages.success(request, f"{rows} sent again, each in its own send.")
    return redirect("destination", number)


@needs("operate")
@require_POST
def send_priority(request: HttpRequest, number: int) -> HttpResponse:
    """Make a send urgent, or usual again."""
    try:
        control.set_priority(
            _find(number), _actor(request), URGENT if request.POST.get("urgent") else 0
        )
    except WrongState as error:
        messages.error(request, str(error))
    return redirect("send", number)


class PartForm(forms.Form):
    """A part of a send that shall be tried again."""

    outcome = forms.ChoiceField(label="What became of them", required=False)
    sop_class = forms.ChoiceField(label="SOP class", required=False)
    transfer_syntax = forms.ChoiceField(label="Stored as", required=False)
    study = forms.CharField(
        label="Study Instance UID",
        required=False,
        max_length=64,
        help_text="Empty: of all studies.",
        widget=forms.TextInput(attrs={"spellcheck": "false"}),
    )

    def __init__(self, found: Send, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds = accounts.kinds(found)
        classes = sorted({str(kind["sop_class_uid"]) for kind in kinds}, key=sop_classes.name_of)
        stored = sorted({str(kind["transfer_syntax_uid"]) for kind in kinds})
        choices = {
            "outcome": [(name, word) for name, (word, _) in RETRIED.items()],
            "sop_class": [("", "All"), *((uid, sop_classes.name_of(uid)) for uid in classes)],
            "transfer_syntax": [
                ("", "All"),
                *((uid, syntaxes.short_name_of(uid)) for uid in stored),
            ],
        }
        for name, offered in choices.items():
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = offered

    def clean_study(self) -> str:
        """A UID, or nothing."""
        uid = str(self.cleaned_data["study"]).strip()
        if uid and not is_valid_uid(uid):
            raise forms.ValidationError("This is no UID.")
        return uid

    @property
    def subset(self) -> Subset:
        """The part that was chosen; what is empty is anything."""
        given = self.cleaned_data
        return Subset(
            outcomes=RETRIED[given["outcome"]][1],
            study=given["study"] or None,
            sop_class=given["sop_class"] or None,
            transfer_syntax=given["transfer_syntax"] or None,
        )


@needs("operate")
def send_retry_part(request: HttpRequest, number: int) -> HttpResponse:
    """Retry a part of a send: by outcome, study, SOP class and transfer syntax."""
    found = _find(number)
    form = PartForm(found, request.POST or None, initial=request.GET.dict())
    if request.method == "POST" and form.is_valid():
        try:
            count = again.retry_some(found, _actor(request), form.subset)
        except WrongState as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{_counted(count)} tried again.")
            return redirect("send", number)
    return render(request, "sender/send_retry_part.html", {"form": form, "send": found})


@needs("operate")
@require_POST
def send_retry(request: HttpRequest, number: int) -> HttpResponse:
    """Retry the rows of a send that ended alike, or of one study or SOP class."""
    given = request.POST
    subset = Subset(
        outcomes=frozenset(_outcomes(given.getlist("outcome"))) or NOT_ARRIVED,
        reason=given.get("reason"),
        study=given.get("study"),
        sop_class=given.get("sop_class"),
        transfer_syntax=given.get("transfer_syntax"),
    )
    try:
        count = again.retry_some(_find(number), _actor(request), subset)
    except WrongState as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{_counted(count)} tried again.")
    return redirect(safe_next(request, reverse("send", args=[number])))


def _outcomes(words: list[str]) -> list[InstanceOutcome]:
    return [outcome for outcome in InstanceOutcome if outcome.value in words]


@needs("operate")
def send_again(request: HttpRequest, number: int) -> HttpResponse:
    """Send everything again on purpose, with a reason."""
    found = _find(number)
    form = AgainForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = again.send_again(found, _actor(request), form.cleaned_data["reason"])
        except (WrongState, InvalidSource) as error:
            form.add_error(None, str(error))
        else:
            return redirect("send", made.pk)
    return render(request, "sender/send_again.html", {"form": form, "send": found})


@needs("operate")
@require_POST
def send_pick(request: HttpRequest, number: int) -> HttpResponse:
    """Send one of the files of a conflict."""
    item = request.POST.get("item", "")
    try:
        made = again.pick(_find(number), number_in(item) or 0, _actor(request))
    except (WrongState, InvalidSource) as error:
        messages.error(request, str(error))
        return redirect("send", number)
    return redirect("send", made.pk)


_COMMANDS: dict[str, Any] = {
    "start": sending.start_send,
    "pause": control.pause_send,
    "resume": control.resume_send,
    "cancel": sending.cancel_send,
    "retry": again.retry_failed,
}


@needs("operate")
@require_POST
def send_command(request: HttpRequest, number: int, verb: str) -> HttpResponse:
    """Start, pause, resume, cancel or retry a send."""
    if verb not in _COMMANDS:
        raise Http404
    try:
        _COMMANDS[verb](_find(number), _actor(request))
    except WrongState as error:
        messages.error(request, str(error))
    return redirect("send", number)


def _counted(number: int) -> str:
    return counted(number, "instance is,instances are")


def _find(number: int) -> Send:
    return get_object_or_404(
        Send.objects.select_related("destination", "template_version__template", "listing"),
        pk=number,
    )


def _actor(request: HttpRequest) -> str:
    return request.user.get_username()
