"""Signs of life of sender processes, and what pages and commands make of them."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from sender.models import WorkerHeartbeat
from sender.services import tickets
from sender.services.clock import shared_now

STALE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SenderState:
    """Whether a sender is alive: seconds since its last sign of life, and tickets that wait."""

    seen_seconds: float | None
    waiting: int

    @property
    def is_live(self) -> bool:
        return self.seen_seconds is not None and self.seen_seconds <= STALE_SECONDS


def sender_state() -> SenderState:
    """Return the state of the sender as pages show it."""
    newest = (
        WorkerHeartbeat.objects.filter(kind="sender")
        .order_by("-seen_at")
        .values_list("seen_at", flat=True)
        .first()
    )
    seconds = None if newest is None else (shared_now() - newest).total_seconds()
    return SenderState(seconds, tickets.waiting())


def others_live() -> bool:
    """Tell whether a sender of another host gave a sign of life lately."""
    since = shared_now() - timedelta(seconds=STALE_SECONDS)
    others = WorkerHeartbeat.objects.filter(kind="sender", seen_at__gte=since)
    return others.exclude(host=settings.SENDER_HOST).exists()


def last_seen(name: str) -> datetime | None:
    """Return when the process called `name` last gave a sign of life."""
    return WorkerHeartbeat.objects.filter(name=name).values_list("seen_at", flat=True).first()


def beat(name: str, kind: str) -> None:
    """Record a sign of life of the process called `name`; old signs of others are dropped."""
    now = shared_now()
    WorkerHeartbeat.objects.update_or_create(
        name=name,
        defaults={"kind": kind, "seen_at": now},
        create_defaults={
            "kind": kind,
            "host": settings.SENDER_HOST,
            "pid": os.getpid(),
            "started_at": now,
            "seen_at": now,
        },
    )
    WorkerHeartbeat.objects.filter(seen_at__lt=now - timedelta(days=1)).delete()


def retire(name: str) -> None:
    """Take back the sign of life of a process that ends in order."""
    WorkerHeartbeat.objects.filter(name=name).delete()
