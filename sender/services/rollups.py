"""Rollups: compared with the rows that they are made from, and made anew from them."""

from collections import Counter
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, Max, Min

from sender.models import (
    NO_RESULT_LIST,
    Association,
    DefinitionListSyntax,
    NegotiationDay,
    PresentationContextDefinitionList,
    ResultListOutcome,
    ResultListSyntaxOutcome,
)
from sender.models.reading import proposal_of, read_afresh
from sender.negotiation import rates
from sender.services import interning, result_lists

_KEY = (
    "destination_id",
    "started_on",
    "template_version_id",
    "definition_list_id",
    "outcome",
    "result_list_id",
)
Day = tuple[int, datetime, datetime]


def verify_rollups() -> list[str]:
    """Return what the rollups say otherwise than the history does, in words; none if they agree."""
    return [*_verify_days(), *_verify_lists()]


def rebuild_rollups() -> None:
    """Make all rollups anew from the history."""
    with transaction.atomic():
        NegotiationDay.objects.all().delete()
        NegotiationDay.objects.bulk_create(
            [
                NegotiationDay(
                    **dict(zip(_KEY, key, strict=True)),
                    associations=number,
                    first_at=first,
                    last_at=last,
                )
                for key, (number, first, last) in _counted_days().items()
            ],
            batch_size=1000,
        )
        for model in (ResultListOutcome, ResultListSyntaxOutcome, DefinitionListSyntax):
            model.objects.all().delete()
        for definition_list in PresentationContextDefinitionList.objects.all():
            interning.write_definition_counts(definition_list.pk, proposal_of(definition_list))
        for row in _one_per_answer():
            result_lists.write_result_counts(row.result_list.pk, read_afresh(row)[1])


def _counted_days() -> dict[tuple[Any, ...], Day]:
    rows = (
        Association.objects.order_by()
        .values_list(*_KEY)
        .annotate(n=Count("id"), first=Min("started_at"), last=Max("started_at"))
    )
    return {row[:-3]: row[-3:] for row in rows}


def _verify_days() -> list[str]:
    counted = _counted_days()
    kept = {
        row[:-3]: row[-3:]
        for row in NegotiationDay.objects.values_list(*_KEY, "associations", "first_at", "last_at")
    }
    return [
        f"{dict(zip(_KEY, key, strict=True))}: the history has {counted.get(key)}, "
        f"the rollup {kept.get(key)}"
        for key in sorted(counted.keys() | kept.keys(), key=str)
        if counted.get(key) != kept.get(key)
    ]


def _one_per_answer() -> list[Association]:
    """Return an association for each result list that has one."""
    newest = (
        Association.objects.exclude(result_list_id=NO_RESULT_LIST)
        .order_by()
        .values("result_list_id")
        .annotate(newest=Max("id"))
    )
    numbers = [row["newest"] for row in newest]
    return list(Association.objects.filter(pk__in=numbers).select_related("result_list"))


def _verify_lists() -> list[str]:
    found = []
    for row in _one_per_answer():
        decisions = rates.decisions(read_afresh(row)[1])
        counted = Counter(
            (d.abstract_syntax, d.transfer_syntax, d.verdict.value, d.sole, d.inferred)
            for d in decisions
        )
        kept = {
            values[:-1]: values[-1]
            for values in ResultListOutcome.objects.filter(
                result_list_id=row.result_list_id
            ).values_list(
                "abstract_syntax__uid",
                "transfer_syntax__uid",
                "verdict",
                "sole",
                "inferred",
                "contexts",
            )
        }
        if dict(counted) != kept:
            found.append(f"The counts of result list {row.result_list_id} are not its contexts'.")
    return found
