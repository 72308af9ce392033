"""Who may see what: every view declares the right that it needs; a view that doesn't is refused."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import add_never_cache_headers

from sender.models import ROLES

PUBLIC = "public"
SIGNED_IN = "signed in"
IDLE_SECONDS = 30 * 60
SEEN_EVERY_SECONDS = 60

ViewFunction = TypeVar("ViewFunction", bound=Callable[..., HttpResponseBase])


def needs(right: str) -> Callable[[ViewFunction], ViewFunction]:
    """Declare the right that a view needs: one of models/rights.py, PUBLIC or SIGNED_IN."""
    if right not in (PUBLIC, SIGNED_IN) and all(right not in rights for rights in ROLES.values()):
        raise ImproperlyConfigured(f"There is no right {right}.")

    def declare(view: ViewFunction) -> ViewFunction:
        view.needed_right = right  # type: ignore[attr-defined]
        return view

    return declare


def may(user: Any, right: str) -> bool:
    """Tell whether a user has a right."""
    return bool(user.is_authenticated and user.has_perm(f"sender.{right}"))


def roles_with(right: str) -> list[str]:
    """Return the roles that have a right."""
    return [role for role, rights in ROLES.items() if right in rights]


class MissingRight(PermissionDenied):
    """The user lacks a right; the page says which roles have it, the log which right it is."""

    def __init__(self, right: str) -> None:
        super().__init__(f"This needs the role {' or '.join(roles_with(right))}.")
        self.right = right


class AccessMiddleware:
    """Refuses whatever is not declared, and whoever lacks the right."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        _end_old_session(request)
        response = self._get_response(request)
        if request.user.is_authenticated:
            add_never_cache_headers(response)
        return response

    def process_view(
        self, request: HttpRequest, view: Any, _args: Any, _kwargs: Any
    ) -> HttpResponseBase | None:
        """Let the view run, send anonymous people to the sign-in page, or refuse."""
        match = request.resolver_match
        if match is not None and match.app_name == "admin":
            return None  # sender/admin.py has its own, stricter rule
        right = getattr(view, "needed_right", None)
        if right is None:
            raise PermissionDenied("This page declares no right, so nobody may see it.")
        if right == PUBLIC:
            return None
        if not request.user.is_authenticated:
            return _to_sign_in(request)
        if right != SIGNED_IN and not may(request.user, right):
            raise MissingRight(right)
        return None


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if request.headers.get("HX-Request"):
        response = HttpResponse(status=204)
        response["HX-Refresh"] = "true"
        return response
    target = request.get_full_path() if request.method == "GET" else "/"
    return redirect_to_login(target)


def _end_old_session(request: HttpRequest) -> None:
    """End a session that was idle for 30 minutes, or is 12 hours old; polling is no use of it."""
    if not request.user.is_authenticated:
        return
    now = int(time.time())
    began = request.session.setdefault("began_at", now)
    seen = request.session.setdefault("seen_at", now)
    if now - seen > IDLE_SECONDS or now - began > settings.SESSION_COOKIE_AGE:
        logout(request)
    elif now - seen > SEEN_EVERY_SECONDS and not request.headers.get("HX-Request"):
        request.session["seen_at"] = now
