"""What the command line makes of holds, windows and limits."""

import io
import os
import signal
import threading
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from sender.dicom.acceptor import Profile, Receiver
from sender.models import AssociationAttempt, Destination, Hold, Send
from sender.services import heartbeat, holds
from tests import factories
from tests.commands.conftest import Run
from tests.processes import await_true
from tests.scripted_acceptor import acceptor
from tests.services.background import background
from tests.services.test_control import NEVER_NOW, write_studies
from tests.services.test_stalling import keeping_waiting


@pytest.fixture
def studies(tmp_path: Path) -> str:
    return str(write_studies(tmp_path / "in", 1))


@pytest.mark.django_db
def test_a_destination_is_added_with_its_times_and_limits(run: Run) -> None:
    done = run(
        "destination", "add", "pacs", "--ae-title", "PACS", "--address", "127.0.0.1",
        "--port", "104", "--window", "mon-fri 20:00-06:00", "--sends-parked",
        "--profile", "daily 08:00-18:00: 2 MB/s", "--association-scope", "study",
        "--bytes-per-second", "1000000", "--instances-per-second", "20",
        "--instances-per-association", "500",
    )  # fmt: skip
    assert done.code == 0
    pacs = Destination.objects.get()
    assert (pacs.windows, pacs.profile) == ("mon-fri 20:00-06:00", "daily 08:00-18:00: 2 MB/s")
    assert (pacs.bytes_per_second, pacs.instances_per_second) == (1_000_000, 20)
    assert (pacs.instances_per_association, pacs.association_scope) == (500, "study")
    assert pacs.sends_parked


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong", [("--window", "someday"), ("--profile", "fast"), ("--bytes-per-second", "0")]
)
def test_times_and_limits_that_cannot_be_exit_2(wrong: tuple[str, str], run: Run) -> None:
    address = ("--ae-title", "PACS", "--address", "127.0.0.1", "--port", "104")
    done = run("destination", "add", "pacs", *address, *wrong)
    assert (done.code, Destination.objects.count()) == (2, 0)
    assert wrong[0].strip("-").replace("-", "_").replace("window", "windows") in done.said


def test_a_send_to_a_blocked_destination_is_not_waited_for(
    live_db: None, run: Run, studies: str
) -> None:
    profiles = {"PACS": Profile(rejection=(1, 1, 3))}
    with Receiver(port=0, profiles=profiles) as receiver, background():
        factories.destination(port=receiver.port)
        heartbeat.beat("test", "sender")
        done = run("send", studies, "--to", "pacs", "--json")
    assert done.code == 1
    assert done.document["state"] == "running"
    assert done.document["instances"]["pending"] == 3
    assert "waits until this is mended: The peer does not know our AE title (1/1/3)" in done.said
    assert f"Send {Send.objects.get().pk} goes on by itself" in done.said


def test_a_send_with_retries_to_a_peer_that_does_not_know_us_ends(
    live_db: None, run: Run, studies: str
) -> None:
    profiles = {"PACS": Profile(rejection=(1, 1, 3))}
    with Receiver(port=0, profiles=profiles) as receiver, background():
        factories.destination(port=receiver.port)
        heartbeat.beat("test", "sender")
        done = run("send", studies, "--to", "pacs", "--retries", "2", "--json")
    assert (done.code, done.document["state"]) == (1, "failed")
    assert done.document["instances"]["failed"] == 3


def test_a_send_under_a_pause_without_an_end_is_not_waited_for(
    live_db: None, run: Run, studies: str
) -> None:
    pacs = factories.destination()
    heartbeat.beat("test", "sender")
    holds.pause(pacs, reason="disk change", until=None, actor="anna")
    with background():
        done = run("send", studies, "--to", "pacs", "--json")
    assert (done.code, done.document["state"]) == (1, "queued")
    assert "Sending to pacs is paused by anna: disk change" in done.said


@pytest.mark.parametrize("held", ["pause", "window", "all"])
def test_an_inline_send_is_refused_while_people_hold_it(
    live_db: None, run: Run, studies: str, held: str
) -> None:
    pacs = factories.destination(windows=NEVER_NOW if held == "window" else "")
    if held != "window":
        target = pacs if held == "pause" else None
        holds.pause(target, reason="disk change", until=None, actor="anna")
    done = run("send", studies, "--to", "pacs", "--inline", "--json")
    assert (done.code, done.document["state"]) == (1, "failed")
    assert done.document["instances"]["failed"] == 3
    (row,) = run("history", "--json").document
    assert row["outcome"] == "refused_locally"
    words = "outside the times" if held == "window" else "paused by anna: disk change"
    assert words in row["detail"]
    assert Hold.objects.count() == (held != "window")


def test_a_stall_is_told_once_with_whose_it_is(live_db: None, studies: str) -> None:
    heard = threading.Event()

    class Said(io.StringIO):
        def write(self, text: str) -> int:
            if "stalls" in text:
                heard.set()
            return super().write(text)

    said, out = Said(), io.StringIO()
    with acceptor(keeping_waiting(heard)) as peer, background():
        factories.destination(port=peer.port)
        heartbeat.beat("test", "sender")
        with pytest.raises(SystemExit) as ended:
            call_command("send", studies, "--to", "pacs", "--json", stdout=out, stderr=said)
    assert ended.value.code == 0
    told = [line for line in said.getvalue().splitlines() if "stalls" in line]
    assert told == [
        "An association with pacs stalls. The peer has received everything and does not answer."
    ]


@pytest.mark.parametrize("has_sender", [True, False])
def test_ctrl_c_at_an_inline_send_says_what_becomes_of_it(
    live_db: None, studies: str, *, has_sender: bool
) -> None:
    if has_sender:
        heartbeat.beat("test", "sender")
    stopped = threading.Event()
    said, out = io.StringIO(), io.StringIO()
    with acceptor(keeping_waiting(stopped)) as peer:
        factories.destination(port=peer.port)
        person = threading.Thread(target=_press_ctrl_c)
        person.start()
        with pytest.raises(SystemExit) as ended:
            call_command("send", studies, "--to", "pacs", "--inline", stdout=out, stderr=said)
        person.join()
        stopped.set()
        send = Send.objects.get()
        assert (send.inline, send.state, out.getvalue().split()) == (
            False,
            "running",
            [str(send.pk)],
        )
        assert not send.batches.filter(state="running").exists(), "its batches are given back"
        if has_sender:
            assert ended.value.code == 0
            assert f"Send {send.pk} goes on without this command." in said.getvalue()
        else:
            assert ended.value.code == 1
            assert f"Nobody works on send {send.pk} now: no sender is running." in said.getvalue()


def _press_ctrl_c() -> None:
    """Interrupt this process once an association is at work."""
    await_true(AssociationAttempt.objects.filter(answer__isnull=False).exists, "the association")
    connection.close()
    os.kill(os.getpid(), signal.SIGINT)
