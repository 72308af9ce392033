"""What somebody should look at, as the dashboard lists it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from sender.analytics import schedules
from sender.services import certificates
from sender.web import schedule_words
from sender.web.access import may


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to look at.

    Attributes:
        tone: bad (something did not happen that should have) or caution.
        title, link: what it is, and where it is.
        text: what is wrong with it.
    """

    tone: str
    title: str
    link: str
    text: str


def items(user: Any) -> list[Item]:
    """Return everything that wants a look, bad news first."""
    found = [*_schedules(user), *_certificates()]
    return sorted(found, key=lambda item: item.tone != "bad")


def _schedules(user: Any) -> Iterator[Item]:
    sees_identifiers = may(user, "read_identifiers")
    for one in schedules.attention():
        yield Item(
            "bad" if one.is_bad else "caution",
            f"Schedule {one.schedule.name}",
            reverse("schedule", args=[one.schedule.pk]),
            schedule_words.attention(one, with_identifiers=sees_identifiers),
        )


def _certificates() -> Iterator[Item]:
    for one in certificates.expiring():
        left = one.days_left
        if left is None:
            text = one.problem
        elif left < 0:
            text = f"expired: {one.subject}"
        else:
            text = f"expires in {left} day{'' if left == 1 else 's'}: {one.subject}"
        yield Item(
            "bad" if left is None or left < 0 else "caution",
            f"{one.destination}: certificate, {one.get_role_display().lower()}",
            reverse("destination", args=[one.destination_id]),
            text,
        )
