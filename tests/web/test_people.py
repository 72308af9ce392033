"""Signing in, the first administrator, passwords and sessions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from sender.models import AuditEntry
from sender.services import users
from tests.web.conftest import PASSWORD, People

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_token_file() -> Iterator[None]:
    yield
    (Path(settings.DATA_DIR) / "setup.token").unlink(missing_ok=True)


def sign_in(client: Client, name: str, password: str = PASSWORD, next_page: str = "") -> int:
    address = f"/sign-in/?next={next_page}" if next_page else "/sign-in/"
    response = client.post(address, {"name": name, "password": password, "next": next_page})
    return int(response.status_code)


def test_signing_in_goes_to_the_page_that_was_wanted(people: People, client: Client) -> None:
    response = client.get("/history/")
    assert response["Location"] == "/sign-in/?next=/history/"
    answer = client.post("/sign-in/", {"name": "viewer", "password": PASSWORD, "next": "/history/"})
    assert answer["Location"] == "/history/"
    assert client.get("/history/").status_code == 200


@pytest.mark.parametrize(
    ("name", "password"),
    [("viewer", "wrong"), ("nobody", PASSWORD), ("disabled", PASSWORD), ("", "")],
)
def test_every_refusal_reads_the_same(
    name: str, password: str, people: People, client: Client
) -> None:
    response = client.post("/sign-in/", {"name": name or " ", "password": password})
    assert response.status_code == 200
    if name:
        assert "Name or password is wrong" in response.content.decode()
    assert "_auth_user_id" not in client.session


def test_guessing_is_locked_out_even_with_the_right_password(
    people: People, client: Client
) -> None:
    for _ in range(users.MOST_WRONG_PER_ACCOUNT):
        sign_in(client, "viewer", "wrong")
    assert sign_in(client, "viewer") == 200
    assert sign_in(client, "operator") == 302, "others from that address still may"


def test_many_names_from_one_address_are_locked_out(people: People, client: Client) -> None:
    for number in range(users.MOST_WRONG):
        users.note_sign_in(f"guess {number}", "127.0.0.1", succeeded=False)
    assert sign_in(client, "viewer") == 200


def test_what_nobody_is_called_is_not_kept(people: People, client: Client) -> None:
    sign_in(client, "hunter2-typed-into-the-wrong-field", "x")
    kept = str(list(AuditEntry.objects.values()))
    assert "hunter2" not in kept
    assert AuditEntry.objects.filter(action="user.sign_in", result="refused").count() == 1


def test_signing_in_changes_the_session_key(people: People, client: Client) -> None:
    client.get("/sign-in/")
    session = client.session
    session["x"] = 1
    session.save()
    before = session.session_key
    sign_in(client, "viewer")
    assert client.session.session_key != before


def test_signing_out_ends_the_session(as_role: Callable[[str], Client]) -> None:
    client = as_role("viewer")
    client.post("/sign-out/")
    assert client.get("/history/").status_code == 302


def test_disabling_a_user_ends_the_sessions(
    as_role: Callable[[str], Client], people: People
) -> None:
    client = as_role("viewer")
    assert client.get("/history/").status_code == 200
    viewer = people["viewer"]
    assert viewer is not None
    users.disable_user(viewer, actor="test")
    assert client.get("/history/").status_code == 302


@pytest.mark.parametrize(("name", "age"), [("seen_at", 31 * 60), ("began_at", 13 * 3600)])
def test_an_idle_or_old_session_ends(name: str, age: int, as_role: Callable[[str], Client]) -> None:
    client = as_role("viewer")
    client.get("/history/")
    session = client.session
    session[name] -= age
    session.save()
    assert client.get("/history/").status_code == 302


def test_polling_does_not_keep_a_session_alive(as_role: Callable[[str], Client]) -> None:
    client = as_role("viewer")
    client.get("/history/")
    session = client.session
    session["seen_at"] -= 20 * 60
    session.save()
    before = client.session["seen_at"]
    client.get("/history/", headers={"HX-Request": "true"})
    assert client.session["seen_at"] == before
    client.get("/history/")
    assert client.session["seen_at"] > before


def test_the_set_up_link_makes_one_administrator_and_ends(client: Client) -> None:
    address = f"/setup/{users.setup_token()}/"
    form = {"name": "ada", "password": PASSWORD, "again": PASSWORD}
    assert client.get(address).status_code == 200
    assert client.post(address, form)["Location"] == "/get-started/"
    assert User.objects.get().has_perm("sender.configure")
    assert Client().get(address).status_code == 404
    assert Client().post(address, form | {"name": "eve"}).status_code == 404
    assert User.objects.count() == 1


def test_a_wrong_set_up_link_is_no_page(client: Client) -> None:
    users.setup_token()
    assert client.get("/setup/wrong/").status_code == 404


def test_no_set_up_link_holds_once_there_is_an_administrator(
    client: Client, people: People
) -> None:
    assert client.get(f"/setup/{users.setup_token()}/").status_code == 404


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"again": "different one"}, "The passwords differ."),
        ({"password": "12345678", "again": "12345678"}, "entirely numeric"),
        ({"name": "bad name\t"}, "valid username"),
    ],
)
def test_what_is_wrong_is_told_and_nobody_is_made(
    changes: dict[str, str], message: str, client: Client
) -> None:
    form = {"name": "ada", "password": PASSWORD, "again": PASSWORD} | changes
    page = client.post(f"/setup/{users.setup_token()}/", form)
    assert message in page.content.decode()
    assert not User.objects.exists()


def test_the_token_is_readable_for_its_owner_only() -> None:
    users.setup_token()
    mode = (Path(settings.DATA_DIR) / "setup.token").stat().st_mode
    assert mode & 0o777 == 0o600


def test_changing_the_password_ends_other_sessions(as_role: Callable[[str], Client]) -> None:
    mine, other = as_role("viewer"), as_role("viewer")
    new = "another horse entirely"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert mine.post("/password/", form).status_code == 302
    assert mine.get("/history/").status_code == 200
    assert other.get("/history/").status_code == 302
