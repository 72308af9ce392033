"""What a destination answered last to each pair of abstract and transfer syntax."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max

from sender.models import NO_RESULT_LIST, NegotiationDay, ResultListOutcome
from sender.negotiation.outcomes import Verdict
from sender.negotiation.rates import REJECTED

MOST_LISTS = 400
"""Answers repeat: the newest so many different ones hold all that is known in practice."""


@dataclass(frozen=True, slots=True)
class LatestAnswer:
    """The last decision on a pair: accepted or rejected, and on a day on which it was given."""

    accepted: bool
    at: datetime


def latest_answers(
    destination_id: int, abstract_syntaxes: Iterable[str]
) -> dict[tuple[str, str], LatestAnswer]:
    """Return the last decision on each pair of (abstract syntax, transfer syntax).

    "Not chosen" and answers that never came decide nothing. Where one association accepted a pair
    in one context and rejected it in another, it was accepted.
    """
    lists: dict[int, datetime] = dict(
        NegotiationDay.objects.filter(destination_id=destination_id)
        .exclude(result_list_id=NO_RESULT_LIST)
        .order_by()
        .values_list("result_list_id")
        .annotate(at=Max("last_at"))
        .order_by("-at")[:MOST_LISTS]
    )
    rows = ResultListOutcome.objects.filter(
        result_list_id__in=list(lists),
        abstract_syntax__uid__in=set(abstract_syntaxes),
        verdict__in=[Verdict.ACCEPTED, *REJECTED],
    ).values_list("result_list_id", "abstract_syntax__uid", "transfer_syntax__uid", "verdict")
    found: dict[tuple[str, str], LatestAnswer] = {}
    for list_id, abstract_syntax, transfer_syntax, verdict in rows:
        answer = LatestAnswer(verdict == Verdict.ACCEPTED, lists[list_id])
        known = found.get((abstract_syntax, transfer_syntax))
        if known is None or (answer.at, answer.accepted) > (known.at, known.accepted):
            found[abstract_syntax, transfer_syntax] = answer
    return found
