"""People: the first administrator, their roles, and who may sign in."""

import hmac
import os
import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from sender.models import ROLES, AuditEntry
from sender.services.audit import write_entry

ADMINISTRATOR = "administrator"
SIGN_IN = "user.sign_in"
LOCK_OUT = timedelta(minutes=15)
MOST_WRONG_PER_ACCOUNT = 8
MOST_WRONG = 40
"""Wrong passwords from one address within `LOCK_OUT`, for one account and for all."""


class InvalidUser(Exception):
    """A user can't be made like that; `problems` says why, by field."""

    def __init__(self, problems: Mapping[str, list[str]]) -> None:
        self.problems = dict(problems)
        super().__init__(" ".join(text for texts in problems.values() for text in texts))


class LastAdministrator(Exception):
    """The last active administrator can neither be disabled nor lose the role."""


class SetupIsOver(Exception):
    """The set-up link does not hold: it is wrong, or an administrator exists."""


def administrators() -> QuerySet[User]:
    """Return the administrators who may sign in."""
    return User.objects.filter(is_active=True, groups__name=ADMINISTRATOR)


def role_of(user: Any) -> str:
    """Return a user's role: the one with most rights of those that the user has, or ""."""
    names = set(user.groups.values_list("name", flat=True))
    return next((role for role in reversed(ROLES) if role in names), "")


def is_setup_open() -> bool:
    """Tell whether the first administrator is still to be made."""
    return not administrators().exists()


def setup_token() -> str:
    """Return the token of the one-time set-up link, made (mode 0600) if there is none."""
    path = _token_path()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    token = secrets.token_urlsafe(24)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    return token


def is_setup_token(token: str) -> bool:
    """Tell whether a set-up link holds now."""
    path = _token_path()
    if not path.exists() or not is_setup_open():
        return False
    return hmac.compare_digest(path.read_bytes().strip(), token.encode())


def create_first_administrator(*, name: str, password: str, token: str, address: str) -> User:
    """Make the first administrator by the set-up link, which ends with that.

    Raises:
        SetupIsOver: the link does not hold.
        InvalidUser: name or password won't do.
    """
    with transaction.atomic():
        # The group's row serialises two people who open the link at once.
        Group.objects.select_for_update().get(name=ADMINISTRATOR)
        if not is_setup_token(token):
            raise SetupIsOver
        user = add_user(
            name=name, role=ADMINISTRATOR, password=password, actor="set-up link", address=address
        )
    _token_path().unlink(missing_ok=True)
    return user


def is_locked_out(name: str, address: str) -> bool:
    """Tell whether there were too many wrong passwords for an account, or from an address."""
    recent = AuditEntry.objects.filter(
        at__gte=timezone.now() - LOCK_OUT, action=SIGN_IN, result="refused", address=address
    )
    counts = recent.aggregate(
        all=Count("id"), account=Count("id", filter=Q(subject=_known_name(name)))
    )
    return bool(counts["account"] >= MOST_WRONG_PER_ACCOUNT or counts["all"] >= MOST_WRONG)


def note_sign_in(name: str, address: str, *, succeeded: bool) -> None:
    """Record that somebody signed in, or failed to; a name that nobody has is not kept."""
    known = _known_name(name)
    write_entry(
        actor=known,
        action=SIGN_IN,
        subject=known,
        facts={},
        address=address,
        result="done" if succeeded else "refused",
    )


def _known_name(name: str) -> str:
    """Return a user's name, or "unknown": what was typed may be a password."""
    return name if User.objects.filter(username=name).exists() else "unknown"


def add_user(*, name: str, role: str, password: str, actor: str, address: str = "") -> User:
    """Add a user with a role.

    Raises:
        InvalidUser: the name is taken or odd, the role unknown or the password too weak.
    """
    user = User(username=name.strip())
    problems = _problems(user, role, password)
    if problems:
        raise InvalidUser(problems)
    user.set_password(password)
    with transaction.atomic():
        user.save()
        user.groups.add(Group.objects.get(name=role))
        write_entry(
            actor=actor,
            action="user.add",
            subject=user.username,
            facts={"role": role},
            address=address,
        )
    return user


def disable_user(user: User, *, actor: str, address: str = "") -> None:
    """Keep a user from signing in; open sessions end with that.

    Raises:
        LastAdministrator: nobody could administer any more.
    """
    with transaction.atomic():
        Group.objects.select_for_update().get(name=ADMINISTRATOR)
        others = administrators().exclude(pk=user.pk)
        if role_of(user) == ADMINISTRATOR and not others.exists():
            raise LastAdministrator
        User.objects.filter(pk=user.pk).update(is_active=False)
        write_entry(
            actor=actor, action="user.disable", subject=user.username, facts={}, address=address
        )


def _problems(user: User, role: str, password: str) -> dict[str, list[str]]:
    problems: dict[str, list[str]] = {}
    try:
        user.clean_fields(exclude=["password"])
        user.validate_unique()
    except ValidationError as error:
        problems["name"] = [text for texts in error.message_dict.values() for text in texts]
    if role not in ROLES:
        problems["role"] = [f"The role is one of {', '.join(ROLES)}."]
    try:
        validate_password(password, user)
    except ValidationError as error:
        problems["password"] = list(error.messages)
    return problems


def _token_path() -> Path:
    return Path(settings.DATA_DIR) / "setup.token"
