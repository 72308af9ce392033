"""The application: its name, its system checks and what follows a migration."""

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class SenderConfig(AppConfig):
    """Concordat's one Django application."""

    name = "sender"
    verbose_name = "Concordat"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what runs after each migration, and the system checks."""
        post_migrate.connect(_complete_database, sender=self)
        from sender import checks  # noqa: F401, PLC0415 - registers itself, needs the models


def _complete_database(*, using: str, **_: Any) -> None:
    """Make the append-only triggers anew (SQLite's table rebuilds drop them) and the first rows."""
    from sender.models import first_rows, triggers  # noqa: PLC0415 - needs the models

    if "sender_installation" in connections[using].introspection.table_names():
        triggers.create_triggers(using)
        first_rows.create_first_rows(using)
