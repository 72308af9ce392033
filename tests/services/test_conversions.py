"""Conversions of a send: begun before the association, ended with it, cut short by a cancel."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from sender.dicom import converting
from sender.dicom.acceptor import Profile, Receiver
from sender.models import Destination, SendState
from sender.negotiation.outcomes import InstanceOutcome
from sender.services import associating, engine, sending, transfer
from tests import factories
from tests.processes import await_true, children_of
from tests.services.background import background
from tests.services.test_control import planned, state_of
from tests.services.test_parked import written
from tests.services.test_sending import at, outcomes

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.slow]
TAKES_IMPLICIT = Profile(transfer_syntaxes=(factories.ILE,))


@pytest.fixture
def to() -> Iterator[Destination]:
    """A destination that takes Implicit VR Little Endian only."""
    with Receiver(port=0, profiles={"PACS": TAKES_IMPLICIT}) as running:
        yield at(running, ae_title="PACS", max_associations=1)


def explicit(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for number, name in enumerate(names, start=1):
        factories.write_instance(
            folder / name, sop_instance=f"1.2.3.{number}", transfer_syntax=factories.ELE
        )
    return folder


def converted_files() -> list[str]:
    folder = Path(settings.DATA_DIR) / "converting"
    return os.listdir(folder) if folder.exists() else []


def test_nothing_of_a_conversion_is_left_when_its_association_has_ended(
    to: Destination, tmp_path: Path
) -> None:
    children, threads = children_of(os.getpid()), threading.active_count()
    send = planned(to, explicit(tmp_path / "in", "a.dcm", "b.dcm"))
    engine.work(to.pk)
    assert outcomes(send) == {"sent": 2}
    assert set(send.items.values_list("conversion", flat=True)) == {"convert"}
    assert children_of(os.getpid()) == children
    assert threading.active_count() == threads
    assert converted_files() == []


def test_conversion_is_begun_before_the_association_is_opened(
    to: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_opening: list[set[str]] = []
    before = set(converted_files())
    associate = associating.associate

    def watched(*facts: Any, **more: Any) -> Any:
        at_opening.append(set(converted_files()) - before)
        return associate(*facts, **more)

    monkeypatch.setattr(transfer, "associate", watched)
    contexts: list[dict[str, object]] = [
        {"abstract_syntax": factories.CT, "transfer_syntaxes": [factories.ILE]}
    ]
    implicit = written("Implicit only", contexts)
    send = planned(to, explicit(tmp_path / "in", "a.dcm"), template_version=implicit)
    engine.work(to.pk)
    assert outcomes(send) == {"sent": 1}
    assert [len(found) for found in at_opening] == [1]


def test_a_cancel_does_not_wait_for_a_decoder(
    to: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "_MODULE", "tests.dicom.deadly_converter")
    children = children_of(os.getpid())
    send = planned(to, explicit(tmp_path / "in", "slow.dcm"))
    with background():
        await_true(lambda: children_of(os.getpid()) > children, "the start of a child")
        await_true(lambda: state_of(send) == SendState.RUNNING, "the send at work")
        began = time.monotonic()
        sending.cancel_send(send, "somebody")
        await_true(lambda: state_of(send) == SendState.CANCELLED, "the end", 15)
        assert time.monotonic() - began < 12
    assert outcomes(send) == {InstanceOutcome.CANCELLED: 1}
    assert children_of(os.getpid()) == children
