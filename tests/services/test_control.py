"""Pauses, windows, priorities: effective at once, and nothing is lost by them."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django import Settings

from sender.dicom.acceptor import Profile, Receiver
from sender.models import (
    Association,
    AssociationAttempt,
    AuditEntry,
    BatchState,
    Destination,
    Hold,
    Send,
    SendBatch,
    SendItem,
    SendState,
    Trigger,
)
from sender.negotiation import retry
from sender.negotiation.outcomes import AssociationKind
from sender.services import (
    control,
    engine,
    fairness,
    gate,
    heartbeat,
    holds,
    leases,
    owners,
    planner,
    sending,
    tenure,
    tickets,
)
from sender.services.destinations import (
    DestinationFacts,
    change_destination,
    current_revision,
)
from sender.services.gate import By
from sender.services.holds import InvalidHold
from sender.services.sending import WrongState
from tests import factories
from tests.processes import await_true
from tests.scripted_acceptor import Conversation, acceptor, rejection
from tests.services.background import background, run_inline
from tests.services.test_sending import at, order, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
NEVER_NOW = f"{datetime.now(UTC) + timedelta(days=3):%a} 12:00-12:01".lower()
"""A window that opens in three days, whatever day it is."""
PAUSE_SECONDS = 10
"""A pause takes effect within this time."""


class Hanging(Profile):
    """A receiver that has an instance and does not answer; it tells when it has it."""

    has_one = threading.Event()

    def __getattribute__(self, name: str) -> Any:
        if name == "pause_seconds":
            Hanging.has_one.set()
        return super().__getattribute__(name)


class Store:
    """A receiver that counts what it stored, and how fast it answers."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.stored_at: list[float] = []
        self.profiles = {"SLOW": Profile(pause_seconds=0.3)}
        self.receiver = Receiver(port=0, profiles=self.profiles, notice=self._note)

    def _note(self, record: dict[str, object]) -> None:
        if record["event"] == "store":
            self.stored.append(str(record["sop_instance"]))
            self.stored_at.append(time.time())

    def answers_after(self, seconds: float) -> None:
        self.profiles["SLOW"] = Profile(pause_seconds=seconds)

    def hangs(self) -> threading.Event:
        """Answer nothing for half a minute; return what is set once an instance is there."""
        self.profiles["SLOW"] = Hanging(pause_seconds=30)
        Hanging.has_one.clear()
        return Hanging.has_one


