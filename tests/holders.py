"""Holders of leases that are gone."""

from sender.services.owners import owner_name

NO_PROCESS = 99999999
"""A number that no system gives a process."""


def gone_holder() -> str:
    """Return an owner on this system whose process is gone."""
    host, _, *rest = owner_name().split(":")
    return ":".join((host, str(NO_PROCESS), *rest))
