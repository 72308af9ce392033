"""The benchmark of sending: it counts honestly, judges by the goals, and runs from end to end."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.data_sets import DataSet, data_set, under_new_names
from benchmarks.goals import CPU_PER_1000, MEGABYTE, Figures, judge
from benchmarks.receivers import NotStarted, Ports, program, receiving
from benchmarks.report import Group, Trial, rows
from benchmarks.rounds import chosen, on_databases
from benchmarks.senders import Measured, product
from sender.dicom import files
from sender.negotiation.instances import ScannedInstance
from tests.processes import ROOT

GROUP = Group("B", "B", 1000, 10_000_000, "null", "dcmsend-nodelay", is_whole=True)
RUN = Measured(
    seconds=1.0,
    wall_seconds=2.0,
    cpu_seconds=0.2,
    peak_bytes=50_000_000,
    strange_seconds=0.0,
    sent=1000,
    growth_bytes=1_000_000,
)


def trial(seconds: float, fault: str = "") -> Trial:
    return Trial(replace(RUN, seconds=seconds), 1000, 0.1, fault)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(**runs: Sequence[Trial]) -> dict[str, list[str]]:
    lines = rows(GROUP, {name.replace("_", "-"): found for name, found in runs.items()})
    return {row[2]: row for row in map(cells, lines)}


def test_a_row_has_median_range_and_ratio() -> None:
    told = table(concordat_1=[trial(1.0), trial(2.0), trial(1.5)], dcmsend_nodelay=[trial(3.0)])
    row = told["concordat-1"]
    assert row[3:5] == ["3", "1.50 (1.00–2.00)"]
    assert row[6:8] == ["667", "7"]
    assert row[10] == "2.00x"


def test_a_run_that_lost_something_stands_in_no_median() -> None:
    told = table(concordat_1=[trial(0.1, "it sent 999 of 1000"), trial(2.0)])
    assert told["concordat-1"][3:5] == ["1, 1 failed", "2.00 (2.00–2.00)"]


def test_a_sender_that_always_fails_says_why() -> None:
    told = table(concordat_1=[trial(0.1, "the receiver took 999 of 1000")])
    assert told["concordat-1"][3] == "0, 1 failed"
    assert told["concordat-1"][-1] == "the receiver took 999 of 1000"


def test_the_goals_stand_in_the_row_of_the_product_and_in_no_other() -> None:
    told = table(concordat_1=[trial(1.0)], dcmsend_nodelay=[trial(1.6)])
    assert "≥ 1.5x dcmsend-nodelay: 1.60x met" in told["concordat-1"][-1]
    assert told["dcmsend-nodelay"][-1] == ""


@pytest.mark.parametrize(
    ("seconds", "cpu_per_1000", "growth_bytes", "met"),
    [
        (1.0, CPU_PER_1000["B"], 32_000_000, [True, True, True]),
        (1.1, CPU_PER_1000["B"], 32_000_000, [False, True, True]),
        (1.0, CPU_PER_1000["B"] + 0.01, 32_000_000, [True, False, True]),
        (1.0, CPU_PER_1000["B"], 32_000_001, [True, True, False]),
    ],
)
def test_a_goal_is_met_or_missed(
    seconds: float, cpu_per_1000: float, growth_bytes: int, met: list[bool]
) -> None:
    ours = Figures(seconds, cpu_per_1000, growth_bytes, 0)
    peers = {"dcmsend-nodelay": Figures(1.5, 0.3, None, 0)}
    verdicts = judge("B", "null", 1, ours=ours, peers=peers)
    assert [verdict.is_met for verdict in verdicts] == met


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("concordat-2", ("concordat", 2, "sqlite")),
        ("cluster-4-postgresql", ("cluster", 4, "postgresql")),
        ("dcmsend-nodelay", None),
    ],
)
def test_a_sender_is_known_by_its_name(name: str, parts: tuple[str, int, str] | None) -> None:
    assert product(name) == parts


def test_rounds_are_chosen_by_receiver_and_set() -> None:
    found = chosen(
        receivers=["storescp"], sets=["A", "D"], senders=["concordat-1"], databases=["sqlite"]
    )
    assert {(each.receiver, each.name) for each in found} == {("storescp", "A"), ("storescp", "D")}
    assert {each.senders for each in found} == {("concordat-1",)}
    with pytest.raises(NotStarted):
        chosen(receivers=["storescp"], sets=["C"], senders=[], databases=["sqlite"])


def test_only_the_product_runs_on_each_database() -> None:
    found = on_databases(["cluster-2", "dcmsend"], ["sqlite", "postgresql"])
    assert list(found) == ["cluster-2", "cluster-2-postgresql", "dcmsend"]


def digests(data: DataSet) -> list[str]:
    paths = sorted(data.folder.rglob("*.dcm"))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_a_data_set_is_made_the_same_each_time_and_once(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, other = data_set("B", 10, tmp_path), data_set("B", 10, tmp_path / "other")
    assert first.count == len(set(digests(first))) == 10
    assert digests(first) == digests(other)
    made_at = first.folder.stat().st_mtime_ns
    assert data_set("B", 10, tmp_path).folder.stat().st_mtime_ns == made_at


def test_new_names_lead_to_the_same_files(tmp_path: Path) -> None:
    data = data_set("B", 3, tmp_path)
    with under_new_names(data) as new:
        assert new.folder != data.folder
        assert digests(new) == digests(data)
    assert not new.folder.exists()


@pytest.mark.peers
@pytest.mark.slow
def test_the_mixed_set_has_nine_classes_in_twelve_syntaxes(tmp_path: Path) -> None:
    data = data_set("D", 32, tmp_path)
    found = [files.scan(str(path), relative_path="") for path in data.folder.rglob("*.dcm")]
    kinds = {each.kind for each in found if isinstance(each, ScannedInstance)}
    assert len(found) == 32
    assert len({kind.sop_class for kind in kinds}) == 9
    assert len({kind.transfer_syntax for kind in kinds}) == 12


def test_tools_come_from_the_system_and_not_from_our_environment() -> None:
    with pytest.raises(NotStarted):
        program("pynetdicom-has-no-such-tool")
    assert not program("sh").startswith(sys.prefix)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["null", "null-0", "null-4096"])
def test_the_null_receiver_counts_what_it_answered(tmp_path: Path, name: str) -> None:
    data = data_set("B", 5, tmp_path)
    ports = Ports.free()
    script = ROOT / "benchmarks/plain_pynetdicom.py"
    with receiving(name, ports) as receiver:
        done = subprocess.run(
            [sys.executable, script, str(ports.receiver), str(data.folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stdout.strip() == "5"
    assert receiver.stored == 5


@pytest.mark.slow
def test_the_benchmark_runs_from_end_to_end(tmp_path: Path) -> None:
    what = ["--sets", "B", "--receivers", "null", "--senders", "concordat-2,cluster-1,pynetdicom"]
    how = ["--repeat", "1", "--scale", "0.002", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/send.py"), *what, *how],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = [cells(line) for line in done.stdout.splitlines() if line.startswith("| B")]
    assert [(row[2], row[3]) for row in found[:3]] == [
        ("concordat-2", "1"),
        ("cluster-1", "1"),
        ("pynetdicom", "1"),
    ]


@pytest.mark.parametrize(("megabytes", "is_met"), [(200, True), (201, False)])
def test_one_large_instance_may_take_200_megabytes(megabytes: int, is_met: bool) -> None:
    ours = Figures(1.0, 1.0, None, megabytes * MEGABYTE)
    (verdict,) = judge("L", "null", 1, ours=ours, peers={})
    assert verdict.is_met is is_met
