"""The command line as CONTRACT.md has it: names, fields, exit codes."""

import csv
import io
import json
from pathlib import Path

import pytest

from sender.models import (
    Association,
    AuditEntry,
    ContextTemplate,
    Destination,
    DestinationSlot,
    Send,
)
from tests import factories
from tests.commands.conftest import Run
from tests.processes import free_port

PAIR = {"abstract_syntax": factories.CT, "transfer_syntaxes": [factories.ELE]}
TEMPLATE = {"format": "concordat.template/1", "name": "T", "contexts": [PAIR]}
CONTEXT_FIELDS = {
    "id", "abstract_syntax", "proposed", "result", "accepted", "verdicts", "instances", "bytes",
}  # fmt: skip


def add(run: Run, name: str = "pacs", **changes: str) -> int:
    options = {"ae-title": "PACS", "address": "127.0.0.1", "port": "104", **changes}
    arguments = [text for key, value in options.items() for text in (f"--{key}", value)]
    return run("destination", "add", name, *arguments).code


@pytest.mark.parametrize("number", ["0", "-1", "65", "many"])
@pytest.mark.parametrize("command", ["up", "sender"])
def test_a_number_of_workers_that_cannot_be_is_refused(run: Run, command: str, number: str) -> None:
    result = run(command, f"--workers={number}")
    assert result.code == 2
    assert "a number from 1 to 64" in result.said


@pytest.mark.django_db
def test_a_destination_is_added_with_revision_slots_and_audit_entry(run: Run) -> None:
    assert add(run, **{"max-associations": "3", "retries": "5"}) == 0
    pacs = Destination.objects.get()
    assert (pacs.ae_title, pacs.calling_ae_title, pacs.retries) == ("PACS", "CONCORDAT", 5)
    assert pacs.confirmed_at is not None
    assert pacs.revisions.count() == 1
    assert DestinationSlot.objects.count() == 3
    assert AuditEntry.objects.get(action="destination.add").actor.startswith("cli:")
    listed = run("destination", "list", "--json").document
    assert listed == [
        {"name": "pacs", "ae_title": "PACS", "address": "127.0.0.1", "port": 104,
         "calling_ae_title": "CONCORDAT", "enabled": True}
    ]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes",
    [{"ae-title": "A" * 17}, {"ae-title": " "}, {"ae-title": "a\\b"}, {"port": "0"},
     {"port": "70000"}, {"port": "x"}, {"address": "169.254.1.1"}, {"address": "a b"},
     {"max-associations": "0"}, {"connect-timeout": "0"}],
    ids=str,
)  # fmt: skip
def test_a_wrong_destination_exits_2_and_writes_nothing(changes: dict[str, str], run: Run) -> None:
    assert add(run, **changes) == 2
    assert not Destination.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db
def test_a_taken_name_exits_2(run: Run) -> None:
    assert add(run) == 0
    assert add(run, port="105") == 2
    assert Destination.objects.get().port == 104


