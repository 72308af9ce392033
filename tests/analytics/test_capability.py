"""What a destination answered last to each pair of syntaxes."""

from datetime import UTC, datetime, timedelta

import pytest

from sender.analytics.capability import latest_answers
from sender.negotiation.outcomes import AssociationKind
from tests import factories
from tests.factories import CT, ELE, ILE, J90, MR

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_the_newest_decision_on_each_pair_counts() -> None:
    to = factories.destination()
    other = factories.destination("other")
    # The proposal has CT in JPEG 2000, CT in explicit or implicit, MR in JPEG 2000.
    for results, days in (((0, 0, 4), 3), ((4, 0, 4), 2), ((None, 0, 0), 1)):
        value = factories.outcome(*results, started_at=NOW - timedelta(days=days))
        factories.recorded(to, value)
    factories.recorded(to, factories.outcome(kind=AssociationKind.TIMED_OUT, started_at=NOW))
    factories.recorded(other, factories.outcome(0, 4, 4, started_at=NOW))
    found = latest_answers(to.pk, [CT, MR])
    assert {pair: answer.accepted for pair, answer in found.items()} == {
        (CT, J90): False,
        (CT, ELE): True,
        (MR, J90): True,
    }
    assert found[CT, J90].at == NOW - timedelta(days=2)
    assert (CT, ILE) not in found, "not chosen decides nothing"


def test_only_wanted_classes_are_looked_up() -> None:
    to = factories.destination()
    factories.recorded(to, factories.outcome(0, 0, 4))
    assert set(latest_answers(to.pk, [MR])) == {(MR, J90)}
    assert latest_answers(to.pk, []) == {}
