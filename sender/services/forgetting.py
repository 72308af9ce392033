"""What only planners need of a listing is removed behind them, a little at each tick.

So no send waits for it, however many files were listed.
"""

import time
from collections.abc import Iterator

from sender.models import Listing, ListingEntry, ListingStudy, Send
from sender.models.sends import ENDED_STATES

PAGE = 10_000
"""Entries that are removed together: small transactions, between which others write."""
SECONDS_PER_TICK = 1.0


def forget_entries(*, seconds: float = SECONDS_PER_TICK) -> None:
    """Remove entries of listings that no send needs any more, for so long at most."""
    deadline = time.monotonic() + seconds
    for listing_id in _with_entries():
        if not _is_needed(listing_id) and not _forget(listing_id, deadline):
            break


def _with_entries() -> Iterator[int]:
    """Yield listings that have entries: one look at the index for each."""
    entries = ListingEntry.objects.order_by("listing_id").values_list("listing_id", flat=True)
    last = entries.first()
    while last is not None:
        yield last
        last = entries.filter(listing_id__gt=last).first()


def _is_needed(listing_id: int) -> bool:
    """Tell whether somebody is at work on a listing, or a send waits for its plan."""
    if Listing.objects.filter(pk=listing_id, lease_until__isnull=False).exists():
        return True
    waiting = Send.objects.filter(listing_id=listing_id, planned_at__isnull=True)
    return waiting.exclude(state__in=ENDED_STATES).exists()


def _forget(listing_id: int, deadline: float) -> bool:
    """Remove the entries of a listing; False if it was time to stop before the last."""
    entries = ListingEntry.objects.filter(listing_id=listing_id).order_by("number")
    while page := list(entries.values_list("number", flat=True)[:PAGE]):
        if time.monotonic() > deadline:
            return False
        entries.filter(number__gte=page[0], number__lte=page[-1]).order_by().delete()
    ListingStudy.objects.filter(listing_id=listing_id).delete()
    Listing.objects.filter(pk=listing_id).update(cursor={"forgotten": True})
    return True
