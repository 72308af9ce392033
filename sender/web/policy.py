"""The content security policy on every response, and what pages ask of each request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from sender.services.installation import site_zone

TIMES_COOKIE = "times"
THEME_COOKIE = "theme"


class PolicyMiddleware:
    """Sets the content security policy; stands before all others, so static files have it too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._policy = "; ".join(f"{name} {value}" for name, value in settings.SECURE_CSP.items())

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        response["Content-Security-Policy"] = self._policy
        response["Cross-Origin-Opener-Policy"] = "same-origin"
        response["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
        return response


class ZoneMiddleware:
    """Shows times in UTC or in the site's zone, as the visitor chose."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with _shown_in(request.COOKIES.get(TIMES_COOKIE, "utc")):
            return self._get_response(request)


@contextmanager
def _shown_in(choice: str) -> Iterator[None]:
    with timezone.override(site_zone() if choice == "site" else ZoneInfo("UTC")):
        yield
