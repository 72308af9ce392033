"""From sources to a planned send: scan the files, settle duplicates, cut batches, write rows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from sender.dicom import files
from sender.models import Send, SendBatch, SendItem, SendState
from sender.negotiation.instances import DataKind, ScannedInstance, Unreadable
from sender.negotiation.matching import Conversion, Refusal, choose
from sender.negotiation.outcomes import ContextOutcome, InstanceOutcome
from sender.negotiation.planning import SendPlan, plan
from sender.negotiation.rules import TemplateSpec
from sender.services import sending, tickets
from sender.services.associating import LEASE_SECONDS
from sender.services.interning import definition_list_id
from sender.services.leases import owner_name
from sender.services.sources import stored_path

PAGE = 2000
BATCH_INSTANCES = 500
CONFLICT = "conflict"
TRAVELS = {
    Conversion.NONE: "unchanged",
    Conversion.CONVERT: "converted",
    Conversion.DECOMPRESS: "decompressed",
}


@dataclass(slots=True)
class Row:
    """One row of a send before it is written.

    Attributes:
        found: the instance, or why there is none.
        reason: why it can't be sent, "" if it can.
        also_at: relative paths of further files with the same instance.
    """

    found: ScannedInstance | Unreadable
    reason: str = ""
    also_at: list[str] = field(default_factory=list)


def holds_files(paths: Sequence[str]) -> bool:
    """Tell whether there is anything at all to list at these paths."""
    return any(True for path in paths for _ in files.list_files(path))


def plan_send(send_id: int) -> None:
    """List and plan a send that waits for it; whoever finds it claimed or planned returns at once.

    A planner that died is repeated from the start: its rows are replaced.
    """
    owner = owner_name()
    send = _claim(send_id, owner)
    if send is None:
        return
    rows: list[Row] | None = _list(send, owner)
    if rows is not None:
        spec = send.template_version.spec
        rows = settle_duplicates(rows)
        planned = plan({found.kind for found in map(_sendable, rows) if found}, spec)
        _refuse_unplanned(rows, planned)
        _write_rows(send, rows, planned)
        send.plan = describe_plan(rows, planned, spec)
    _close(send, rows)


def _claim(send_id: int, owner: str) -> Send | None:
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    taken = Send.objects.filter(
        free,
        pk=send_id,
        planned_at__isnull=True,
        state__in=(SendState.DRAFT, SendState.PLANNING, SendState.CANCELLING),
    ).update(owner=owner, lease_until=now + timedelta(seconds=LEASE_SECONDS), started_at=now)
    if not taken:
        return None
    return Send.objects.select_related("template_version", "destination").get(pk=send_id)


def _list(send: Send, owner: str) -> list[Row] | None:
    """Scan all sources; None if the send was cancelled or taken over meanwhile."""
    rows: list[Row] = []
    marked = timezone.now()
    for path in send.sources:
        for found in scan_source(path):
            rows.append(Row(found))
            if (timezone.now() - marked).total_seconds() >= 1:
                marked = timezone.now()
                if not _mark_listed(send, owner, len(rows)):
                    return None
    return rows if _mark_listed(send, owner, len(rows)) else None


def scan_source(path: str) -> Iterator[ScannedInstance | Unreadable]:
    """Yield what stands behind each entry of a source, in order of path."""
    for entry in files.list_files(path):
        if isinstance(entry, Unreadable):
            yield entry
        else:
            yield files.scan(entry.path, relative_path=entry.relative_path)


def _mark_listed(send: Send, owner: str, listed: int) -> bool:
    return (
        Send.objects.filter(pk=send.pk, owner=owner, control="").update(
            listed=listed, lease_until=timezone.now() + timedelta(seconds=LEASE_SECONDS)
        )
        == 1
    )


def settle_duplicates(rows: list[Row]) -> list[Row]:
    """Join rows with identical data sets under one SOP Instance UID; mark differing as conflict.

    The first file, in order, stands for its copies. Rows under one UID whose data sets differ
    are all marked, one row each.
    """
    same: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if isinstance(row.found, ScannedInstance):
            same[row.found.sop_instance].append(row)
    joined: set[int] = set()
    for group in same.values():
        if len(group) > 1:
            joined |= _settle(group)
    return [row for row in rows if id(row) not in joined]


def _settle(group: list[Row]) -> set[int]:
    """Settle rows of one SOP Instance UID; return the ids of the rows that another stands for."""
    digests = [_digest(row) for row in group]
    if len(set(digests)) > 1 or None in digests:
        for row in group:
            row.reason = CONFLICT
        return set()
    first, *copies = group
    first.also_at = [row.found.relative_path for row in copies]
    return {id(row) for row in copies}


def _digest(row: Row) -> str | None:
    assert isinstance(row.found, ScannedInstance)
    try:
        return files.dataset_digest(row.found)
    except OSError:
        return None


def _sendable(row: Row) -> ScannedInstance | None:
    return row.found if isinstance(row.found, ScannedInstance) and not row.reason else None


def _refuse_unplanned(rows: Iterable[Row], planned: SendPlan) -> None:
    for row in rows:
        if isinstance(row.found, Unreadable):
            row.reason = f"{row.found.relative_path}: {row.found.reason}"
        elif not row.reason:
            row.reason = planned.unsendable.get(row.found.kind, "")


def cut_batches(
    instances: Sequence[ScannedInstance], assignments: dict[DataKind, int]
) -> list[tuple[int, list[int]]]:
    """Cut instances into batches at study borders first and at proposals second.

    Args:
        instances: in the order in which studies shall travel.
        assignments: the index of the proposal that each kind needs.

    Returns:
        pairs of a proposal's index and the indexes of the instances that travel together. A study
        is never cut but where its kinds need different proposals.
    """
    studies: dict[str, list[int]] = defaultdict(list)
    for index, instance in enumerate(instances):
        studies[instance.study_instance].append(index)
    batches: list[tuple[int, list[int]]] = []
    open_batches: dict[int, list[int]] = {}
    for indexes in studies.values():
        by_proposal: dict[int, list[int]] = defaultdict(list)
        for index in indexes:
            by_proposal[assignments[instances[index].kind]].append(index)
        for proposal, members in sorted(by_proposal.items()):
            batch = open_batches.get(proposal)
            if batch is None or len(batch) + len(members) > BATCH_INSTANCES:
                batch = open_batches[proposal] = []
                batches.append((proposal, batch))
            batch.extend(members)
    return batches


def _write_rows(send: Send, rows: list[Row], planned: SendPlan) -> None:
    """Replace the rows of a send, in pages, each in a transaction of its own."""
    SendItem.objects.filter(send=send).delete()
    SendBatch.objects.filter(send=send).delete()
    sendable = [row for row in rows if _sendable(row)]
    instances = [row.found for row in sendable if isinstance(row.found, ScannedInstance)]
    lists = [definition_list_id(proposal) for proposal in planned.proposals]
    items = [_item(send, row) for row in rows if not _sendable(row)]
    now = timezone.now()
    for number, (proposal, members) in enumerate(
        cut_batches(instances, dict(planned.assignments)), start=1
    ):
        batch = SendBatch.objects.create(
            send=send,
            number=number,
            destination=send.destination,
            definition_list_id=lists[proposal],
            priority=send.priority,
            next_attempt_at=now,
        )
        items += [_item(send, sendable[index], batch) for index in members]
    for position, item in enumerate(items, start=1):
        item.position = position
    for start in range(0, len(items), PAGE):
        with transaction.atomic():
            SendItem.objects.bulk_create(items[start : start + PAGE])


def _item(send: Send, row: Row, batch: SendBatch | None = None) -> SendItem:
    found = row.found
    item = SendItem(
        send=send,
        batch=batch,
        path=stored_path(found.path),
        relative_path=found.relative_path,
        also_at=row.also_at,
        sop_instance_uid=found.sop_instance,
        reason=row.reason[:600],
        outcome=InstanceOutcome.UNSENDABLE if row.reason else InstanceOutcome.PENDING,
    )
    if isinstance(found, ScannedInstance):
        item.study_instance_uid = found.study_instance
        item.series_instance_uid = found.series_instance
        item.sop_class_uid = found.kind.sop_class
        item.transfer_syntax_uid = found.kind.transfer_syntax
        item.lossy = found.kind.lossy
        item.size = found.size
        item.mtime_ns = found.mtime_ns
        item.dataset_offset = found.dataset_offset
    return item


def describe_plan(rows: Sequence[Row], planned: SendPlan, spec: TemplateSpec) -> dict[str, Any]:
    """Return the plan in figures, as JSON, for people."""
    kinds: dict[DataKind, dict[str, Any]] = {}
    studies: defaultdict[DataKind, set[str]] = defaultdict(set)
    reasons: Counter[str] = Counter()
    for row in rows:
        if isinstance(row.found, Unreadable):
            reasons["unreadable"] += 1
        elif row.reason == CONFLICT:
            reasons["conflicts"] += 1
        else:
            kind = row.found.kind
            entry = kinds.setdefault(kind, _kind_entry(kind, planned, spec))
            entry["instances"] += 1
            entry["bytes"] += row.found.dataset_length
            studies[kind].add(row.found.study_instance)
            entry["studies"] = len(studies[kind])
    return {
        "kinds": sorted(kinds.values(), key=lambda e: (e["sop_class"], e["transfer_syntax"])),
        "associations": len(planned.proposals),
        "contexts": sum(len(proposal.contexts) for proposal in planned.proposals),
        "unreadable": reasons["unreadable"],
        "conflicts": reasons["conflicts"],
    }


def _kind_entry(kind: DataKind, planned: SendPlan, spec: TemplateSpec) -> dict[str, Any]:
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
        "instances": 0,
        "bytes": 0,
        "studies": 0,
        "travels": travels,
        "reason": reason,
    }


def _close(send: Send, rows: list[Row] | None) -> None:
    """Mark a send as planned and let it go on, unless it was cancelled meanwhile."""
    with transaction.atomic():
        mine = Send.objects.filter(pk=send.pk, owner=send.owner)
        if not mine.update(plan=send.plan, planned_at=timezone.now(), owner="", lease_until=None):
            return
        if rows is None:
            pass
        elif not rows:
            mine = Send.objects.filter(pk=send.pk)
            mine.update(detail="The source holds no files.", finished_at=timezone.now())
            sending.move_send(send.pk, SendState.FAILED)
        else:
            Send.objects.filter(pk=send.pk).update(listed=len(rows))
            is_queued = sending.move_send(send.pk, SendState.QUEUED, before=(SendState.PLANNING,))
            if is_queued and not send.inline:
                tickets.issue_work(send.destination_id)
    sending.finish_if_done(send.pk)
