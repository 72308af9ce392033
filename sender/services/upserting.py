"""Many rows inserted, or changed where they are there already, with their ids."""

from collections.abc import Sequence
from typing import Any

from django.db import connection, models

from sender.services.inserting import quoted_columns

ROWS_PER_STATEMENT = 500


def upsert_rows(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    key: Sequence[str],
    changed: Sequence[str],
) -> dict[tuple[Any, ...], int]:
    """Insert rows, or change those that are there by their key; return the ids by key.

    In the caller's transaction. Values go in as they are: text, numbers, None.

    Args:
        columns: names of fields as attributes have them; those left out must have no default.
        key: the columns of a unique constraint; no two rows may have the same.
        changed: the columns that a row that is there already takes over.
    """
    named = quoted_columns(model)
    names = ", ".join(named[name] for name in columns)
    conflict = ", ".join(named[name] for name in key)
    changes = ", ".join(f"{named[name]} = EXCLUDED.{named[name]}" for name in changed)
    table, pk = connection.ops.quote_name(model._meta.db_table), named["id"]
    head = f"INSERT INTO {table} ({names}) VALUES "  # noqa: S608 - our own names
    tail = f" ON CONFLICT ({conflict}) DO UPDATE SET {changes} RETURNING {conflict}, {pk}"
    one = f"({', '.join(['%s'] * len(columns))})"
    found: dict[tuple[Any, ...], int] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            part = rows[start : start + ROWS_PER_STATEMENT]
            values = [value for row in part for value in row]
            cursor.execute(head + ", ".join([one] * len(part)) + tail, values)
            found |= {tuple(row[:-1]): row[-1] for row in cursor.fetchall()}
    return found
