"""A plan in figures, as JSON, for people."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Count, F, Sum

from sender.analytics.capability import LatestAnswer, latest_answers
from sender.models import AssociationScope, Send, SourceKind, StudyPart
from sender.models.sources import CONFLICT
from sender.negotiation.foresight import foresee
from sender.negotiation.instances import DataKind
from sender.negotiation.matching import Choice, Conversion, Refusal, choose
from sender.negotiation.outcomes import ContextOutcome
from sender.negotiation.planning import SendPlan
from sender.negotiation.rules import TemplateSpec

TRAVELS = {
    Conversion.NONE: "unchanged",
    Conversion.CONVERT: "converted",
    Conversion.DECOMPRESS: "decompressed",
}


def describe(send: Send, planned: SendPlan) -> dict[str, Any]:
    """Return the plan of a send whose rows are written."""
    spec = send.template_version.spec
    rows = (
        StudyPart.objects.filter(send=send)
        .order_by()
        .values("kind_id")
        .annotate(
            n=Sum(F("pending") + F("unsendable")),
            to_send=Sum("pending"),
            size=Sum("bytes"),
            studies=Count("study_instance_uid", distinct=True),
        )
    )
    kinds = SourceKind.objects.in_bulk([row["kind_id"] for row in rows])
    latest = latest_answers(send.destination_id, {k.sop_class_uid for k in kinds.values()})
    entries, unreadable = [], 0
    for row in rows:
        kind = kinds[row["kind_id"]]
        if not kind.sop_class_uid:
            unreadable += row["n"]
            continue
        entry = kind_entry(kind.kind, planned, spec)
        counts = {
            "instances": row["n"],
            "to_send": row["to_send"],
            "bytes": row["size"],
            "studies": row["studies"],
        }
        doubt = _doubt(kind.kind, planned, spec, latest)
        entries.append(entry | counts | {"doubt": doubt})
    return {
        "to_send": sum(entry["to_send"] for entry in entries),
        "kinds": sorted(entries, key=lambda e: (e["sop_class"], e["transfer_syntax"])),
        "associations": _associations(send, planned),
        "one_each": _one_each(send),
        "contexts": sum(len(proposal.contexts) for proposal in planned.proposals),
        "unreadable": unreadable,
        "conflicts": send.items.filter(reason=CONFLICT, outcome="unsendable").count(),
        "already_there": Send.objects.values_list("already_there", flat=True).get(pk=send.pk),
    }


def _associations(send: Send, planned: SendPlan) -> int:
    """Return how many associations the send needs at least."""
    destination = send.destination
    if _one_each(send) or destination.instances_per_association:
        return send.batches.count()
    return len(planned.proposals)


def _one_each(send: Send) -> str:
    """Return what has an association of its own; "" if nothing needs one."""
    return {AssociationScope.STUDY: "study", AssociationScope.SERIES: "series"}.get(
        AssociationScope(send.destination.association_scope), ""
    )


def kind_entry(kind: DataKind, planned: SendPlan, spec: TemplateSpec) -> dict[str, Any]:
    """Say how a kind travels if the peer accepts everything proposed."""
    travels, reason = "not sent", planned.unsendable.get(kind, "")
    if kind in planned.assignments:
        proposal = planned.proposals[planned.assignments[kind]]
        granted = [
            ContextOutcome(
                context, negotiated=True, result=0, accepted=context.transfer_syntaxes[0]
            )
            for context in proposal.contexts
        ]
        choice = choose(kind, granted, spec.options)
        if isinstance(choice, Refusal):
            reason = choice.reason
        else:
            travels = TRAVELS[choice.conversion]
    return {
        "sop_class": kind.sop_class,
        "transfer_syntax": kind.transfer_syntax,
        "lossy": kind.lossy,
        "travels": travels,
        "reason": reason,
    }


def _doubt(
    kind: DataKind,
    planned: SendPlan,
    spec: TemplateSpec,
    latest: Mapping[tuple[str, str], LatestAnswer],
) -> str:
    """Say that the peer accepted no fitting context last time; "" if it may well take the data."""
    if kind not in planned.assignments:
        return ""
    contexts = planned.proposals[planned.assignments[kind]].contexts
    accepted = {pair: answer.accepted for pair, answer in latest.items()}
    if not isinstance(foresee(kind, contexts, spec.options, accepted), Refusal):
        return ""
    if not isinstance(foresee(kind, contexts, spec.options, {}), Choice):
        return ""
    answers = [
        latest[context.abstract_syntax, uid]
        for context in contexts
        if context.abstract_syntax == kind.sop_class
        for uid in context.transfer_syntaxes
        if (context.abstract_syntax, uid) in latest
    ]
    newest = max(answer.at for answer in answers)
    return f"the peer accepted no fitting context when last asked, on {newest:%Y-%m-%d}"