@pytest.fixture
def store() -> Iterator[Store]:
    found = Store()
    with found.receiver:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four studies of three instances each."""
    return write_studies(tmp_path / "in", 4)


def write_studies(folder: Path, studies: int, *, root: str = "1.2.3") -> Path:
    for number in range(studies * 3):
        factories.write_instance(
            folder / f"{number}.dcm",
            sop_instance=f"{root}.{number}",
            study=f"{root}.826.{number // 3}",
        )
    return folder


def slow(store: Store, **facts: Any) -> Destination:
    return at(store.receiver, **{"ae_title": "SLOW", "max_associations": 1, **facts})


def planned(to: Destination, folder: Path, **changes: object) -> Send:
    """Return a send of the background that is ready to go."""
    send = order(to, folder, **{"inline": False, "retries": None, **changes})
    planner.plan_send(send.pk)
    send.refresh_from_db()
    return send


def state_of(send: Send) -> str:
    return str(Send.objects.values_list("state", flat=True).get(pk=send.pk))


def is_at_rest() -> bool:
    return not SendBatch.objects.filter(state=BatchState.RUNNING).exists()


def await_first(store: Store, count: int = 2) -> None:
    await_true(lambda: len(store.stored) >= count, f"{count} instances", 20)


def assert_no_attempt_was_lost(send: Send) -> None:
    """What was not sent was not tried either, as far as anybody counts."""
    untried = SendItem.objects.filter(send=send, outcome="pending")
    assert untried.exists()
    assert set(untried.values_list("attempts", flat=True)) == {0}
    batches = SendBatch.objects.filter(send=send, state=BatchState.READY)
    assert set(batches.values_list("attempt", "failures")) == {(0, 0)}


def assert_sent_once(send: Send, store: Store) -> None:
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": len(store.stored)})
    assert len(set(store.stored)) == len(store.stored)


@pytest.mark.slow
def test_a_paused_send_rests_within_10_s_and_goes_on_without_a_loss(
    store: Store, folder: Path
) -> None:
    send = planned(slow(store), folder)
    with background():
        await_first(store)
        control.pause_send(send, "anna", "the scanner room calls")
        began = time.monotonic()
        await_true(is_at_rest, "rest", 20)
        assert time.monotonic() - began < PAUSE_SECONDS
        seen = len(store.stored)
        assert_no_attempt_was_lost(send)
        engine.work(send.destination_id)
        assert (state_of(send), len(store.stored)) == (SendState.PAUSED, seen)
        assert send.detail == "Paused by anna: the scanner room calls"
        control.resume_send(send, "ben")
        await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 30)
    assert_sent_once(send, store)
    entries = AuditEntry.objects.filter(subject=str(send.pk)).order_by("id")
    assert list(entries.values_list("action", "actor"))[1:] == [
        ("send.pause", "anna"),
        ("send.resume", "ben"),
    ]


@pytest.mark.slow
def test_an_instance_in_flight_is_cut_off_after_5_s_and_that_counts_as_no_attempt(
    store: Store, folder: Path
) -> None:
    has_one = store.hangs()
    send = planned(slow(store), folder)
    with background(workers=1):
        assert has_one.wait(20)
        control.pause_send(send, "anna")
        began = time.monotonic()
        await_true(is_at_rest, "rest", 20)
        assert time.monotonic() - began < PAUSE_SECONDS
    assert_no_attempt_was_lost(send)
    cut = SendItem.objects.get(send=send, rule=retry.INTERRUPTED.rule)
    assert cut.outcome == "pending"
    assert Association.objects.get().ended == "aborted_by_us"
    store.answers_after(0)
    control.resume_send(send, "anna")
    engine.work(send.destination_id)
    assert (state_of(send), outcomes(send)) == (SendState.SUCCEEDED, {"sent": 12})


@pytest.mark.slow
def test_a_cancelled_instance_that_was_cut_off_is_unknown(store: Store, folder: Path) -> None:
    has_one = store.hangs()
    send = planned(slow(store), folder)
    with background(workers=1):
        assert has_one.wait(20)
        sending.cancel_send(send, "anna")
        await_true(lambda: state_of(send) == SendState.CANCELLED, "the end", 20)
    assert outcomes(send) == {"cancelled": 11, "unknown": 1}


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True], ids=["one destination", "all sending"])
def test_a_pause_of_a_destination_or_of_all_holds_until_it_is_ended(
    store: Store, folder: Path, *, whole: bool
) -> None:
    send = planned(slow(store), folder)
    with background():
        await_first(store)
        paused = None if whole else send.destination
        hold = holds.pause(paused, reason="disk change", until=None, actor="anna")
        await_true(is_at_rest, "rest", PAUSE_SECONDS)
        assert_no_attempt_was_lost(send)
        closed = gate.why_closed(send)
        assert closed is not None
        assert closed.by is By.PAUSE
        assert "paused by anna: disk change" in closed.reason
        holds.resume(hold, "ben")
        await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 30)
    assert_sent_once(send, store)
    verbs = {"destination.pause", "destination.resume", "sending.pause", "sending.resume"}
    actions = AuditEntry.objects.filter(action__in=verbs).order_by("id")
    kind = "sending" if whole else "destination"
    assert list(actions.values_list("action", flat=True)) == [f"{kind}.pause", f"{kind}.resume"]


def test_a_pause_ends_by_itself_when_its_time_is_over(store: Store, folder: Path) -> None:
    store.answers_after(0)
    send = planned(slow(store), folder)
    until = timezone.now() + timedelta(seconds=1)
    holds.pause(send.destination, reason="a moment", until=until, actor="anna")
    engine.work(send.destination_id)
    assert outcomes(send) == {"sent": 12}, "the worker waited for an end that was near"
    engine.tick("test")
    hold = Hold.objects.get()
    assert (hold.ended_by, hold.ended_at) == ("system", until)
    assert AuditEntry.objects.filter(action="destination.resume", actor="system").exists()


def test_a_pause_needs_a_reason_and_an_end_that_is_to_come() -> None:
    to = factories.destination()
    with pytest.raises(InvalidHold, match="why"):
        holds.pause(to, reason="  ", until=None, actor="anna")
    with pytest.raises(InvalidHold, match="future"):
        holds.pause(to, reason="x", until=timezone.now(), actor="anna")
    with pytest.raises(InvalidHold, match="within a year"):
        holds.pause(to, reason="x", until=timezone.now() + timedelta(days=400), actor="anna")
    first = holds.pause(to, reason="x", until=None, actor="anna")
    with pytest.raises(InvalidHold, match="already, by anna: x"):
        holds.pause(to, reason="y", until=None, actor="ben")
    holds.resume(first, "ben")
    with pytest.raises(InvalidHold, match="ended already"):
        holds.resume(first, "ben")


@pytest.mark.slow
@pytest.mark.parametrize("of", ["destination", "send"])
def test_a_window_that_closes_in_the_middle_loses_no_attempt(
    store: Store, folder: Path, of: str
) -> None:
    to = slow(store, windows=NEVER_NOW if of == "destination" else "")
    send = planned(to, folder, windows=NEVER_NOW if of == "send" else "")
    engine.work(to.pk)
    assert (outcomes(send), Association.objects.count()) == ({"pending": 12}, 0)
    target = to if of == "destination" else send
    with background():
        control.override_window(target, "anna", timezone.now() + timedelta(seconds=2))
        await_first(store)
        await_true(
            lambda: state_of(send) == SendState.RUNNING and is_at_rest(), "a closed window", 20
        )
        assert_no_attempt_was_lost(send)
        closed = gate.why_closed(Send.objects.get(pk=send.pk))
        assert closed is not None
        assert closed.by is By.WINDOW
        assert closed.until is not None
        control.override_window(target, "anna", timezone.now() + timedelta(hours=1))
        await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 30)
    assert_sent_once(send, store)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["destination", "send"])
def test_nothing_is_begun_from_the_instant_a_window_closes(
    store: Store, tmp_path: Path, of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor until the next look, each second, which never comes here."""
    monkeypatch.setattr(tenure, "BEAT_SECONDS", 60)
    store.answers_after(0.05)
    folder = write_studies(tmp_path / "in", 40)
    to = slow(store, windows=NEVER_NOW if of == "destination" else "")
    send = planned(to, folder, windows=NEVER_NOW if of == "send" else "")
    closes = timezone.now() + timedelta(seconds=3)
    control.override_window(to if of == "destination" else send, "anna", closes)
    with background():
        await_first(store)
        await_true(is_at_rest, "a closed window", 20)
        assert_no_attempt_was_lost(send)
    late = store.stored_at[-1] - closes.timestamp()
    assert late < 0.05 + 0.2, "its answer may come after, but it had begun before"


