"""Many rows into a table at the cost of their values alone.

Building a model object per row takes ten times as long as storing it, and scanning and planning
write millions of rows. Values go in as they are: text, numbers, None.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection, models

ROWS_PER_STATEMENT = 500


def insert_rows(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Insert rows, in as many statements as it takes; other columns get their defaults.

    Args:
        columns: names of columns as the database has them ("listing_id").
    """
    head, one = _statement(model, tuple(columns))
    with connection.cursor() as cursor:
        for part in _parts(rows):
            cursor.execute(head + ", ".join([one] * len(part)), _flat(part))


def upsert_rows(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    key: Sequence[str],
    changed: Sequence[str],
) -> dict[tuple[Any, ...], int]:
    """Insert rows, or change those that are there by their key; return the ids by key.

    Args:
        key: the columns of a unique constraint; no two rows may have the same.
        changed: the columns that a row that is there already takes over.
    """
    head, one = _statement(model, tuple(columns))
    tail = (
        f" ON CONFLICT ({', '.join(map(_quoted, key))}) DO UPDATE SET "
        + ", ".join(f"{_quoted(name)} = EXCLUDED.{_quoted(name)}" for name in changed)
        + f" RETURNING {', '.join(map(_quoted, (*key, 'id')))}"
    )
    found: dict[tuple[Any, ...], int] = {}
    with connection.cursor() as cursor:
        for part in _parts(rows):
            cursor.execute(head + ", ".join([one] * len(part)) + tail, _flat(part))
            found |= {tuple(row[:-1]): row[-1] for row in cursor.fetchall()}
    return found


@lru_cache(maxsize=32)
def _statement(model: type[models.Model], columns: tuple[str, ...]) -> tuple[str, str]:
    """Return the head of an INSERT and the place of one row, defaults written out."""
    known = {field.column: field for field in model._meta.local_concrete_fields if field.column}
    others = [name for name in known if name not in columns and not _is_generated(known[name])]
    names = ", ".join(map(_quoted, (*columns, *others)))
    values = ", ".join([*["%s"] * len(columns), *(_literal(known[name]) for name in others)])
    table = _quoted(model._meta.db_table)
    return f"INSERT INTO {table} ({names}) VALUES ", f"({values})"  # noqa: S608 - our own names


def _is_generated(field: "models.Field[Any, Any]") -> bool:
    return isinstance(field, models.AutoField | models.BigAutoField)


def _literal(field: "models.Field[Any, Any]") -> str:
    """Write a column's default as SQL; only the plainest ones are known here.

    Raises:
        TypeError: the default is none of these, so the column must be given.
    """
    value = field.get_default()
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if value == "" or isinstance(value, int):
        return "''" if value == "" else str(value)
    raise TypeError(f"{field.column} has no plain default: name it among the columns.")


def _parts(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        yield rows[start : start + ROWS_PER_STATEMENT]


def _flat(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [value for row in rows for value in row]


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
