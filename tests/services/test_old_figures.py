"""PostgreSQL may not have counted the rows of a new send yet; they are found as quickly then."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from sender.models import Send, SendItem, SendState, SourceFile, StudyPart
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import cancelling, isolating, results, tallies
from sender.services.inserting import insert_rows
from tests import factories
from tests.services.test_control import planned, write_studies

pytestmark = [
    pytest.mark.usefixtures("live_db"),
    pytest.mark.skipif(
        os.environ.get("CONCORDAT_TEST_DATABASE") != "postgresql", reason="SQLite keeps no figures"
    ),
]
COLUMNS = (
    "send_id", "batch_id", "part_id", "file_id", "position", "outcome", "reason", "attempts",
    "rule", "conversion",
)  # fmt: skip
ROWS = 5000


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """A send to which thousands of rows were added since its table was counted."""
    send = planned(factories.destination(), write_studies(tmp_path / "in", 2))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE sender_senditem")
    batch, part = send.batches.get(), send.parts.order_by("pk").first()
    file = SourceFile.objects.earliest("pk")
    assert part is not None
    rows = [
        (send.pk, batch.pk, part.pk, file.pk, 100 + i, "failed", "", 0, "", "") for i in range(ROWS)
    ]
    insert_rows(SendItem, COLUMNS, rows)
    StudyPart.objects.filter(pk=part.pk).update(pending=F("pending") + ROWS)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE sender_senditem")  # hardly any is pending, by what it counts now
    SendItem.objects.filter(outcome="failed").update(outcome="pending")
    return send


def some(send: Send) -> list[int]:
    return list(send.items.order_by("pk").values_list("pk", flat=True)[:6])


def read(send: Send) -> None:
    for _ in zip(results.due_items(send.batches.get().pk), range(3), strict=False):
        pass


def change(send: Send) -> None:
    rows = SendItem.objects.filter(pk__among=some(send))
    tallies.change_rows(rows, InstanceOutcome.PENDING, InstanceOutcome.CANCELLED)


def cancel(send: Send) -> None:
    Send.objects.filter(pk=send.pk).update(state=SendState.CANCELLING)
    assert cancelling._settle_some(send.pk)


WORKS: dict[str, Callable[[Send], object]] = {
    "read": read,
    "isolate": lambda send: isolating.isolate_poison(send.batches.get()),
    "change": change,
    "cancel": cancel,
}


@pytest.mark.parametrize("work", WORKS)
def test_no_row_is_looked_for_by_its_outcome(work: str, send: Send) -> None:
    with CaptureQueriesContext(connection) as asked:
        WORKS[work](send)
    statements = [q["sql"] for q in asked if '"sender_senditem"' in q["sql"]]
    assert statements
    plans = [_plan_of(sql) for sql in statements if sql.startswith(("SELECT", "UPDATE"))]
    assert plans
    assert not [plan for plan in plans if "send_item_by_outcome" in plan]


def _plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sql}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    return plan