def changed(to: Destination, **changes: Any) -> None:
    """Change a destination as an administrator does."""
    names = DestinationFacts.__dataclass_fields__
    facts = DestinationFacts(**{name: getattr(to, name) for name in names})
    change_destination(to, replace(facts, **changes), actor="anna")


@pytest.mark.slow
@pytest.mark.parametrize("fact", ["port", "ae_title", "tls"])
def test_what_is_being_sent_follows_a_destination_that_is_changed(
    store: Store, folder: Path, fact: str
) -> None:
    """Nothing more goes where it should not go any more, least of all without TLS."""
    to = slow(store)
    send = planned(to, folder)
    other = Store()
    store.profiles["NEW"] = Profile()
    with other.receiver, background():
        await_first(store)
        new = {"port": other.receiver.port, "ae_title": "NEW", "tls": True}
        changed(to, **{fact: new[fact]})
        others = Association.objects.filter(destination_revision__digest=revision_of(to))
        await_true(others.exists, "an association as it is now", 20)
        assert Association.objects.exclude(pk__in=others).get().ended == "released"
        if fact == "tls":
            assert others.latest("id").outcome != "established"
            changed(to, tls=False)
        await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 30)
    everything = store.stored + other.stored
    assert outcomes(send) == {"sent": len(everything)}
    assert len(set(everything)) == len(everything)
    if fact == "port":
        assert len(store.stored) < 9


def revision_of(to: Destination) -> bytes:
    return bytes(current_revision(to).digest)


@pytest.mark.parametrize("answer", [b"", rejection(1, 1, 7)], ids=["breaker", "block"])
def test_a_destination_that_is_changed_while_it_is_tried_in_vain_is_tried_at_once(
    folder: Path, answer: bytes, settings: Settings
) -> None:
    """It was mended before it was known to be broken: nobody waits up to an hour for that."""
    settings.RETRY_BASE_SECONDS = 60

    def script(conversation: Conversation) -> None:
        conversation.read_pdu()
        changed(Destination.objects.get(), port=1)
        connection.close()
        conversation.send(answer)

    with acceptor(script) as peer:
        to = factories.destination(port=peer.port, max_associations=1)
        planned(to, folder)
        engine.work(to.pk)
    hold = Hold.objects.active().get()
    assert hold.probe_at is not None
    assert hold.probe_at <= timezone.now()


