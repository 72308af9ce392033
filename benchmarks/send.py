"""How fast we send, beside other tools in the same run: `python benchmarks/send.py`.

Makes its own data sets (SENDING.md: A small CT, B tiny, C large multi-frame), starts a receiver
afresh for each measurement, alternates the order of the senders, and prints medians and ratios. A
run that loses an instance counts as failed. Our figure is the `seconds` of `send --inline --json`:
scan and plan included, to the last outcome committed; the other tools' is the wall time of their
process. The ledger stays on.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

ROOT = Path(__file__).resolve().parent.parent
CT = "1.2.840.10008.5.1.4.1.1.2"
SETS = {"A": (3000, 512, 1), "B": (5000, 64, 1), "C": (4, 512, 200)}
"""Number of files, rows and columns, frames."""
PORT = 21112


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one sender."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    delivered: bool


def make_set(name: str, folder: Path) -> Path:
    """Make a data set unless it is there already; one study of at most 200 instances each."""
    target = folder / name
    count, size, frames = SETS[name]
    if target.exists() and len(list(target.iterdir())) == count:
        return target
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    pixels = np.random.default_rng(7).integers(0, 4095, (frames, size, size), dtype=np.uint16)
    for number in range(count):
        dataset = Dataset()
        dataset.SOPClassUID = CT
        dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.10.999.{ord(name)}.{number + 1}"
        dataset.StudyInstanceUID = f"1.2.826.0.1.3680043.10.999.{ord(name)}.0.{number // 200}"
        dataset.SeriesInstanceUID = f"{dataset.StudyInstanceUID}.1"
        dataset.Modality = "CT"
        dataset.PatientID = "BENCH"
        dataset.Rows = dataset.Columns = size
        dataset.NumberOfFrames = frames
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        dataset.PixelData = pixels.tobytes()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(target / f"{number:05d}.dcm", enforce_file_format=True)
    return target


def start_receiver(kind: str) -> "subprocess.Popen[bytes]":
    """Start a receiver and wait until it listens."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if kind.startswith("null"):
        length = kind.removeprefix("null") or "16384"
        command = [sys.executable, str(ROOT / "benchmarks/null_receiver.py"), str(PORT), length]
    else:
        command = ["storescp", "--fork", "--ignore", "+xa", "-pm", str(PORT)]
    environment = os.environ | ({"TCP_NODELAY": "1"} if kind == "storescp-nodelay" else {})
    receiver = subprocess.Popen(command, env=environment, **quiet)  # type: ignore[call-overload]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                time.sleep(0.2)
                return receiver  # type: ignore[no-any-return]
        time.sleep(0.05)
    raise SystemExit(f"The receiver {kind} did not start.")


def spend(command: list[str], environment: dict[str, str]) -> tuple[bytes, Measured]:
    """Run a program to its end; return its output and what it took."""
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        return output.read(), Measured(seconds, cpu, memory, process.returncode == 0)


def measure_ours(folder: Path, site: dict[str, str], destination: str) -> Measured:
    """Send with the product; its own clock begins when the work is picked up."""
    command = [sys.executable, str(ROOT / "manage.py"), "send", str(folder), "--to", destination]
    output, measured = spend([*command, "--inline", "--json"], site)
    told = json.loads(output or b"{}")
    return replace(
        measured,
        seconds=told.get("seconds", 0.0),
        delivered=told.get("state") == "succeeded",
    )


def make_site(folder: Path) -> dict[str, str]:
    """Make a data directory with destinations for one and two associations."""
    environment = os.environ | {"CONCORDAT_DATA_DIR": str(folder / "site")}
    manage = [sys.executable, str(ROOT / "manage.py")]
    subprocess.run([*manage, "migrate", "-v0"], env=environment, check=True)
    for number in (1, 2):
        subprocess.run(
            [*manage, "destination", "add", f"bench{number}", "--ae-title", "BENCH", "--address",
             "127.0.0.1", "--port", str(PORT), "--max-associations", str(number)],
            env=environment, check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return environment


def run_sender(sender: str, folder: Path, site: dict[str, str]) -> Measured:
    """Run one sender on one data set."""
    if sender.startswith("concordat"):
        return measure_ours(folder, site, "bench2" if sender.endswith("2") else "bench1")
    environment = dict(os.environ)
    if sender.endswith("-nodelay"):
        environment["TCP_NODELAY"] = "1"
    tool = sender.removesuffix("-nodelay")
    options = ["+sd"] if tool == "storescu" else ["+sd", "+r"]
    command = [tool, "-aec", "BENCH", *options, "127.0.0.1", str(PORT), str(folder)]
    return spend(command, environment)[1]


def summarise(name: str, receiver: str, found: dict[str, list[Measured]]) -> None:
    """Print medians and ratios of one data set to one receiver."""
    count = SETS[name][0]
    good = {s: [m for m in runs if m.delivered] for s, runs in found.items()}
    base = statistics.median([m.seconds for m in good.get("dcmsend-nodelay", [])] or [0.0])
    for sender, runs in good.items():
        if not runs:
            print(f"| {name} | {receiver} | {sender} | failed | | | | |")
            continue
        seconds = statistics.median(m.seconds for m in runs)
        cpu = statistics.median(m.cpu_seconds for m in runs) / count * 1000
        memory = max(m.megabytes for m in runs)
        ratio = f"{base / seconds:.1f}x" if base else ""
        lost = len(found[sender]) - len(runs)
        note = f"{lost} failed" if lost else ""
        print(
            f"| {name} | {receiver} | {sender} | {seconds:.2f} s | {count / seconds:.0f}/s "
            f"| {ratio} | {cpu:.2f} | {memory:.0f} MB {note}|"
        )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="A,B")
    parser.add_argument("--receivers", default="null,storescp-nodelay,storescp")
    parser.add_argument("--senders", default="concordat,concordat-2,dcmsend-nodelay,dcmsend")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keeps the data sets for the next time")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="concordat-bench-"))
    shutil.rmtree(folder / "site", ignore_errors=True)
    site = make_site(folder)
    senders = options.senders.split(",")
    print("| set | receiver | sender | median | instances/s | vs dcmsend-nodelay "
          "| CPU s/1000 | peak |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name in options.sets.split(","):
        data = make_set(name, folder)
        for receiver in options.receivers.split(","):
            found: dict[str, list[Measured]] = {sender: [] for sender in senders}
            for turn in range(options.repeat):
                for sender in senders if turn % 2 == 0 else reversed(senders):
                    process = start_receiver(receiver)
                    try:
                        found[sender].append(run_sender(sender, data, site))
                    finally:
                        process.kill()
                        process.wait()
            summarise(name, receiver, found)
            sys.stdout.flush()
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
