"""Sources that this host does not see: they are left to other hosts, for a while."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from django.utils import timezone
from pytest_django import Settings

from sender.dicom.acceptor import Profile, Receiver
from sender.dicom.encoding import SourceUnusable
from sender.models import (
    Association,
    BatchState,
    ContextTemplate,
    Destination,
    Hold,
    InstanceAttempt,
    Listing,
    ListingState,
    RunState,
    Send,
    SendBatch,
    SendItem,
    SendState,
    WorkerHeartbeat,
)
from sender.negotiation import retry
from sender.services import (
    engine,
    holds,
    listing,
    passages,
    path_lists,
    planner,
    probing,
    run_starting,
    schedule_runs,
    sending,
    sight,
    taking,
)
from sender.services.conversions import Conversions
from sender.services.heartbeat import STALE_SECONDS
from sender.services.passages import Passage
from sender.services.sending import SendOrder
from sender.services.sight import LOOK_EVERY_SECONDS, PATIENCE_SECONDS, Sight
from tests import factories
from tests.processes import free_port
from tests.services.test_control import planned
from tests.services.test_sending import at, order, outcomes
from tests.services.test_vigil import Clock

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock by which this process is patient."""
    clock = Clock()
    monkeypatch.setattr(sight.SIGHT, "_clock", clock)
    return clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2):
        factories.write_instance(tmp_path / "in" / f"{number}.dcm", sop_instance=f"1.2.3.{number}")
    return tmp_path / "in"


def other_host(name: str = "other", *, seconds_ago: float = 0) -> None:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    WorkerHeartbeat.objects.create(
        name=f"{name}:1", kind="sender", host=name, pid=1, started_at=at, seen_at=at
    )


def test_what_is_left_is_looked_at_again_after_a_while_and_not_for_ever() -> None:
    clock = Clock()
    mine = Sight(clock)
    other_host()
    assert mine.leaves(Send, 1)
    assert mine.left_sends() == {1}
    clock.seconds += LOOK_EVERY_SECONDS
    assert mine.left_sends() == frozenset()
    clock.seconds += PATIENCE_SECONDS - LOOK_EVERY_SECONDS - 1
    assert mine.leaves(Send, 1)
    clock.seconds += 1
    assert not mine.leaves(Send, 1), "nobody got on with it"


def test_what_others_get_on_with_stays_theirs() -> None:
    clock = Clock()
    mine = Sight(clock)
    other_host()
    for progress in range(3):
        assert mine.leaves(Send, 1, progress)
        clock.seconds += PATIENCE_SECONDS
    assert not mine.leaves(Send, 1, 2)


def test_nothing_is_left_where_no_other_host_lives(settings: Settings) -> None:
    other_host("gone", seconds_ago=STALE_SECONDS + 1)
    other_host(settings.SENDER_HOST)
    assert not Sight().leaves(Send, 1)


def test_a_send_whose_folder_is_elsewhere_is_left_to_other_hosts(
    folder: Path, receiver: Receiver, clock: Clock
) -> None:
    other_host()
    send = planned(at(receiver), folder)
    away = folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()  # as where a share is to be mounted
    engine.work(send.destination_id)
    assert outcomes(send) == {"pending": 2}
    batch = SendBatch.objects.get()
    assert (batch.state, batch.attempt, batch.failures) == (BatchState.READY, 0, 0)
    assert not Association.objects.exists(), "no peer was called for it"
    folder.rmdir()
    away.rename(folder)
    clock.seconds += LOOK_EVERY_SECONDS
    engine.work(send.destination_id)
    assert outcomes(send) == {"sent": 2}


def test_a_send_that_no_host_gets_on_with_says_at_last_what_is_wrong(
    folder: Path, receiver: Receiver, clock: Clock
) -> None:
    other_host()
    send = planned(at(receiver), folder)
    shutil.rmtree(folder)
    engine.work(send.destination_id)
    clock.seconds += PATIENCE_SECONDS
    engine.work(send.destination_id)
    assert outcomes(send) == {"failed": 2}
    assert "can't be opened" in SendItem.objects.earliest("pk").reason


def test_files_that_are_gone_from_a_folder_that_is_there_are_gone(
    folder: Path, receiver: Receiver
) -> None:
    other_host()
    send = planned(at(receiver), folder)
    (folder / "1.dcm").unlink()
    engine.work(send.destination_id)
    assert outcomes(send) == {"failed": 1, "sent": 1}


