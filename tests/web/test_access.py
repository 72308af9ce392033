"""Every page needs a right, and who has which right is the table of the roles."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils import timezone

from dicomsite.logs import LineFormatter
from sender.models import (
    ROLES,
    Association,
    ContextTemplate,
    Destination,
    Enquiry,
    Hold,
    Listing,
    Send,
    Trigger,
    Upload,
)
from sender.services import schedule_runs, sources
from sender.services.enquiries import verification_version
from sender.web import urls
from sender.web.access import PUBLIC, SIGNED_IN
from tests import factories

ROLE_NAMES = ("anonymous", "no role", "disabled", *ROLES)
GET_ONLY_PUBLIC = {"healthz", "sign_in"}
NEEDS = {
    "dashboard": "read",
    "rates_csv": "read",
    "get_started": "read",
    "search": "read",
    "destinations": "read",
    "destination": "read",
    "destination_enquiry": "read",
    "templates": "read",
    "template": "read",
    "template_version": "read",
    "template_json": "read",
    "sends": "read",
    "send": "read",
    "send_progress": "read",
    "send_csv": "read",
    "history": "read",
    "history_csv": "read",
    "history_json": "read",
    "association": "read",
    "association_json": "read",
    "schedules": "read",
    "schedule": "read",
    "schedule_runs": "read",
    "schedule_run": "read",
    "schedule_add": "operate",
    "schedule_change": "operate",
    "schedule_delete": "operate",
    "schedule_preview": "operate",
    "schedule_command": "operate",
    "send_instances": "read_identifiers",
    "send_studies": "read_identifiers",
    "send_studies_csv": "read_identifiers",
    "study": "read_identifiers",
    "listing": "read",
    "listing_progress": "read",
    "listing_problems": "read_identifiers",
    "listing_missing": "read_identifiers",
    "listing_command": "operate",
    "send_new": "operate",
    "uploads": "operate",
    "upload_delete": "operate",
    "send_cancel": "operate",
    "send_command": "operate",
    "send_again": "operate",
    "send_retry": "operate",
    "send_pick": "operate",
    "send_retry_part": "operate",
    "send_priority": "operate",
    "send_override": "operate",
    "pause_all": "operate",
    "hold_resume": "operate",
    "destination_pause": "operate",
    "destination_override": "operate",
    "destination_parked": "operate",
    "destination_echo": "operate",
    "destination_negotiate": "operate",
    "destination_add": "configure",
    "destination_change": "configure",
    "template_add": "configure",
    "template_change": "configure",
    "template_clone": "configure",
    "template_import": "configure",
    "password": SIGNED_IN,
    "sign_out": SIGNED_IN,
    "sign_in": PUBLIC,
    "setup": PUBLIC,
    "preferences": PUBLIC,
    "healthz": PUBLIC,
}
POST_ONLY = {
    "send_command", "schedule_command", "destination_echo", "destination_negotiate", "sign_out",
    "preferences",
    "send_retry", "send_pick", "send_priority", "send_override", "hold_resume",
    "destination_override",
    "destination_parked",
    "listing_command",
}  # fmt: skip


def patterns() -> list[URLPattern]:
    return [pattern for pattern in urls.urlpatterns if isinstance(pattern, URLPattern)]


def test_every_page_declares_the_right_that_this_table_says() -> None:
    declared = {p.name: getattr(p.callback, "needed_right", None) for p in patterns()}
    assert declared == NEEDS


@pytest.fixture
def arguments(
    destination: Destination, recorded: Association, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[object]]:
    """What the addresses of pages need."""
    template = ContextTemplate.objects.get(name="Starter: CT, MR and secondary capture")
    version = template.newest
    listing = Listing.objects.create()
    send = Send.objects.create(
        destination=destination, template_version=version, requested_by="test", listing=listing
    )
    enquiry = Enquiry.objects.create(
        destination=destination,
        kind=Trigger.ECHO,
        template_version=verification_version(),
        requested_by="test",
    )
    schedule = factories.schedule(sources.sample_folder(), destination)
    run = schedule_runs.check_now(schedule, "test")
    upload = Upload.objects.create(folder="f", name="u", uploaded_by="test", state="ready")
    hold = Hold.objects.create(kind="pause", reason="x", set_by="test", ended_at=timezone.now())
    found: dict[str, list[object]] = {
        "schedule": [schedule.pk],
        "schedule_runs": [schedule.pk],
        "schedule_run": [schedule.pk, run.pk],
        "schedule_change": [schedule.pk],
        "schedule_delete": [schedule.pk],
        "schedule_command": [schedule.pk, "run"],
        "upload_delete": [upload.pk],
        "setup": ["wrong-token"],
        "destination_enquiry": [enquiry.pk],
        "send_command": [send.pk, "start"],
        "study": ["1.2.3"],
        "hold_resume": [hold.pk],
        "listing_command": [listing.pk, "start"],
        "template_version": [template.pk, 1],
        "template_json": [template.pk, 1],
    }
    for name in NEEDS:
        if name in ("template", "template_change", "template_clone"):
            found[name] = [template.pk]
        elif name in ("destination", *(n for n in NEEDS if n.startswith("destination_"))):
            if name not in ("destination_add", "destination_enquiry"):
                found[name] = [destination.pk]
        elif name.startswith("send_") and name not in ("send_new", "send_command"):
            found[name] = [send.pk]
        elif name.startswith("listing") and name != "listing_command":
            found[name] = [listing.pk]
        elif name.startswith("association"):
            found[name] = [recorded.pk]
    found["send"] = [send.pk]
    return found


def has(role: str, right: str) -> bool:
    if right == PUBLIC:
        return True
    if role in ("anonymous", "disabled"):
        return False
    return right == SIGNED_IN or right in ROLES.get(role, ())


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_each_role_sees_what_the_table_allows(
    name: str, as_role: Callable[[str], Client], arguments: dict[str, list[object]]
) -> None:
    address = reverse(name, args=arguments.get(name, []))
    for role in ROLE_NAMES:
        client = as_role(role)
        for method in ("get", "post"):
            response = getattr(client, method)(address)
            allowed = has(role, NEEDS[name])
            says = (name, role, method, response.status_code)
            assert response.status_code < 500, says
            if allowed:
                assert response.status_code != 403, says
            elif role in ("anonymous", "disabled"):
                assert response.status_code == 302, says
                assert response["Location"].startswith("/sign-in/"), says
            else:
                assert response.status_code == 403, says


@pytest.mark.parametrize("name", sorted(POST_ONLY))
def test_what_changes_something_is_never_done_by_get(
    name: str, as_role: Callable[[str], Client], arguments: dict[str, list[object]]
) -> None:
    address = reverse(name, args=arguments.get(name, []))
    assert as_role("administrator").get(address).status_code == 405


def test_a_form_without_its_token_is_refused(people: dict[str, object]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people["administrator"])  # type: ignore[arg-type]
    response = client.post(reverse("destination_add"), {"name": "x"})
    assert response.status_code == 403
    assert "too old" in response.content.decode()


def test_a_refusal_names_the_roles_that_may(as_role: Callable[[str], Client]) -> None:
    page = as_role("operator").get(reverse("destination_add")).content.decode()
    assert "This needs the role administrator." in page


def test_a_refusal_is_one_line_of_the_log_without_what_was_asked(
    as_role: Callable[[str], Client], caplog: pytest.LogCaptureFixture
) -> None:
    as_role("operator").get(reverse("destination_add"), {"name": "MEIER^ANNA"})
    (told,) = caplog.records
    assert (told.levelname, told.exc_info) == ("WARNING", None)
    said = "Refused: GET /destinations/add/ by operator, needs the right: configure"
    assert told.getMessage() == said


def test_a_path_makes_no_second_line_of_the_log(
    as_role: Callable[[str], Client], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(LineFormatter("{message}", style="{"))
    assert as_role("viewer").get("/no%0AWARNING%20such%1b/page").status_code == 404
    assert as_role("viewer").get("/studies/1%0D%0A2%e2%80%a8/").status_code == 403
    unknown, refused = caplog.text.splitlines()
    assert r"/no\nWARNING such\x1b/page" in unknown
    assert r"GET /studies/1\x0d\x0a2\x2028/ by viewer" in refused


def test_a_view_without_a_right_is_refused(as_role: Callable[[str], Client]) -> None:
    view: Any = next(p.callback for p in patterns() if p.name == "destinations")
    right = view.needed_right
    try:
        del view.needed_right
        assert as_role("administrator").get(reverse("destinations")).status_code == 403
    finally:
        view.needed_right = right


@pytest.mark.parametrize("role", ["anonymous", "administrator"])
def test_the_admin_is_closed_to_all_but_superusers(
    role: str, as_role: Callable[[str], Client]
) -> None:
    for address in ("/admin/", "/admin/auth/user/", "/admin/sender/association/"):
        response = as_role(role).get(address, follow=True)
        assert b"for reading" not in response.content


def test_a_superuser_reads_rows_and_changes_none(db: None, recorded: Association) -> None:
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("root", password="x"))
    address = f"/admin/sender/association/{recorded.pk}/change/"
    assert client.get(address).status_code == 200
    assert client.post(address, {"detail": "x"}).status_code == 403
    assert client.get("/admin/django_q/ormq/").status_code == 404
