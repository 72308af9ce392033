"""Documentation that can't rot: settings, commands, words and packages are those of the code."""

import re
from pathlib import Path

import pytest

from sender.analytics.schedules import RunOutcome
from sender.models import RunState, RunTrigger, SendState
from sender.negotiation.outcomes import AssociationKind, Ended, InstanceOutcome, Verdict
from tests.processes import ROOT

SETTINGS = (ROOT / "docs/settings.md").read_text()
COMMANDS = (ROOT / "docs/commands.md").read_text()
OF_DJANGO = {
    "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color",
    "--force-color", "--skip-checks", "--help",
}  # fmt: skip


def test_every_variable_that_is_read_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)`", SETTINGS, re.MULTILINE))
    read = set()
    for path in [*ROOT.glob("dicomsite/*.py"), *ROOT.glob("sender/**/*.py")]:
        source = path.read_text()
        read |= set(re.findall(r'"((?:CONCORDAT_[A-Z_]+)|DATABASE_URL)"', source))
    assert documented == read - {"CONCORDAT_STOP_FILE"}


def test_every_check_is_documented() -> None:
    source = (ROOT / "sender/checks.py").read_text()
    ids = set(re.findall(r'id="(concordat\.[EW]\d+)"', source))
    assert ids == set(re.findall(r"`(concordat\.[EW]\d+)`", SETTINGS))


def commands() -> list[str]:
    folder = ROOT / "sender/management/commands"
    return sorted(path.stem for path in folder.glob("[a-z]*.py"))


def test_every_command_has_its_section() -> None:
    sections = set(re.findall(r"^## ([a-z_]+)$", COMMANDS, re.MULTILINE))
    assert sections == set(commands())


def section(name: str) -> str:
    return re.split(r"^## ", COMMANDS.split(f"\n## {name}\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", commands())
def test_every_option_of_a_command_is_documented(name: str) -> None:
    from django.core.management import load_command_class

    parser = load_command_class("sender", name).create_parser("manage.py", name)
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action.choices, dict):
            for sub in action.choices.values():
                found |= {text for a in sub._actions for text in a.option_strings}
    missing = {
        option
        for option in found - OF_DJANGO
        if option.startswith("--") and option not in section(name)
    }
    assert missing == set()


@pytest.mark.parametrize(
    "words",
    [
        AssociationKind,
        Ended,
        Verdict,
        SendState,
        InstanceOutcome,
        RunTrigger,
        RunState,
        RunOutcome,
    ],
)
def test_every_word_is_documented(words: type) -> None:
    listed = COMMANDS.split("\n## Words\n")[1]
    assert [word.value for word in words if word.value not in listed] == []  # type: ignore[attr-defined]


def test_every_package_has_its_reason() -> None:
    reasons = (ROOT / "docs/dependencies.md").read_text()
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = [re.split(r"[\[<>=]", line)[0] for line in lines if line and line[0] != "#"]
    assert names
    assert [name for name in names if name not in reasons] == []


@pytest.mark.parametrize(
    "path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name
)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
