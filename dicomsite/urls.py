"""The site's addresses."""

from django.urls import include, path

from sender.admin import site

handler400 = "sender.web.pages.bad_request"
handler403 = "sender.web.pages.forbidden"
handler404 = "sender.web.pages.not_found"
handler500 = "sender.web.pages.server_error"

urlpatterns = [
    path("admin/", site.urls),
    path("", include("sender.web.urls")),
]
