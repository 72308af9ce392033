"""What an installation of the first version had is all there after its migration."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from tests.processes import ROOT

pytestmark = pytest.mark.slow
BEFORE = """
import django, json, sys
django.setup()
from datetime import datetime, UTC
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

executor = MigrationExecutor(connection)
executor.migrate([("sender", "0002_tls"), ("auth", "0012_alter_user_first_name_max_length")])
old = executor.loader.project_state([("sender", "0002_tls")]).apps
get = lambda name: old.get_model("sender", name).objects
folder = sys.argv[1]
destination = get("Destination").create(name="d", ae_title="D", address="127.0.0.1", port=104)
template = get("ContextTemplate").create(name="t")
version = get("TemplateVersion").create(
    template=template, version=1, digest=b"x" * 32, document={}, context_count=1, created_by="x"
)
definition = get("PresentationContextDefinitionList").create(digest=b"y" * 32, context_count=1)
now = datetime.now(UTC)
for state, planned in (("partial", now), ("planning", None)):
    send = get("Send").create(
        destination=destination, template_version=version, state=state, sources=[folder],
        requested_by="x", listed=5 if planned else 0, planned_at=planned,
    )
send = get("Send").get(state="partial")
batch = get("SendBatch").create(
    send=send, number=1, destination=destination, definition_list=definition, next_attempt_at=now
)
rows = json.loads(sys.argv[2])
for position, row in enumerate(rows, start=1):
    get("SendItem").create(
        send=send, batch=batch if row["sop_class_uid"] else None, position=position, **row
    )
from sender.models.triggers import create_triggers
create_triggers("default")
"""
AFTER = """
import django, json
django.setup()
from sender.analytics import sends
from sender.models import *

found = {}
for send in Send.objects.order_by("id"):
    progress = sends.progress(send).counts
    found[send.state] = {
        "sources": send.sources,
        "listed": send.listed,
        "listing": send.listing.state,
        "counts": {o.value: n for o, n in progress.items() if n},
        "rows": [list(row) for row in sends.export_rows(send)][1:],
        "paths": [item.relative_path for item in send.items.order_by("position")],
        "parts": sorted(
            [p.study_instance_uid, p.kind.sop_class_uid, p.converted, p.bytes]
            for p in send.parts.select_related("kind")
        ),
    }
print(json.dumps(found))
"""


def python(script: str, *arguments: str, data: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            "CONCORDAT_DATA_DIR": str(data),
            "DJANGO_SETTINGS_MODULE": "dicomsite.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def row(name: str, folder: Path, **facts: Any) -> dict[str, Any]:
    stored = f"{folder}/{name}"
    values: dict[str, Any] = {
        "sop_instance_uid": "",
        "study_instance_uid": "",
        "series_instance_uid": "",
        "sop_class_uid": "",
        "transfer_syntax_uid": "",
        "lossy": None,
        "path": stored,
        "relative_path": name,
        "also_at": [],
        "size": 10,
        "mtime_ns": 5,
        "dataset_offset": 0,
        "outcome": "sent",
        "reason": "",
    }
    return values | facts


def instance(number: int, folder: Path, **facts: Any) -> dict[str, Any]:
    values = {
        "sop_instance_uid": f"1.2.{number}",
        "study_instance_uid": "1.3.1",
        "series_instance_uid": "1.4.1",
        "sop_class_uid": factories.CT,
        "transfer_syntax_uid": factories.ELE,
        "dataset_offset": 300,
    }
    return row(f"{number}.dcm", folder, **(values | facts))


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the first version's rows are after all migrations."""
    tmp_path = tmp_path_factory.mktemp("site")
    folder = tmp_path / "in"
    rows = [
        instance(1, folder, also_at=["sub/copy.dcm"], conversion="convert", status=0),
        instance(2, folder, outcome="failed", status=0xA700, reason="out of resources", attempts=4),
        instance(3, folder, study_instance_uid="1.3.2", outcome="warning", status=0xB000),
        row("notes.txt", folder, outcome="unsendable", reason="notes.txt: not a DICOM file"),
        row(
            "\\xff.dcm",
            folder,
            path=f"//{folder}/%FF.dcm",
            outcome="unsendable",
            reason="\\xff.dcm: an empty file",
        ),
    ]
    data = tmp_path / "var"
    python(BEFORE, str(folder), json.dumps(rows), data=data)
    migrate = "from django.core.management import execute_from_command_line as run\n"
    python(migrate + "run(['manage.py', 'migrate', '-v', '0'])", data=data)
    found: dict[str, Any] = json.loads(python(AFTER, data=data))
    return found | {"folder": str(folder), "data": str(data)}


def test_rows_of_the_first_version_are_moved_whole(migrated: dict[str, Any]) -> None:
    send = migrated["partial"]
    assert send["sources"] == [migrated["folder"]]
    assert (send["listed"], send["listing"]) == (5, "done")
    assert send["counts"] == {"sent": 1, "warning": 1, "failed": 1, "unsendable": 2}
    assert send["rows"] == [
        ["1.2.1", "sent", "0000", "0", "also at sub/copy.dcm"],
        ["1.2.2", "failed", "A700", "4", "out of resources"],
        ["1.2.3", "warning", "B000", "0", ""],
        ["", "unsendable", "", "0", "notes.txt: not a DICOM file"],
        ["", "unsendable", "", "0", "\\xff.dcm: an empty file"],
    ]
    assert send["paths"] == ["1.dcm", "2.dcm", "3.dcm", "notes.txt", "\\xff.dcm"]
    assert send["parts"] == [
        ["", "", 0, 20],
        ["1.3.1", factories.CT, 1, 20],
        ["1.3.2", factories.CT, 0, 10],
    ]


def test_a_send_that_was_not_planned_yet_is_planned_afterwards(migrated: dict[str, Any]) -> None:
    assert migrated["planning"]["listing"] == "waiting"
    assert migrated["planning"]["rows"] == []


def test_files_of_the_first_version_are_read_again_for_what_it_did_not_keep(
    migrated: dict[str, Any],
) -> None:
    path = factories.write_instance(Path(migrated["folder"]) / "1.dcm", sop_instance="1.2.1")
    os.truncate(path, 10)
    os.utime(path, ns=(5, 5))
    script = """
import django, sys
django.setup()
from sender.dicom.files import list_files
from sender.services.catalogue import Catalogue

print(list(Catalogue().known(list_files(sys.argv[1]))))
"""
    assert python(script, str(path.parent), data=Path(migrated["data"])).strip() == "[]"
