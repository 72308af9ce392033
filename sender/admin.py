"""The Django admin, for superusers and for reading only: every change goes through services.

An own site, so that django-q2's models are not in it: listing their rows would unpickle them.
"""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from sender.models import (
    Association,
    AuditEntry,
    ContextTemplate,
    Destination,
    DestinationRevision,
    Send,
    TemplateVersion,
)

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class ReadOnlySite(admin.AdminSite):
    """Shows rows to superusers; people sign in on the site's own page."""

    site_header = "Concordat: rows, for reading"
    site_title = "Concordat"

    def has_permission(self, request: HttpRequest) -> bool:
        """Only active superusers see it."""
        return bool(request.user.is_active and request.user.is_superuser)

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Send people to the site's own page, or away."""
        return redirect("dashboard" if request.user.is_authenticated else "sign_in")


class ReadOnly(_ModelAdmin):
    """A table that can't be changed here."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes here."""
        return False


class ReadOnlyUser(ReadOnly):
    """Users without their password hashes."""

    list_display = ("username", "is_active", "is_superuser", "last_login")
    exclude = ("password",)


site = ReadOnlySite(name="admin")
for model in (
    Association,
    AuditEntry,
    ContextTemplate,
    Destination,
    DestinationRevision,
    Send,
    TemplateVersion,
    Group,
):
    site.register(model, ReadOnly)
site.register(User, ReadOnlyUser)
