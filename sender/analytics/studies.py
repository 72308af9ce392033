"""Sends counted by study: how complete each study arrived, where it went, in which syntax."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, Min, Q, QuerySet, Sum

from sender.models import Association, AssociationStudy, Send, SendItem, StudyPart
from sender.negotiation.outcomes import InstanceOutcome

EXPORT_COLUMNS = (
    "study", "found", "sent", "warning", "failed", "unsendable", "unknown", "pending",
    "cancelled", "complete",
)  # fmt: skip
_DELIVERED = F("sent") + F("warning")
_NOT_DELIVERED = F("failed") + F("unsendable") + F("unknown") + F("pending") + F("cancelled")


@dataclass(frozen=True, slots=True)
class StudyCount:
    """What became of a study in a send.

    Attributes:
        counts: rows per outcome.
        kinds: how many kinds of data it holds.
    """

    uid: str
    counts: dict[InstanceOutcome, int]
    kinds: int
    bytes: int

    @property
    def found(self) -> int:
        return sum(self.counts.values())

    @property
    def delivered(self) -> int:
        return self.counts[InstanceOutcome.SENT] + self.counts[InstanceOutcome.WARNING]

    @property
    def not_sent(self) -> int:
        """What will not arrive by itself."""
        return self.found - self.delivered - self.counts[InstanceOutcome.PENDING]

    @property
    def is_complete(self) -> bool:
        return self.delivered == self.found


@dataclass(frozen=True, slots=True)
class StudySummary:
    """Studies of one or several sends: how many, and how many of them arrived whole.

    Attributes:
        untouched: studies of which nothing arrived.
    """

    studies: int
    complete: int
    untouched: int

    @property
    def incomplete(self) -> int:
        return self.studies - self.complete


def summary(sends: QuerySet[Send]) -> StudySummary:
    """Count the studies of sends; a study in several sends counts once, as its newest left it."""
    newest = (
        _with_study(StudyPart.objects.filter(send__in=sends))
        .values("study_instance_uid")
        .annotate(newest=Max("send_id"))
    )
    pairs: dict[str, int] = {row["study_instance_uid"]: row["newest"] for row in newest}
    found = complete = untouched = 0
    for row in _per_study(StudyPart.objects.filter(send__in=sends), "send_id"):
        if pairs[row["study_instance_uid"]] != row["send_id"]:
            continue
        found += 1
        complete += not row["missing"]
        untouched += not row["delivered"]
    return StudySummary(found, complete, untouched)


def summary_of(send: Send) -> StudySummary:
    """Count the studies of one send."""
    rows = _per_study(StudyPart.objects.filter(send=send))
    whole = rows.aggregate(
        studies=Count("study_instance_uid"),
        complete=Count("study_instance_uid", filter=Q(missing=0)),
        untouched=Count("study_instance_uid", filter=Q(delivered=0)),
    )
    return StudySummary(whole["studies"], whole["complete"], whole["untouched"])


def _with_study(parts: QuerySet[StudyPart]) -> QuerySet[StudyPart]:
    return parts.exclude(study_instance_uid="").order_by()


def _per_study(parts: QuerySet[StudyPart], *keys: str) -> Any:
    return (
        _with_study(parts)
        .values("study_instance_uid", *keys)
        .annotate(delivered=Sum(_DELIVERED), missing=Sum(_NOT_DELIVERED))
    )


def studies_of(send: Send, *, only_incomplete: bool, after: str = "") -> Iterator[StudyCount]:
    """Yield the studies of a send in the order of their UIDs, those after a UID."""
    parts = StudyPart.objects.filter(send=send, study_instance_uid__gt=after)
    return _counts(parts, only_incomplete=only_incomplete)


def _counts(parts: QuerySet[StudyPart], *, only_incomplete: bool = False) -> Iterator[StudyCount]:
    rows = (
        _per_study(parts)
        .annotate(
            n_kinds=Count("kind"),
            n_bytes=Sum("bytes"),
            **{f"n_{outcome.value}": Sum(outcome.value) for outcome in InstanceOutcome},
        )
        .order_by("study_instance_uid")
    )
    if only_incomplete:
        rows = rows.filter(missing__gt=0)
    for row in rows.iterator(chunk_size=2000):
        yield StudyCount(
            uid=row["study_instance_uid"],
            counts={outcome: row[f"n_{outcome.value}"] for outcome in InstanceOutcome},
            kinds=row["n_kinds"],
            bytes=row["n_bytes"],
        )


def export_studies(send: Send, *, only_incomplete: bool) -> Iterator[tuple[str, ...]]:
    """Yield the account of a send by study: a head, then one row per study."""
    yield EXPORT_COLUMNS
    for study in studies_of(send, only_incomplete=only_incomplete):
        yield (
            study.uid,
            str(study.found),
            *(str(study.counts[InstanceOutcome(name)]) for name in EXPORT_COLUMNS[2:-1]),
            "yes" if study.is_complete else "no",
        )


@dataclass(frozen=True, slots=True)
class StudyJourney:
    """A study in one send: where it went, when, how completely, by whom.

    Attributes:
        first_at, last_at: when its instances were first and last tried; None: never.
        sent_as: (transfer syntax UID, conversion, instances) as they were delivered.
        in_vain: the newest associations of the send that carried no instance, where none of it
            was ever tried.
    """

    send: Send
    count: StudyCount
    first_at: datetime | None
    last_at: datetime | None
    sent_as: list[tuple[str, str, int]]
    associations: list[int]
    in_vain: list[int]


MOST_SENDS = 50
MOST_IN_VAIN = 5


def journeys(uid: str) -> list[StudyJourney]:
    """Return the sends in which a study travelled or should have, the newest first."""
    parts = StudyPart.objects.filter(study_instance_uid=uid)
    numbers = parts.order_by("-send_id").values_list("send_id", flat=True).distinct()[:MOST_SENDS]
    sends = (
        Send.objects.filter(pk__in=list(numbers))
        .select_related("destination", "template_version__template")
        .order_by("-pk")
    )
    return [_journey(send, uid) for send in sends]


def _journey(send: Send, uid: str) -> StudyJourney:
    parts = StudyPart.objects.filter(send=send, study_instance_uid=uid)
    count = next(_counts(parts))
    tried = AssociationStudy.objects.filter(
        study_instance_uid=uid, association__send_number=send.pk
    )
    times = tried.aggregate(
        first=Min("association__started_at"), last=Max("association__started_at")
    )
    # By the numbers of the parts: a join would have all rows of the send looked at.
    delivered = SendItem.objects.filter(
        part_id__in=list(parts.values_list("pk", flat=True)),
        outcome__in=(InstanceOutcome.SENT, InstanceOutcome.WARNING),
    )
    associations = list(
        tried.order_by("association_id").values_list("association_id", flat=True)[:20]
    )
    empty = Association.objects.filter(send_number=send.pk, instances=0).order_by("-id")
    return StudyJourney(
        send=send,
        count=count,
        first_at=times["first"],
        last_at=times["last"],
        sent_as=[
            (syntax or "", conversion, n)
            for syntax, conversion, n in delivered.order_by()
            .values_list("sent_as__uid", "conversion")
            .annotate(n=Count("id"))
            .order_by("-n")
        ],
        associations=associations,
        in_vain=[] if associations else list(empty.values_list("pk", flat=True)[:MOST_IN_VAIN]),
    )


def is_known(uid: str) -> bool:
    """Tell whether a study was ever listed or sent."""
    return (
        StudyPart.objects.filter(study_instance_uid=uid).exists()
        or AssociationStudy.objects.filter(study_instance_uid=uid).exists()
    )
