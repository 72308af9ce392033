"""What every response carries: the content security policy and no patient data."""

from collections.abc import Callable

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

from sender.models import Association
from sender.web.access import PUBLIC, needs

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@needs(PUBLIC)
def _fail(_request: object) -> HttpResponse:
    raise RuntimeError("for a test")


urlpatterns = [path("fail/", _fail)]
handler500 = "sender.web.pages.server_error"


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/history/",
        "/nothing/",
        "/destinations/add/",
        "/static/sender/concordat.css",
        "/admin/",
    ],
)
@pytest.mark.parametrize("role", ["anonymous", "viewer", "administrator"])
def test_every_response_has_the_policy(
    address: str, role: str, as_role: Callable[[str], Client]
) -> None:
    response = as_role(role).get(address)
    assert response["Content-Security-Policy"] == POLICY
    assert response["X-Content-Type-Options"] == "nosniff"
    response.close()


@override_settings(ROOT_URLCONF="tests.web.test_policy")
def test_an_error_of_ours_has_it_too_and_shows_no_traceback(db: None) -> None:
    with override_settings(LOGGING_CONFIG=None):
        response = Client(raise_request_exception=False).get("/fail/")
    assert response.status_code == 500
    assert response["Content-Security-Policy"] == POLICY
    assert b"for a test" not in response.content
    assert b"Concordat has made an error" in response.content


def test_pages_hold_no_inline_script_or_style(
    as_role: Callable[[str], Client], recorded: Association
) -> None:
    client = as_role("administrator")
    for address in ("/", "/history/", f"/history/{recorded.pk}/", "/templates/add/", "/sends/new/"):
        page = client.get(address).content.decode()
        for forbidden in ("<style", " style=", " onclick", "javascript:", "http://", "https://"):
            found = page.replace("http://www.w3.org/2000/svg", "").replace("http://testserver", "")
            assert forbidden not in found, (address, forbidden)


def test_pages_of_signed_in_people_are_not_cached(as_role: Callable[[str], Client]) -> None:
    assert "no-store" in as_role("viewer").get("/history/")["Cache-Control"]


def test_colours_and_zone_are_remembered(as_role: Callable[[str], Client]) -> None:
    client = as_role("viewer")
    client.post("/preferences/", {"theme": "dark", "next": "/history/"})
    client.post("/preferences/", {"times": "site", "next": "/history/"})
    assert client.cookies["theme"].value == "dark"
    assert client.cookies["times"].value == "site"
    assert 'data-theme="dark"' in client.get("/history/").content.decode()


def test_a_preference_that_is_none_is_not_kept(as_role: Callable[[str], Client]) -> None:
    client = as_role("viewer")
    client.post("/preferences/", {"theme": "<script>", "next": "https://elsewhere.example/"})
    assert "theme" not in client.cookies


def test_going_on_never_leaves_the_site(as_role: Callable[[str], Client]) -> None:
    response = as_role("viewer").post("/preferences/", {"next": "https://elsewhere.example/"})
    assert response["Location"] == "/"


def test_a_health_check_says_nothing_else(client: Client, db: None) -> None:
    response = client.get("/healthz/")
    assert (response.status_code, response.content) == (200, b"ok\n")
