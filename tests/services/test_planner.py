"""Plans: order of studies, batches, pages, several sends of one listing, and every way to end."""

import os
import shutil
from collections import Counter
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from sender.models import (
    AssociationScope,
    ContextTemplate,
    Destination,
    ItemCopy,
    Listing,
    ListingEntry,
    ListingState,
    ListingStudy,
    Send,
    SendBatch,
    SendItem,
    SendState,
    StudyOrder,
    StudyPart,
)
from sender.negotiation import syntaxes
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.selection import Selection
from sender.services import (
    delivered,
    engine,
    forgetting,
    listing,
    plan_batches,
    plan_pages,
    plan_rows,
    planner,
    sending,
    taking,
    tallies,
    tickets,
)
from sender.services.expectations import Expectation
from sender.services.sending import SendOrder
from tests import factories
from tests.holders import gone_holder

pytestmark = pytest.mark.usefixtures("live_db")
STARTER = "Starter: CT, MR and secondary capture"


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sends for which a ticket to plan was issued."""
    found: list[int] = []
    monkeypatch.setattr(tickets, "issue_plan", found.append)
    monkeypatch.setattr(tickets, "issue_work", lambda _: None)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three studies of three instances in two series each, dated 2, 3 and 1."""
    for number in range(9):
        study = number // 3
        factories.write_instance(
            tmp_path / "in" / f"{number}.dcm",
            sop_instance=f"1.2.3.{number}",
            study=f"1.2.826.{study}",
            extra=[
                ("SeriesInstanceUID", f"1.2.826.{study}.{number % 2}"),
                ("StudyDate", f"2024010{(2, 3, 1)[study]}"),
            ],
        )
    return tmp_path / "in"


def order(*folders: Path, to: Destination | None = None, **facts: Any) -> Send:
    to = to or Destination.objects.first() or factories.destination()
    template = facts.pop("template", "Derived from files")
    start = facts.pop("start", True)
    version = ContextTemplate.objects.get(name=template).newest
    given = SendOrder(to, version, [str(f) for f in folders], "test", roots=None, **facts)
    return sending.create_send(given, start=start)


def planned(*folders: Path, **facts: Any) -> Send:
    send = order(*folders, **facts)
    planner.plan_send(send.pk)
    send.refresh_from_db()
    return send


def uids(send: Send) -> list[str]:
    rows = SendItem.objects.filter(send=send).order_by("position")
    return list(rows.values_list("file__sop_instance_uid", flat=True))


def batches(send: Send) -> list[list[str]]:
    return [
        [
            uid[-1]
            for uid in batch.items.order_by("position").values_list(
                "file__sop_instance_uid", flat=True
            )
        ]
        for batch in SendBatch.objects.filter(send=send).order_by("number")
    ]


def check_counts(send: Send) -> None:
    """Whatever was written, the counts of parts and batches are those of the rows."""
    assert tallies.recount(send.pk) == 0
    for batch in SendBatch.objects.filter(send=send):
        assert batch.instances == batch.items.count()
    positions = list(
        SendItem.objects.filter(send=send).order_by("position").values_list("position", flat=True)
    )
    assert positions == list(range(1, len(positions) + 1))


