"""What pages show and do."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.db.models import F
from django.test import Client
from django.urls import reverse

from sender.models import (
    Association,
    ContextTemplate,
    Destination,
    Enquiry,
    ItemCopy,
    Listing,
    Send,
    SendState,
)
from sender.negotiation.outcomes import (
    AssociationKind,
    Ended,
    InstanceOutcome,
    Rejection,
    StoreOutcome,
)
from sender.services import heartbeat, recording, sources
from sender.web import tags
from tests import factories

SignIn = Callable[[str], Client]
HOSTILE = "<img src=x onerror=alert(1)>"


def text(client: Client, address: str, status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    return str(response.content.decode())


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/get-started/",
        "/destinations/",
        "/templates/",
        "/sends/",
        "/schedules/",
        "/history/",
        "/search/?q=x",
    ],
)
def test_an_empty_site_shows_its_pages(address: str, as_role: SignIn) -> None:
    assert "</html>" in text(as_role("viewer"), address)


def test_an_empty_site_begins_with_the_first_steps(as_role: SignIn) -> None:
    assert "<h1>Get started</h1>" in text(as_role("viewer"), "/")


def test_the_dashboard_counts_what_was_answered(as_role: SignIn, recorded: Association) -> None:
    page = text(as_role("viewer"), "/")
    assert "<strong>66.7 %</strong><p>2 of 3 decided</p>" in page
    assert 'data-series="1"' in page
    assert "Show as table" in page
    assert "associations answered, last 30 days" in page


def test_a_point_of_the_chart_leads_to_just_its_associations(
    as_role: SignIn, recorded: Association
) -> None:
    client = as_role("viewer")
    link = re.search(r'href="(/history/\?[^"]+)" data-series="1"', text(client, "/"))
    assert link is not None
    page = text(client, link.group(1).replace("&amp;", "&"))
    assert f'href="/history/{recorded.pk}/"' in page
    assert "can't be understood" not in page


def test_a_wrong_filter_is_named_and_left_out(as_role: SignIn, recorded: Association) -> None:
    client = as_role("viewer")
    assert "There is no destination 77" in text(client, "/?destination=77&days=7")
    page = text(client, "/history/?outcome=nope&since=yesterday&send=-4&after=x")
    assert page.count("can&#x27;t be understood") == 0
    assert page.count("was left out") == 4
    assert f'href="/history/{recorded.pk}/"' in page


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("answer=accepted", True),
        ("answer=not_negotiated", False),
        ("answer=rejected&transfer_syntax=1.2.840.10008.1.2.4.90", True),
        ("answer=rejected&transfer_syntax=1.2.840.10008.1.2.1", False),
        ("answer=not_chosen&transfer_syntax=1.2.840.10008.1.2", True),
        ("transfer_syntax=1.2.840.10008.1.2", True),
        ("outcome=established", True),
        ("outcome=rejected", False),
        ("negotiated=no", False),
        ("trigger=negotiate", True),
        ("trigger=echo", False),
        ("since=2000-01-01&until=2000-01-02", False),
    ],
)
def test_the_history_finds_by(
    query: str, is_found: bool, as_role: SignIn, recorded: Association
) -> None:
    page = text(as_role("viewer"), f"/history/?{query}")
    assert (f'href="/history/{recorded.pk}/"' in page) is is_found


def test_proposals_without_an_answer_are_found_as_not_negotiated(
    as_role: SignIn, destination: Destination
) -> None:
    row = factories.recorded(destination, factories.outcome(kind=AssociationKind.TIMED_OUT))
    address = "/history/?answer=not_negotiated&transfer_syntax=1.2.840.10008.1.2.4.90"
    assert f'href="/history/{row.pk}/"' in text(as_role("viewer"), address)


def test_older_pages_follow_without_a_gap(as_role: SignIn, destination: Destination) -> None:
    made = {factories.recorded(destination).pk for _ in range(53)}
    client, seen = as_role("viewer"), set()
    page = text(client, "/history/")
    seen |= {int(n) for n in re.findall(r'href="/history/(\d+)/"', page)}
    older = re.search(r'href="(\?[^"]*after=[^"]+)">Older', page)
    assert older is not None
    page = text(client, f"/history/{older.group(1)}")
    seen |= {int(n) for n in re.findall(r'href="/history/(\d+)/"', page)}
    assert seen == made


def test_an_association_says_each_answer_in_words(as_role: SignIn, recorded: Association) -> None:
    page = text(as_role("viewer"), f"/history/{recorded.pk}/")
    assert "4 · Transfer syntaxes not supported" in page
    assert "Propose an uncompressed transfer syntax" in page
    assert "2 of 3 contexts accepted." in page
    assert "agrees" in page


def test_answers_that_fit_no_context_are_shown_up_to_a_bound(
    as_role: SignIn, destination: Destination
) -> None:
    from dataclasses import replace

    from sender.negotiation.outcomes import ContextAnswer, StrayAnswer, StrayKind

    stray = StrayAnswer(StrayKind.UNKNOWN_ID, ContextAnswer(99, 0, factories.ILE))
    value = replace(factories.outcome(0, 0, 4), strays=(stray,) * 100_000)
    page = text(as_role("viewer"), f"/history/{factories.recorded(destination, value).pk}/")
    assert page.count("<li>id 99, result 0") == 256
    assert "and 99,744 more, which only the A-ASSOCIATE-AC itself tells" in page


def test_a_rejected_association_says_why(as_role: SignIn, destination: Destination) -> None:
    from dataclasses import replace

    value = replace(factories.outcome(kind=AssociationKind.REJECTED), rejection=Rejection(1, 1, 7))
    page = text(as_role("viewer"), f"/history/{factories.recorded(destination, value).pk}/")
    assert "called AE title not recognised (1/1/7)" in page


def test_the_json_of_an_association_is_that_of_the_command_line(
    as_role: SignIn, recorded: Association
) -> None:
    document = json.loads(text(as_role("viewer"), f"/history/{recorded.pk}.json"))
    assert document["association"] == str(recorded.uid)
    assert [context["result"] for context in document["contexts"]] == [0, 0, 4]
    assert len(json.loads(text(as_role("viewer"), "/history.json"))) == 1


def test_hostile_text_of_a_peer_is_inert(as_role: SignIn) -> None:
    from dataclasses import replace

    from sender.negotiation.outcomes import PeerIdentity

    to = factories.destination(f"a {HOSTILE}"[:40], notes=HOSTILE)
    value = replace(
        factories.outcome(0, 0, 4), peer=PeerIdentity("1.2", HOSTILE, 0), detail=f"=1+1 {HOSTILE}"
    )
    row = factories.recorded(to, value)
    client = as_role("administrator")
    for address in (
        f"/history/{row.pk}/",
        "/history/",
        "/",
        f"/destinations/{to.pk}/",
        "/search/?q=<img>",
    ):
        assert "<img src=x" not in text(client, address)
    body = b"".join(client.get("/history.csv").streaming_content).decode()  # type: ignore[attr-defined]
    assert ",'=1+1" in body


def test_a_destination_is_added_changed_and_refused_in_words(as_role: SignIn) -> None:
    client = as_role("administrator")
    form = {
        "name": "Main PACS", "ae_title": "PACS", "address": "10.0.0.1", "port": "104",
        "calling_ae_title": "CONCORDAT", "connect_timeout": "10", "tls_timeout": "15",
        "acse_timeout": "30", "progress_timeout": "60", "answer_timeout": "60",
        "maximum_length": "131072", "max_associations": "2", "retries": "3", "enabled": "on",
        "notes": "",
    }  # fmt: skip
    page = client.post(
        "/destinations/add/", form | {"ae_title": "far too long for one", "port": "0"}
    )
    assert "errorlist" in page.content.decode()
    assert not Destination.objects.exists()
    added = client.post("/destinations/add/", form)
    pacs = Destination.objects.get()
    assert added["Location"] == f"/destinations/{pacs.pk}/"
    again = client.post("/destinations/add/", form)
    assert "There is a destination Main PACS already." in again.content.decode()
    link_local = client.post("/destinations/add/", form | {"name": "x", "address": "169.254.1.1"})
    assert "can&#x27;t be destinations" in link_local.content.decode()
    client.post(f"/destinations/{pacs.pk}/change/", form | {"port": "11112"})
    pacs.refresh_from_db()
    assert (pacs.port, pacs.revisions.count()) == (11112, 2)


def test_an_echo_is_asked_for_and_its_steps_are_shown(
    as_role: SignIn, destination: Destination
) -> None:
    client = as_role("operator")
    address = client.post(f"/destinations/{destination.pk}/echo/")["Location"]
    assert "Waiting for the sender" in text(client, address)
    row = factories.recorded(destination, factories.outcome(0, 0, 4))
    from django.utils import timezone

    Enquiry.objects.update(
        association_uid=row.uid, finished_at=timezone.now(), status=0, outcome="established"
    )
    answer = client.get(address, headers={"HX-Request": "true"})
    assert answer.status_code == 286
    assert f"Open association {row.pk}" in answer.content.decode()


def test_a_template_is_written_by_form_and_gets_versions(as_role: SignIn) -> None:
    client = as_role("administrator")
    form = {
        "name": "CT lossless", "note": "", "decompress": "lossless", "convert_uncompressed": "on",
        "contexts-TOTAL_FORMS": "2", "contexts-INITIAL_FORMS": "0",
        "contexts-0-abstract_syntax": "CT Image Storage",
        "contexts-0-transfer_syntaxes": "JPEG 2000 Lossless",
        "contexts-1-abstract_syntax": "1.2.840.10008.5.1.4.1.1.2",
        "contexts-1-transfer_syntaxes": "Explicit VR LE\n1.2.840.10008.1.2",
    }  # fmt: skip
    response = client.post("/templates/add/", form)
    template = ContextTemplate.objects.get(name="CT lossless")
    assert response["Location"] == f"/templates/{template.pk}/"
    spec = template.newest.spec
    assert [context.transfer_syntaxes for context in spec.contexts] == [
        ("1.2.840.10008.1.2.4.90",),
        ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"),
    ]
    client.post(f"/templates/{template.pk}/change/", form | {"contexts-1-DELETE": "on"})
    assert (template.newest.version, template.newest.context_count) == (2, 1)
    assert "No longer proposes CT Image Storage" in text(client, f"/templates/{template.pk}/")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contexts-0-transfer_syntaxes": ""}, "transfer syntax"),
        ({"contexts-0-abstract_syntax": "Brain Image Storage"}, "Brain Image Storage"),
        ({"name": "Verification"}, "already"),
        ({"contexts-0-abstract_syntax": "", "contexts-0-transfer_syntaxes": ""}, "context"),
    ],
)
def test_a_template_that_can_not_be_is_refused_where_it_is_wrong(
    changes: dict[str, str], message: str, as_role: SignIn
) -> None:
    form = {
        "name": "X", "note": "", "decompress": "lossless", "contexts-TOTAL_FORMS": "1",
        "contexts-INITIAL_FORMS": "0", "contexts-0-abstract_syntax": "CT Image Storage",
        "contexts-0-transfer_syntaxes": "Explicit VR LE",
    }  # fmt: skip
    page = as_role("administrator").post("/templates/add/", form | changes).content.decode()
    assert "Nothing was saved" in page
    errors = " ".join(re.findall(r'<ul class="errorlist.*?</ul>', page, re.DOTALL))
    assert message in errors
    assert not ContextTemplate.objects.filter(name="X").exists()


def test_more_than_128_contexts_are_refused(as_role: SignIn) -> None:
    form = {
        "name": "X", "note": "", "decompress": "lossless", "contexts-TOTAL_FORMS": "129",
        "contexts-INITIAL_FORMS": "0",
    }  # fmt: skip
    for index in range(129):
        form[f"contexts-{index}-abstract_syntax"] = "CT Image Storage"
        form[f"contexts-{index}-transfer_syntaxes"] = "Explicit VR LE"
    page = as_role("administrator").post("/templates/add/", form).content.decode()
    assert "128" in " ".join(re.findall(r'<ul class="errorlist.*?</ul>', page, re.DOTALL))
    assert not ContextTemplate.objects.filter(name="X").exists()


def test_another_row_keeps_what_was_typed(as_role: SignIn) -> None:
    form = {
        "name": "X", "note": "", "decompress": "any", "contexts-TOTAL_FORMS": "1",
        "contexts-INITIAL_FORMS": "0", "contexts-0-abstract_syntax": "CT Image Storage",
        "contexts-0-transfer_syntaxes": "RLE", "add_row": "1",
    }  # fmt: skip
    page = as_role("administrator").post("/templates/add/", form).content.decode()
    assert 'name="contexts-1-abstract_syntax"' in page
    assert 'value="CT Image Storage"' in page
    assert 'value="X"' in page


def test_a_template_file_goes_out_and_comes_back(as_role: SignIn, tmp_path: Path) -> None:
    client = as_role("administrator")
    starter = ContextTemplate.objects.get(name="Starter: CT, MR and secondary capture")
    document = json.loads(text(client, f"/templates/{starter.pk}/versions/1.json"))
    document["name"] = "Mine"
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(document))
    with file.open("rb") as content:
        client.post("/templates/import/", {"file": content})
    mine = ContextTemplate.objects.get(name="Mine").newest.spec
    assert mine.contexts == starter.newest.spec.contexts
    file.write_text('{"format": "concordat.template/1", "name": "Bad", "surprise": 1}')
    with file.open("rb") as content:
        page = client.post("/templates/import/", {"file": content}).content.decode()
    assert "surprise" in page
    assert not ContextTemplate.objects.filter(name="Bad").exists()


def order(client: Client, destination: Destination, source: str) -> str:
    template = ContextTemplate.objects.get(name="Derived from files")
    response = client.post(
        "/sends/new/",
        {"name": "", "sources": source, "destination": destination.pk, "template": template.pk},
    )
    return response.headers.get("Location", "") or response.content.decode()


def test_a_send_is_drafted_and_not_started(as_role: SignIn, destination: Destination) -> None:
    address = order(as_role("operator"), destination, str(sources.sample_folder()))
    send = Send.objects.get()
    assert address == f"/sends/{send.pk}/"
    assert (send.state, send.requested_by) == (SendState.DRAFT, "operator")
    assert "has not begun to list the files" in text(as_role("operator"), address)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/etc", "outside the allowed source roots"),
        ("/nowhere", "does not exist"),
        ("../../etc/passwd", "write the whole path"),
    ],
)
def test_a_source_that_can_not_be_read_makes_no_send(
    source: str, message: str, as_role: SignIn, destination: Destination
) -> None:
    assert message in order(as_role("operator"), destination, source)
    assert not Send.objects.exists()


@pytest.fixture
def send(destination: Destination) -> Send:
    """A send that ended with one instance sent, one failed and one file that is none."""
    from django.utils import timezone

    version = ContextTemplate.objects.get(name="Derived from files").newest
    made = Send.objects.create(
        destination=destination,
        template_version=version,
        requested_by="test",
        state=SendState.PARTIAL,
        listing=Listing.objects.create(sources=["/data/secret-folder"], files=3),
        planned_at=timezone.now(),
        finished_at=timezone.now(),
    )
    for position, (outcome, uid, reason) in enumerate(
        [
            (InstanceOutcome.SENT, "1.2.3.1", ""),
            (InstanceOutcome.FAILED, "1.2.3.2", "the peer refused it"),
            (InstanceOutcome.UNSENDABLE, "", "secret-folder/Mueller.txt: not a DICOM file"),
        ]
    ):
        factories.send_item(
            made, position=position, uid=uid, path="/data/secret-folder/Mueller.txt",
            outcome=outcome, reason=reason,
            status=0xA700 if reason.startswith("the peer") else None,
        )  # fmt: skip
    return made


def test_a_send_shows_what_became_of_its_rows(as_role: SignIn, send: Send) -> None:
    page = text(as_role("operator"), f"/sends/{send.pk}/")
    assert "the peer refused it" in page
    assert "A700" in page
    assert "Retry failed and unknown" in page


def test_a_viewer_sees_no_uid_and_no_path(as_role: SignIn, send: Send) -> None:
    client = as_role("viewer")
    pages = text(client, f"/sends/{send.pk}/") + text(client, f"/sends/{send.pk}/progress/", 286)
    exported = b"".join(client.get(f"/sends/{send.pk}/instances.csv").streaming_content).decode()  # type: ignore[attr-defined]
    for secret in ("1.2.3.1", "secret-folder", "Mueller"):
        assert secret not in pages + exported
    assert exported.splitlines()[0] == "iuid,outcome,status,attempts,reason"
    assert len(exported.splitlines()) == 4


def test_how_an_association_ended_is_told_in_words(as_role: SignIn, send: Send) -> None:
    aborted = replace(factories.outcome(0, 0, 0), ended=Ended.ABORTED_BY_PEER)
    row = factories.recorded(send.destination, aborted, send=send)
    for address in (f"/sends/{send.pk}/", "/history/", f"/history/{row.pk}/"):
        page = re.sub(r'(?:value|href)="[^"]*"', "", text(as_role("operator"), address))
        assert "aborted by the peer" in page.lower(), address
        assert "aborted_by_peer" not in page.lower(), address


def test_instances_tell_the_peers_comment_and_where_copies_lie(as_role: SignIn, send: Send) -> None:
    failed = send.items.get(outcome="failed")
    attempt = factories.open_attempt(send.destination, send=send)
    told = StoreOutcome(
        InstanceOutcome.FAILED, 1, 0xA700, error_comment=f"full {HOSTILE}", bytes_sent=1
    )
    recording.record_instances(
        attempt,
        [
            recording.InstanceResult(
                1, failed.pk, "1.2.3.2", "1.2.826.1", factories.ELE, "none", told
            )
        ],
    )
    copy = factories.send_item(
        send, position=9, uid="1.2.3.9", outcome=InstanceOutcome.SENT,
        path="/data/secret-folder/copy.dcm",
    )  # fmt: skip
    ItemCopy.objects.create(item=failed, file=copy.file)
    page = text(as_role("auditor"), f"/sends/{send.pk}/instances/")
    assert "Error Comment: full &lt;img" in page
    assert "also at copy.dcm" in page
    exported = b"".join(as_role("auditor").get(f"/sends/{send.pk}/instances.csv").streaming_content)  # type: ignore[attr-defined]
    assert (
        f"the peer refused it; Error Comment: full {HOSTILE}; also at copy.dcm" in exported.decode()
    )
    assert as_role("viewer").get(f"/sends/{send.pk}/instances/").status_code == 403


def test_what_is_wrong_with_a_source_is_for_those_who_may_see_paths(
    as_role: SignIn, send: Send
) -> None:
    detail = "/data/secret-folder holds no files."
    Send.objects.update(state=SendState.FAILED, detail=detail)
    Listing.objects.update(state="failed", detail=detail)
    for address in (
        f"/sends/{send.pk}/", f"/listings/{send.listing_id}/", "/sends/", "/", "/search/?q=send",
    ):  # fmt: skip
        assert "secret-folder" not in text(as_role("viewer"), address), address
    for address in (f"/sends/{send.pk}/", f"/listings/{send.listing_id}/"):
        assert "A source can&#x27;t be used." in text(as_role("viewer"), address)
        assert detail in text(as_role("auditor"), address)
    Send.objects.update(detail="2 listed UIDs are incomplete; the peer said 0/1.")
    assert "the peer said 0/1." in text(as_role("viewer"), f"/sends/{send.pk}/")


def test_an_operator_exports_every_row(as_role: SignIn, send: Send) -> None:
    body = b"".join(as_role("operator").get(f"/sends/{send.pk}/instances.csv").streaming_content)  # type: ignore[attr-defined]
    assert "1.2.3.2,failed,A700,0,the peer refused it" in body.decode()


def test_a_send_is_retried_and_cancelled_by_post(as_role: SignIn, send: Send) -> None:
    client = as_role("operator")
    client.post(f"/sends/{send.pk}/cancel/")
    assert "has ended already" in text(client, f"/sends/{send.pk}/")
    draft = Send.objects.create(
        destination=send.destination, template_version=send.template_version, requested_by="x"
    )
    assert "it can only be sent again later" in text(client, f"/sends/{draft.pk}/cancelling/")
    Send.objects.filter(pk=send.pk).update(planned_at=F("created_at"), plan={"contexts": 1})
    assert "it can be taken up again later" in text(client, f"/sends/{send.pk}/cancelling/")
    client.post(f"/sends/{draft.pk}/cancel/")
    draft.refresh_from_db()
    assert draft.state == SendState.CANCELLED


def test_every_page_says_when_the_sender_is_not_running(as_role: SignIn) -> None:
    client = as_role("viewer")
    assert "The sender is not running." in text(client, "/history/")
    heartbeat.beat("here:1", "sender")
    page = text(client, "/history/")
    assert "The sender is not running." not in page
    assert "Sender running" in page


@pytest.mark.parametrize("what", ["name", "number", "uuid", "syntax"])
def test_search_goes_straight_to_what_was_named(
    what: str, as_role: SignIn, recorded: Association
) -> None:
    named = {
        "name": ("pacs", reverse("destination", args=[recorded.destination_id])),
        "number": (str(recorded.pk), reverse("association", args=[recorded.pk])),
        "uuid": (str(recorded.uid), reverse("association", args=[recorded.pk])),
        "syntax": ("1.2.840.10008.1.2.4.90", "/history/?transfer_syntax=1.2.840.10008.1.2.4.90"),
    }
    typed, address = named[what]
    response = as_role("viewer").get("/search/", {"q": typed})
    assert response.headers["Location"] == address


@pytest.mark.parametrize("address", ["/", "/history/", "/destinations/"])
def test_more_rows_cost_no_more_queries(
    address: str, as_role: SignIn, django_assert_max_num_queries: Callable[..., object]
) -> None:
    client = as_role("viewer")
    for number in range(12):
        factories.recorded(factories.destination(f"pacs {number}"))
    client.get(address)
    with django_assert_max_num_queries(30):  # type: ignore[attr-defined]
        client.get(address)


def test_reasons_that_are_one_word_are_explained() -> None:
    assert tags.why("conflict") == (
        "conflict: another file has the same SOP Instance UID and other data"
    )
    assert tags.why("not a DICOM file") == "not a DICOM file"
