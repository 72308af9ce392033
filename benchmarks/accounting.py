"""What millions of instances cost without files and peer: `python benchmarks/accounting.py`.

Writes a listing of remembered files, has the product plan it, lets its own transfer account for
every instance with a requestor that answers 0000 at once, then measures what a page, a list, an
export cost and how many bytes a row takes. Journal, history, digests and counts are all on. Run
with `--instances 20000000 --studies 40000` for the goal of the issue (hours on SQLite).
"""

import argparse
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.installing import install_here

CT = "1.2.840.10008.5.1.4.1.1.2"
ELE = "1.2.840.10008.1.2.1"
ROOT_UID = "1.2.826.0.1.3680043.10.999.20"
PAGE = 20_000


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--studies", type=int, default=2_000)
    parser.add_argument("--failing", type=int, default=1000, help="one of so many is refused")
    parser.add_argument("--folder", type=Path, help="where the data directory goes, and stays")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="concordat-accounting-"))
    install_here(folder)
    _measure(options)
    if options.folder is None:
        print(f"The data directory {folder} stays for you to look at.")


def _measure(options: argparse.Namespace) -> None:
    send = _order()
    print(f"{options.instances:,} instances in {options.studies:,} studies\n")
    before = _database_bytes()
    _timed("list (rows of remembered files)", lambda: _write_listing(send, options), options)
    listed = _database_bytes()
    _timed("plan", lambda: _plan(send), options)
    planned = _database_bytes()
    _timed("forget the listing (in the background otherwise)", _forget, options)
    _timed("run and account", lambda: _run(send, options.failing), options)
    accounted = _database_bytes()
    print(f"\nbytes per instance: listed {(listed - before) / options.instances:.0f}, "
          f"planned {(planned - listed) / options.instances:.0f}, "
          f"accounted {(accounted - planned) / options.instances:.0f}, "
          f"database {accounted / 1e6:,.0f} MB\n")  # fmt: skip
    _questions(send)


def _timed(name: str, work: Callable[[], object], options: argparse.Namespace) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:36} {seconds:9.1f} s  {options.instances / seconds:10,.0f}/s  "
        f"{spent / options.instances * 1e6:6.1f} µs CPU each  peak {peak:,.0f} MB",
        flush=True,
    )


def _order() -> Any:
    from sender.models import Listing, Send, SendState  # noqa: PLC0415
    from sender.services.destinations import DestinationFacts, add_destination  # noqa: PLC0415
    from sender.services.templates import find_version  # noqa: PLC0415

    facts = DestinationFacts("accounting", "NOBODY", "127.0.0.1", 1)
    return Send.objects.create(
        destination=add_destination(facts, actor="benchmark", confirmed=True),
        template_version=find_version("Derived from files"),
        listing=Listing.objects.create(sources=["/accounting"], state="done", inline=True),
        state=SendState.PLANNING,
        requested_by="benchmark",
        inline=True,
    )


