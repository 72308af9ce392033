"""The counts of a send's parts, moved in the transaction that changes its rows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Q, QuerySet

from sender.models import SendItem, StudyPart
from sender.negotiation.matching import Conversion
from sender.negotiation.outcomes import InstanceOutcome
from sender.services.inserting import quoted_columns
from sender.services.locks import locked_items

DELIVERED = (InstanceOutcome.SENT, InstanceOutcome.WARNING)
_CONVERSIONS = {
    Conversion.CONVERT.value: "converted",
    Conversion.DECOMPRESS.value: "decompressed",
}


class Move(NamedTuple):
    """One row that goes from an outcome to another."""

    part_id: int
    before: InstanceOutcome
    after: InstanceOutcome
    conversion: str = ""


def move(moves: Iterable[Move]) -> None:
    """Move rows between the counts of their parts; parts in one order, so that none deadlock.

    Args:
        moves: one per row; where many are alike, a Counter of them.
    """
    changes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for one, number in Counter(moves).items():
        if one.before is one.after:
            continue
        change = changes[one.part_id]
        change[one.before.value] -= number
        change[one.after.value] += number
        if one.after in DELIVERED and one.conversion in _CONVERSIONS:
            change[_CONVERSIONS[one.conversion]] += number
    add(changes)


def add(changes: Mapping[int, Mapping[str, int]]) -> None:
    """Add to columns of parts, by their ids, in one order, all by one statement."""
    names = sorted({name for change in changes.values() for name, by in change.items() if by})
    if not names:
        return
    named = quoted_columns(StudyPart)
    sets = ", ".join(f"{named[name]} = {named[name]} + %s" for name in names)
    table, pk = connection.ops.quote_name(StudyPart._meta.db_table), named["id"]
    rows = [
        (*(change.get(name, 0) for name in names), part_id)
        for part_id, change in sorted(changes.items())
    ]
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {table} SET {sets} WHERE {pk} = %s", rows)  # noqa: S608


def change_rows(
    rows: QuerySet[SendItem], before: InstanceOutcome, after: InstanceOutcome, **fields: object
) -> int:
    """Give all rows of one outcome another, counts included; return how many there were.

    Raises:
        IntegrityError: rows got the first outcome meanwhile; nothing is changed.
    """
    rows = rows.filter(outcome__is_now=before)
    with transaction.atomic():
        counted = _counted_and_locked(rows)
        changed = rows.update(outcome=after, **fields)
        if changed != sum(counted.values()):
            raise IntegrityError("Rows of a send were changed while they were counted.")
        add({part: {before.value: -n, after.value: n} for part, n in counted.items()})
    return changed


def _counted_and_locked(rows: QuerySet[SendItem]) -> dict[int, int]:
    """Count rows by part, and keep others from changing them until the transaction ends.

    Two who change the same rows at once would else both move the counts by them. In the order of
    their ids (locks.py): an UPDATE by itself locks rows as it comes upon them.
    """
    locked = locked_items(rows).values("part_id")
    sql, values = locked.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT part_id, COUNT(*) FROM ({sql}) AS locked GROUP BY part_id",  # noqa: S608
            values,
        )
        return dict(cursor.fetchall())


def recount(send_id: int) -> int:
    """Count the rows of a send anew; return how many parts were wrong."""
    wrong = 0
    for part in StudyPart.objects.filter(send_id=send_id):
        found = SendItem.objects.filter(part=part).aggregate(
            **{o.value: Count("id", filter=Q(outcome=o)) for o in InstanceOutcome},
            **{
                name: Count("id", filter=Q(outcome__in=DELIVERED, conversion=conversion))
                for conversion, name in _CONVERSIONS.items()
            },
        )
        if any(getattr(part, name) != count for name, count in found.items()):
            wrong += 1
            StudyPart.objects.filter(pk=part.pk).update(**found)
    return wrong