@pytest.mark.slow
def test_other_timeouts_are_for_the_next_association(store: Store, folder: Path) -> None:
    to = slow(store)
    send = planned(to, folder)
    with background():
        await_first(store)
        changed(to, answer_timeout=77)
        await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 30)
    assert Association.objects.get().instances == 12


def test_windows_are_overridden_only_where_there_are_some_and_for_a_week_at_most() -> None:
    to = factories.destination()
    with pytest.raises(WrongState, match="no windows"):
        control.override_window(to, "anna", timezone.now())
    Destination.objects.update(windows=NEVER_NOW)
    to.refresh_from_db()
    with pytest.raises(WrongState, match="week"):
        control.override_window(to, "anna", timezone.now() + timedelta(days=8))


def test_a_disabled_destination_is_sent_nothing(store: Store, folder: Path) -> None:
    send = planned(slow(store), folder)
    Destination.objects.update(enabled=False)
    engine.work(send.destination_id)
    assert outcomes(send) == {"pending": 12}
    assert gate.look(send.destination_id).closed is not None


def test_a_send_is_paused_while_it_is_planned_and_rests_after_that(
    store: Store, folder: Path
) -> None:
    send = order(slow(store), folder, inline=False)
    control.pause_send(send, "anna")
    assert state_of(send) == SendState.PLANNING
    planner.plan_send(send.pk)
    assert state_of(send) == SendState.PAUSED
    engine.work(send.destination_id)
    assert outcomes(send) == {"pending": 12}
    with pytest.raises(WrongState, match="paused"):
        control.pause_send(send, "anna")
    control.resume_send(send, "anna")
    with pytest.raises(WrongState, match="not paused"):
        control.resume_send(send, "anna")


def test_a_paused_send_is_cancelled(store: Store, folder: Path) -> None:
    send = planned(slow(store), folder)
    control.pause_send(send, "anna")
    sending.cancel_send(send, "anna")
    assert outcomes(send) == {"cancelled": 12}
    with pytest.raises(WrongState, match="cancelled"):
        control.pause_send(send, "anna")


def claimed(to: Destination) -> SendBatch:
    lease = leases.claim_batch(to.pk, "somebody")
    assert lease is not None
    return SendBatch.objects.select_related("send__destination").get(pk=lease.batch_id)


def test_an_urgent_send_overtakes_at_the_border_of_a_batch(store: Store, tmp_path: Path) -> None:
    to = slow(store)
    one = planned(to, write_studies(tmp_path / "a", 2, root="1.5"))
    other = planned(to, write_studies(tmp_path / "b", 2, root="1.6"))
    # Batches of 500 instances would hold all; studies of their own make borders.
    for send in (one, other):
        split_by_study(send)
    running = claimed(to)
    assert running.send_id == one.pk
    control.set_priority(other, "anna", 100)
    assert set(other.batches.values_list("priority", flat=True)) == {100}
    assert leases.claim_follower(running, "somebody") is None, "the urgent one comes first"
    assert claimed(to).send_id == other.pk
    urgent = SendBatch.objects.select_related("send__destination").get(
        send=other, state=BatchState.RUNNING
    )
    assert leases.claim_follower(urgent, "somebody") is not None
    assert claimed(to).send_id == one.pk, "when no urgent one is left, the others go on"


def test_an_urgent_send_that_is_outside_its_window_holds_nobody_up(
    store: Store, tmp_path: Path
) -> None:
    to = slow(store)
    one = planned(to, write_studies(tmp_path / "a", 2, root="1.5"))
    split_by_study(one)
    planned(to, write_studies(tmp_path / "b", 1, root="1.6"), windows=NEVER_NOW, priority=100)
    running = claimed(to)
    assert running.send_id == one.pk
    assert leases.claim_follower(running, "somebody") is not None


