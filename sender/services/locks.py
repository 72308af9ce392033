"""The order in which rows are locked, so that of two who change many of them none is a deadlock.

A destination, then its holds, then for each send (by number) the send, its batches (by number of
the row), their rows (by number) and at last the counts of its parts (tallies.py). Whoever holds a
lock takes no further one that comes before it in this order. So who will change several batches
locks them all at the beginning; an UPDATE of many rows by itself locks them in any order.
PostgreSQL ends one of two who wait for each other; SQLite has one writer at a time, and no locks of
rows.
"""

from django.db.models import QuerySet

from sender.models import Destination, Hold, Send, SendBatch, SendItem


def lock_destination_row(destination_id: int) -> None:
    """Keep others from changing a destination until the transaction ends."""
    Destination.objects.select_for_update(no_key=True).get(pk=destination_id)


def lock_destination(destination_id: int) -> None:
    """Keep others from changing a destination and its holds until the transaction ends."""
    lock_destination_row(destination_id)
    held = Hold.objects.filter(destination_id=destination_id, ended_at=None)
    list(held.order_by("pk").select_for_update(no_key=True).values_list("pk"))


def lock_send(send_id: int) -> Send:
    """Return a send as it is now; nobody changes or repeats it until the transaction ends."""
    return Send.objects.select_for_update(no_key=True).get(pk=send_id)


def lock_batches(batches: QuerySet[SendBatch]) -> None:
    """Keep others from changing batches, of one send or of several, until the transaction ends."""
    ordered = batches.order_by("send_id", "pk")
    list(ordered.select_for_update(of=("self",), no_key=True).values_list("pk"))


def locked_items(items: QuerySet[SendItem]) -> QuerySet[SendItem]:
    """Return rows so that others are kept from changing them once they are read."""
    return items.order_by("pk").select_for_update(of=("self",), no_key=True)


def lock_items(items: QuerySet[SendItem]) -> None:
    """Keep others from changing rows, before they are changed group by group."""
    list(locked_items(items).values_list("pk"))