@pytest.mark.django_db
def test_templates_are_imported_in_versions(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(json.dumps(TEMPLATE))
    assert run("template", "import", str(file)).code == 0
    assert run("template", "import", str(file)).code == 0
    assert run("template", "show", "T", "--json").document["version"] == 1
    file.write_text(json.dumps(TEMPLATE | {"contexts": [PAIR, PAIR]}))
    assert run("template", "import", str(file)).code == 0
    shown = run("template", "show", "T", "--json").document
    assert (shown["version"], len(shown["contexts"])) == (2, 2)
    assert len(run("template", "show", "T@1", "--json").document["contexts"]) == 1
    rows = {row["name"]: row for row in run("template", "list", "--json").document}
    assert rows["T"] == {"name": "T", "version": 2, "contexts": 2}
    assert {"Derived from files", "Verification"} <= set(rows)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content",
    ["{", json.dumps(TEMPLATE | {"x": 1}), json.dumps(TEMPLATE | {"contexts": []}),
     json.dumps(TEMPLATE | {"contexts": [PAIR] * 129}),
     json.dumps(TEMPLATE | {"name": "Verification"})],
    ids=["no JSON", "unknown key", "no contexts", "129 contexts", "built in"],
)  # fmt: skip
def test_a_bad_template_file_exits_2_and_changes_nothing(
    content: str, run: Run, tmp_path: Path
) -> None:
    before = ContextTemplate.objects.count()
    (tmp_path / "t.json").write_text(content)
    done = run("template", "import", str(tmp_path / "t.json"))
    assert done.code == 2
    assert done.said
    assert "Traceback" not in done.said
    assert ContextTemplate.objects.count() == before


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        ("template", "import", "/nowhere.json"),
        ("template", "show", "Nothing"),
        ("template", "show", "Verification@9"),
        ("echo", "nobody"),
        ("negotiate", "nobody", "--template", "Verification"),
        ("send", "/tmp", "--to", "nobody", "--inline"),
        ("export_send", "4711"),
        ("history", "--destination", "nobody"),
        ("rates", "--destination", "nobody"),
        ("rates", "--bucket", "hour", "--since", "2020-01-01", "--until", "2020-02-01"),
    ],
    ids=" ".join,
)
def test_unknown_names_and_wrong_use_exit_2(arguments: tuple[str, ...], run: Run) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.said.strip()
    assert "Traceback" not in done.said


def test_an_echo_tells_outcome_status_seconds_and_peer(run: Run, pacs: Destination) -> None:
    done = run("echo", "pacs", "--json")
    assert done.code == 0
    told = done.document
    assert (told["outcome"], told["ended"], told["status"]) == ("established", "released", "0000")
    assert {"connect", "negotiate", "echo"} <= set(told["seconds"])
    assert {"implementation_class_uid", "implementation_version_name", "maximum_length"} <= set(
        told["peer"]
    )


def test_an_echo_to_nobody_exits_1_and_is_on_record(run: Run, live_db: None) -> None:
    factories.destination("gone", port=free_port(), connect_timeout=1)
    done = run("echo", "gone", "--json")
    assert (done.code, done.document["outcome"], done.document["status"]) == (1, "tcp_failed", None)
    assert done.document["ended"] is None
    assert Association.objects.get().trigger == "echo"


def test_a_negotiation_tells_each_context(run: Run, pacs: Destination) -> None:
    starter = "Starter: CT, MR and secondary capture"
    done = run("negotiate", "pacs", "--template", starter, "--json")
    assert done.code == 0
    told = done.document
    assert {"association", "outcome", "ended", "contexts"} <= set(told)
    assert [context["id"] for context in told["contexts"]] == list(range(1, 19, 2))
    assert all(set(context) == CONTEXT_FIELDS for context in told["contexts"])
    assert told["contexts"][2]["verdicts"] == {
        factories.ELE: "accepted",
        factories.ILE: "not_chosen",
    }


def test_a_negotiation_without_an_accepted_context_exits_1(
    run: Run, pacs: Destination, tmp_path: Path
) -> None:
    Destination.objects.update(ae_title="DEMO_OLD")
    compressed = {"abstract_syntax": factories.CT, "transfer_syntaxes": [factories.J90]}
    (tmp_path / "t.json").write_text(json.dumps(TEMPLATE | {"contexts": [compressed]}))
    run("template", "import", str(tmp_path / "t.json"))
    done = run("negotiate", "pacs", "--template", "T", "--json")
    assert (done.code, done.document["outcome"]) == (1, "no_context_accepted")
    assert done.document["contexts"][0]["result"] == 4


def test_a_send_accounts_for_every_row(run: Run, pacs: Destination, folder: Path) -> None:
    done = run("send", str(folder), "--to", "pacs", "--inline", "--json")
    assert done.code == 1, "one file is no instance"
    told = done.document
    assert set(told) >= {"send", "state", "instances", "associations", "seconds"}
    assert told["instances"] == {
        "sent": 3, "warning": 0, "failed": 0, "unsendable": 1, "unknown": 0, "pending": 0,
        "cancelled": 0,
    }  # fmt: skip
    assert (told["state"], told["associations"]) == ("partial", 1)
    exported = run("export_send", str(told["send"]))
    rows = list(csv.DictReader(io.StringIO(exported.out)))
    assert list(rows[0]) == ["iuid", "outcome", "status", "attempts", "reason"]
    assert sorted(row["outcome"] for row in rows) == ["sent", "sent", "sent", "unsendable"]
    assert {row["status"] for row in rows if row["outcome"] == "sent"} == {"0000"}
    assert next(row for row in rows if not row["iuid"])["reason"].startswith("notes.txt: ")


