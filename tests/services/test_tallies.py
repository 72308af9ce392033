"""The counts of parts move with the rows, however they move."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.models import ContextTemplate, Send, SendItem, StudyPart
from sender.negotiation.matching import Conversion
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import tallies
from sender.services.tallies import Move
from tests import factories

pytestmark = pytest.mark.django_db
OUTCOMES = list(InstanceOutcome)


@pytest.fixture
def send(db: None) -> Send:
    """A send of nine instances in three studies and a file that is none, all to send."""
    made = Send.objects.create(
        destination=factories.destination(),
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        requested_by="test",
    )
    for number in range(9):
        item = factories.send_item(
            made,
            position=number + 1,
            uid=f"1.2.{number}",
            outcome=InstanceOutcome.PENDING,
            path=f"/data/{number}.dcm",
        )
        part, _ = StudyPart.objects.get_or_create(
            send=made, study_instance_uid=f"1.9.{number % 3}", kind=item.part.kind
        )
        SendItem.objects.filter(pk=item.pk).update(part=part)
    StudyPart.objects.filter(send=made, study_instance_uid="1.2.826.1").delete()
    tallies.recount(made.pk)
    return made


def counts(send: Send) -> dict[str, int]:
    rows = StudyPart.objects.filter(send=send)
    found = {o.value: sum(getattr(part, o.value) for part in rows) for o in InstanceOutcome}
    return {name: number for name, number in found.items() if number}


def test_rows_move_with_their_counts_and_conversions(send: Send) -> None:
    first, second, third, *_ = send.items.order_by("position")
    moves = [
        Move(first.part_id, InstanceOutcome.PENDING, InstanceOutcome.SENT, "convert"),
        Move(second.part_id, InstanceOutcome.PENDING, InstanceOutcome.WARNING, "decompress"),
        Move(third.part_id, InstanceOutcome.PENDING, InstanceOutcome.FAILED, "convert"),
        Move(third.part_id, InstanceOutcome.PENDING, InstanceOutcome.PENDING),
    ]
    tallies.move(moves)
    assert counts(send) == {"sent": 1, "warning": 1, "failed": 1, "pending": 6}
    parts = StudyPart.objects.filter(send=send)
    assert sorted((part.converted, part.decompressed) for part in parts) == [
        (0, 0), (0, 1), (1, 0),
    ]  # fmt: skip


def test_moves_of_one_part_are_one_statement(send: Send, django_assert_num_queries: object) -> None:
    part = send.items.order_by("position")[0].part_id
    moves = [Move(part, InstanceOutcome.PENDING, InstanceOutcome.SENT) for _ in range(3)]
    with django_assert_num_queries(1):  # type: ignore[operator]
        tallies.move(moves)
    assert counts(send) == {"sent": 3, "pending": 6}


def test_rows_of_one_outcome_are_changed_and_counted(send: Send) -> None:
    some = SendItem.objects.filter(send=send, position__lte=5)
    changed = tallies.change_rows(
        some, InstanceOutcome.PENDING, InstanceOutcome.CANCELLED, reason="because"
    )
    assert changed == 5
    assert counts(send) == {"cancelled": 5, "pending": 4}
    assert send.items.filter(outcome="cancelled", reason="because").count() == 5
    assert tallies.recount(send.pk) == 0


def test_rows_of_other_outcomes_are_left_alone(send: Send) -> None:
    assert tallies.change_rows(send.items.all(), InstanceOutcome.FAILED, OUTCOMES[0]) == 0
    assert counts(send) == {"pending": 9}


def test_a_recount_mends_what_is_wrong_and_says_how_much(send: Send) -> None:
    items = list(send.items.order_by("position"))
    items[0].outcome, items[0].conversion = "sent", Conversion.CONVERT.value
    items[0].save()
    items[1].outcome = "unknown"
    items[1].save()
    assert tallies.recount(send.pk) == 2
    assert counts(send) == {"sent": 1, "unknown": 1, "pending": 7}
    assert StudyPart.objects.get(pk=items[0].part_id).converted == 1
    assert tallies.recount(send.pk) == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_the_counts_are_those_of_the_rows(seed: int) -> None:
    with _Undo():
        send = send_of_rows()
        luck = random.Random(seed)
        for _ in range(8):
            before, after = luck.choice(OUTCOMES), luck.choice(OUTCOMES)
            if luck.random() < 0.5 and before is not after:
                tallies.change_rows(send.items.all(), before, after)
                continue
            moves = []
            for item in send.items.filter(outcome=before).order_by("?")[:2]:
                moves.append(Move(item.part_id, before, after))
                SendItem.objects.filter(pk=item.pk).update(outcome=after)
            tallies.move(moves)
        assert tallies.recount(send.pk) == 0


def send_of_rows() -> Send:
    made = Send.objects.create(
        destination=factories.destination(f"d{Send.objects.count()}"),
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        requested_by="test",
    )
    for number in range(6):
        factories.send_item(
            made,
            position=number + 1,
            uid="" if number == 5 else f"1.2.{number}",
            outcome=InstanceOutcome.PENDING,
            path=f"/data/{number}",
        )
    return made


class _Undo:
    """Undoes what a block wrote: hypothesis runs many examples in one test's transaction."""

    def __enter__(self) -> None:
        from django.db import transaction

        self._atomic = transaction.atomic()
        self._atomic.__enter__()

    def __exit__(self, *error: object) -> None:
        from django.db import transaction

        transaction.set_rollback(True)
        self._atomic.__exit__(None, None, None)
