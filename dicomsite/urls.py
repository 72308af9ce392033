"""The site's addresses."""

from django.http import HttpRequest, HttpResponse
from django.urls import path


def _healthz(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


urlpatterns = [path("healthz/", _healthz)]
