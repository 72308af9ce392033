"""Pages on which people hold sending back and let it go."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from sender.models import (
    AssociationAttempt,
    AuditEntry,
    ContextTemplate,
    Destination,
    DestinationPace,
    Hold,
    HoldKind,
    Listing,
    ParkedPair,
    PresentationContextDefinitionList,
    Send,
    SendBatch,
    SendItem,
    SendState,
    SourceFile,
    SourceFolder,
    SourceKind,
    StudyPart,
)
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.stalls import Whose
from sender.services import again, holds, interning, sources
from sender.services.sending import WrongState
from tests import factories
from tests.holders import gone_holder
from tests.web.test_pages import text

SignIn = Callable[[str], Client]
pytestmark = pytest.mark.django_db


@pytest.fixture
def send(destination: Destination) -> Send:
    """A send that ended with three instances failed, of two kinds of failure."""
    made = Send.objects.create(
        destination=destination,
        template_version=ContextTemplate.objects.get(name="Derived from files").newest,
        requested_by="test",
        state=SendState.FAILED,
        listing=Listing.objects.create(sources=["/data"], files=3),
        planned_at=timezone.now(),
    )
    batch = SendBatch.objects.create(
        send=made,
        number=1,
        destination=destination,
        definition_list=PresentationContextDefinitionList.objects.get(
            pk=interning.definition_list_id(factories.PROPOSAL)
        ),
        state="done",
        next_attempt_at=timezone.now(),
    )
    for position, reason in enumerate(["busy", "busy", "odd"], start=1):
        factories.send_item(
            made, position=position, uid=f"1.2.3.{position}", path=f"/data/{position}.dcm",
            outcome=InstanceOutcome.FAILED, reason=reason, batch=batch, rule="out_of_resources",
        )  # fmt: skip
    return made


def running(send: Send, **facts: object) -> Send:
    Send.objects.filter(pk=send.pk).update(state=SendState.RUNNING, **facts)
    SendItem.objects.filter(send=send).update(outcome="pending", reason="", rule="")
    send.parts.update(pending=F("failed"), failed=0)
    SendBatch.objects.filter(send=send).update(state="ready")
    send.refresh_from_db()
    return send


def badges(page: str) -> list[str]:
    """Return the words of the badges beside the associations at work."""
    section = page.partition('id="at-work"')[2].partition("</section>")[0]
    found = re.findall(r'<span class="badge [^>]*>(.*?)</span>', section, re.DOTALL)
    return [re.sub(r"<svg.*?</svg>", "", badge, flags=re.DOTALL).strip() for badge in found]


def test_a_running_send_shows_its_associations_and_whose_a_stall_is(
    as_role: SignIn, send: Send
) -> None:
    address = f"/sends/{running(send).pk}/progress/"
    assert "Associations at work" not in text(as_role("viewer"), address)
    open_now = AssociationAttempt.objects.filter(uid=factories.open_attempt(send.destination))
    open_now.update(send=send)
    page = text(as_role("viewer"), address)
    assert "Associations at work" in page
    assert "It is being opened." in page
    open_now.update(started_at=timezone.now() - timedelta(seconds=60))
    page = text(as_role("viewer"), address)
    assert re.search(r"No connection for 6\d\.\d s: the peer, or the network to it,", page)
    assert badges(page) == ["No connection"]
    open_now.update(request=b"\x01")
    page = text(as_role("viewer"), address)
    assert re.search(r"has not answered the proposal, 6\d\.\d s after the start", page)
    assert badges(page) == ["No answer yet"]
    open_now.update(answer=b"\x02")
    assert "It moves." in text(as_role("viewer"), address)
    since = timezone.now() - timedelta(seconds=90)
    open_now.update(stall=Whose.NETWORK.value, stalled_since=since)
    page = text(as_role("viewer"), address)
    assert "The network does not deliver" in page
    assert badges(page) == ["Network"]
    assert re.search(r"For 9\d\.", page), "a busy machine may take some seconds"
    assert since.isoformat() in page
    assert "It moves." not in page
    open_now.update(closed_at=timezone.now())
    assert "Associations at work" not in text(as_role("viewer"), address)


@pytest.mark.parametrize("address", ["/", "/sends/", "/history/", "/password/", "/destinations/1/"])
def test_every_page_says_what_is_held_by_whom_why_and_until_when(
    address: str, as_role: SignIn, destination: Destination
) -> None:
    until = timezone.now() + timedelta(hours=2)
    holds.pause(destination, reason="disk change", until=until, actor="anna")
    address = address.replace("1", str(destination.pk))
    page = text(as_role("viewer"), address)
    assert "Sending to pacs is paused by anna: disk change" in page
    assert until.isoformat() in page
    assert "/resume/" not in page, "a viewer may not resume"
    assert "/resume/" in text(as_role("operator"), address)


def test_a_hold_tells_nothing_to_those_who_may_not_read(
    as_role: SignIn, destination: Destination
) -> None:
    holds.pause(destination, reason="disk change", until=None, actor="anna")
    assert "disk change" not in text(as_role("no role"), "/password/")


def test_many_destinations_that_do_not_work_take_one_line_and_bury_no_pause(
    as_role: SignIn,
) -> None:
    client = as_role("operator")

    def banners() -> tuple[int, int]:
        page = text(client, "/sends/")
        return page.count('<details class="notice caution holds">'), page.count("notice hold ")

    for number in range(2):
        block(factories.destination(f"broken {number}"))
    assert banners() == (0, 2)
    block(factories.destination("broken 2"))
    holds.pause(factories.destination("paused"), reason="new disks", until=None, actor="anna")
    assert banners() == (1, 4)
    told, folded = text(client, "/sends/").split('<details class="notice caution holds">')
    assert "new disks" in told
    assert "3 destinations do not work now: broken 0, broken 1, broken 2" in " ".join(
        folded.split()
    )


def test_the_list_of_destinations_says_which_are_held(as_role: SignIn) -> None:
    works, broken = factories.destination("works"), factories.destination("broken")
    block(broken)
    rows = text(as_role("viewer"), "/destinations/").split("<tr>")
    marked = {
        to.name: [">Blocked<" in row for row in rows if f">{to}<" in row] for to in (works, broken)
    }
    assert marked == {"works": [False], "broken": [True]}


def block(to: Destination) -> None:
    Hold.objects.create(
        destination=to, kind=HoldKind.BLOCKED, reason="It does not know us.", set_by="system"
    )


def test_all_sending_is_paused_with_a_reason_and_resumed_by_one_click(as_role: SignIn) -> None:
    client = as_role("operator")
    assert "Pause all sending…" in text(client, "/sends/")
    assert "Pause all sending…" not in text(as_role("viewer"), "/sends/")
    refused = client.post("/pause/", {"reason": " ", "hours": "4"})
    assert refused.status_code == 200
    assert not Hold.objects.exists()
    client.post("/pause/", {"reason": "network works", "hours": "4"})
    hold = Hold.objects.get()
    assert (hold.destination, hold.set_by, hold.reason) == (None, "operator", "network works")
    assert hold.until is not None
    assert timedelta(hours=3) < hold.until - timezone.now() <= timedelta(hours=4)
    page = text(client, "/sends/")
    assert "All sending is paused by operator: network works" in page
    gone = client.post(f"/holds/{hold.pk}/resume/", {"next": "/sends/"})
    assert gone.headers["Location"] == "/sends/"
    assert not Hold.objects.active().exists()
    client.post(f"/holds/{hold.pk}/resume/", {"next": "https://evil.example/"})
    assert "This hold has ended already." in text(client, "/sends/")


def test_a_destination_is_paused_until_a_time(as_role: SignIn, destination: Destination) -> None:
    client = as_role("operator")
    address = f"/destinations/{destination.pk}/pause/"
    past = client.post(address, {"reason": "x", "until": "2020-01-01T00:00"})
    assert "A pause ends in the future" in past.content.decode()
    client.post(address, {"reason": "disk change", "until": "2999-01-01T00:00"})
    assert not Hold.objects.exists()
    tomorrow = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    client.post(address, {"reason": "disk change", "until": f"{tomorrow:%Y-%m-%dT%H:%M}"})
    assert Hold.objects.get().until == tomorrow
    again = client.post(address, {"reason": "y", "hours": "1"})
    assert "paused already, by operator: disk change" in again.content.decode()


@pytest.mark.parametrize("address", ["/pause/", "/destinations/{}/pause/"])
def test_a_pause_has_one_end(as_role: SignIn, destination: Destination, address: str) -> None:
    both = {"reason": "x", "hours": "4", "until": "2026-01-01T00:00"}
    page = as_role("operator").post(address.format(destination.pk), both).content.decode()
    assert "Choose how long, or until when, but not both." in page
    assert not Hold.objects.exists()


def test_a_send_is_paused_resumed_and_made_urgent(as_role: SignIn, send: Send) -> None:
    client = as_role("operator")
    running(send)
    address = f"/sends/{send.pk}/"
    assert "Pause</button>" in text(client, address)
    client.post(f"{address}pause/")
    page = text(client, address)
    assert "Paused by operator." in page
    assert "Resume</button>" in page
    client.post(f"{address}resume/")
    assert "Resume</button>" not in text(client, address)
    client.post(f"{address}priority/", {"urgent": "1"})
    assert "Not urgent" in text(client, address)
    assert set(SendBatch.objects.values_list("priority", flat=True)) == {100}
    client.post(f"{address}priority/")
    assert set(SendBatch.objects.values_list("priority", flat=True)) == {0}
    assert client.post(f"{address}nonsense/").status_code == 404


def test_what_keeps_a_send_back_stands_on_its_page(as_role: SignIn, send: Send) -> None:
    running(send)
    SendBatch.objects.update(rule="unreachable", detail="Connection refused.")
    holds.pause(send.destination, reason="disk change", until=None, actor="anna")
    page = text(as_role("viewer"), f"/sends/{send.pk}/")
    assert "<strong>Nothing is being sent.</strong>" in page
    assert "What waits for another attempt" in page
    assert "The peer could not be reached. It is tried again" in page


def test_a_window_is_overridden(as_role: SignIn, send: Send) -> None:
    running(send, windows="mon-sun 00:00-00:01", zone="Europe/Berlin")
    client = as_role("operator")
    page = text(client, f"/sends/{send.pk}/")
    assert "outside the times at which this send may run" in page
    assert "Europe/Berlin" in page
    client.post(f"/sends/{send.pk}/override/", {"hours": "4"})
    send.refresh_from_db()
    assert send.window_override_until is not None
    assert "Nothing is being sent" not in text(client, f"/sends/{send.pk}/")
    client.post(f"/sends/{send.pk}/override/", {"hours": "9999"})
    assert "Nothing was chosen." in text(client, f"/sends/{send.pk}/")


@pytest.mark.parametrize("of", ["send", "destination"])
def test_an_override_is_taken_back(as_role: SignIn, send: Send, of: str) -> None:
    windows = "mon-sun 00:00-00:01"
    running(send, **({"windows": windows} if of == "send" else {}))
    Destination.objects.update(windows=windows if of == "destination" else "")
    number = send.pk if of == "send" else send.destination_id
    client, page = as_role("operator"), f"/{of}s/{number}/"
    assert "End the override" not in text(client, page)
    client.post(f"{page}override/", {"hours": "4"})
    assert "overridden until" in text(client, page)
    assert "End the override" in text(client, page)
    assert "End the override" not in text(as_role("viewer"), page)
    client = as_role("operator")
    client.post(f"{page}override/", {"end": "1"})
    assert "overridden until" not in text(client, page)
    assert "Nothing is being sent" in text(client, f"/sends/{send.pk}/")
    entry = AuditEntry.objects.get(action=f"{of}.end_override")
    assert entry.subject == (str(send.pk) if of == "send" else send.destination.name)
    client.post(f"{page}override/", {"end": "1"})
    assert "Its windows are not overridden any more." in text(client, page)
    assert AuditEntry.objects.filter(action=f"{of}.end_override").count() == 1


def test_a_group_of_failures_is_retried_alone(as_role: SignIn, send: Send) -> None:
    client = as_role("operator")
    page = text(client, f"/sends/{send.pk}/")
    assert page.count(f'action="/sends/{send.pk}/retry-some/"') == 3, "two groups and one kind"
    assert "The peer is out of resources (A7xx)." in page
    assert "retry-some" not in text(as_role("viewer"), f"/sends/{send.pk}/")
    client.post(f"/sends/{send.pk}/retry-some/", {"outcome": "failed", "reason": "odd"})
    assert SendItem.objects.get(outcome="pending").position == 3
    assert "1 instance is tried again." in text(client, f"/sends/{send.pk}/")
    client.post(f"/sends/{send.pk}/retry-some/", {"reason": "odd"})
    assert "Nothing in send" in text(client, f"/sends/{send.pk}/")


@pytest.fixture
def mixed(send: Send) -> Send:
    """A send whose third instance belongs to another study and SOP class."""
    kind, _ = SourceKind.objects.get_or_create(
        sop_class_uid=factories.MR, transfer_syntax_uid=factories.ELE, lossy_code=2
    )
    other = StudyPart.objects.create(
        send=send, kind=kind, study_instance_uid="1.2.826.9", failed=1, bytes=10
    )
    send.parts.exclude(pk=other.pk).update(failed=2)
    SendItem.objects.filter(position=3).update(part=other)
    return send


def pending(send: Send) -> list[int]:
    return list(send.items.filter(outcome="pending").values_list("position", flat=True))


def test_each_incomplete_study_is_retried_by_its_button(as_role: SignIn, mixed: Send) -> None:
    client = as_role("operator")
    address = f"/sends/{mixed.pk}/studies/?incomplete=1"
    page = text(client, address)
    assert page.count(f'action="/sends/{mixed.pk}/retry-some/"') == 2
    assert "retry-some" not in text(as_role("auditor"), address)
    fields = {"study": "1.2.826.9", "outcome": ["failed", "unknown"], "next": address}
    gone = client.post(f"/sends/{mixed.pk}/retry-some/", fields)
    assert gone.headers["Location"] == address
    assert pending(mixed) == [3]
    page = text(client, address)
    assert "1 instance is tried again." in page
    assert page.count(f'action="/sends/{mixed.pk}/retry-some/"') == 1


def test_a_study_without_anything_to_retry_has_no_button(as_role: SignIn, mixed: Send) -> None:
    conflict = SendItem.objects.filter(position=3)
    conflict.update(outcome="unsendable", reason="conflict", batch=None)
    mixed.parts.filter(study_instance_uid="1.2.826.9").update(failed=0, unsendable=1)
    page = text(as_role("operator"), f"/sends/{mixed.pk}/studies/?incomplete=1")
    assert "1.2.826.9" in page
    assert page.count(f'action="/sends/{mixed.pk}/retry-some/"') == 1
    assert 'name="study" value="1.2.826.9"' not in page


def test_each_kind_of_data_is_retried_by_its_button(as_role: SignIn, mixed: Send) -> None:
    client = as_role("operator")
    page = text(client, f"/sends/{mixed.pk}/")
    assert f'name="sop_class" value="{factories.MR}"' in page
    fields = {"sop_class": factories.CT, "transfer_syntax": factories.ELE}
    client.post(f"/sends/{mixed.pk}/retry-some/", fields)
    assert pending(mixed) == [1, 2]


def test_a_cancelled_send_is_taken_up_by_those_who_may_send(as_role: SignIn, mixed: Send) -> None:
    SendItem.objects.filter(send=mixed).update(outcome="cancelled", reason="the send was cancelled")
    mixed.parts.update(cancelled=F("failed"), failed=0)
    SendBatch.objects.filter(send=mixed).update(state="cancelled")
    page, button = f"/sends/{mixed.pk}/", "Take up again: 3 cancelled"
    Send.objects.filter(pk=mixed.pk).update(state=SendState.CANCELLED)
    assert button not in text(as_role("operator"), page), "its plan was not complete"
    Send.objects.filter(pk=mixed.pk).update(plan={"kinds": []})
    assert button in text(as_role("operator"), page)
    auditor = as_role("auditor")
    assert button not in text(auditor, page)
    taking_up = (f"/sends/{mixed.pk}/retry-some/", {"outcome": "cancelled"})
    assert auditor.post(*taking_up).status_code == 403
    as_role("administrator").post(*taking_up)
    assert pending(mixed) == [1, 2, 3]
    mixed.refresh_from_db()
    assert mixed.state == SendState.QUEUED
    assert button not in text(as_role("operator"), page)


@pytest.mark.parametrize(
    ("chosen", "positions"),
    [
        ({"study": "1.2.826.9"}, [3]),
        ({"sop_class": factories.CT}, [1, 2]),
        ({"sop_class": factories.MR, "outcome": "failed"}, [3]),
        ({"transfer_syntax": factories.ELE, "outcome": "any"}, [1, 2, 3]),
        ({"sop_class": factories.CT, "study": "1.2.826.9"}, []),
        ({"outcome": "unknown"}, []),
        ({"study": "none"}, []),
        ({"sop_class": "1.2.3"}, []),
    ],
)
def test_a_part_is_retried_by_study_class_syntax_and_outcome(
    chosen: dict[str, str], positions: list[int], as_role: SignIn, mixed: Send
) -> None:
    client = as_role("operator")
    address = f"/sends/{mixed.pk}/retry-part/"
    assert address in text(client, f"/sends/{mixed.pk}/")
    assert "MR Image Storage" in text(client, address)
    done = client.post(address, chosen)
    assert done.status_code == (302 if positions else 200)
    assert pending(mixed) == positions
    if positions:
        entry = AuditEntry.objects.get(action="send.retry")
        assert entry.facts["instances"] == len(positions)


def test_a_send_is_sent_again_only_with_a_reason(as_role: SignIn, send: Send) -> None:
    client = as_role("operator")
    Listing.objects.update(sources=[str(sources.sample_folder())])
    assert "Send again…" in text(client, f"/sends/{send.pk}/")
    client.post(f"/sends/{send.pk}/again/", {"reason": ""})
    assert Send.objects.count() == 1
    made = client.post(f"/sends/{send.pk}/again/", {"reason": "the archive was restored"})
    page = text(client, made.headers["Location"])
    assert f'Again from <a href="/sends/{send.pk}/">send {send.pk}</a>' in page
    assert "the archive was restored" in page


def test_a_send_that_will_be_late_says_so(as_role: SignIn, send: Send) -> None:
    running(send, finish_by=timezone.now() - timedelta(minutes=5))
    page = text(as_role("viewer"), f"/sends/{send.pk}/")
    assert "<strong>It will be late.</strong>" in page
    assert "The deadline passed 5 min" in page


def test_a_destination_shows_its_limits_its_pace_and_what_held_it(
    as_role: SignIn, destination: Destination
) -> None:
    Destination.objects.update(
        windows="daily 20:00-20:01", bytes_per_second=2_000_000, profile="daily 08:00-18:00: 10/s"
    )
    DestinationPace.objects.create(destination=destination, state={}, detail="Slower: it is busy.")
    hold = holds.pause(destination, reason="disk change", until=None, actor="anna")
    holds.resume(hold, "ben")
    page = text(as_role("operator"), f"/destinations/{destination.pk}/")
    for words in (
        "2 MB/s, 1 association", "daily 08:00-18:00: 10/s", "Slower: it is busy.",
        "Paused by anna: disk change", "ended by ben", "Override the windows",
    ):  # fmt: skip
        assert words in page, words


def test_parked_data_are_offered_and_sent(
    as_role: SignIn, send: Send, destination: Destination
) -> None:
    SendItem.objects.filter(position=1).update(outcome="unsendable", rule="no_context")
    send.parts.update(unsendable=1, failed=2)
    pair = ParkedPair.objects.create(
        destination=destination,
        sop_class_uid=factories.CT,
        transfer_syntax_uid=factories.ELE,
        offered_at=timezone.now(),
    )
    client = as_role("operator")
    address = f"/destinations/{destination.pk}/"
    page = text(client, address)
    assert "Now accepted" in page
    assert "Rows of sends" in page
    assert "An instance that several sends have counts as a row of each" in page
    client.post(f"{address}parked/")
    assert "Nothing was chosen." in text(client, address)
    client.post(f"{address}parked/", {"pair": [str(pair.pk)]})
    assert "1 row is sent again" in text(client, address)
    assert SendItem.objects.get(position=1).outcome == "pending"


def test_limits_that_cannot_be_are_told_beside_their_fields(as_role: SignIn) -> None:
    client = as_role("administrator")
    facts = {
        "name": "pacs 2", "ae_title": "PACS", "address": "127.0.0.1", "port": "104",
        "calling_ae_title": "CONCORDAT", "connect_timeout": "10", "tls_timeout": "15",
        "acse_timeout": "30", "progress_timeout": "60", "answer_timeout": "60",
        "maximum_length": "131072", "max_associations": "2", "retries": "3", "enabled": "on",
        "association_scope": "study", "windows": "someday", "profile": "fast",
        "bytes_per_second": "0",
    }  # fmt: skip
    page = client.post("/destinations/add/", facts).content.decode()
    assert page.count('class="errorlist"') == 3
    assert not Destination.objects.exists()
    good = facts | {
        "windows": "mon-fri 20:00-06:00", "profile": "daily 08:00-18:00: 2 MB/s",
        "bytes_per_second": "", "sends_parked": "on",
    }  # fmt: skip
    client.post("/destinations/add/", good)
    made = Destination.objects.get()
    assert (made.windows, made.association_scope) == ("mon-fri 20:00-06:00", "study")
    assert (made.bytes_per_second, made.sends_parked) == (None, True)


def test_a_group_says_once_what_its_rule_means_and_how_often_it_was_tried(
    as_role: SignIn, send: Send
) -> None:
    SendItem.objects.filter(send=send, reason="busy").update(attempts=3)
    out = "not tried: The peer is out of resources (A7xx)."
    SendItem.objects.filter(send=send, reason="odd").update(reason=out)
    page = text(as_role("viewer"), f"/sends/{send.pk}/")
    assert page.count("The peer is out of resources (A7xx).") == 2, "once in each group"
    assert page.count("Tried 3 times.") == 1
    assert "tried again" not in page, "it is not: it has ended"
    without = "no accepted presentation context for CT Image Storage"
    SendItem.objects.filter(send=send).update(
        outcome="unsendable", rule="no_context", reason=without
    )
    page = text(as_role("viewer"), f"/sends/{send.pk}/")
    assert "Nothing changes until the peer or the template does." in page
    assert "that fits was accepted" not in page, "the reason says so"


@pytest.mark.parametrize(
    ("outcome", "reason", "remedy"),
    [
        ("warning", "coerced", "None is needed: the peer stored it."),
        ("cancelled", "the send was cancelled", "Send again."),
        ("unsendable", "conflict", "Pick the right file…"),
        ("unsendable", "CT was not proposed", "Have a template propose it, then send again."),
    ],
)
def test_what_cant_be_retried_has_another_remedy(
    outcome: str, reason: str, remedy: str, as_role: SignIn, send: Send
) -> None:
    odd = SendItem.objects.filter(send=send, reason="odd")
    odd.update(outcome=outcome, reason=reason, batch=None)
    page = text(as_role("operator"), f"/sends/{send.pk}/")
    assert remedy in page
    assert page.count("Retry</span> <span") == 2, "the busy ones, and their kind of data"


def test_a_send_that_waits_says_for_what(as_role: SignIn, send: Send) -> None:
    address = f"/sends/{running(send).pk}/progress/"
    assert "No worker has taken it up yet." in text(as_role("viewer"), address)
    due = timezone.now() + timedelta(minutes=3)
    SendBatch.objects.filter(send=send).update(next_attempt_at=due)
    page = text(as_role("viewer"), address)
    assert "Its next attempt is not due yet." in page
    assert due.isoformat() in page


def test_a_send_that_a_command_ran_says_that_nobody_works_on_it(
    as_role: SignIn, send: Send
) -> None:
    Send.objects.filter(pk=running(send).pk).update(inline=True, runner=gone_holder())
    page = text(as_role("viewer"), f"/sends/{send.pk}/")
    assert "has ended. Nobody works on it now." in page
    assert "The sender is not running." in page


def test_one_file_of_a_conflict_is_picked(as_role: SignIn, send: Send) -> None:
    client = as_role("operator")
    path = next(sources.sample_folder().rglob("CT_small.dcm")).resolve()
    SendItem.objects.filter(send=send, reason="odd").update(
        outcome="unsendable", reason="conflict", batch=None
    )
    item = SendItem.objects.get(send=send, reason="conflict")
    SourceFolder.objects.filter(pk=item.file.folder_id).update(path=str(path.parent))
    SourceFile.objects.filter(pk=item.file_id).update(name=path.name)
    listed = f"/sends/{send.pk}/instances/?outcome=unsendable&amp;reason=conflict"
    assert listed in text(client, f"/sends/{send.pk}/")
    assert "Send this one" in text(client, listed.replace("&amp;", "&"))
    assert "Send this one" not in text(as_role("auditor"), listed.replace("&amp;", "&"))
    made = client.post(f"/sends/{send.pk}/pick/", {"item": item.pk})
    picked = Send.objects.get(again_of=send)
    assert made.headers["Location"] == f"/sends/{picked.pk}/"
    assert picked.sources == [str(path)]
    assert picked.destination == send.destination
    assert "one of the files of a conflict was picked" in text(client, f"/sends/{picked.pk}/")
    listed = listed.replace("&amp;", "&")
    for page in (f"/sends/{send.pk}/", listed):
        for role in ("operator", "auditor"):
            assert f'Picked: <a href="/sends/{picked.pk}/">' in text(as_role(role), page)
    assert "Send this one" not in text(client, listed)
    answer = client.post(f"/sends/{send.pk}/pick/", {"item": item.pk}, follow=True)
    assert f"Send {picked.pk} was made for this file already." in answer.content.decode()
    Send.objects.filter(pk=picked.pk).update(state="failed")
    assert f"send {picked.pk}</a>" in text(client, listed)
    assert "Send this one" in text(client, listed)
    factories.send_item(picked, position=1, uid="1.2.3.3", outcome=InstanceOutcome.SENT)
    Send.objects.filter(pk=picked.pk).update(state="partial")
    assert "Send this one" not in text(client, listed)
    other = send.items.exclude(pk=item.pk).first()
    assert other is not None
    for wrong in (other.pk, "", "x"):
        answer = client.post(f"/sends/{send.pk}/pick/", {"item": wrong}, follow=True)
        assert "is no conflict" in answer.content.decode()
    assert Send.objects.filter(again_of=send).count() == 1


def test_who_picked_one_file_of_a_conflict_is_offered_no_other(as_role: SignIn, send: Send) -> None:
    path = next(sources.sample_folder().rglob("CT_small.dcm")).resolve()
    SendItem.objects.filter(send=send).update(outcome="unsendable", reason="conflict", batch=None)
    one, two, apart = send.items.order_by("position")
    SourceFile.objects.filter(pk__in=[one.file_id, two.file_id]).update(sop_instance_uid="1.2.3.9")
    SourceFolder.objects.filter(pk=one.file.folder_id).update(path=str(path.parent))
    SourceFile.objects.filter(pk=one.file_id).update(name=path.name)
    client, listed = as_role("operator"), f"/sends/{send.pk}/instances/?reason=conflict"
    assert text(client, listed).count("Send this one") == 3
    client.post(f"/sends/{send.pk}/pick/", {"item": one.pk})
    picked = Send.objects.get(again_of=send)
    page = text(client, listed)
    assert page.count("Send this one") == 1
    assert f'Another file was picked: <a href="/sends/{picked.pk}/">' in page
    with pytest.raises(WrongState, match="for another file of the conflict already"):
        again.pick(send, two.pk, "anna", roots=None)
    Send.objects.filter(pk=picked.pk).update(state="failed")
    assert text(client, listed).count("Send this one") == 3
    assert apart.pk


def test_a_picked_file_outside_the_allowed_roots_is_refused(as_role: SignIn, send: Send) -> None:
    SendItem.objects.filter(send=send).update(outcome="unsendable", reason="conflict", batch=None)
    item = send.items.first()
    assert item is not None
    answer = as_role("operator").post(f"/sends/{send.pk}/pick/", {"item": item.pk}, follow=True)
    assert item.file.path in answer.content.decode()
    assert not Send.objects.filter(again_of=send).exists()


HUGE = "9" * 30


@pytest.mark.parametrize("number", [HUGE, "9" * 5000, "-1", "none"])
def test_a_number_that_no_row_can_have_is_no_error_of_ours(
    number: str, as_role: SignIn, send: Send
) -> None:
    client = as_role("operator")
    destination = f"/destinations/{send.destination_id}"
    for address in (
        f"/sends/new/?upload={number}", f"/sends/{send.pk}/instances/?after={number}",
        f"/?destination={number}", f"/search/?q={number[:128]}",
    ):  # fmt: skip
        assert client.get(address).status_code == 200, address
    answers = {
        client.post(f"{destination}/parked/", {"pair": [number]}).status_code,
        client.post(f"{destination}/negotiate/", {"template": number}).status_code,
        client.post(f"/sends/{send.pk}/pick/", {"item": number}).status_code,
        client.post("/sends/new/", {"destination": number, "template": number}).status_code,
    }
    assert answers <= {200, 302, 404}


def test_what_an_ended_send_can_not_do_is_said_in_whole_sentences(
    as_role: SignIn, send: Send
) -> None:
    Send.objects.filter(pk=send.pk).update(state=SendState.SUCCEEDED)
    client = as_role("operator")
    for verb, said in (
        ("start", f"Send {send.pk} is no draft any more."),
        ("pause", f"Send {send.pk} has ended (succeeded): it can't be paused."),
        ("resume", f"Send {send.pk} has ended (succeeded), and is not paused."),
    ):
        client.post(f"/sends/{send.pk}/{verb}/")
        assert said in text(client, f"/sends/{send.pk}/").replace("&#x27;", "'")
