"""People of every role, and a small history to look at."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django import Settings

from sender.models import ROLES, Association, Destination
from tests import factories

PASSWORD = "correct horse battery"
People = dict[str, User | None]


def person(role: str) -> User | None:
    """Add the person of a role, who may have been disabled; nobody is anonymous."""
    if role == "anonymous":
        return None
    user = User.objects.create_user(
        username=role.replace(" ", "-"), password=PASSWORD, is_active=role != "disabled"
    )
    if role != "no role":
        group = "administrator" if role == "disabled" else role
        user.groups.add(Group.objects.get(name=group))
    return user


@pytest.fixture
def people(db: None) -> People:
    """One person per role, one who was disabled, one without a role, and nobody."""
    return {role: person(role) for role in ("anonymous", *ROLES, "disabled", "no role")}


@pytest.fixture
def as_role(request: pytest.FixtureRequest, db: None) -> Callable[[str], Client]:
    """Return a client that is signed in as somebody of a role, who is added when first asked."""
    found: People = {}
    if "people" in request.fixturenames:
        found.update(request.getfixturevalue("people"))

    def sign_in(role: str) -> Client:
        client = Client(raise_request_exception=False)
        if role not in found:
            found[role] = person(role)
        user = found[role]
        if user is not None:
            client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def destination(db: None) -> Destination:
    """A destination."""
    return factories.destination()


@pytest.fixture
def recorded(destination: Destination) -> Association:
    """An association on record."""
    return factories.recorded(destination)


@pytest.fixture(autouse=True)
def _no_list_of_static_files(settings: Settings) -> None:
    """Each new client makes a new WhiteNoise, which lists all files unless it looks for each."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def _quick_passwords(quick_passwords: None) -> None:
    """People are many here."""
