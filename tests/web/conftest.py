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


@pytest.fixture
def people(db: None) -> People:
    """One person per role, one who was disabled, one without a role, and nobody."""
    found: People = {"anonymous": None}
    for role in (*ROLES, "disabled", "no role"):
        user = User.objects.create_user(username=role.replace(" ", "-"), password=PASSWORD)
        if role in ROLES:
            user.groups.add(Group.objects.get(name=role))
        found[role] = user
    disabled = found["disabled"]
    assert disabled is not None
    disabled.groups.add(Group.objects.get(name="administrator"))
    disabled.is_active = False
    disabled.save()
    return found


@pytest.fixture
def as_role(people: People) -> Callable[[str], Client]:
    """Return a client that is signed in as somebody of a role."""

    def sign_in(role: str) -> Client:
        client = Client(raise_request_exception=False)
        user = people[role]
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
def _quick_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