def check_planned(send: Send) -> None:
    """The send is ready, and has each instance of `folder` once."""
    send.refresh_from_db()
    assert send.state == SendState.QUEUED
    assert sorted(uids(send)) == [f"1.2.3.{number}" for number in range(9)]
    check_counts(send)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (StudyOrder.LISTED, [0, 1, 2]),
        (StudyOrder.NEWEST, [1, 0, 2]),
        (StudyOrder.OLDEST, [2, 0, 1]),
    ],
)
def test_studies_travel_in_the_order_chosen(
    chosen: StudyOrder, expected: list[int], folder: Path, issued: list[int]
) -> None:
    send = planned(folder, study_order=chosen)
    studies = StudyPart.objects.filter(send=send)
    assert sorted(part.study_instance_uid[-1] for part in studies) == ["0", "1", "2"]
    found = [int(uid[-1]) // 3 for uid in uids(send)]
    assert list(dict.fromkeys(found)) == expected
    check_counts(send)


@pytest.mark.parametrize("chosen", [StudyOrder.NEWEST, StudyOrder.OLDEST])
def test_studies_without_a_date_come_last(
    chosen: StudyOrder, folder: Path, issued: list[int]
) -> None:
    factories.write_instance(folder / "00.dcm", sop_instance="1.2.4", study="1.2.827")
    assert uids(planned(folder, study_order=chosen))[-1] == "1.2.4"


@pytest.mark.parametrize(
    ("scope", "most", "expected"),
    [
        (AssociationScope.STUDIES, None, ["021354687"]),
        (AssociationScope.STUDIES, 4, ["021", "354", "687"]),
        (AssociationScope.STUDIES, 2, ["02", "1", "34", "5", "68", "7"]),
        (AssociationScope.STUDY, None, ["021", "354", "687"]),
        (AssociationScope.STUDY, 2, ["02", "1", "34", "5", "68", "7"]),
        (AssociationScope.SERIES, None, ["02", "1", "4", "35", "68", "7"]),
        (AssociationScope.SERIES, 1, list("021435687")),
    ],
)
def test_batches_are_cut_as_the_destination_wants_associations(
    scope: str, most: int | None, expected: list[str], folder: Path, issued: list[int]
) -> None:
    to = factories.destination()
    to.association_scope, to.instances_per_association = scope, most
    to.save()
    send = planned(folder, to=to)
    found = ["".join(sorted(batch)) for batch in batches(send)]
    assert sorted(found) == sorted("".join(sorted(batch)) for batch in expected)
    check_counts(send)


def test_a_study_is_not_cut_where_the_destination_sets_no_limit(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_batches, "BATCH_INSTANCES", 4)
    assert [len(batch) for batch in batches(planned(folder))] == [3, 3, 3]
    monkeypatch.setattr(plan_batches, "BATCH_INSTANCES", 2)
    assert [len(batch) for batch in batches(planned(folder))] == [3, 3, 3]
    monkeypatch.setattr(plan_batches, "BATCH_INSTANCES", 6)
    assert [len(batch) for batch in batches(planned(folder))] == [6, 3]


@pytest.mark.parametrize(("associations", "expected"), [(1, [9]), (2, [6, 3]), (3, [3, 3, 3])])
def test_several_associations_get_some_batches_each(
    associations: int,
    expected: list[int],
    folder: Path,
    issued: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan_batches, "SHARED_INSTANCES", 2)
    monkeypatch.setattr(plan_batches, "SHARES", 2 / 3)
    to = factories.destination(max_associations=associations)
    assert [len(batch) for batch in batches(planned(folder, to=to))] == expected


@pytest.mark.parametrize(("instances", "expected"), [(1.5, [3, 3, 3]), (6, [6, 3]), (60, [9])])
def test_associations_share_large_instances_by_bytes(
    instances: float,
    expected: list[int],
    folder: Path,
    issued: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    monkeypatch.setattr(plan_batches, "SHARED_BYTES", int(instances * sum(sizes) / len(sizes)) + 1)
    to = factories.destination(max_associations=2)
    assert [len(batch) for batch in batches(planned(folder, to=to))] == expected


@pytest.mark.parametrize(
    "page", [4, *(pytest.param(page, marks=pytest.mark.slow) for page in (1, 2, 7))]
)
@pytest.mark.parametrize("chosen", list(StudyOrder))
def test_slices_and_pages_of_any_size_make_the_same_plan(
    page: int,
    chosen: StudyOrder,
    folder: Path,
    issued: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / "more.txt").write_text("y")
    whole = planned(folder, study_order=chosen)
    monkeypatch.setattr(plan_rows, "PAGE", page)
    monkeypatch.setattr(plan_pages, "PAGE_ROWS", page)
    monkeypatch.setattr(plan_rows, "STUDIES_PER_QUERY", 2)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1.0)
    send = order(folder, study_order=chosen)
    slices = 0
    while not Send.objects.get(pk=send.pk).planned_at:
        planner.plan_send(send.pk)
        slices += 1
    send.refresh_from_db()
    assert slices > 11 // page
    assert uids(send) == uids(whole)
    assert batches(send) == batches(whole)
    assert send.plan == whole.plan
    check_counts(send)


class Killed(BaseException):
    """Stands for a process that vanished: nobody catches it, and nothing is given back."""


class Mishap(ValueError):
    """Stands for an error of ours."""


def failing(error: BaseException) -> Any:
    """Return what raises an error whatever it is called with."""

    def fail(*_: object) -> Any:
        raise error

    return fail


def attempts(*sends: Send) -> int:
    """Call planners, as the tick does, until all sends are planned; return how many it took."""
    waiting = Send.objects.filter(pk__in=[send.pk for send in sends], planned_at=None)
    for number, send in enumerate(islice(cycle(sends), 99)):
        if not waiting.exists():
            return number
        with suppress(Killed):
            planner.plan_send(send.pk)
        # The tick frees what the killed held.
        waiting.update(owner="", lease_until=None)
        Listing.objects.filter(state=ListingState.SCANNING).update(owner="", lease_until=None)
    raise AssertionError("planning went on for ever")


@pytest.mark.parametrize(
    ("error", "tries", "said"),
    [
        (
            Mishap("SECRET-ID"),
            5,
            "The files could not be listed: an error of this program (Mishap)",
        ),
        (Killed(), 6, "The files could not be listed: 5 times in a row the worker that tried it"),
    ],
)
def test_a_listing_that_fails_again_and_again_ends_all_its_sends(
    error: BaseException,
    tries: int,
    said: str,
    folder: Path,
    issued: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sends = shared(folder)
    Send.objects.filter(pk=sends[0].pk).update(state=SendState.DRAFT)
    monkeypatch.setattr(taking, "_write", failing(error))
    assert attempts(*sends) == tries + 1
    for send in sends:
        send.refresh_from_db()
        assert (send.state, send.owner) == (SendState.ERRORED, "")
        assert send.detail.startswith(said)
        assert "SECRET" not in send.detail
        assert send.finished_at is not None
    assert Listing.objects.get().state == ListingState.ERRORED
    assert_forgotten()


@pytest.mark.parametrize(
    ("error", "tries", "said"),
    [
        (Mishap("SECRET-ID"), 6, "The plan could not be made: an error of this program (Mishap)"),
        (Killed(), 7, "The plan could not be made: 5 times in a row the worker that tried it"),
    ],
)
def test_a_plan_that_fails_again_and_again_ends_its_send_only(
    error: BaseException,
    tries: int,
    said: str,
    folder: Path,
    issued: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paged(monkeypatch)
    bad, good = shared(folder)
    real, left = plan_pages.PagedPlan.write, 1

    def write_one(pages: plan_pages.PagedPlan, progress: Any) -> None:
        nonlocal left
        if not left and pages._send.pk == bad.pk:
            raise error
        left = 0
        real(pages, progress)

    monkeypatch.setattr(plan_pages.PagedPlan, "write", write_one)
    assert attempts(bad) == tries
    bad.refresh_from_db()
    assert bad.state == SendState.ERRORED
    assert bad.detail.startswith(said)
    assert "SECRET" not in bad.detail
    rows = {(row.outcome, row.reason) for row in bad.items.all()}
    assert rows == {("cancelled", "the plan of the send could not be finished")}
    assert set(bad.batches.values_list("state", flat=True)) == {"cancelled"}
    check_counts(bad)
    planner.plan_send(good.pk)
    check_planned(good)


def test_a_plan_that_gets_on_may_stumble_as_often_as_it_likes(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "CHUNK", 1)
    monkeypatch.setattr(plan_rows, "PAGE", 1)
    monkeypatch.setattr(plan_pages, "PAGE_ROWS", 1)
    for module, name in ((taking, "_write"), (plan_pages.PagedPlan, "write")):
        monkeypatch.setattr(module, name, stumbling_after(getattr(module, name)))
    send = order(folder)
    assert attempts(send) == 9 + 9
    check_planned(send)


def stumbling_after(real: Any) -> Any:
    """Return what does its work and fails in turn."""
    calls = 0

    def work(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise Mishap
        return real(*arguments)

    return work


def test_an_outage_of_the_database_is_no_failed_try(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = order(folder)
    with monkeypatch.context() as patch:
        patch.setattr(taking, "_write", failing(OperationalError("it is away")))
        for _ in range(9):
            with pytest.raises(OperationalError):
                planner.plan_send(send.pk)
    planner.plan_send(send.pk)
    check_planned(send)


def test_who_waits_for_a_plan_is_told_of_an_error_at_once(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = order(folder, inline=True)
    monkeypatch.setattr(taking, "_write", failing(Mishap()))
    planner.plan_send(send.pk, in_slices=False)
    send.refresh_from_db()
    assert (send.state, "(Mishap)" in send.detail) == (SendState.ERRORED, True)


def test_a_cancelled_send_whose_listing_fails_is_cancelled(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = order(folder, inline=True)

    def fail(*_: object) -> None:
        sending.cancel_send(Send.objects.get(pk=send.pk), "test")
        raise Mishap

    monkeypatch.setattr(listing, "_settle", fail)
    planner.plan_send(send.pk, in_slices=False)
    send.refresh_from_db()
    assert send.state == SendState.CANCELLED


@pytest.mark.parametrize("after", range(4))
def test_a_plan_that_was_interrupted_anywhere_goes_on(
    after: int, folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_rows, "PAGE", 2)
    monkeypatch.setattr(plan_pages, "PAGE_ROWS", 2)
    send = order(folder)
    real, left = plan_pages.PagedPlan.write, after

    def write_some(pages: plan_pages.PagedPlan, progress: Any) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        real(pages, progress)

    with monkeypatch.context() as patch:
        patch.setattr(plan_pages.PagedPlan, "write", write_some)
        with pytest.raises(Killed):
            planner.plan_send(send.pk)
    Send.objects.filter(pk=send.pk).update(lease_until=None)
    planner.plan_send(send.pk)
    check_planned(send)


def test_a_planner_that_lost_the_send_writes_nothing_more(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_pages, "PAGE_ROWS", 2)
    monkeypatch.setattr(plan_rows, "PAGE", 2)
    send = order(folder)
    real = plan_pages.PagedPlan.write

    def stolen(pages: plan_pages.PagedPlan, progress: Any) -> None:
        real(pages, progress)
        Send.objects.filter(pk=send.pk).update(owner="the thief")

    monkeypatch.setattr(plan_pages.PagedPlan, "write", stolen)
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert (send.owner, send.planned_at) == ("the thief", None)
    assert SendItem.objects.filter(send=send).count() == 2


def test_two_planners_at_once_plan_once(folder: Path, issued: list[int]) -> None:
    import threading

    from django.db import connection

    send = order(folder)
    begin = threading.Barrier(4)

    def plan() -> None:
        begin.wait()
        try:
            planner.plan_send(send.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=plan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_planned(send)


def test_the_dead_are_not_waited_for(folder: Path, issued: list[int]) -> None:
    from datetime import timedelta

    send = order(folder)
    later = timezone.now() + timedelta(seconds=60)
    Send.objects.filter(pk=send.pk).update(owner="elsewhere:1:0:0", lease_until=later)
    planner.plan_send(send.pk)
    assert Send.objects.get(pk=send.pk).planned_at is None
    gone = gone_holder()
    Send.objects.filter(pk=send.pk).update(owner=gone)
    planner.plan_send(send.pk)
    assert Send.objects.get(pk=send.pk).planned_at is not None


def test_the_tick_frees_what_a_killed_planner_held(folder: Path, issued: list[int]) -> None:
    from datetime import timedelta

    from sender.services import recovery

    send = order(folder)
    later = timezone.now() + timedelta(seconds=60)
    facts = {"owner": gone_holder(), "lease_until": later}
    Send.objects.filter(pk=send.pk).update(**facts)
    Listing.objects.update(state=ListingState.SCANNING, **facts)
    recovery.end_leases()
    for row in (Send.objects.get(pk=send.pk), Listing.objects.get()):
        assert (row.owner, row.lease_until) == ("", None)


def shared(folder: Path, *, start: bool = True, **facts: Any) -> list[Send]:
    """Order sends of one listing to two destinations with templates of their own."""
    targets = [
        (factories.destination("one"), ContextTemplate.objects.get(name=STARTER).newest),
        (
            factories.destination("two"),
            ContextTemplate.objects.get(name="Derived from files").newest,
        ),
    ]
    given = SendOrder(*targets[0], [str(folder)], "test", roots=None, **facts)
    return sending.create_sends(given, targets, start=start)


def assert_forgotten() -> None:
    """Nothing keeps the entries of a listing any more."""
    forgetting.forget_entries()
    assert not ListingEntry.objects.exists()


def test_sends_of_one_listing_share_its_scan(folder: Path, issued: list[int]) -> None:
    one, two = shared(folder)
    assert one.listing_id == two.listing_id
    planner.plan_send(one.pk)
    assert ListingEntry.objects.filter(listing=one.listing).count() == 9
    assert issued[-1] == two.pk
    planner.plan_send(two.pk)
    for send in (one, two):
        send.refresh_from_db()
        assert len(uids(send)) == 9
        check_counts(send)
    assert Listing.objects.get().opened == 9
    assert one.plan != two.plan
    assert_forgotten()
    assert not ListingStudy.objects.exists()


def test_a_send_whose_listing_is_being_scanned_waits_without_a_ticket(
    folder: Path, issued: list[int]
) -> None:
    from datetime import timedelta

    one, two = shared(folder)
    issued.clear()
    later = timezone.now() + timedelta(seconds=60)
    Listing.objects.update(state=ListingState.SCANNING, owner="elsewhere:1:0:0", lease_until=later)
    planner.plan_send(two.pk)
    two.refresh_from_db()
    assert (two.owner, two.lease_until, two.planned_at) == ("", None, None)
    assert issued == []
    Listing.objects.update(owner="", lease_until=None)
    planner.plan_send(one.pk)
    assert issued == [two.pk]


def test_one_of_two_sends_can_be_cancelled_before_it_is_planned(
    folder: Path, issued: list[int]
) -> None:
    one, two = shared(folder)
    sending.cancel_send(one, "test")
    for send in (one, two):
        planner.plan_send(send.pk)
        send.refresh_from_db()
    assert (one.state, uids(one)) == (SendState.CANCELLED, [])
    assert (two.state, len(uids(two))) == (SendState.QUEUED, 9)
    assert_forgotten()


@pytest.mark.parametrize("start", [True, False])
def test_a_send_that_is_cancelled_while_it_is_planned_ends_at_once(
    start: bool, folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_pages, "PAGE_ROWS", 2)
    monkeypatch.setattr(plan_rows, "PAGE", 2)
    send = order(folder, start=start)
    real = plan_pages.PagedPlan.write

    def cancelling(pages: plan_pages.PagedPlan, progress: Any) -> None:
        real(pages, progress)
        sending.cancel_send(Send.objects.get(pk=send.pk), "test")

    monkeypatch.setattr(plan_pages.PagedPlan, "write", cancelling)
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert (send.state, send.owner) == (SendState.CANCELLED, "")
    assert list(send.items.values_list("outcome", flat=True)) == ["cancelled"] * 2
    assert_forgotten()
    check_counts(send)


@pytest.mark.parametrize("slices", [1, 4])
def test_a_draft_that_is_cancelled_between_two_slices_leaves_no_entries(
    slices: int, folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    paged(monkeypatch)
    monkeypatch.setattr(taking, "CHUNK", 4)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1.0)
    send = order(folder, start=False)
    for _ in range(slices):
        planner.plan_send(send.pk)
    assert ListingEntry.objects.exists()
    sending.cancel_send(send, "test")
    assert_forgotten()
    assert set(send.items.values_list("outcome", flat=True)) <= {"cancelled"}


def test_a_draft_that_is_cancelled_leaves_entries_to_who_needs_them(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shared(folder, start=False)
    assert listing.scan_listing(one.listing_id or 0, "me", in_slices=False)
    sending.cancel_send(one, "test")
    planner.plan_send(one.pk)
    planner.plan_send(two.pk)
    assert len(uids(two)) == 9


def test_the_tick_calls_for_the_oldest_sends_that_nobody_plans(
    folder: Path, issued: list[int]
) -> None:
    sends = [order(folder) for _ in range(12)]
    held, cancelled = sends[0], sends[1]
    Listing.objects.filter(sends__in=[held, cancelled]).update(
        owner="me", lease_until=timezone.now()
    )
    sending.cancel_send(cancelled, "test")
    issued.clear()
    engine._reissue_plans()
    assert issued == [send.pk for send in sends[1:9]]


@pytest.mark.parametrize("start", [True, False])
def test_a_send_that_is_cancelled_while_it_is_listed_ends_at_once(
    start: bool, folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "CHUNK", 2)
    send = order(folder, start=start)
    real = taking._write

    def cancelling(*arguments: Any) -> None:
        real(*arguments)
        sending.cancel_send(Send.objects.get(pk=send.pk), "test")

    monkeypatch.setattr(taking, "_write", cancelling)
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert (send.state, send.owner) == (SendState.CANCELLED, "")
    assert send.listing is not None
    assert send.listing.state == ListingState.FAILED
    assert_forgotten()


def test_a_planned_draft_that_is_cancelled_has_no_row_to_send(
    folder: Path, issued: list[int]
) -> None:
    send = planned(folder, start=False)
    assert send.state == SendState.DRAFT
    sending.cancel_send(send, "test")
    assert send.state == SendState.CANCELLED
    assert set(send.items.values_list("outcome", flat=True)) == {"cancelled"}
    check_counts(send)


def test_a_source_that_vanished_is_a_failed_send(folder: Path, issued: list[int]) -> None:
    send = order(folder)
    shutil.rmtree(folder)
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert (send.state, send.detail) == (SendState.FAILED, f"{folder} does not exist.")
    assert send.finished_at is not None


def test_an_empty_source_is_a_failed_send(tmp_path: Path, issued: list[int]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    send = planned(tmp_path / "a")
    assert (send.state, send.detail) == (SendState.FAILED, f"{tmp_path / 'a'} holds no files.")
    send = planned(tmp_path / "a", tmp_path / "b")
    assert (send.state, send.detail) == (SendState.FAILED, "The sources hold no files.")


def test_a_draft_whose_source_is_empty_fails_too(tmp_path: Path, issued: list[int]) -> None:
    assert planned(tmp_path, start=False).state == SendState.FAILED


def test_one_empty_source_of_two_keeps_a_send_from_succeeding(
    folder: Path, issued: list[int], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    send = planned(folder, tmp_path / "empty")
    assert send.state == SendState.QUEUED
    assert send.detail == "1 source holds no files."
    deliver(send)
    assert send.state == SendState.PARTIAL


def deliver(send: Send) -> None:
    """Stand for a sender that delivered every row."""
    tallies.change_rows(
        SendItem.objects.filter(send=send), InstanceOutcome.PENDING,
        InstanceOutcome.SENT,
    )  # fmt: skip
    SendBatch.objects.filter(send=send).update(state="done")
    sending.finish_if_done(send.pk)
    send.refresh_from_db()


def test_rules_that_leave_out_everything_end_well_and_say_so(
    folder: Path, issued: list[int]
) -> None:
    rules = Selection(patterns=("!0.dcm",), modalities=frozenset({"MR"}))
    send = planned(folder, selection=rules)
    assert send.state == SendState.SUCCEEDED
    assert send.detail == "Rules left out all 9 files: 8 by modality, 1 by file name."


def test_missing_uids_make_a_send_partial_and_are_told(folder: Path, issued: list[int]) -> None:
    expected = (
        Expectation("study", "1.2.826.0", 3),
        Expectation("study", "1.2.826.1", 4),
        Expectation("series", "1.2.9"),
        Expectation("", "1.2.3.8"),
        Expectation("", "1.2.826.0"),
    )
    send = planned(folder, expected=expected)
    assert send.detail == "1 listed UID is incomplete; 1 listed UID was not found."
    assert send.listing is not None
    send.listing.refresh_from_db()
    found = [(row["level"], row["uid"], row["found"]) for row in send.listing.expected]
    assert found == [
        ("study", "1.2.826.0", 3),
        ("study", "1.2.826.1", 3),
        ("series", "1.2.9", 0),
        ("instance", "1.2.3.8", 1),
        ("study", "1.2.826.0", 3),
    ]
    deliver(send)
    assert send.state == SendState.PARTIAL


def test_a_list_of_which_nothing_was_found_fails(folder: Path, issued: list[int]) -> None:
    send = planned(
        folder,
        selection=Selection(uids=frozenset({"1.2.9"})),
        expected=(Expectation("", "1.2.9"),),
    )
    assert send.state == SendState.FAILED
    assert "1 listed UID was not found" in send.detail


def test_what_the_template_does_not_propose_is_unsendable_with_its_reason(
    folder: Path, issued: list[int]
) -> None:
    factories.write_instance(
        folder / "x.dcm", sop_instance="1.2.4", sop_class="1.2.840.10008.5.1.4.1.1.128"
    )
    (folder / "notes.txt").write_text("x")
    send = planned(folder, template=STARTER)
    reasons = Counter(send.items.filter(outcome="unsendable").values_list("reason", flat=True))
    assert set(reasons.values()) == {1}
    assert "notes.txt: not a DICOM file" in reasons
    assert any(reason.startswith("the template proposes no context for") for reason in reasons)
    assert send.plan["unreadable"] == 1
    check_counts(send)


def test_conflicts_and_copies_are_in_the_plan(folder: Path, issued: list[int]) -> None:
    shutil.copy(folder / "0.dcm", folder / "z.dcm")
    factories.write_instance(folder / "y.dcm", sop_instance="1.2.3.1", rows=16)
    send = planned(folder)
    assert send.plan["conflicts"] == 2
    conflicts = send.items.filter(reason="conflict", outcome="unsendable")
    assert sorted(item.file.name for item in conflicts) == ["1.dcm", "y.dcm"]
    copy = ItemCopy.objects.get()
    assert (copy.item.file.name, copy.file.name) == ("0.dcm", "z.dcm")
    assert len(uids(send)) == 10
    check_counts(send)


def test_copies_of_what_can_not_be_sent_are_named_too(folder: Path, issued: list[int]) -> None:
    for name in ("x.dcm", "y.dcm"):
        factories.write_instance(
            folder / name, sop_instance="1.2.4", sop_class="1.2.840.10008.5.1.4.1.1.128"
        )
    send = planned(folder, template=STARTER)
    assert ItemCopy.objects.get(item__send=send).item.outcome == "unsendable"


@pytest.mark.slow
def test_kinds_of_many_contexts_make_several_proposals(folder: Path, issued: list[int]) -> None:
    from sender.negotiation import sop_classes

    storage = [row.uid for row in sop_classes.SOP_CLASSES if sop_classes.is_storage(row.uid)]
    for number, uid in enumerate(storage[:70]):
        for syntax in (syntaxes.EXPLICIT_VR_LE, syntaxes.IMPLICIT_VR_LE):
            name = f"k{number}-{syntax}.dcm"
            factories.write_instance(
                folder / name,
                sop_instance=f"1.2.5.{number}.{len(syntax)}",
                sop_class=uid,
                transfer_syntax=syntax,
            )
    send = planned(folder)
    assert send.plan["associations"] == 2
    lists = SendBatch.objects.filter(send=send).values_list("definition_list", flat=True)
    assert len(set(lists)) == 2
    check_counts(send)


@pytest.mark.parametrize(
    ("facts", "associations", "one_each"),
    [
        ({}, 1, ""),
        ({"association_scope": "study"}, 3, "study"),
        ({"association_scope": "series"}, 6, "series"),
        ({"instances_per_association": 4}, 3, ""),
    ],
)
def test_a_plan_says_how_many_associations_it_makes(
    facts: dict[str, Any], associations: int, one_each: str, folder: Path, issued: list[int]
) -> None:
    plan = planned(folder, to=factories.destination(**facts)).plan
    assert (plan["associations"], plan["one_each"]) == (associations, one_each)


def test_only_what_is_new_is_planned(folder: Path, issued: list[int]) -> None:
    to = factories.destination()
    deliver(planned(folder, to=to))
    factories.write_instance(folder / "9.dcm", sop_instance="1.2.3.9", study="1.2.826.0")
    send = planned(folder, to=to, only_new=True)
    assert uids(send) == ["1.2.3.9"]
    assert (send.already_there, send.plan["already_there"]) == (9, 9)
    deliver(send)
    send = planned(folder, to=to, only_new=True)
    assert (send.state, send.already_there) == (SendState.SUCCEEDED, 10)
    assert send.detail == f"{to} has all 10 instances already."
    assert len(uids(planned(folder, to=to))) == 10


def test_few_new_instances_of_many_studies_travel_together(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    to = factories.destination()
    monkeypatch.setattr(plan_batches, "BATCH_INSTANCES", 4)
    deliver(planned(folder, to=to))
    for number in range(3):
        factories.write_instance(
            folder / f"n{number}.dcm",
            sop_instance=f"1.2.4.{number}",
            study=f"1.2.826.{number}",
            extra=[("SeriesInstanceUID", f"1.2.826.{number}.0")],
        )
    assert [len(batch) for batch in batches(planned(folder, to=to, only_new=True))] == [3]


def paged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have planners look at two rows at a time."""
    monkeypatch.setattr(plan_rows, "PAGE", 2)
    monkeypatch.setattr(plan_pages, "PAGE_ROWS", 2)


def test_a_plan_in_which_all_is_delivered_comes_in_slices(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    to = factories.destination()
    deliver(planned(folder, to=to))
    paged(monkeypatch)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1.0)
    send = order(folder, to=to, only_new=True)
    seen = []
    while not send.planned_at:
        planner.plan_send(send.pk)
        send.refresh_from_db()
        seen.append(send.already_there)
    assert len(set(seen)) > 4
    assert (send.already_there, send.plan["already_there"], uids(send)) == (9, 9, [])
    assert send.state == SendState.SUCCEEDED


def test_a_plan_in_which_all_is_delivered_can_be_cancelled(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    to = factories.destination()
    deliver(planned(folder, to=to))
    paged(monkeypatch)
    send = order(folder, to=to, only_new=True)
    asked = []
    real = delivered.at_destination

    def cancelling(destination_id: int, rows: Any) -> set[int]:
        asked.append(len(rows))
        if len(asked) == 1:
            sending.cancel_send(Send.objects.get(pk=send.pk), "test")
        return real(destination_id, rows)

    monkeypatch.setattr(delivered, "at_destination", cancelling)
    planner.plan_send(send.pk)
    send.refresh_from_db()
    assert (send.state, sum(asked)) == (SendState.CANCELLED, 2)


def test_copies_of_what_is_delivered_are_not_looked_for(
    folder: Path, issued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many studies there are: SQLite takes no more than 250,000 values in a statement."""
    shutil.copy(folder / "0.dcm", folder / "z.dcm")
    to = factories.destination()
    deliver(planned(folder, to=to))
    studies = []
    real = plan_pages.PagedPlan._write_copies

    def noting(pages: plan_pages.PagedPlan) -> None:
        studies.append(len(pages._page.studies))
        real(pages)

    monkeypatch.setattr(plan_pages.PagedPlan, "_write_copies", noting)
    paged(monkeypatch)
    factories.write_instance(folder / "9.dcm", sop_instance="1.2.3.9", study="1.2.826.0")
    assert uids(planned(folder, to=to, only_new=True)) == ["1.2.3.9"]
    assert (max(studies), sum(studies)) == (1, 1)


def test_conflicts_stay_told_where_only_the_new_is_sent(folder: Path, issued: list[int]) -> None:
    to = factories.destination()
    deliver(planned(folder, to=to))
    factories.write_instance(folder / "y.dcm", sop_instance="1.2.3.1", rows=16)
    send = planned(folder, to=to, only_new=True)
    assert send.items.filter(reason="conflict").count() == 2
    assert delivered.at_destination(to.pk, []) == set()


def test_more_rows_cost_no_more_queries(folder: Path, issued: list[int]) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def queries() -> int:
        send = order(folder)
        listing.scan_listing(send.listing_id or 0, "me", in_slices=False)
        with CaptureQueriesContext(connection) as captured:
            planner.plan_send(send.pk)
        assert Send.objects.get(pk=send.pk).planned_at is not None
        return sum("times: " not in query["sql"] for query in captured.captured_queries)

    os.link(folder / "0.dcm", folder / "copy.dcm")
    (folder / "first.txt").write_text("x")
    queries()
    few = queries()
    for number in range(40):
        os.link(folder / "0.dcm", folder / f"x{number}.dcm")
        (folder / f"n{number}.txt").write_text("x")
    assert queries() == few
