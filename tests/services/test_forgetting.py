"""What only planners need of a listing goes behind them, and nothing of what is still needed."""

from pathlib import Path

import pytest
from django.utils import timezone

from sender.models import ContextTemplate, Listing, ListingEntry, ListingStudy, Send
from sender.services import engine, forgetting, planner, sending
from sender.services.sending import SendOrder
from tests import factories

FILES = 12

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(FILES):
        factories.write_instance(tmp_path / f"{number:02}.dcm", sop_instance=f"1.2.3.{number}")
    return tmp_path


def two_sends(folder: Path) -> list[Send]:
    """Return sends of one listing to two destinations."""
    version = ContextTemplate.objects.get(name="Derived from files").newest
    names = ("one", "two")
    order = SendOrder(factories.destination(names[0]), version, [str(folder)], "test", roots=None)
    targets = [(factories.destination(name), version) for name in names[1:]]
    return sending.create_sends(order, [(order.destination, version), *targets], start=False)


def entries() -> int:
    return ListingEntry.objects.count()


def test_entries_stay_until_the_last_send_of_the_listing_is_planned(folder: Path) -> None:
    first, second = two_sends(folder)
    planner.plan_send(first.pk)
    forgetting.forget_entries()
    assert entries() == FILES
    planner.plan_send(second.pk)
    assert entries() == FILES, "no send waits until they are removed"
    engine.tick("test")
    assert entries() == 0
    assert not ListingStudy.objects.exists()


def test_a_cancelled_draft_needs_none(folder: Path) -> None:
    first, second = two_sends(folder)
    planner.plan_send(first.pk)
    sending.cancel_send(second, "test")
    forgetting.forget_entries()
    assert entries() == 0


def test_a_scan_at_work_keeps_its_entries(folder: Path) -> None:
    for send in two_sends(folder):
        planner.plan_send(send.pk)
    Listing.objects.update(lease_until=timezone.now(), owner="somebody")
    forgetting.forget_entries()
    assert entries() == FILES


def test_it_stops_when_its_time_is_over_and_goes_on_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "PAGE", 5)
    for send in two_sends(folder):
        planner.plan_send(send.pk)
    now = iter(range(100))
    monkeypatch.setattr("sender.services.forgetting.time.monotonic", lambda: next(now))
    forgetting.forget_entries(seconds=1.5)
    assert entries() == FILES - 5
    assert Listing.objects.get().cursor != {"forgotten": True}
    forgetting.forget_entries(seconds=100)
    assert entries() == 0
    assert Listing.objects.get().cursor == {"forgotten": True}
