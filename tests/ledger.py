"""The database of a site, read from outside the product, while it runs or is away."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.processes import Site

Row = tuple[Any, ...]


def query(site: Site, sql: str) -> list[Row]:
    """Return the rows of a statement that both databases understand.

    Raises:
        sqlite3.Error, psycopg.Error: the database is away or busy.
    """
    address = site.environment.get("DATABASE_URL", "")
    if address.startswith("postgresql"):
        with psycopg.connect(address, connect_timeout=5) as connection:
            return connection.execute(sql.encode()).fetchall()
    path = Path(site.environment["CONCORDAT_DATA_DIR"]) / "concordat.sqlite3"
    if address:
        path = Path(address.removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as database:
        rows: list[Row] = database.execute(sql).fetchall()
    return rows


def counts(site: Site, table: str, column: str) -> dict[Any, int]:
    """Count the rows of a table by a column."""
    return {
        row[0]: row[1] for row in query(site, f"SELECT {column}, count(*) FROM {table} GROUP BY 1")
    }


def progress(site: Site) -> tuple[int, int]:
    """Return what pages show: how many rows of all sends are through, and how many there are."""
    done, waiting = query(
        site,
        "SELECT coalesce(sum(sent + warning + failed + unsendable + unknown + cancelled), 0),"
        " coalesce(sum(pending), 0) FROM sender_studypart",
    )[0]
    return int(done), int(done) + int(waiting)


AWAY: Sequence[type[Exception]] = (sqlite3.Error, psycopg.Error)
