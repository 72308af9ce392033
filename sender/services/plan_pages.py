"""The rows of a plan, written page by page: parts, batches, items, copies."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from sender.models import (
    ItemCopy,
    ListingEntry,
    Send,
    SendBatch,
    SendItem,
    SourceFile,
    StudyPart,
)
from sender.models.sources import CONFLICT, COPY, relative_path
from sender.negotiation.instances import DataKind
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.planning import SendPlan
from sender.services import delivered, tallies
from sender.services.inserting import insert_rows
from sender.services.owners import lease_end
from sender.services.plan_batches import Batches

PAGE_ROWS = 2000
LONGEST_REASON = 600
_ITEM = (
    "send_id", "batch_id", "part_id", "file_id", "position", "outcome", "reason",
    "attempts", "rule", "conversion",
)  # fmt: skip
_PENDING, _UNSENDABLE = InstanceOutcome.PENDING.value, InstanceOutcome.UNSENDABLE.value


class Lost(RuntimeError):
    """Somebody else plans the send now, or it was cancelled."""


class Row(NamedTuple):
    """An entry of a listing, as far as a plan needs it."""

    number: int
    file_id: int
    kind_id: int
    series_id: int | None
    size: int
    standing: str
    reason: str
    sop_instance: str


class Study(NamedTuple):
    """A study of a listing; without an id: what belongs to none.

    Attributes:
        files: how many rows it has.
    """

    study_id: int | None
    uid: str
    files: int


class Item(NamedTuple):
    """A row to be written."""

    row: Row
    part: tuple[str, int]
    batch: int | None
    reason: str


@dataclass(slots=True)
class Page:
    """Rows that are written together, with what belongs to them.

    Attributes:
        taken: rows that were looked at, whether they are written or the destination has them.
        studies: ids of the studies that the rows belong to.
    """

    taken: int = 0
    items: list[Item] = field(default_factory=list)
    studies: set[int] = field(default_factory=set)
    parts: dict[tuple[str, int], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    already_there: int = 0


class PagedPlan:
    """Takes the rows of a send in their order, and writes them when a page is full."""

    def __init__(
        self, send: Send, kinds: Mapping[int, DataKind], planned: SendPlan, lists: Sequence[int]
    ) -> None:
        """Go on where `send.plan_cursor` says.

        Args:
            kinds: the kinds of data of the listing, by the ids of their rows.
            lists: the definition list of each proposal.
        """
        cursor: dict[str, Any] = send.plan_cursor
        self.planned = planned
        self._send = send
        self._owner = send.owner
        self._lists = lists
        self._proposals = {
            kind_id: planned.assignments[kind]
            for kind_id, kind in kinds.items()
            if kind in planned.assignments
        }
        self._reasons = {
            kind_id: planned.unsendable[kind]
            for kind_id, kind in kinds.items()
            if kind in planned.unsendable
        }
        self._kinds = kinds
        self._position = int(cursor.get("position", 0))
        self._batches = Batches(send)
        self._page = Page()

    @property
    def is_full(self) -> bool:
        """Whether it is time to write, be it only how far the planner is."""
        return self._page.taken >= PAGE_ROWS

    def add(self, study: Study, rows: Sequence[Row]) -> None:
        """Take rows of a study, in their order."""
        there: set[int] = set()
        if self._send.only_new:
            asked = [row for row in rows if not row.standing and not row.reason]
            there = delivered.at_destination(self._send.destination_id, asked)
            self._page.already_there += len(there)
            study = study._replace(files=study.files - len(there))
        self._page.taken += len(rows)
        if study.study_id is not None and len(there) < len(rows):
            self._page.studies.add(study.study_id)
        for row in rows:
            if row.number not in there:
                self._add(study, row)

    def _add(self, study: Study, row: Row) -> None:
        reason = self._reason(row)
        part = (study.uid, row.kind_id)
        batch = None
        if not reason:
            proposal = self._proposals[row.kind_id]
            batch = self._batches.join(
                proposal, study.study_id, row.series_id, study_files=study.files
            )
        counts = self._page.parts[part]
        counts[_UNSENDABLE if reason else _PENDING] += 1
        counts["bytes"] += row.size
        self._page.items.append(Item(row, part, batch, reason))

    def _reason(self, row: Row) -> str:
        """Say why a row can't be sent; "" if it can."""
        if row.standing == CONFLICT:
            return CONFLICT
        if row.reason:
            return row.reason
        return self._reasons.get(row.kind_id, "")

    def write(self, progress: Sequence[int | None]) -> None:
        """Write the page and how far the planner is, in one transaction.

        Raises:
            Lost: the send is no longer ours.
        """
        page, send = self._page, self._send
        cursor = {
            "progress": list(progress),
            "position": self._position + len(page.items),
        } | self._batches.cursor()
        with transaction.atomic():
            batches = self._write_batches()
            parts = self._write_parts()
            self._write_items(batches, parts)
            self._write_copies()
            mine = Send.objects.filter(pk=send.pk, owner=self._owner).exclude(control="cancel")
            if not mine.update(
                plan_cursor=cursor,
                plan_tries=0,
                already_there=F("already_there") + page.already_there,
                lease_until=lease_end(),
            ):
                raise Lost
        self._position += len(page.items)
        self._page = Page()
        self._batches.turn_page()

    def _write_batches(self) -> dict[int, int]:
        """Write new batches, let others grow; return the ids of all that the page needs."""
        batches, send, now = self._batches, self._send, timezone.now()
        made = SendBatch.objects.bulk_create(
            [
                SendBatch(
                    send=send,
                    number=number,
                    destination=send.destination,
                    definition_list_id=self._lists[proposal],
                    instances=batches.grown[number],
                    priority=send.priority,
                    next_attempt_at=now,
                )
                for number, proposal in batches.new.items()
            ],
            batch_size=500,
        )
        ids = {batch.number: batch.pk for batch in made}
        older = set(batches.grown) - set(ids)
        for number, batch_id in SendBatch.objects.filter(send=send, number__in=older).values_list(
            "number", "id"
        ):
            ids[number] = batch_id
            SendBatch.objects.filter(pk=batch_id).update(instances=batches.grown[number])
        return ids

    def _write_parts(self) -> dict[tuple[str, int], int]:
        """Write new parts, add to those of earlier pages; return their ids."""
        page, send = self._page, self._send
        known = StudyPart.objects.filter(
            send=send, study_instance_uid__in={study for study, _ in page.parts}
        )
        ids = {
            (study, kind): part_id
            for study, kind, part_id in known.values_list("study_instance_uid", "kind_id", "id")
            if (study, kind) in page.parts
        }
        tallies.add({part_id: page.parts[key] for key, part_id in ids.items()})
        made = StudyPart.objects.bulk_create(
            [
                StudyPart(send=send, study_instance_uid=study, kind_id=kind, **counts)
                for (study, kind), counts in page.parts.items()
                if (study, kind) not in ids
            ],
            batch_size=500,
        )
        return ids | {(part.study_instance_uid, part.kind_id): part.pk for part in made}

    def _write_items(
        self, batches: Mapping[int, int], parts: Mapping[tuple[str, int], int]
    ) -> None:
        send = self._send
        named = self._names()
        insert_rows(
            SendItem,
            _ITEM,
            [
                (
                    send.pk,
                    None if item.batch is None else batches[item.batch],
                    parts[item.part],
                    item.row.file_id,
                    position,
                    _UNSENDABLE if item.reason else _PENDING,
                    named.get(item.row.file_id, item.reason)[:LONGEST_REASON],
                    0,
                    "",
                    "",
                )
                for position, item in enumerate(self._page.items, start=self._position + 1)
            ],
        )

    def _names(self) -> dict[int, str]:
        """Return the reasons of files that hold no instance, their relative paths put before."""
        assert self._send.listing is not None
        odd = [i.row.file_id for i in self._page.items if i.row.kind_id not in self._kinds]
        sources = self._send.listing.sources
        rows = SourceFile.objects.filter(pk__in=odd).select_related("folder")
        return {row.pk: f"{relative_path(row.path, sources)}: {row.reason}" for row in rows}

    def _write_copies(self) -> None:
        """Name the further files of instances that are listed more than once."""
        found_at = self._send.listing
        if found_at is None or not found_at.cursor.get("copies"):
            return
        firsts = {i.row.file_id for i in self._page.items if i.row.kind_id in self._kinds}
        listed = ListingEntry.objects.filter(
            listing=found_at, study_id__in=self._page.studies, standing=COPY
        ).order_by("number")
        found = [
            (first, file)
            for first, file in listed.values_list("first_id", "file_id")
            if first in firsts
        ]
        items = dict(
            SendItem.objects.filter(send=self._send, file_id__in={first for first, _ in found})
            .order_by()
            .values_list("file_id", "id")
        )
        insert_rows(
            ItemCopy, ("item_id", "file_id"), [(items[first], file) for first, file in found]
        )
