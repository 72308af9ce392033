"""What the tests of misbehaviour share: certificates, a shell in a site of its own, files."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sender.negotiation.sop_classes import VERIFICATION
from tests import factories
from tests.misbehaviour.catalogue import CT, ELE, ILE, INSTANCES
from tests.misbehaviour.observing import sop_instance
from tests.misbehaviour.sessions import Authority
from tests.misbehaviour.shell import Shell, open_shell

TEMPLATE = {
    "format": "concordat.template/1",
    "name": "As in the catalogue",
    "contexts": [
        {"abstract_syntax": CT, "transfer_syntaxes": [ELE]},
        {"abstract_syntax": VERIFICATION, "transfer_syntaxes": [ILE]},
    ],
    "options": {"decompress": "never", "convert_uncompressed": False},
}
"""Proposes what PROPOSAL does."""
LARGE_ROWS = 2500
"""Rows and columns of an image of 12.5 MB, which no buffers between two programs hold."""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who issues certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A site with a shell in it, and the template of the catalogue."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "template.json").write_text(json.dumps(TEMPLATE))
    with open_shell(folder) as opened:
        assert opened.run("template", "import", str(folder / "template.json")).code == 0
        yield opened


def write_instances(folder: Path, count: int, *, large: int = 0) -> Path:
    """Write instances of one study, the first so many of them large."""
    for number in range(1, count + 1):
        factories.write_instance(
            folder / f"{number:03}.dcm",
            sop_instance=sop_instance(number),
            rows=LARGE_ROWS if number <= large else 8,
        )
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The instances of the catalogue."""
    return write_instances(tmp_path_factory.mktemp("small"), INSTANCES)


@pytest.fixture(scope="session")
def large_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many, the first of them large."""
    return write_instances(tmp_path_factory.mktemp("large"), INSTANCES, large=1)