def test_a_share_that_goes_away_in_the_middle_fails_nothing(
    folder: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = passages.begin

    def lose_the_share(passage: Passage) -> None:
        begin(passage)
        shutil.rmtree(folder)

    monkeypatch.setattr(passages, "begin", lose_the_share)
    other_host()
    send = planned(at(receiver), folder)
    engine.work(send.destination_id)
    assert_left(send)
    assert not InstanceAttempt.objects.filter(status__isnull=False).exists()


def test_what_can_not_be_converted_for_want_of_its_share_fails_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_share(_conversions: Conversions, _item: object) -> None:
        shutil.rmtree(folder)
        raise SourceUnusable("it can't be opened")

    monkeypatch.setattr(Conversions, "take", lose_the_share)
    other_host()
    with Receiver(port=0, profiles={"PACS": Profile(transfer_syntaxes=(factories.ILE,))}) as peer:
        send = planned(at(peer, ae_title="PACS"), folder)
        engine.work(send.destination_id)
    assert_left(send)


def assert_left(send: Send) -> None:
    """A send that had begun is left to others, and no attempt of its instances counts."""
    assert outcomes(send) == {"pending": 2}
    rows = set(SendItem.objects.values_list("rule", "attempts"))
    assert (retry.OUT_OF_SIGHT.rule, 0) in rows
    assert {attempts for _, attempts in rows} == {0}
    assert SendBatch.objects.get().state == BatchState.READY
    assert send.pk in sight.SIGHT.left_sends()


def test_a_listing_whose_source_is_elsewhere_is_left_to_other_hosts(
    folder: Path, clock: Clock
) -> None:
    other_host()
    send = order(factories.destination(), folder)
    away = folder.rename(folder.with_name("elsewhere"))
    planner.plan_send(send.pk)
    assert_given_back()
    assert Send.objects.get().state == SendState.PLANNING
    clock.seconds += PATIENCE_SECONDS
    planner.plan_send(send.pk)
    assert Send.objects.get().state == SendState.FAILED
    assert "does not exist" in Send.objects.get().detail
    away.rename(folder)


def test_a_run_whose_source_is_elsewhere_is_left_to_other_hosts(
    folder: Path, settings: Settings, clock: Clock
) -> None:
    settings.SOURCE_ROOTS = [folder.parent]
    other_host()
    schedule = factories.schedule(folder, factories.destination())
    run = schedule_runs.run_now(schedule, "ada")
    shutil.rmtree(folder)
    run_starting.start_run(run.pk)
    run.refresh_from_db()
    assert (run.state, run.attempts) == (RunState.DUE, 0)
    clock.seconds += PATIENCE_SECONDS
    run_starting.start_run(run.pk)
    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert "does not exist" in run.detail


def tls_destination(tmp_path: Path) -> Destination:
    """Add a destination at which nobody listens; then take the authority's file away."""
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    to = factories.destination(port=free_port(), tls=True, tls_ca_file=str(authority))
    authority.unlink()
    return to


def test_a_destination_whose_certificates_are_elsewhere_is_left_to_other_hosts(
    folder: Path, tmp_path: Path, clock: Clock
) -> None:
    other_host()
    send = planned(tls_destination(tmp_path), folder)
    engine.work(send.destination_id)
    assert SendBatch.objects.get().state == BatchState.READY
    assert not Association.objects.exists()
    clock.seconds += PATIENCE_SECONDS
    engine.work(send.destination_id)
    assert Association.objects.exists(), "then it says what is wrong"


def test_a_blocked_destination_is_asked_by_hosts_that_have_its_certificates(
    tmp_path: Path, clock: Clock
) -> None:
    other_host()
    to = tls_destination(tmp_path)
    hold = holds.block(to, retry.TLS_REFUSED, "mended meanwhile", None)
    Hold.objects.update(probe_at=timezone.now())
    probing.probe_destination(hold.pk)
    hold.refresh_from_db()
    assert hold.failures == 1
    assert hold.probe_at is not None
    assert hold.probe_at <= timezone.now()


def assert_given_back() -> None:
    """The listing waits for another host, and no try of it counts."""
    found = Listing.objects.get()
    assert (found.state, found.tries, found.owner) == (ListingState.SCANNING, 0, "")


def listed(paths: list[Path], *sources: Path) -> Send:
    """Order a send of a list of paths, and of sources."""
    version = ContextTemplate.objects.get(name="Derived from files").newest
    text = "\n".join(map(str, paths))
    given = SendOrder(
        factories.destination(),
        version,
        list(map(str, sources)),
        "test",
        roots=None,
        path_list=path_lists.read_path_list(text.encode()) if text else None,
    )
    return sending.create_send(given, start=True)


def plan(send: Send) -> tuple[str, int]:
    """Have a send planned here; return its state and how many files were listed."""
    planner.plan_send(send.pk)
    send.refresh_from_db()
    return send.state, send.listed


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A folder that is not mounted here; where it would be is nothing, or an empty folder."""
    factories.write_instance(tmp_path / "away" / "deep" / "3.dcm", sop_instance="1.2.3.3")
    (tmp_path / "share").mkdir()
    return tmp_path / "share"


def test_lines_of_a_list_that_are_elsewhere_are_left_to_other_hosts(
    folder: Path, share: Path, clock: Clock
) -> None:
    other_host()
    send = listed([folder / "1.dcm", share / "deep" / "3.dcm", folder / "2.dcm"])
    assert plan(send) == (SendState.PLANNING, 1)
    assert plan(send) == (SendState.PLANNING, 1), "what came before the line is taken once"
    assert_given_back()
    share.rmdir()
    share.with_name("away").rename(share)  # as on the other host
    assert plan(send) == (SendState.QUEUED, 3)
    assert outcomes(send) == {"pending": 3}
    assert not path_lists.problems(Listing.objects.get()).exists()


def test_lines_that_no_host_gets_on_with_are_told_at_last_all_of_them(
    folder: Path, share: Path, clock: Clock
) -> None:
    other_host()
    send = listed([share / "3.dcm", folder / "1.dcm", share / "4.dcm", folder / "2.dcm"])
    assert plan(send) == (SendState.PLANNING, 0)
    clock.seconds += PATIENCE_SECONDS - 1
    assert plan(send) == (SendState.PLANNING, 0)
    clock.seconds += 1
    assert plan(send) == (SendState.QUEUED, 4)
    assert outcomes(send) == {"pending": 2, "unsendable": 2}
    said = {(row.number, row.problem) for row in path_lists.problems(Listing.objects.get())}
    assert said == {(1, "does not exist"), (3, "does not exist")}


def test_a_list_with_which_others_get_on_stays_theirs(
    folder: Path, share: Path, clock: Clock
) -> None:
    other_host()
    send = listed([share / "3.dcm", folder / "1.dcm", share / "4.dcm"])
    plan(send)
    clock.seconds += PATIENCE_SECONDS
    Listing.objects.update(cursor={"source": 0, "line": 2, "path": str(folder / "1.dcm")})
    assert plan(send) == (SendState.PLANNING, 0)


def test_a_line_whose_folder_is_here_is_wrong_for_all(folder: Path) -> None:
    other_host()
    send = listed([folder / "1.dcm", folder / "9.dcm"])
    assert plan(send) == (SendState.QUEUED, 2)
    assert outcomes(send) == {"pending": 1, "unsendable": 1}


def test_the_rest_of_a_folder_in_a_list_is_left_as_well(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "CHUNK", 1)
    monkeypatch.setattr(listing, "SLICE_SECONDS", -1)
    other_host()
    mounted = folder.with_name("mounted")
    mounted.mkdir()
    folder.rename(mounted / "in")
    send = listed([mounted / "in"])
    assert plan(send) == (SendState.PLANNING, 1)
    away = mounted.rename(mounted.with_name("away"))
    for _ in range(3):
        assert plan(send) == (SendState.PLANNING, 1)
    away.rename(mounted)
    for _ in range(9):
        plan(send)
    assert outcomes(send) == {"pending": 2}


def test_a_second_source_that_is_elsewhere_is_left_too(
    folder: Path, share: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No try is counted once the first was listed: there is none to take back."""
    monkeypatch.setattr(listing, "WINDOW", 2)
    other_host()
    share.rmdir()
    away = share.with_name("away")
    away.rename(share)
    listed([], folder, share)
    share.rename(away)
    ended = listing.scan_listing(Listing.objects.get().pk, "here", in_slices=True)
    assert ended is listing.ScanEnd.LEFT
    assert_given_back()
