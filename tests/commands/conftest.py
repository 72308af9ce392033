"""Runs commands as the shell does, and a receiver for those that associate."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sender.dicom.acceptor import Receiver
from sender.models import Destination
from tests import factories


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    said: str

    @property
    def document(self) -> Any:
        """The JSON on standard output."""
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run() -> Run:
    """Run a command; return its exit code, its output and what it said."""

    def command(*arguments: str) -> Done:
        out, said = io.StringIO(), io.StringIO()
        try:
            call_command(*arguments, stdout=out, stderr=said)
        except SystemExit as ended:
            code = ended.code
        except CommandError as error:  # a wrong option, which manage.py answers with 2
            said.write(str(error))
            code = 2
        assert isinstance(code, int)
        return Done(code, out.getvalue(), said.getvalue())

    return command


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The built-in receiver."""
    with Receiver(port=0) as running:
        yield running


@pytest.fixture
def pacs(live_db: None, receiver: Receiver) -> Destination:
    """A destination that accepts everything."""
    return factories.destination("pacs", ae_title="DEMO_SCP", port=receiver.port)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three instances and a file that is none."""
    for number in range(3):
        factories.write_instance(tmp_path / "in" / f"{number}.dcm", sop_instance=f"1.2.3.{number}")
    (tmp_path / "in" / "notes.txt").write_text("hello")
    return tmp_path / "in"