def test_a_file_named_like_a_formula_is_exported_as_text(
    run: Run, pacs: Destination, tmp_path: Path
) -> None:
    (tmp_path / "=cmd|x.txt").write_text("no instance")
    done = run("send", str(tmp_path), "--to", "pacs", "--inline", "--json")
    exported = run("export_send", str(done.document["send"]))
    [row] = csv.DictReader(io.StringIO(exported.out))
    assert row["reason"].startswith("'=cmd|x.txt: ")


def test_a_send_of_good_files_exits_0(run: Run, pacs: Destination, folder: Path) -> None:
    (folder / "notes.txt").unlink()
    done = run("send", str(folder), "--to", "pacs", "--inline", "--json")
    assert (done.code, done.document["state"]) == (0, "succeeded")


def test_without_a_live_sender_nothing_is_created(
    run: Run, pacs: Destination, folder: Path
) -> None:
    done = run("send", str(folder), "--to", "pacs", "--json")
    assert done.code == 2
    assert "sender" in done.said
    assert not Send.objects.exists()


def test_the_history_is_told_newest_first_with_all_fields(
    run: Run, pacs: Destination, folder: Path
) -> None:
    run("echo", "pacs")
    run("send", str(folder), "--to", "pacs", "--inline", "--json")
    rows = run("history", "--json").document
    assert [row["trigger"] for row in rows] == ["send", "echo"]
    assert set(rows[0]) >= {
        "association", "destination", "template", "template_version", "trigger", "send",
        "started_at", "outcome", "ended", "phase", "detail", "reject", "abort", "seconds", "peer",
        "contexts",
    }  # fmt: skip
    assert rows[0]["send"] == Send.objects.get().pk
    assert rows[0]["contexts"][0]["instances"] == 3
    assert rows[0]["started_at"].endswith("Z")
    since = rows[0]["started_at"]
    assert len(run("history", "--json", "--since", since).document) == 1, "since is inclusive"
    assert len(run("history", "--json", "--until", since).document) == 1, "until is exclusive"
    assert len(run("history", "--json", "--limit", "1").document) == 1


def test_rates_are_told_per_day_and_syntax(run: Run, pacs: Destination) -> None:
    run("negotiate", "pacs", "--template", "Starter: CT, MR and secondary capture")
    rows = run("rates", "--json").document
    fields = {
        "bucket", "transfer_syntax", "accepted", "rejected", "not_chosen", "other", "unknown",
        "rate", "associations", "low", "high",
    }  # fmt: skip
    assert all(set(row) >= fields for row in rows)
    by_uid = {row["transfer_syntax"]: row for row in rows}
    assert by_uid[factories.ELE]["rate"] == 1.0
    assert by_uid[factories.ILE]["rate"] is None
    assert by_uid[factories.ILE]["not_chosen"] == 3
    hours = run("rates", "--json", "--bucket", "hour").code
    assert hours == 2, "30 days are too long for hours"


def test_a_sop_class_that_is_refused_is_on_record_as_such(
    run: Run, pacs: Destination, folder: Path
) -> None:
    Destination.objects.update(ae_title="DEMO_REFUSE")
    assert (
        run("send", str(folder), "--to", "pacs", "--inline", "--retries", "0", "--json").code == 1
    )
    (row,) = run("history", "--json").document
    assert row["outcome"] == "rejected"
    assert row["reject"] is not None
    assert all(context["result"] is None for context in row["contexts"])
    assert {v for c in row["contexts"] for v in c["verdicts"].values()} == {"unknown"}
