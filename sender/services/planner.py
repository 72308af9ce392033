"""From a listing to a planned send: proposals, studies in their order, batches, rows.

It goes study by study and page by page; how far it came is committed with each page, so that
another process goes on there, and millions of rows need no more memory than a study.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Min, Q, QuerySet
from django.utils import timezone

from sender.models import (
    AssociationScope,
    ItemCopy,
    Listing,
    ListingEntry,
    ListingState,
    Send,
    SendBatch,
    SendItem,
    SendState,
    SourceFile,
    SourceKind,
    StudyOrder,
    StudyPart,
)
from sender.models.sources import relative_path
from sender.negotiation.instances import DataKind
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.planning import SendPlan, plan
from sender.services import delivered, listing, plan_words, sending, tickets
from sender.services.interning import definition_list_id
from sender.services.leases import owner_name
from sender.services.vigil import LEASE_SECONDS

PAGE = 2000
BATCH_INSTANCES = 500
CONFLICT = "conflict"
NOTHING_FOUND = "The source holds no files."


class Lost(RuntimeError):
    """Somebody else plans the send now, or it was cancelled."""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry of a listing, as far as a plan needs it."""

    number: int
    file_id: int
    kind_id: int
    series_id: int | None
    size: int
    standing: str
    reason: str
    sop_instance: str


_COLUMNS = (
    "number",
    "file_id",
    "file__kind_id",
    "file__series_id",
    "file__size",
    "standing",
    "file__reason",
    "file__sop_instance_uid",
)


@dataclass(slots=True)
class Page:
    """Rows that are written together, with the parts and copies that belong to them."""

    items: list[SendItem] = field(default_factory=list)
    parts: dict[tuple[str, int], StudyPart] = field(default_factory=dict)
    batches: list[SendBatch] = field(default_factory=list)
    grown: dict[int, int] = field(default_factory=dict)
    already_there: int = 0


@dataclass(slots=True)
class Planner:
    """A send being planned.

    Attributes:
        open_batches: the batch that more instances may join, per proposal: (id, how many).
        done: studies that are written.
    """

    send: Send
    owner: str
    kinds: dict[int, DataKind]
    planned: SendPlan
    lists: list[int]
    scope: str
    largest: int
    deadline: float | None
    done: int = 0
    position: int = 0
    batch_number: int = 0
    open_batches: dict[int, tuple[SendBatch, int]] = field(default_factory=dict)
    page: Page = field(default_factory=Page)


def plan_send(send_id: int, *, in_slices: bool = True) -> None:
    """List and plan a send that waits for it; whoever finds it claimed or planned returns at once.

    Args:
        in_slices: come back for the rest after 45 s, so that others get their turn.
    """
    owner = owner_name()
    send = _claim(send_id, owner)
    if send is None:
        return
    try:
        _plan(send, owner, in_slices=in_slices)
    except Lost:
        return


def _claim(send_id: int, owner: str) -> Send | None:
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    taken = Send.objects.filter(
        free,
        pk=send_id,
        planned_at__isnull=True,
        state__in=(SendState.DRAFT, SendState.PLANNING, SendState.CANCELLING),
    ).update(owner=owner, lease_until=now + timedelta(seconds=LEASE_SECONDS))
    if not taken:
        return None
    Send.objects.filter(pk=send_id, started_at__isnull=True).update(started_at=now)
    return Send.objects.select_related("template_version", "destination", "listing").get(pk=send_id)


def _plan(send: Send, owner: str, *, in_slices: bool) -> None:
    if send.state == SendState.CANCELLING or send.listing is None:
        _close(send)
        return
    if not listing.scan_listing(send.listing.pk, owner, in_slices=in_slices):
        _come_back(send)
        return
    send.listing.refresh_from_db()
    if send.listing.state == ListingState.FAILED:
        _fail(send, send.listing.detail)
        return
    planner = _planner(send, owner, in_slices=in_slices)
    if _write_all(planner):
        send.plan = plan_words.describe(send, planner.planned)
        _close(send)
    else:
        _come_back(send)


def _come_back(send: Send) -> None:
    """Give the send back and have it planned further."""
    with transaction.atomic():
        if Send.objects.filter(pk=send.pk, owner=send.owner).update(owner="", lease_until=None):
            tickets.issue_plan(send.pk)


def _planner(send: Send, owner: str, *, in_slices: bool) -> Planner:
    found = _entries(send).order_by().values_list("file__kind_id", flat=True).distinct()
    rows = SourceKind.objects.filter(pk__in=list(found)).exclude(sop_class_uid="")
    kinds = {row.pk: row.kind for row in rows}
    planned = plan(set(kinds.values()), send.template_version.spec)
    cursor = send.plan_cursor
    opened = SendBatch.objects.in_bulk([batch for batch, _ in cursor.get("open", {}).values()])
    return Planner(
        send=send,
        owner=owner,
        kinds=kinds,
        planned=planned,
        lists=[definition_list_id(proposal) for proposal in planned.proposals],
        scope=send.destination.association_scope,
        largest=send.destination.instances_per_association or 0,
        deadline=time.monotonic() + listing.SLICE_SECONDS if in_slices else None,
        done=cursor.get("studies", 0),
        position=cursor.get("position", 0),
        batch_number=cursor.get("batch", 0),
        open_batches={
            int(proposal): (opened[batch], count)
            for proposal, (batch, count) in cursor.get("open", {}).items()
        },
    )


