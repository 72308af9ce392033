"""Conversions in children: asked for ahead, bounded, and a fault is one instance's reason."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sender.dicom import converting
from sender.dicom.converting import Converter
from sender.dicom.encoding import ConversionFailed, SourceUnusable, convert
from sender.dicom.files import scan
from sender.dicom.listed import FileRange
from sender.dicom.spool import SpoolFailed
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance
from tests import factories
from tests.processes import await_true, check_children_end, children_of

pytestmark = pytest.mark.slow
ILE, ELE = syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE


def write(path: Path, *, rows: int = 16, syntax: str = syntaxes.RLE_LOSSLESS) -> ScannedInstance:
    factories.write_instance(path, sop_instance="1.2.3", transfer_syntax=syntax, rows=rows)
    found = scan(str(path), relative_path=path.name)
    assert isinstance(found, ScannedInstance)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def converter(folder: Path) -> Iterator[Converter]:
    with Converter(folder=str(folder), processes=2) as made:
        yield made
    assert os.listdir(folder) == []


@pytest.fixture
def deadly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Converter]:
    """A converter whose children come to grief over files named so."""
    monkeypatch.setattr(converting, "_MODULE", "tests.dicom.deadly_converter")
    with Converter(folder=str(folder), seconds=20) as made:
        yield made
    assert os.listdir(folder) == []


def test_results_are_those_of_convert(converter: Converter, tmp_path: Path) -> None:
    instances = [write(tmp_path / f"{n}.dcm", rows=8 + n) for n in range(6)]
    jobs = [converter.submit(instance, ILE) for instance in instances]
    for instance, job in zip(instances, jobs, strict=True):
        assert converter.result(job) == convert(instance, ILE)


def test_results_may_be_asked_for_in_any_order(converter: Converter, tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm")
    jobs = [converter.submit(instance, ELE) for _ in range(40)]
    expected = convert(instance, ELE)
    assert all(converter.result(job) == expected for job in reversed(jobs))


def test_only_a_few_results_wait_to_be_fetched(converter: Converter, tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm")
    jobs = [converter.submit(instance, ELE) for _ in range(40)]
    most = 2 * converting.AHEAD

    def done() -> int:
        return sum(job.outcome is not None for job in jobs)

    await_true(lambda: done() == most, "work ahead")
    # Nothing begins before somebody asks: the last one comes, no other.
    converter.result(jobs[-1])
    assert done() == most + 1
    for job in jobs[:-1]:
        converter.result(job)


def test_large_results_are_private_files(
    converter: Converter, folder: Path, tmp_path: Path
) -> None:
    instance = write(tmp_path / "x.dcm", rows=2048)
    encoded = converter.result(converter.submit(instance, ELE))
    assert isinstance(encoded.content, FileRange)
    path = Path(encoded.content.path)
    found = path.stat()
    assert (encoded.content.size, encoded.content.mtime_ns) == (found.st_size, found.st_mtime_ns)
    assert found.st_mode & 0o777 == 0o600
    assert folder in path.parents
    assert path.read_bytes() == convert(instance, ELE).content
    encoded.discard()
    assert not path.exists()


def test_reasons_come_back_as_they_are(converter: Converter, tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm")
    with pytest.raises(ConversionFailed, match="never converted to JPEG Baseline"):
        converter.result(converter.submit(instance, syntaxes.JPEG_BASELINE))
    os.utime(instance.path, ns=(0, 0))
    with pytest.raises(SourceUnusable, match="changed after it was listed"):
        converter.result(converter.submit(instance, ELE))


def test_lossy_data_need_the_callers_word_here_too(converter: Converter) -> None:
    from tests.samples import sample

    path = sample("JPEG2000.dcm")
    instance = scan(str(path), relative_path=path.name)
    assert isinstance(instance, ScannedInstance)
    with pytest.raises(ConversionFailed, match="only by explicit policy"):
        converter.result(converter.submit(instance, ELE))
    assert converter.result(converter.submit(instance, ELE, lossy_allowed=True)).length


def test_a_full_disk_is_no_fault_of_the_instance(
    converter: Converter, folder: Path, tmp_path: Path
) -> None:
    small = write(tmp_path / "small.dcm")
    converter.result(converter.submit(small, ELE))
    (ours,) = folder.iterdir()
    for made in ours.iterdir():
        os.rmdir(made)
    with pytest.raises(SpoolFailed):
        converter.result(converter.submit(write(tmp_path / "x.dcm", rows=2048), ELE))


def test_a_decoder_that_crashes_is_the_reason_of_one_instance(
    deadly: Converter, folder: Path, tmp_path: Path
) -> None:
    jobs = [
        deadly.submit(write(tmp_path / name), ELE)
        for name in ("good.dcm", "deadly.dcm", "good2.dcm")
    ]
    assert deadly.result(jobs[0]).length
    with pytest.raises(ConversionFailed) as failed:
        deadly.result(jobs[1])
    assert str(failed.value) == (
        "RLE Lossless could not be made Explicit VR LE: it ended its process (SIGSEGV)"
    )
    assert deadly.result(jobs[2]).length
    assert list(folder.rglob("converted-*")) == []


def test_a_child_that_dies_once_is_replaced(deadly: Converter, tmp_path: Path) -> None:
    assert deadly.result(deadly.submit(write(tmp_path / "once.dcm"), ELE)).length


def test_what_takes_too_much_memory_is_refused(deadly: Converter, tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="it needs more memory than there is"):
        deadly.result(deadly.submit(write(tmp_path / "greedy.dcm"), ELE))


def test_what_never_ends_is_given_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "_MODULE", "tests.dicom.deadly_converter")
    slow = write(tmp_path / "slow.dcm")
    with (
        Converter(folder=str(folder), seconds=0.5) as converter,
        pytest.raises(ConversionFailed, match="it took too long"),
    ):
        converter.result(converter.submit(slow, ELE))


def test_jobs_may_be_cancelled_at_any_time(converter: Converter, tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm", rows=2048)
    jobs = [converter.submit(instance, ELE) for _ in range(12)]
    await_true(lambda: jobs[0].outcome is not None, "the first result")
    for job in jobs:
        converter.cancel(job)
    last = converter.submit(instance, ELE)
    assert converter.result(last).length > 8 << 20


def test_closing_ends_what_runs_and_removes_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "_MODULE", "tests.dicom.deadly_converter")
    before = children_of(os.getpid())
    converter = Converter(folder=str(folder))
    job = converter.submit(write(tmp_path / "slow.dcm"), ELE)
    await_true(lambda: children_of(os.getpid()) > before, "the start of a child")
    converter.close()
    assert children_of(os.getpid()) == before
    assert os.listdir(folder) == []
    with pytest.raises(RuntimeError, match="closed"):
        converter.result(job)


def test_what_killed_processes_left_is_removed(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    for name in (f"converting-{gone.pid}-abc", f"converting-{os.getpid()}-abc", "other"):
        (folder / name).mkdir()
        (folder / name / "converted-1").write_bytes(b"x")
    Converter(folder=str(folder)).close()
    assert sorted(os.listdir(folder)) == [f"converting-{os.getpid()}-abc", "other"]


def test_children_end_with_a_parent_that_is_killed(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "x.dcm")
    check_children_end(
        "import sys\n"
        "from sender.dicom import files, converting\n"
        "found = files.scan(sys.argv[2], relative_path='x')\n"
        "converter = converting.Converter(folder=sys.argv[1])\n"
        "converter.result(converter.submit(found, '1.2.840.10008.1.2.1'))\n",
        str(folder),
        str(tmp_path / "x.dcm"),
    )
    Converter(folder=str(folder)).close()
    assert os.listdir(folder) == []
