"""System checks: what is wrong with the settings or the database, each with an id and a remedy."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

from sender.models.triggers import missing_triggers


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """Tell every environment variable whose value can't be used."""
    return [
        Error(
            f"{name}: {problem}",
            hint=f"Correct or unset {name}; docs/settings.md says what it may be.",
            id="concordat.E001",
        )
        for name, problem in settings.SETTINGS_PROBLEMS
    ]


@register()
def check_time_zone(**_: Any) -> list[CheckMessage]:
    """The site's time zone must be one that the system knows."""
    try:
        ZoneInfo(settings.TIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError):
        return [
            Error(
                f"CONCORDAT_TIME_ZONE: {settings.TIME_ZONE!r} is no time zone.",
                hint="Use an IANA name such as Europe/Berlin or UTC.",
                id="concordat.E002",
            )
        ]
    return []


@register()
def check_redis(**_: Any) -> list[CheckMessage]:
    """The package that talks to Redis is not among the requirements."""
    if not settings.REDIS_URL or find_spec("redis") is not None:
        return []
    return [
        Error(
            "CONCORDAT_REDIS_URL is set, and the package redis is not installed.",
            hint="Install it (pip install redis), or unset the variable.",
            id="concordat.E004",
        )
    ]


@register()
def check_source_roots(**_: Any) -> list[CheckMessage]:
    """A source root that is missing is probably a typing error."""
    return [
        Warning(
            f"CONCORDAT_SOURCE_ROOTS: {root} is not a folder.",
            hint="Make it, or correct the path.",
            id="concordat.W001",
        )
        for root in settings.SOURCE_ROOTS or []
        if not root.is_dir()
    ]


@register(Tags.security, deploy=True)
def check_debug(**_: Any) -> list[CheckMessage]:
    """Debug pages show settings and data to whoever provokes an error."""
    if not settings.DEBUG:
        return []
    return [
        Warning("CONCORDAT_DEBUG is on.", hint="Unset it outside development.", id="concordat.W002")
    ]


@register(Tags.database)
def check_triggers(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """The history must be append-only."""
    found: list[CheckMessage] = []
    for using in databases or []:
        if "sender_association" not in connections[using].introspection.table_names():
            continue
        found += [
            Error(
                f"The table {table} has lost its append-only triggers.",
                hint="Run manage.py migrate, which makes them anew, and find out who removed them.",
                id="concordat.E003",
            )
            for table in missing_triggers(using)
        ]
    return found