def _entries(send: Send) -> QuerySet[ListingEntry]:
    return ListingEntry.objects.filter(listing=send.listing).exclude(standing=listing.COPY)


def _studies(send: Send) -> list[tuple[int | None, str]]:
    """Return the studies of the listing in the order in which they shall travel."""
    order = {
        StudyOrder.LISTED: ("first",),
        StudyOrder.NEWEST: ("-study__study_date", "first"),
        StudyOrder.OLDEST: ("study__study_date", "first"),
    }[StudyOrder(send.study_order)]
    rows = (
        _entries(send)
        .order_by()
        .values("study_id", "study__uid", "study__study_date")
        .annotate(first=Min("number"))
        .order_by(*order)
    )
    return [(row["study_id"], row["study__uid"] or "") for row in rows]


def _write_all(planner: Planner) -> bool:
    """Write the rows of all studies that are left; False if the slice was over before."""
    studies = _studies(planner.send)
    for study_id, study in studies[planner.done :]:
        for rows in _rows(planner.send, study_id):
            _add(planner, study, rows)
        planner.done += 1
        if len(planner.page.items) >= PAGE:
            _write_page(planner)
            if planner.deadline is not None and time.monotonic() > planner.deadline:
                return planner.done == len(studies)
    _write_page(planner)
    return True


def _rows(send: Send, study_id: int | None) -> Iterator[list[Row]]:
    """Yield the rows of a study, series by series; of what has no study, page by page."""
    entries = _entries(send).filter(study_id=study_id)
    if study_id is not None:
        wanted = entries.order_by("file__series_id", "number")
        yield [Row(*row) for row in wanted.values_list(*_COLUMNS)]
        return
    last = 0
    while True:
        page = entries.filter(number__gt=last).order_by("number")[:PAGE]
        rows = [Row(*row) for row in page.values_list(*_COLUMNS)]
        if not rows:
            return
        last = rows[-1].number
        yield rows


def _add(planner: Planner, study: str, rows: Sequence[Row]) -> None:
    """Put the rows of a study into the page: those that can't be sent first, then batches."""
    if planner.send.only_new:
        there = delivered.at_destination(planner.send.destination_id, rows)
        planner.page.already_there += len(there)
        rows = [row for row in rows if row.number not in there]
    sendable: dict[tuple[int, int | None], list[Row]] = defaultdict(list)
    for row in rows:
        reason = _reason(planner, row)
        if reason:
            _add_item(planner, study, row, reason=reason)
        else:
            proposal = planner.planned.assignments[planner.kinds[row.kind_id]]
            group = row.series_id if planner.scope == AssociationScope.SERIES else None
            sendable[proposal, group].append(row)
    for (proposal, _), members in sorted(sendable.items(), key=lambda pair: pair[0][0]):
        for batch, part in _cut(planner, proposal, members):
            for row in part:
                _add_item(planner, study, row, batch=batch)


def _reason(planner: Planner, row: Row) -> str:
    """Say why a row can't be sent; "" if it can."""
    if row.standing == listing.CONFLICT:
        return CONFLICT
    if row.reason:
        return row.reason
    return planner.planned.unsendable.get(planner.kinds[row.kind_id], "")


def _cut(
    planner: Planner, proposal: int, members: Sequence[Row]
) -> Iterator[tuple[SendBatch, Sequence[Row]]]:
    """Yield batches with the members that travel in them.

    A study is cut only where the destination limits the instances of an association.
    """
    step = planner.largest or len(members)
    for start in range(0, len(members), step):
        part = members[start : start + step]
        batch, count = planner.open_batches.get(proposal, (None, 0))
        most = min(BATCH_INSTANCES, planner.largest or BATCH_INSTANCES)
        is_shared = planner.scope == AssociationScope.STUDIES
        if batch is None or not is_shared or count + len(part) > most:
            batch, count = _new_batch(planner, proposal), 0
        planner.open_batches[proposal] = (batch, count + len(part))
        planner.page.grown[batch.number] = count + len(part)
        yield batch, part


def _new_batch(planner: Planner, proposal: int) -> SendBatch:
    planner.batch_number += 1
    batch = SendBatch(
        send=planner.send,
        number=planner.batch_number,
        destination=planner.send.destination,
        definition_list_id=planner.lists[proposal],
        priority=planner.send.priority,
        next_attempt_at=timezone.now(),
    )
    planner.page.batches.append(batch)
    return batch


def _add_item(
    planner: Planner, study: str, row: Row, *, reason: str = "", batch: SendBatch | None = None
) -> None:
    outcome = InstanceOutcome.UNSENDABLE if reason else InstanceOutcome.PENDING
    part = _part(planner, study, row.kind_id)
    setattr(part, outcome.value, getattr(part, outcome.value) + 1)
    part.bytes += row.size
    planner.position += 1
    planner.page.items.append(
        SendItem(
            send=planner.send,
            batch=batch,
            part=part,
            file_id=row.file_id,
            position=planner.position,
            outcome=outcome,
            reason=reason[:600],
        )
    )


