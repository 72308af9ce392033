"""Append-only tables: triggers on both engines, made again after every migration.

Django rebuilds SQLite tables and drops their triggers silently, so they are no part of a
migration. Deleting is possible only while a row stands in the retention gate.
"""

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

APPEND_ONLY = (
    "sender_association",
    "sender_associationpdu",
    "sender_associationstudy",
    "sender_auditentry",
    "sender_contexttraffic",
    "sender_destinationrevision",
    "sender_endpoint",
    "sender_instanceattempt",
    "sender_pdu",
    "sender_peeridentity",
    "sender_presentationcontextdefinitionlist",
    "sender_presentationcontextdefinitionresultlist",
    "sender_presentationcontextresult",
    "sender_proposedpresentationcontext",
    "sender_templateversion",
    "sender_tlssession",
    "sender_transfersyntaxlist",
    "sender_transfersyntaxlistitem",
    "sender_unmatchedresult",
)
WITH_ID = frozenset(
    table
    for table in APPEND_ONLY
    if table
    not in (
        "sender_associationpdu",
        "sender_associationstudy",
        "sender_contexttraffic",
        "sender_instanceattempt",
        "sender_presentationcontextresult",
        "sender_proposedpresentationcontext",
        "sender_transfersyntaxlistitem",
        "sender_unmatchedresult",
    )
)
"""Tables with a key of one column: SQLite's INSERT OR REPLACE is refused there by a look-up."""

_GATE = "EXISTS (SELECT 1 FROM sender_retentiongate)"
_POSTGRESQL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION sender_append_only() RETURNS trigger AS $$
BEGIN
  IF TG_OP IN ('DELETE', 'TRUNCATE') AND {_GATE} THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'append-only: % is refused on %', TG_OP, TG_TABLE_NAME;
END
$$ LANGUAGE plpgsql
"""


def create_triggers(using: str) -> None:
    """Make all triggers anew on a database."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for statement in _statements(connection):
            cursor.execute(statement)


def _statements(connection: BaseDatabaseWrapper) -> list[str]:
    if connection.vendor == "postgresql":
        return [_POSTGRESQL_FUNCTION, *(s for table in APPEND_ONLY for s in _postgresql(table))]
    return [s for table in APPEND_ONLY for s in _sqlite(table)]


def _postgresql(table: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS append_only ON {table}",
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION sender_append_only()",
        f"DROP TRIGGER IF EXISTS append_only_truncate ON {table}",
        f"CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION sender_append_only()",
    ]


def _sqlite(table: str) -> list[str]:
    statements = []
    for name, event, condition in (
        ("update", "BEFORE UPDATE", ""),
        ("delete", "BEFORE DELETE", f"WHEN NOT {_GATE} "),
        (
            "replace",
            "BEFORE INSERT",
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) ",  # noqa: S608 - our names
        ),
    ):
        if name == "replace" and table not in WITH_ID:
            continue
        trigger = f"{table}_append_only_{name}"
        statements += [
            f"DROP TRIGGER IF EXISTS {trigger}",
            f"CREATE TRIGGER {trigger} {event} ON {table} {condition}"
            f"BEGIN SELECT RAISE(ABORT, 'append-only: {name} is refused on {table}'); END",
        ]
    return statements


def missing_triggers(using: str) -> list[str]:
    """Return the append-only tables that lack a trigger."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT c.relname, count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
                "WHERE t.tgname LIKE 'append_only%' AND t.tgenabled <> 'D' GROUP BY c.relname"
            )
        else:
            cursor.execute(
                "SELECT tbl_name, count(*) FROM sqlite_master WHERE type = 'trigger' "
                "AND name LIKE '%append_only%' GROUP BY tbl_name"
            )
        found: dict[str, int] = dict(cursor.fetchall())
    return [table for table in APPEND_ONLY if found.get(table, 0) < 2]