def _write_listing(send: Any, options: argparse.Namespace) -> None:
    """Write what a scan of that many files would have left."""
    from django.db import transaction  # noqa: PLC0415

    from sender.models import ListingEntry, SourceFile  # noqa: PLC0415
    from sender.negotiation.instances import DataKind  # noqa: PLC0415
    from sender.services.catalogue import Catalogue  # noqa: PLC0415
    from sender.services.inserting import insert_rows  # noqa: PLC0415

    catalogue = Catalogue()
    kind = catalogue.kind_id(DataKind(CT, ELE, False))
    per_study = -(-options.instances // options.studies)
    files, entries, number = [], [], 0
    for study in range(options.studies):
        folder = catalogue.folder_id(f"/accounting/{study:06d}")
        study_id, series_id = _study(study)
        for instance in range(min(per_study, options.instances - number)):
            number += 1
            uid = f"{ROOT_UID}.{study}.1.{instance + 1}"
            files.append(
                (
                    number,
                    folder,
                    f"IM{instance:06d}.dcm",
                    526_336,
                    0,
                    kind,
                    series_id,
                    uid,
                    1200,
                    "",
                )
            )
            entries.append((send.listing_id, number, number, study_id, ""))
        if len(files) >= PAGE or number == options.instances:
            with transaction.atomic():
                insert_rows(SourceFile, _FILE, files)
                insert_rows(ListingEntry, _ENTRY, entries)
            files, entries = [], []
    type(send.listing).objects.filter(pk=send.listing_id).update(files=number)


_FILE = ("id", "folder_id", "name", "size", "mtime_ns", "kind_id", "series_id",
         "sop_instance_uid", "dataset_offset", "reason")  # fmt: skip
_ENTRY = ("listing_id", "number", "file_id", "study_id", "standing")


def _study(number: int) -> tuple[int, int]:
    from sender.models import SourceSeries, SourceStudy  # noqa: PLC0415

    uid = f"{ROOT_UID}.{number}"
    study = SourceStudy.objects.create(uid=uid, study_date=f"2026{number % 12 + 1:02d}01")
    return study.pk, SourceSeries.objects.create(study=study, uid=f"{uid}.1", modality="CT").pk


def _plan(send: Any) -> None:
    from sender.services import planner  # noqa: PLC0415

    planner.plan_send(send.pk, in_slices=False)


def _forget() -> None:
    from sender.services import forgetting  # noqa: PLC0415

    forgetting.forget_entries(seconds=math.inf)


class _Answering:
    """An association that accepts everything and answers each C-STORE at once."""

    def __init__(self, proposal: Any, failing: int) -> None:
        from sender.negotiation import outcomes  # noqa: PLC0415

        self._outcomes = outcomes
        self._failing = failing
        self._stored = 0
        self.moved = 0
        self.is_open = True
        self.contexts = tuple(
            outcomes.ContextOutcome(c, negotiated=True, result=0, accepted=c.transfer_syntaxes[0])
            for c in proposal.contexts
        )
        self._outcome = outcomes.AssociationOutcome(
            kind=outcomes.AssociationKind.ESTABLISHED,
            proposal=proposal,
            started_at=datetime.now(UTC),
            phase=outcomes.Phase.TRANSFER,
            contexts=self.contexts,
            local_maximum_length=131072,
        )

    def store_many(self, requests: Iterator[Any], **_: object) -> Iterator[tuple[Any, Any]]:
        kinds = self._outcomes.InstanceOutcome
        for request in requests:
            self._stored += 1
            refused = self._stored % self._failing == 0
            yield (
                request,
                self._outcomes.StoreOutcome(
                    kinds.FAILED if refused else kinds.SENT,
                    request.context_id,
                    status=0xC000 if refused else 0,
                    detail="the peer refused it: status C000" if refused else "",
                    bytes_sent=525_136,
                ),
            )

    def release(self) -> None:
        self.is_open = False
        self._outcome = replace(self._outcome, ended=self._outcomes.Ended.RELEASED)

    abort = interrupt = release

    def stall(self) -> None:
        return None

    def outcome(self) -> Any:
        return self._outcome


class _Requestor:
    """Opens such associations."""

    def __init__(self, failing: int) -> None:
        self._failing = failing

    def associate(self, _peer: Any, proposal: Any, **_: object) -> Any:
        return _Answering(proposal, self._failing)


def _run(send: Any, failing: int) -> None:
    from sender.services import leases, transfer  # noqa: PLC0415

    slot = leases.claim_slot(send.destination, "benchmark")
    assert slot is not None
    while lease := leases.claim_batch(send.destination_id, "benchmark", send_id=send.pk):
        transfer.run_batches(
            lease,
            slot,
            is_stopping=lambda: False,
            next_batch=lambda batch: leases.claim_follower(batch, "benchmark"),
            requestor=cast(Any, _Requestor(failing)),
        )


def _questions(send: Any) -> None:
    """Ask what the send's pages ask."""
    from sender.analytics import sends, studies  # noqa: PLC0415
    from sender.models import SendItem  # noqa: PLC0415

    send.refresh_from_db()

    def export(most: int) -> int:
        rows = sends.export_rows(send)
        return sum(1 for _, _ in zip(range(most), rows, strict=False))

    questions: list[tuple[str, Callable[[], object]]] = [
        ("progress", lambda: sends.progress(send)),
        ("by study", lambda: studies.summary_of(send)),
        ("by kind", lambda: sends.kinds(send)),
        ("failures by reason", lambda: sends.failure_groups(send)),
        ("incomplete studies, 100", lambda: list(
            zip(range(100), studies.studies_of(send, only_incomplete=True), strict=False))),
        ("one study's journey", lambda: studies.journeys(f"{ROOT_UID}.7")),
        ("export of 1,000,000 rows", lambda: export(1_000_000)),
    ]  # fmt: skip
    for name, ask in questions:
        began = time.perf_counter()
        ask()
        print(f"{name:36} {(time.perf_counter() - began) * 1000:12,.1f} ms", flush=True)
    counts = {o.value: n for o, n in sends.progress(send).counts.items() if n}
    rows = SendItem.objects.filter(send=send).count()
    print(f"\nstate {send.state}, counts {counts}, rows {rows:,}")


def _database_bytes() -> int:
    from django.conf import settings  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(settings.DATABASES["default"]["NAME"])


if __name__ == "__main__":
    main()
