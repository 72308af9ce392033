"""What every page shows around its content, and the pages for errors."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from sender.models import Hold, HoldKind, Send
from sender.models.sends import ENDED_STATES, SendState
from sender.services.gate import describe, holds_in_force
from sender.services.heartbeat import sender_state
from sender.services.users import role_of
from sender.web.policy import THEME_COOKIE

MOST_HOLDS = 20
MOST_TOLD = 2
"""More holds of the engine than these stand folded: what people decided must not be buried."""


@dataclass(frozen=True, slots=True)
class Banners:
    """What holds sending back now, each with what is said of it.

    Attributes:
        told: shown in full: what people decided, and the engine's holds while they are few.
        folded: the engine's holds where they are many.
    """

    told: list[tuple[Hold, str]]
    folded: list[tuple[Hold, str]]


def chrome(request: HttpRequest) -> dict[str, Any]:
    """Context of the frame around a page; what needs the database is only asked when shown."""
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return {
        "theme": theme if theme in ("light", "dark") else "",
        "zone_name": timezone.get_current_timezone_name(),
        "environment_label": settings.ENVIRONMENT_LABEL,
        "sender_state": SimpleLazyObject(sender_state),
        "open_sends": SimpleLazyObject(_open_sends),
        "holds": SimpleLazyObject(_holds),
        "role": SimpleLazyObject(lambda: role_of(request.user)),
        "section": request.resolver_match.url_name.split("_")[0]
        if request.resolver_match and request.resolver_match.url_name
        else "",
    }


def _holds() -> Banners:
    found = [(hold, describe(hold)) for hold in holds_in_force()[:MOST_HOLDS]]
    people = [(hold, said) for hold, said in found if hold.kind == HoldKind.PAUSE]
    engine = [(hold, said) for hold, said in found if hold.kind != HoldKind.PAUSE]
    return Banners(found, []) if len(engine) <= MOST_TOLD else Banners(people, engine)


def _open_sends() -> int:
    return Send.objects.exclude(state__in=[*ENDED_STATES, SendState.DRAFT]).count()


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a request that can't be understood."""
    return _error(request, 400, "This request can't be understood.", "")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a request that the user may not make."""
    return _error(request, 403, "You may not do this.", str(exception or ""))


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form whose token is missing or old."""
    return _error(
        request, 403, "This form is too old.", "Go back, reload the page and send it again."
    )


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a request for a page that is not there."""
    return _error(request, 404, "There is no such page.", "")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a request on which we failed."""
    return _error(
        request, 500, "Concordat has made an error.", "It is in the log of the web server."
    )


def _error(request: HttpRequest, code: int, title: str, detail: str) -> HttpResponse:
    context = {"code": code, "title": title, "detail": detail}
    return render(request, "sender/error.html", context, status=code)
