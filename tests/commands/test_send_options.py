"""`send`: rules, lists, several destinations; what is told, and what is refused before anything."""

from pathlib import Path
from typing import Any

import pytest

from sender.dicom.acceptor import Receiver
from sender.models import Destination, Listing, Send
from sender.models.sends import URGENT
from tests import factories
from tests.commands.conftest import Run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three instances of CT in two studies, one of MR."""
    for number in range(3):
        factories.write_instance(
            tmp_path / "in" / f"{number}.dcm",
            sop_instance=f"1.2.{number}",
            study=f"1.3.{number // 2}",
            extra=[("StudyDate", f"2024010{number + 1}"), ("StudyDescription", f"KNEE {number}")],
        )
    factories.write_instance(
        tmp_path / "in" / "mr.dcm",
        sop_instance="1.2.9",
        study="1.3.9",
        sop_class=factories.MR,
        extra=[("Modality", "MR")],
    )
    return tmp_path / "in"


def sent(send: Send) -> list[str]:
    rows = send.items.filter(outcome="sent").order_by("position")
    return sorted(uid[-1] for uid in rows.values_list("file__sop_instance_uid", flat=True))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--pattern", "*.dcm", "--pattern", "!m*"], "012"),
        (["--modality", "mr"], "9"),
        (["--sop-class", "MR Image Storage"], "9"),
        (["--sop-class", factories.CT, "--sop-class", factories.MR], "0129"),
        (["--transfer-syntax", "Explicit VR LE"], "0129"),
        (["--study", "1.3.0"], "01"),
        (["--series", "1.3.1.1"], "2"),
        (["--instance", "1.2.0", "--instance", "1.2.9"], "09"),
        (["--study", "1.3.0", "--instance", "1.2.9"], "019"),
        (["--study-date", "2024-01-01..2024-01-02"], "01"),
        (["--study-date", "20240103"], "2"),
        (["--study-date", "..2024-01-02"], "01"),
        (["--tag", "StudyDescription=knee 1"], "1"),
        (["--tag", "StudyDescription=*1", "--tag", "StudyDescription=*2"], "12"),
        (["--tag", "(0008,1030)=*2"], "2"),
    ],
)
def test_rules_take_some_of_the_files(
    options: list[str], expected: str, run: Run, pacs: Destination, data: Path
) -> None:
    if options[1].startswith("(") and not _knows_tags():
        pytest.skip("this scan knows attributes by keyword only")
    done = run("send", str(data), "--to", "pacs", "--inline", "--json", *options)
    assert done.code == 0, done.said
    assert "".join(sent(Send.objects.get())) == expected
    assert done.document["excluded"] == 4 - len(expected)


def _knows_tags() -> bool:
    from sender.dicom import files

    try:
        return files.tag_of("(0008,1030)") == 0x00081030
    except ValueError:
        return False


def test_a_list_of_uids_ends_with_what_is_missing(
    run: Run, pacs: Destination, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "uids.csv").write_text("uid,instances\n1.3.0,3\n1.2.2\n1.9.9\n")
    done = run(
        "send", str(data), "--to", "pacs", "--inline", "--json",
        "--uid-list", str(tmp_path / "uids.csv"), "--study", "1.8",
    )  # fmt: skip
    assert done.code == 1
    assert done.document["state"] == "partial"
    assert done.document["instances"]["sent"] == 3
    assert done.document["missing"] == 3
    assert done.said.splitlines()[:3] == [
        "Study 1.3.0: 2 of 3 instances found.",
        "Study, series or instance 1.9.9 was not found.",
        "Study 1.8 was not found.",
    ]
    exported = run("export_send", str(done.document["send"]), "--missing")
    assert exported.out.splitlines() == [
        "level,uid,expected,found", "study,1.3.0,3,2", ",1.9.9,,0", "study,1.8,,0",
    ]  # fmt: skip


def test_a_list_of_paths_is_sent_and_its_bad_lines_are_told(
    run: Run, pacs: Destination, data: Path
) -> None:
    (data / "list.csv").write_text(f"path\n0.dcm\n{data}/1.dcm\n\n/gone.dcm\n")
    done = run("send", "--path-list", str(data / "list.csv"), "--to", "pacs", "--inline", "--json")
    assert done.code == 1
    assert done.document["instances"]["sent"] == 2
    assert done.document["instances"]["unsendable"] == 1
    assert "Line 5: /gone.dcm does not exist." in done.said


def test_several_destinations_share_one_listing(
    run: Run, pacs: Destination, receiver: Receiver, data: Path
) -> None:
    factories.destination("refusing", ae_title="DEMO_REFUSE", port=receiver.port, retries=0)
    factories.destination("old", ae_title="DEMO_OLD", port=receiver.port)
    done = run(
        "send", str(data), "--to", "pacs", "--to", "refusing", "--to", "old", "--to", "pacs",
        "--inline", "--json", "--retries", "0",
    )  # fmt: skip
    assert done.code == 1
    assert [(told["destination"], told["state"]) for told in done.document] == [
        ("pacs", "succeeded"), ("refusing", "failed"), ("old", "succeeded"),
    ]  # fmt: skip
    assert Listing.objects.get().opened == 4
    table = run("send", str(data), "--to", "pacs", "--to", "old", "--inline")
    assert table.code == 0
    assert "to old: Succeeded" in table.out


def test_each_destination_may_have_its_template(
    run: Run, pacs: Destination, receiver: Receiver, data: Path
) -> None:
    factories.destination("old", ae_title="DEMO_OLD", port=receiver.port)
    starter = "Starter: CT, MR and secondary capture"
    done = run(
        "send", str(data), "--to", "pacs", "--to", "old", "--template", starter,
        "--template", "Derived from files@1", "--inline", "--json",
    )  # fmt: skip
    assert done.code == 0
    templates = [str(send.template_version.template) for send in Send.objects.order_by("pk")]
    assert templates == [starter, "Derived from files"]


def test_only_what_is_new_is_sent_the_second_time(run: Run, pacs: Destination, data: Path) -> None:
    arguments = ("send", str(data), "--to", "pacs", "--inline", "--json", "--only-new")
    assert run(*arguments).document["instances"]["sent"] == 4
    done = run(*arguments)
    assert (done.code, done.document["already_there"]) == (0, 4)
    assert "pacs has all 4 instances already." in done.said


def test_order_urgency_and_times_are_kept(run: Run, pacs: Destination, data: Path) -> None:
    done = run(
        "send", str(data), "--to", "pacs", "--inline", "--json", "--order", "newest", "--urgent",
        "--window", "daily 00:00-24:00", "--finish-by", "2099-01-01",
    )  # fmt: skip
    assert done.code == 0
    send = Send.objects.get()
    assert (send.study_order, send.priority, send.zone) == ("newest", URGENT, "UTC")
    assert send.windows == "daily 00:00-24:00"
    assert send.finish_by is not None
    assert send.finish_by.year == 2099
    positions = send.items.order_by("position").values_list("file__sop_instance_uid", flat=True)
    assert positions[0] == "1.2.2"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--to"),
        (["--to", "pacs", "--to", "nobody"], "There is no destination nobody."),
        (["--to", "pacs", "--template", "A", "--template", "B"], "one for each --to"),
        (["--to", "pacs", "--study", "x"], "“x” is no UID."),
        (["--to", "pacs", "--tag", "KNEE"], "write a keyword, =, and a pattern"),
        (["--to", "pacs", "--tag", "NoSuch=1"], "NoSuch"),
        (["--to", "pacs", "--study-date", "last week"], "is no date"),
        (["--to", "pacs", "--pattern", "a/b"], "for the file's name alone"),
        (["--to", "pacs", "--window", "20:00"], "has no end"),
        (["--to", "pacs", "--finish-by", "2001-01-01"], "this time is past"),
        (["--to", "pacs", "--retries", "21"], "a number from 0 to 20"),
        (["--to", "pacs", "--order", "random"], "invalid choice"),
        (["--to", "pacs", "--uid-list", "/nowhere.csv"], "does not exist"),
        (["--to", "pacs", "--path-list", "/nowhere.csv"], "does not exist"),
        (["--to", "pacs", "--path-list", "{bad}"], "The list of paths is empty."),
        (["--to", "pacs", "--uid-list", "{bad}"], "holds no UID"),
    ],
)
def test_wrong_use_makes_nothing(
    options: list[str], words: str, run: Run, pacs: Destination, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("\n")
    given = [text.replace("{bad}", str(tmp_path / "bad.csv")) for text in options]
    done = run("send", str(data), "--inline", *given)
    assert done.code == 2
    assert words in done.said
    assert not Send.objects.exists()
    assert not Listing.objects.exists()


def test_the_command_line_is_bound_by_roots_that_are_set(
    run: Run, pacs: Destination, data: Path, settings: Any, tmp_path: Path
) -> None:
    settings.SOURCE_ROOTS = [data]
    (tmp_path / "list.csv").write_text(f"{data}/0.dcm\n")
    done = run("send", "--path-list", str(tmp_path / "list.csv"), "--to", "pacs", "--inline")
    assert done.code == 2
    assert "outside the allowed source roots" in done.said
    (data / "list.csv").write_text(f"{data}/0.dcm\n{tmp_path}/list.csv\n")
    done = run("send", "--path-list", str(data / "list.csv"), "--to", "pacs", "--inline")
    assert f"Line 2: {tmp_path}/list.csv is outside the allowed source roots." in done.said


def test_nothing_to_send_is_wrong_use(run: Run, pacs: Destination) -> None:
    done = run("send", "--to", "pacs", "--inline")
    assert (done.code, "Name at least one folder or file" in done.said) == (2, True)
