"""Signing in and out, the first administrator, passwords and how pages look."""

from django import forms
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from sender.services import users
from sender.services.audit import write_entry
from sender.web.access import PUBLIC, SIGNED_IN, needs
from sender.web.policy import THEME_COOKIE, TIMES_COOKIE

YEAR_SECONDS = 365 * 24 * 3600
WRONG = "Name or password is wrong, or there were too many attempts; wait 15 minutes then."


class SignInForm(forms.Form):
    """Name and password."""

    name = forms.CharField(
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class FirstAdministratorForm(forms.Form):
    """Name and password, twice."""

    name = forms.CharField(
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        max_length=256,
        strip=False,
        help_text="At least 8 characters, not only digits, and none of the common passwords.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label="The same password again",
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> None:
        """Both passwords must agree."""
        super().clean()
        given = self.cleaned_data
        if given.get("password") and given.get("again") and given["password"] != given["again"]:
            self.add_error("again", "The passwords differ.")


def address_of(request: HttpRequest) -> str:
    """Return the address that a request came from."""
    return str(request.META.get("REMOTE_ADDR", ""))[:64]


def safe_next(request: HttpRequest, default: str = "/") -> str:
    """Return where to go next: an address of this site."""
    target = request.POST.get("next") or request.GET.get("next") or default
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()})
    return target if is_ours else default


@needs(PUBLIC)
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    """Let somebody in; every refusal reads the same."""
    if request.user.is_authenticated:
        return redirect(safe_next(request))
    form = SignInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name, address = form.cleaned_data["name"], address_of(request)
        user = None
        if not users.is_locked_out(name, address):
            user = authenticate(request, username=name, password=form.cleaned_data["password"])
        users.note_sign_in(name, address, succeeded=user is not None)
        if user is not None:
            login(request, user)
            return redirect(safe_next(request))
        form.add_error(None, WRONG)
    context = {"form": form, "next": safe_next(request), "is_setup_open": users.is_setup_open()}
    return render(request, "sender/sign_in.html", context)


@needs(SIGNED_IN)
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("sign_in")


@needs(PUBLIC)
@sensitive_post_parameters("password", "again")
def setup(request: HttpRequest, token: str) -> HttpResponse:
    """Make the first administrator by the one-time link."""
    if not users.is_setup_token(token):
        raise Http404
    form = FirstAdministratorForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = _make_first(form, token, address_of(request))
        if user is not None:
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            return redirect("get_started")
    return render(request, "sender/setup.html", {"form": form})


def _make_first(form: FirstAdministratorForm, token: str, address: str) -> User | None:
    try:
        return users.create_first_administrator(
            name=form.cleaned_data["name"],
            password=form.cleaned_data["password"],
            token=token,
            address=address,
        )
    except users.SetupIsOver:
        raise Http404 from None
    except users.InvalidUser as error:
        for name, texts in error.problems.items():
            for text in texts:
                form.add_error(name if name in form.fields else None, text)
        return None


@needs(SIGNED_IN)
@sensitive_post_parameters()
def password(request: HttpRequest) -> HttpResponse:
    """Change the own password; other sessions of the user end."""
    form = PasswordChangeForm(request.user, request.POST or None)  # type: ignore[arg-type]
    if request.method == "POST" and form.is_valid():
        user = form.save()
        update_session_auth_hash(request, user)
        write_entry(
            actor=user.username,
            action="user.change_password",
            subject=user.username,
            facts={},
            address=address_of(request),
        )
        messages.success(request, "The password was changed.")
        return redirect("dashboard")
    return render(request, "sender/password.html", {"form": form})


@needs(PUBLIC)
@require_POST
def preferences(request: HttpRequest) -> HttpResponse:
    """Remember colours and time zone in cookies."""
    response = redirect(safe_next(request))
    for cookie, allowed in ((THEME_COOKIE, ("light", "dark")), (TIMES_COOKIE, ("utc", "site"))):
        value = request.POST.get(cookie)
        if value in allowed:
            response.set_cookie(
                cookie,
                value,
                max_age=YEAR_SECONDS,
                samesite="Lax",
                httponly=True,
                secure=request.is_secure(),
            )
    return response


@needs(PUBLIC)
def healthz(_request: HttpRequest) -> HttpResponse:
    """Say that the web server answers, and nothing else."""
    return HttpResponse("ok\n", content_type="text/plain")
