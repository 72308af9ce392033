"""`manage.py user`."""

import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from sender.models import AuditEntry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("quick_passwords")]
PASSWORD = "correct horse battery"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, text: str = "") -> tuple[int, str]:
    """Run the command; return its exit code and what it said."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    said = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("user", *arguments, stdout=said, stderr=said)
    code: Any = ended.value.code
    return code, said.getvalue()


def add(monkeypatch: pytest.MonkeyPatch, name: str, role: str) -> tuple[int, str]:
    arguments = ("add", name, "--role", role, "--password-stdin")
    return run(monkeypatch, *arguments, text=f"{PASSWORD}\n")


def test_a_user_is_added_with_a_role_and_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    assert add(monkeypatch, "ada", "operator")[0] == 0
    user = User.objects.get(username="ada")
    assert user.check_password(PASSWORD)
    assert user.has_perm("sender.operate")
    assert not user.has_perm("sender.configure")
    entry = AuditEntry.objects.get(action="user.add")
    assert (entry.subject, entry.facts) == ("ada", {"role": "operator"})
    assert entry.actor.startswith("cli:")


def test_a_weak_password_adds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("add", "ada", "--role", "viewer", "--password-stdin")
    code, said = run(monkeypatch, *arguments, text="12345\n")
    assert code == 2
    assert "too short" in said
    assert not User.objects.exists()


def test_a_taken_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, "ada", "viewer")
    code, said = add(monkeypatch, "ada", "administrator")
    assert code == 2
    assert "already exists" in said


def test_the_last_administrator_can_not_be_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, "ada", "administrator")
    assert run(monkeypatch, "disable", "ada")[0] == 2
    add(monkeypatch, "grace", "administrator")
    assert run(monkeypatch, "disable", "ada")[0] == 0
    assert not User.objects.get(username="ada").is_active
    assert run(monkeypatch, "disable", "grace")[0] == 2