def _part(planner: Planner, study: str, kind_id: int) -> StudyPart:
    key = (study, kind_id)
    if key not in planner.page.parts:
        planner.page.parts[key] = StudyPart(
            send=planner.send, study_instance_uid=study, kind_id=kind_id
        )
    return planner.page.parts[key]


def _write_page(planner: Planner) -> None:
    """Write the page and how far the planner is, in one transaction.

    Raises:
        Lost: the send is no longer ours.
    """
    page, send = planner.page, planner.send
    _name_files(planner)
    with transaction.atomic():
        SendBatch.objects.bulk_create(page.batches)
        for number, count in page.grown.items():
            SendBatch.objects.filter(send=send, number=number).update(instances=count)
        _write_parts(page)
        for start in range(0, len(page.items), PAGE):
            SendItem.objects.bulk_create(page.items[start : start + PAGE])
        _write_copies(send, page)
        cursor = {
            "studies": planner.done,
            "position": planner.position,
            "batch": planner.batch_number,
            "open": {p: [batch.pk, count] for p, (batch, count) in planner.open_batches.items()},
        }
        kept = Send.objects.filter(pk=send.pk, owner=planner.owner).exclude(control="cancel")
        if not kept.update(
            plan_cursor=cursor,
            already_there=F("already_there") + page.already_there,
            lease_until=timezone.now() + timedelta(seconds=LEASE_SECONDS),
        ):
            raise Lost
    planner.page = Page()


def _write_parts(page: Page) -> None:
    """Write new parts; add to those that an earlier page wrote."""
    for part in page.parts.values():
        counts = {
            o.value: F(o.value) + getattr(part, o.value)
            for o in (InstanceOutcome.PENDING, InstanceOutcome.UNSENDABLE)
        }
        known = StudyPart.objects.filter(
            send=part.send, study_instance_uid=part.study_instance_uid, kind_id=part.kind_id
        )
        earlier = (
            known.values_list("id", flat=True).first() if not part.study_instance_uid else None
        )
        if earlier is None:
            continue
        StudyPart.objects.filter(pk=earlier).update(bytes=F("bytes") + part.bytes, **counts)
        part.pk = earlier
    StudyPart.objects.bulk_create([part for part in page.parts.values() if part.pk is None])
    for item in page.items:
        item.part_id = item.part.pk
        item.batch_id = item.batch.pk if item.batch else None


def _name_files(planner: Planner) -> None:
    """Put the relative path before the reason of files that hold no instance."""
    assert planner.send.listing is not None
    odd = {
        item.file_id: item for item in planner.page.items if item.part.kind_id not in planner.kinds
    }
    if not odd:
        return
    sources = planner.send.listing.sources
    for file in SourceFile.objects.filter(pk__in=list(odd)).select_related("folder"):
        item = odd[file.pk]
        item.reason = f"{relative_path(file.path, sources)}: {file.reason}"[:600]


def _write_copies(send: Send, page: Page) -> None:
    """Name the further files of instances that are listed more than once."""
    items = {item.file_id: item for item in page.items}
    copies = ListingEntry.objects.filter(listing=send.listing, standing=listing.COPY)
    if not copies.exists():
        return
    for start in range(0, len(items), PAGE):
        chunk = list(items)[start : start + PAGE]
        found = copies.filter(first_id__in=chunk).values_list("first_id", "file_id")
        ItemCopy.objects.bulk_create(
            [ItemCopy(item=items[first], file_id=file) for first, file in found]
        )


def _fail(send: Send, detail: str) -> None:
    """End a send that can't be planned."""
    with transaction.atomic():
        mine = Send.objects.filter(pk=send.pk, owner=send.owner)
        now = timezone.now()
        if mine.update(
            planned_at=now, finished_at=now, owner="", lease_until=None, detail=detail[:400]
        ):
            sending.move_send(send.pk, SendState.FAILED)


def _close(send: Send) -> None:
    """Mark a send as planned and let it go on, unless it was cancelled meanwhile."""
    found = Listing.objects.filter(sends=send.pk).first()
    if found is not None and not found.files and not found.excluded_files:
        _fail(send, NOTHING_FOUND)
        return
    with transaction.atomic():
        mine = Send.objects.filter(pk=send.pk, owner=send.owner)
        if not mine.update(plan=send.plan, planned_at=timezone.now(), owner="", lease_until=None):
            return
        is_queued = sending.move_send(send.pk, SendState.QUEUED, before=(SendState.PLANNING,))
        if is_queued and not send.inline:
            tickets.issue_work(send.destination_id)
    _forget_entries(send)
    sending.finish_if_done(send.pk)


def _forget_entries(send: Send) -> None:
    """Remove the entries of a listing that no send needs any more."""
    waiting = Send.objects.filter(listing=send.listing, planned_at__isnull=True)
    if not waiting.exists():
        ListingEntry.objects.filter(listing=send.listing).delete()