def split_by_study(send: Send) -> None:
    """Give each study of a send a batch of its own."""
    first = SendBatch.objects.get(send=send)
    studies = send.parts.values_list("id", flat=True)[1:]
    for number, part in enumerate(studies, start=2):
        SendBatch.objects.filter(pk=first.pk).update(instances=3)
        batch = SendBatch.objects.create(
            send=send,
            number=number,
            destination=send.destination,
            definition_list=first.definition_list,
            instances=3,
            next_attempt_at=first.next_attempt_at,
        )
        SendItem.objects.filter(part=part).update(batch=batch)


def test_an_inline_send_under_a_persons_pause_is_refused_with_the_reason(
    store: Store, folder: Path
) -> None:
    to = slow(store)
    holds.pause(to, reason="disk change", until=None, actor="anna")
    send = order(to, folder)
    planner.plan_send(send.pk)
    engine.run_inline(Send.objects.get(pk=send.pk))
    assert (state_of(send), outcomes(send)) == (SendState.FAILED, {"failed": 12})
    assert Association.objects.get().outcome == "refused_locally"
    reasons = set(SendItem.objects.values_list("reason", "rule"))
    assert reasons == {("not sent: Sending to pacs is paused by anna: disk change", "held")}


@pytest.mark.slow
def test_a_pause_ends_an_inline_send_that_is_under_way(store: Store, folder: Path) -> None:
    to = slow(store)
    send = order(to, folder)
    planner.plan_send(send.pk)
    thread = threading.Thread(target=run_inline, args=(send.pk,))
    thread.start()
    await_first(store)
    holds.pause(to, reason="disk change", until=None, actor="anna")
    thread.join(20)
    assert not thread.is_alive()
    assert state_of(send) == SendState.PARTIAL
    assert outcomes(send)["sent"] == len(store.stored) < 12
    assert set(outcomes(send)) == {"sent", "failed"}


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_urgent_send_overtakes_at_the_border_of_a_study_too(
    store: Store, tmp_path: Path, *, elsewhere: bool
) -> None:
    bulk = slow(store)
    one = planned(bulk, write_studies(tmp_path / "a", 4, root="1.5"))
    assert one.batches.count() == 1
    to = slow(store, name="other") if elsewhere else bulk
    two = planned(to, write_studies(tmp_path / "b", 1, root="1.6"))
    with background(workers=1):
        await_first(store, 1)
        control.set_priority(two, "anna", 100)
        await_true(lambda: state_of(one) == SendState.SUCCEEDED, "the end", 30)
    assert state_of(two) == SendState.SUCCEEDED
    urgent = [number for number, uid in enumerate(store.stored) if uid.startswith("1.6")]
    assert urgent in ([3, 4, 5], [6, 7, 8]), "behind a whole study"
    assert len(store.stored) == 15
    assert set(one.items.values_list("attempts", flat=True)) == {1}


@pytest.mark.slow
def test_an_urgent_send_to_another_destination_takes_the_worker_at_the_border_of_a_batch(
    store: Store, tmp_path: Path
) -> None:
    bulk, other = slow(store), slow(store, name="other")
    one = planned(bulk, write_studies(tmp_path / "a", 3, root="1.5"))
    split_by_study(one)
    two = planned(other, write_studies(tmp_path / "b", 1, root="1.6"))
    with background(workers=1):
        OrmQ.objects.all().delete()  # only the worker's own attention brings it there
        tickets.issue_work(bulk.pk)
        await_first(store, 1)
        control.set_priority(two, "anna", 100)
        OrmQ.objects.all().delete()
        await_true(lambda: state_of(two) == SendState.SUCCEEDED, "the urgent one's end", 30)
        assert outcomes(one)["pending"] >= 3
        await_true(lambda: state_of(one) == SendState.SUCCEEDED, "the end", 30)


def test_destinations_that_fail_hold_a_quarter_of_the_workers_at_most(
    settings: Settings,
) -> None:
    settings.WORKERS = 8
    bad = [factories.destination(f"bad {number}") for number in range(3)]
    good = factories.destination("good")
    for to in bad:
        factories.recorded(to, factories.outcome(kind=AssociationKind.TCP_FAILED))
    assert [fairness.is_doubtful(to.pk) for to in (*bad, good)] == [True, True, True, False]
    for to in bad[:2]:
        assert not fairness.must_wait(to.pk)
        assert leases.claim_slot(to, owners.owner_name()) is not None
    assert fairness.must_wait(bad[2].pk)
    assert not fairness.must_wait(good.pk)
    factories.recorded(bad[2])
    assert not fairness.must_wait(bad[2].pk), "it works again"


