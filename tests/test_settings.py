"""DATABASE_URL: how PostgreSQL is called, and when it counts as away."""

import psycopg
import pytest
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg.conninfo import conninfo_to_dict

from dicomsite.settings import _database


def parameters(url: str) -> dict[str, object]:
    """Return what libpq is told; it refuses what it does not know."""
    wrapper = DatabaseWrapper({**_SETTINGS, **_database(url)})
    given = wrapper.get_connection_params()
    known = {name: value for name, value in given.items() if name not in _OF_PSYCOPG}
    return dict(conninfo_to_dict(psycopg.conninfo.make_conninfo(**known)))


_SETTINGS = {"TIME_ZONE": None, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True}
_OF_PSYCOPG = {"cursor_factory", "context", "prepare_threshold"}


@pytest.mark.parametrize("host", ["db.example:5433", ""])
def test_a_postgresql_that_does_not_answer_counts_as_away(host: str) -> None:
    found = parameters(f"postgresql://ada:x@{host}/name")
    assert {name: str(found[name]) for name in ("connect_timeout", "tcp_user_timeout")} == {
        "connect_timeout": "10",
        "tcp_user_timeout": "20000",
    }
    seconds = [int(str(found[f"keepalives_{name}"])) for name in ("idle", "interval", "count")]
    assert seconds[0] + seconds[1] * seconds[2] <= 30, "the fence comes no sooner"


def test_what_the_address_says_comes_first() -> None:
    found = parameters(
        "postgresql://ada@db/name?connect_timeout=3&tcp_user_timeout=0&sslmode=require"
    )
    assert (found["connect_timeout"], found["tcp_user_timeout"]) == ("3", "0")
    assert (found["sslmode"], str(found["keepalives_idle"])) == ("require", "10")
