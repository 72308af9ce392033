"""Limits of a destination and its pace: shared among its associations, kept, given back."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from sender.dicom.acceptor import Profile, Receiver
from sender.models import Association, Destination, DestinationPace, DestinationSlot
from sender.negotiation import pacing
from sender.negotiation.outcomes import Rejection
from sender.negotiation.pacing import Answers, Rejected
from sender.services import engine, leases, limits
from sender.services.destinations import DestinationFacts, InvalidDestination, change_destination
from sender.services.limits import Share, SharePacer
from tests import factories
from tests.processes import await_true
from tests.scripted_acceptor import acceptor
from tests.services.background import background
from tests.services.test_control import planned, split_by_study, state_of, write_studies
from tests.services.test_retries import answering, run_to_the_end, scripted
from tests.services.test_sending import at, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def profiles() -> dict[str, Profile]:
    return {"PACS": Profile()}


@pytest.fixture
def receiver(profiles: dict[str, Profile]) -> Iterator[Receiver]:
    with Receiver(port=0, profiles=profiles) as running:
        yield running


def fetched(to: Destination) -> Destination:
    return Destination.objects.select_related("pace").get(pk=to.pk)


def test_each_association_gets_its_share_of_what_the_tightest_limit_allows() -> None:
    to = factories.destination(
        max_associations=4,
        bytes_per_second=1_000_000,
        instances_per_second=40,
        profile="daily 08:00-18:00: 10/s, 2 associations\notherwise: 500 kB/s",
    )
    assert limits.share_of(fetched(to), NOW, 2) == Share(500_000, 5)
    at_night = NOW.replace(hour=22)
    assert limits.share_of(fetched(to), at_night, 4) == Share(125_000, 10)
    assert limits.most_associations(fetched(to), NOW) == 2
    assert limits.most_associations(fetched(to), at_night) == 4
    free = factories.destination("free")
    assert limits.share_of(fetched(free), NOW, 1).is_free


def test_a_destination_begins_with_one_association_and_never_has_more_than_allowed() -> None:
    to = factories.destination(max_associations=3)
    first = leases.claim_slot(to, "a")
    assert first is not None
    assert leases.claim_slot(to, "b") is None
    factories.at_full_pace(to)
    assert leases.claim_slot(to, "b") is not None
    assert leases.claim_slot(to, "c") is not None
    assert leases.claim_slot(to, "d") is None
    DestinationSlot.objects.update(lease_until=None)
    Destination.objects.update(profile="otherwise: 2 associations")
    assert [leases.claim_slot(to, name) is not None for name in "abc"] == [True, True, False]


def test_a_pacer_holds_back_by_limits_and_by_the_pause_between_instances() -> None:
    clock = [100.0]
    pacer = SharePacer(Share(instances_per_second=2, delay_seconds=0.0), lambda: clock[0])
    waits = [pacer.before_instance() for _ in range(3)]
    assert waits == pytest.approx([0, 0.5, 1.0])
    pacer.share(Share(delay_seconds=0.25))
    assert pacer.before_instance() == pytest.approx(0.25)
    clock[0] += 0.1
    assert pacer.spend(0) == pytest.approx(0.15)
    clock[0] += 0.2
    assert pacer.spend(0) <= 0


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["instances", "profile"])
def test_a_receiver_gets_no_more_instances_per_second_than_it_shall(
    receiver: Receiver, tmp_path: Path, limit: str
) -> None:
    facts = {"instances_per_second": 10} if limit == "instances" else {"profile": "otherwise: 10/s"}
    send = planned(
        at(receiver, ae_title="PACS", max_associations=1, **facts),
        write_studies(tmp_path / "in", 10),
    )
    began = time.monotonic()
    engine.work(send.destination_id)
    assert outcomes(send) == {"sent": 30}
    # Half a second's worth may go at once; a slow machine only takes longer.
    assert time.monotonic() - began >= (30 - 6) / 10


@pytest.mark.slow
def test_a_limit_holds_for_all_associations_together(receiver: Receiver, tmp_path: Path) -> None:
    to = at(receiver, ae_title="PACS", max_associations=2, instances_per_second=10)
    send = planned(factories.at_full_pace(to), write_studies(tmp_path / "in", 12))
    split_by_study(send)
    began = time.monotonic()
    run_to_the_end(send)
    spent = time.monotonic() - began
    assert outcomes(send) == {"sent": 36}
    # Each association may begin with half a second's worth of the whole before it knows of others.
    assert spent >= (36 - 4 * 6) / 10


@pytest.mark.slow
def test_a_limit_that_is_set_in_the_middle_is_kept_from_then_on(
    profiles: dict[str, Profile], receiver: Receiver, tmp_path: Path
) -> None:
    profiles["PACS"] = Profile(pause_seconds=0.05)
    to = at(receiver, ae_title="PACS", max_associations=1)
    send = planned(to, write_studies(tmp_path / "in", 20))
    with background(workers=1):
        await_true(lambda: outcomes(send).get("sent", 0) >= 3, "a start", 20)
        Destination.objects.update(instances_per_second=1000)
        await_true(lambda: state_of(send) == "succeeded", "the end", 30)
    assert Association.objects.count() == 2, "the first was ended, the second knows the limit"
    assert set(Association.objects.values_list("ended", flat=True)) == {"released"}


def test_a_peer_that_is_out_of_resources_is_sent_to_more_slowly_and_that_is_said(
    tmp_path: Path, settings: Settings
) -> None:
    settings.RETRY_BASE_SECONDS = 0.01
    with acceptor(answering(0xA700), answering()) as running:
        send = planned(scripted(running.port), write_studies(tmp_path / "in", 1))
        run_to_the_end(send)
    assert outcomes(send) == {"sent": 3}
    row = DestinationPace.objects.get()
    assert row.detail.startswith("0.1 s between instances: The peer is out of resources")
    assert limits.share_of(fetched(send.destination), datetime.now(UTC), 1).delay_seconds == 0.1


def test_an_association_that_goes_well_alone_needs_no_account(
    receiver: Receiver, tmp_path: Path
) -> None:
    to = at(receiver, ae_title="PACS", max_associations=1)
    planned(to, write_studies(tmp_path / "in", 1))
    engine.work(to.pk)
    assert not DestinationPace.objects.exists()


def test_the_pace_rises_while_that_pays_and_falls_when_it_is_refused() -> None:
    to = factories.destination(max_associations=2)
    good = Answers(at=NOW + timedelta(seconds=2), count=60, good=60, seconds=1.0)
    limits.note(to.pk, Answers(at=NOW, count=1, good=1, seconds=0.01))
    limits.note(to.pk, good)
    assert limits.pace_of(fetched(to), NOW).associations == 2
    refused = Rejected(NOW + timedelta(seconds=9), Rejection(2, 3, 2))
    limits.note(to.pk, refused)
    assert limits.pace_of(fetched(to), NOW).associations == 1
    row = DestinationPace.objects.get()
    assert row.detail.startswith("1 association instead of 2: The peer rejected")
    assert pacing.from_document(row.state).barrier == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"windows": "mon 25:00-26:00"}, "windows"),
        ({"profile": "mon 08:00-09:00: fast"}, "profile"),
        ({"bytes_per_second": 0}, "bytes_per_second"),
        ({"instances_per_second": 0}, "instances_per_second"),
        ({"instances_per_association": 0}, "instances_per_association"),
        ({"association_scope": "patient"}, "association_scope"),
    ],
)
def test_limits_that_cannot_be_are_told_at_their_field(
    changes: dict[str, object], field: str
) -> None:
    to = factories.destination()
    facts = DestinationFacts("pacs", "PACS", "127.0.0.1", 11112, **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidDestination) as refused:
        change_destination(to, facts, actor="anna")
    assert set(refused.value.problems) == {field}