@pytest.mark.parametrize(("workers", "at_first"), [(1, 4), (2, 1), (4, 3)])
def test_destinations_that_were_never_tried_leave_a_worker_free(
    workers: int, at_first: int, settings: Settings
) -> None:
    settings.WORKERS = workers
    untried = [factories.destination(f"new {number}") for number in range(4)]
    for number, to in enumerate(untried):
        assert fairness.must_wait(to.pk) is (number >= at_first)
        leases.claim_slot(to, owners.owner_name())
    good = factories.destination("good")
    factories.recorded(good)
    assert not fairness.must_wait(good.pk)


def test_a_destination_that_shows_that_it_works_has_all_its_associations_at_once(
    store: Store, folder: Path, settings: Settings
) -> None:
    """With the first answers, not with the next tick: there is none here."""
    settings.WORKERS = 2
    to = factories.at_full_pace(slow(store, max_associations=2))
    send = planned(to, folder)
    split_by_study(send)
    OrmQ.objects.all().delete()
    for _ in range(2):
        tickets.issue_work(to.pk)
    with background(workers=2, ticks=False):
        await_true(lambda: store.stored, "an answer", 5)
        await_true(lambda: two_are_open(to), "a second association", 2)
        await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the end", 20)
    assert Association.objects.count() == 2
    assert_sent_once(send, store)


def two_are_open(to: Destination) -> bool:
    return AssociationAttempt.objects.filter(destination=to, closed_at=None).count() == 2


@pytest.mark.parametrize("trigger", [Trigger.SEND, Trigger.ECHO])
def test_who_sends_inline_or_asks_a_peer_is_no_worker(
    trigger: Trigger, settings: Settings, tmp_path: Path
) -> None:
    settings.WORKERS = 2
    silent, new = factories.destination("silent"), factories.destination("new")
    owner = owners.owner_name()
    assert leases.claim_slot(silent, owner) is not None
    assert fairness.must_wait(new.pk), "a worker is with one that may not work"
    if trigger is Trigger.SEND:
        send = planned(silent, write_studies(tmp_path / "in", 1), inline=True)
        assert leases.claim_batch(silent.pk, owner, send_id=send.pk) is not None
    else:
        uid = factories.open_attempt(silent)
        AssociationAttempt.objects.filter(uid=uid).update(owner=owner, trigger=trigger)
    assert not fairness.must_wait(new.pk)


@pytest.mark.slow
def test_what_works_is_sent_while_new_destinations_hang(
    store: Store, tmp_path: Path, settings: Settings
) -> None:
    settings.WORKERS = 3
    heartbeat.beat("test", "sender")
    over = threading.Event()

    def hang(_: Conversation) -> None:
        over.wait(60)

    good = slow(store, name="good")
    factories.recorded(good)
    folder = write_studies(tmp_path / "in", 1)
    with acceptor(hang) as hanging:
        new = [
            factories.destination(f"new {n}", port=hanging.port, acse_timeout=60) for n in range(3)
        ]
        waiting = [planned(to, folder) for to in new]
        send = planned(good, folder)
        with background(workers=3):
            await_true(lambda: state_of(send) == SendState.SUCCEEDED, "the good one's end", 30)
            assert len(hanging.conversations) == 2
            assert {state_of(one) for one in waiting} <= {SendState.QUEUED, SendState.RUNNING}
            over.set()


@pytest.mark.parametrize(("studies", "associations", "tickets"), [(4, 3, 2), (2, 3, 1), (4, 1, 0)])
def test_as_many_workers_are_called_as_associations_may_be_open(
    studies: int, associations: int, tickets: int, tmp_path: Path
) -> None:
    """Whoever planned the send is one of them, and needs no call."""
    to = factories.at_full_pace(
        factories.destination(max_associations=associations, association_scope="study")
    )
    send = order(to, write_studies(tmp_path / "in", studies), inline=False)
    OrmQ.objects.all().delete()
    planner.plan_send(send.pk)
    assert OrmQ.objects.count() == tickets


def test_a_destination_that_nothing_is_known_of_gets_who_planned_the_send(folder: Path) -> None:
    to = factories.destination(max_associations=3, association_scope="study")
    send = order(to, folder, inline=False)
    OrmQ.objects.all().delete()
    planner.plan_send(send.pk)
    assert not OrmQ.objects.exists(), "more come while it helps"
