"""A rollup equals the sum of its rows, and can be made anew from them."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from sender.models import DefinitionListSyntax, NegotiationDay, ResultListOutcome
from sender.negotiation.outcomes import AssociationKind
from sender.services import rollups
from tests import factories

pytestmark = pytest.mark.django_db


def make_history(seed: int, size: int = 40) -> None:
    """Record random associations to two destinations over three days."""
    chance = random.Random(seed)
    to = [factories.destination("one"), factories.destination("two")]
    for _ in range(size):
        moment = datetime(2026, 3, 28, tzinfo=UTC) + timedelta(hours=chance.uniform(0, 72))
        if chance.random() < 0.25:
            kind = chance.choice([AssociationKind.REJECTED, AssociationKind.TIMED_OUT])
            value = factories.outcome(kind=kind, started_at=moment)
        else:
            results = [chance.choice([0, 0, 3, 4, None]) for _ in range(3)]
            value = factories.outcome(*results, started_at=moment)
        factories.recorded(chance.choice(to), value)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
)
def test_rollups_agree_with_any_history(seed: int) -> None:
    make_history(seed)
    assert rollups.verify_rollups() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda: NegotiationDay.objects.filter(pk=NegotiationDay.objects.latest("pk").pk).delete(),
        pytest.param(lambda: NegotiationDay.objects.update(associations=7), marks=pytest.mark.slow),
        pytest.param(
            lambda: ResultListOutcome.objects.filter(verdict="accepted").update(contexts=9),
            marks=pytest.mark.slow,
        ),
        lambda: ResultListOutcome.objects.all().delete(),
    ],
    ids=["a lost day", "a wrong number", "a wrong count", "lost counts"],
)
def test_a_damaged_rollup_is_found_and_made_anew(damage: object) -> None:
    make_history(1)
    before = _everything()
    damage()  # type: ignore[operator]
    assert rollups.verify_rollups() != []
    rollups.rebuild_rollups()
    assert rollups.verify_rollups() == []
    assert _everything() == before


def _everything() -> list[set[tuple[object, ...]]]:
    days = NegotiationDay.objects.values_list(
        "started_on", "destination", "definition_list", "result_list", "outcome", "associations"
    )
    return [
        set(days),
        set(ResultListOutcome.objects.values_list()),
        set(DefinitionListSyntax.objects.values_list()),
    ]


def test_making_an_empty_history_anew_makes_nothing() -> None:
    rollups.rebuild_rollups()
    assert not NegotiationDay.objects.exists()
