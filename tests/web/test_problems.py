"""Whatever is wrong with a form is told in one round: by itself, among fields, by the service."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from sender.models import ContextTemplate, Destination, Listing, Schedule, Send
from tests import factories
from tests.web.test_schedules import form as schedule_form

SignIn = Callable[[str], Client]


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """The only source root."""
    settings.SOURCE_ROOTS = [tmp_path]
    return tmp_path


def errors(response: Any) -> str:
    """Return the errors of a form that was refused."""
    assert response.status_code == 200, response
    found = re.findall(r'<ul class="errorlist.*?</ul>', response.content.decode(), re.DOTALL)
    return re.sub(r"<[^>]+>", " ", " ".join(found)).replace("&quot;", '"').replace("&#x27;", "'")


def told(response: Any, *words: str) -> None:
    """Make sure that each of these stands once among the errors."""
    said = errors(response)
    assert [word for word in words if said.count(word) != 1] == [], said


def test_of_a_new_send(as_role: SignIn, destination: Destination, folder: Path) -> None:
    template = ContextTemplate.objects.get(name="Derived from files")
    form = {
        "destination": [str(destination.pk), "999"], "template": [str(template.pk)] * 2,
        "sources": f"relative\n{folder}\n/etc\n{folder}/gone", "windows": "20:00",
        "retries": "21", "finish_by": "2001-01-01T00:00", "uids": "x",
        "date_from": "2024-02-01", "date_to": "2024-01-01", "tags": "NoSuchKeyword=x",
        "modalities": "CT",
    }  # fmt: skip
    told(
        as_role("operator").post("/sends/new/", form),
        "relative: write the whole path",
        "/etc is outside the allowed source roots",
        f"{folder}/gone does not exist",
        "has no end",
        "less than or equal to 20",
        "This time is past.",
        "“x” is no UID",
        "The first study date is later than the last.",
        "NoSuchKeyword",
        "There is no such destination",
    )
    assert not Send.objects.exists()
    assert not Listing.objects.exists()


def test_many_sources_that_can_not_be_used_are_counted(
    as_role: SignIn, destination: Destination, folder: Path
) -> None:
    template = ContextTemplate.objects.get(name="Derived from files")
    form = {
        "destination": str(destination.pk), "template": str(template.pk),
        "sources": "\n".join(f"/gone/{number}/" for number in range(50)),
    }  # fmt: skip
    said = errors(as_role("operator").post("/sends/new/", form))
    assert said.count("does not exist") == 20
    assert "30 more can't be used." in said


WRONG_SCHEDULE = {
    "name": "Old", "expression": "0 25 * * *", "anchor": "tomorrow", "windows": "20:00",
    "finish_within_hours": "soon", "sources": "relative\n/etc", "retries": "21", "studies": "abc",
    "series": "def", "date_from": "2024-02-01", "date_to": "2024-01-01",
    "targets-0-destination": "",
}  # fmt: skip


@pytest.mark.parametrize("address", ["/schedules/add/", "/schedules/{}/change/"])
def test_of_a_schedule(
    address: str, as_role: SignIn, destination: Destination, folder: Path
) -> None:
    factories.schedule(folder, destination, name="Old")
    changed = factories.schedule(folder, destination, name="This")
    form = schedule_form(folder, destination, **WRONG_SCHEDULE)
    told(
        as_role("operator").post(address.format(changed.pk), form),
        "There is a schedule Old already.",
        "is no hour",
        '"tomorrow" is no time',
        "has no end",
        "Enter a number.",
        "relative: write the whole path",
        "/etc is outside the allowed source roots",
        "less than or equal to 20",
        "“abc” is no UID",
        "“def” is no UID",
        "The first study date is later than the last.",
        "Name at least one destination.",
    )
    assert list(Schedule.objects.order_by("pk").values_list("name", "expression")) == [
        ("Old", "0 20 * * *"), ("This", "0 20 * * *"),
    ]  # fmt: skip


def test_a_schedule_whose_destinations_can_not_be_read_is_not_said_to_name_none(
    as_role: SignIn, destination: Destination, folder: Path
) -> None:
    form = schedule_form(folder, destination, windows="20:00", **{"targets-0-destination": "999"})
    response = as_role("operator").post("/schedules/add/", form)
    told(response, "Select a valid choice", "has no end")
    assert "Name at least one destination." not in errors(response)


WRONG_DESTINATION = {
    "name": "Taken", "ae_title": "far too long for one", "address": "169.254.1.1", "port": "104",
    "calling_ae_title": "CONCORDAT", "connect_timeout": "0", "tls_timeout": "15",
    "acse_timeout": "30", "progress_timeout": "60", "answer_timeout": "60",
    "maximum_length": "131072", "max_associations": "99", "retries": "3", "enabled": "on",
    "windows": "20:00", "profile": "quickly", "bytes_per_second": "0",
    "instances_per_second": "fast", "tls": "on", "tls_ca_file": "/gone.pem",
    "tls_key_file": "/key.pem", "notes": "",
}  # fmt: skip


@pytest.mark.parametrize("address", ["/destinations/add/", "/destinations/{}/change/"])
def test_of_a_destination(address: str, as_role: SignIn) -> None:
    factories.destination("Taken")
    changed = factories.destination("this")
    told(
        as_role("administrator").post(address.format(changed.pk), WRONG_DESTINATION),
        "There is a destination Taken already.",
        "at most 16 characters",
        "can't be destinations",
        "greater than or equal to 0.1",
        "less than or equal to 16",
        "has no end",
        "quickly",
        "Nothing would ever be sent",
        "Enter a whole number.",
        "/gone.pem",
        "A private key needs its certificate.",
    )
    assert sorted(Destination.objects.values_list("name", flat=True)) == ["Taken", "this"]


def test_a_destination_may_keep_its_name(as_role: SignIn) -> None:
    found = factories.destination("Taken")
    form = {name: value for name, value in WRONG_DESTINATION.items() if not name.startswith("tls_")}
    form |= {
        "ae_title": "PACS", "address": "10.0.0.1", "connect_timeout": "1", "max_associations": "1",
        "tls_timeout": "15", "windows": "", "profile": "", "bytes_per_second": "",
        "instances_per_second": "",
    }  # fmt: skip
    del form["tls"]
    answer = as_role("administrator").post(f"/destinations/{found.pk}/change/", form)
    assert answer.status_code == 302
    found.refresh_from_db()
    assert found.address == "10.0.0.1"


def test_of_a_template(as_role: SignIn) -> None:
    form = {
        "name": "Verification", "note": "n" * 2001, "decompress": "lossless",
        "contexts-TOTAL_FORMS": "4", "contexts-INITIAL_FORMS": "0",
        "contexts-0-abstract_syntax": "CT Image Storage", "contexts-0-transfer_syntaxes": "",
        "contexts-1-abstract_syntax": "Brain Image Storage",
        "contexts-1-transfer_syntaxes": "Explicit VR LE",
        "contexts-2-abstract_syntax": "CT Image Storage",
        "contexts-2-transfer_syntaxes": "Explicit VR LE", "contexts-2-scu_role": "perhaps",
    }  # fmt: skip
    response = as_role("administrator").post("/templates/add/", form)
    told(
        response,
        "There is a template Verification already.",
        "at most 2000 characters",
        "Brain Image Storage",
        "perhaps is not one of the available choices.",
    )
    assert "transfer syntax" in errors(response)
    assert "A template needs a presentation context" not in errors(response)
    assert ContextTemplate.objects.filter(built_in=False).count() == 0


@pytest.mark.parametrize("address", ["/destinations/add/", "/templates/add/", "/schedules/add/"])
def test_a_form_without_anything_is_refused(address: str, as_role: SignIn) -> None:
    assert "This field is required." in errors(as_role("administrator").post(address))
