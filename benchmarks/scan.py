"""How fast files are identified and walked, beside other tools: `python benchmarks/scan.py`.

Makes set H of SENDING.md (20,000 MR files of 16.5 kB in 20 studies) and one folder of 100,000 small
files. Each turn measures all in alternating order, with the files in the page cache: our listing,
our scan (listing, identification and the walk to the end of each file) in one process and in two,
dcmsend's own scan (it sends to a closed port, so it only reads), and pydicom reading the
same attributes without walking to the end. Prints medians: files a second, processor time per file,
and the ratio to dcmsend. Ours runs in a resident process, as a worker is; dcmsend's start (about
20 ms) counts, as that is how it is used.

Then the product lists that one folder as a send has it listed, remembering each file in a new
SQLite database, and lists it once more, unchanged.
"""

import argparse
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.installing import install_here
from sender.dicom.files import Entry, list_files
from sender.dicom.scanning import scan_many
from sender.negotiation.instances import ScannedInstance

MR = b"1.2.840.10008.5.1.4.1.1.4"
ROOT = b"1.2.826.0.1.3680043.10.999"
EXPLICIT = b"1.2.840.10008.1.2.1"
_LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT"}
_ATTRIBUTES = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One run over a folder."""

    seconds: float
    cpu_seconds: float
    files: int


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """Encode an element in Explicit VR Little Endian."""
    value += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(value) % 2)
    form = "<HH2s2xI" if vr in _LONG else "<HH2sH"
    return struct.pack(form, group, number, vr, len(value)) + value


def number(value: int) -> bytes:
    """Encode a US."""
    return struct.pack("<H", value)


def head(study: int, index: int) -> bytes:
    """Return the elements of an MR instance but its pixel data; lengths vary as in real series."""
    uid = b"%s.50.%d.%d" % (ROOT, study, index)
    item = b"".join(
        (
            element(8, 0x100, b"SH", b"T-D1100"),
            element(8, 0x102, b"SH", b"SRT"),
            element(8, 0x104, b"LO", b"Head"),
        )
    )
    regions = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    position = b"-250\\-250\\%s" % str(index * 1.25).encode()
    return b"".join(
        (
            element(8, 5, b"CS", b"ISO_IR 100"),
            element(8, 8, b"CS", b"ORIGINAL\\PRIMARY\\AXIAL"),
            element(8, 0x16, b"UI", MR),
            element(8, 0x18, b"UI", uid),
            element(8, 0x20, b"DA", b"20240102"),
            element(8, 0x21, b"DA", b"20240102"),
            element(8, 0x23, b"DA", b"20240102"),
            element(8, 0x30, b"TM", b"101112.123"),
            element(8, 0x33, b"TM", b"1011%02d.5" % (index % 60)),
            element(8, 0x50, b"SH", b"ACC%d" % study),
            element(8, 0x60, b"CS", b"MR"),
            element(8, 0x70, b"LO", b"BENCH"),
            element(8, 0x90, b"PN", b"REF^PHYS"),
            element(8, 0x1030, b"LO", b"Bench study"),
            element(8, 0x103E, b"LO", b"Bench series"),
            element(8, 0x2218, b"SQ", regions),
            element(9, 0x10, b"LO", b"BENCH PRIV 1"),
            element(9, 0x1001, b"OB", bytes(range(256)) * 4),
            element(0x10, 0x10, b"PN", b"BENCH^PAT%d" % study),
            element(0x10, 0x20, b"LO", b"PID%05d" % study),
            element(0x10, 0x30, b"DA", b"19700101"),
            element(0x10, 0x40, b"CS", b"O"),
            element(0x18, 0x50, b"DS", b"1.25"),
            element(0x18, 0x1030, b"LO", b"BENCH PROTOCOL"),
            element(0x20, 0xD, b"UI", b"%s.1.%d" % (ROOT, study)),
            element(0x20, 0xE, b"UI", b"%s.2.%d.0" % (ROOT, study)),
            element(0x20, 0x10, b"SH", b"%d" % study),
            element(0x20, 0x11, b"IS", b"0"),
            element(0x20, 0x13, b"IS", b"%d" % index),
            element(0x20, 0x32, b"DS", position),
            element(0x20, 0x37, b"DS", b"1\\0\\0\\0\\1\\0"),
            element(0x20, 0x52, b"UI", b"%s.3.%d" % (ROOT, study)),
            element(0x28, 2, b"US", number(1)),
            element(0x28, 4, b"CS", b"MONOCHROME2"),
            element(0x28, 0x30, b"DS", b"0.9765625\\0.9765625"),
            element(0x28, 0x100, b"US", number(16)),
            element(0x28, 0x101, b"US", number(12)),
            element(0x28, 0x102, b"US", number(11)),
            element(0x28, 0x103, b"US", number(0)),
            element(0x28, 0x1050, b"DS", b"40"),
            element(0x28, 0x1051, b"DS", b"400"),
            element(0x28, 0x1052, b"DS", b"-1024"),
            element(0x28, 0x1053, b"DS", b"1"),
        )
    )


def meta(study: int, index: int) -> bytes:
    """Return preamble, prefix and file meta information."""
    group = b"".join(
        (
            element(2, 1, b"OB", b"\0\1"),
            element(2, 2, b"UI", MR),
            element(2, 3, b"UI", b"%s.50.%d.%d" % (ROOT, study, index)),
            element(2, 0x10, b"UI", EXPLICIT),
            element(2, 0x12, b"UI", ROOT + b".9"),
        )
    )
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(group))) + group


def make_set(folder: Path, count: int, size: int, *, flat: bool) -> Path:
    """Make a folder of files unless it is there; `size` is rows and columns of 16 bits."""
    if folder.exists() and sum(len(files) for _, _, files in os.walk(folder)) == count:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    pixels = struct.pack("<H", 900) * (size * size)
    shape = element(0x28, 0x10, b"US", number(size)) + element(0x28, 0x11, b"US", number(size))
    for file in range(count):
        study, index = divmod(file, 1000)
        target = folder if flat else folder / f"st{study}"
        target.mkdir(parents=True, exist_ok=True)
        before, split, after = head(study, index).partition(b"\x28\x00\x30\x00")
        content = before + shape + split + after + element(0x7FE0, 0x10, b"OW", pixels)
        (target / f"im{index:05d}-{study}.dcm").write_bytes(meta(study, index) + content)
    return folder


def timed(action: Callable[[], int]) -> Measured:
    """Run something and say what it took, its children included."""
    before, began = os.times(), time.perf_counter()
    count = action()
    seconds, after = time.perf_counter() - began, os.times()
    return Measured(seconds, sum(after[:4]) - sum(before[:4]), count)


def listing(folder: Path) -> int:
    return sum(isinstance(entry, Entry) for entry in list_files(str(folder)))


def ours(folder: Path, processes: int) -> int:
    found = scan_many(list_files(str(folder)), processes=processes)
    return sum(isinstance(instance, ScannedInstance) for instance in found)


def dcmsend(folder: Path) -> int:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = ["dcmsend", "-q", "+sd", "+r", "127.0.0.1", "9", str(folder)]
    subprocess.run(command, check=False, **quiet)  # type: ignore[call-overload]
    return sum(len(files) for _, _, files in os.walk(folder))


def pydicom(folder: Path) -> int:
    """Read a twentieth of the files: the rate is the same."""
    count = 0
    for entry in list(list_files(str(folder)))[::20]:
        dataset = dcmread(entry.path, stop_before_pixels=True, specific_tags=_ATTRIBUTES)
        count += bool(dataset.SOPInstanceUID)
    return count


TOOLS: dict[str, Callable[[Path], int]] = {
    "listing alone": listing,
    "ours, 1 process": lambda folder: ours(folder, 1),
    "ours, 2 processes": lambda folder: ours(folder, 2),
    "dcmsend": dcmsend,
    "pydicom": pydicom,
}


def measure(folder: Path, repeat: int) -> dict[str, list[Measured]]:
    """Measure all tools in alternating order, after one turn to warm the cache."""
    tools = {name: tool for name, tool in TOOLS.items() if name != "dcmsend" or shutil.which(name)}
    ours(folder, 1)
    found: dict[str, list[Measured]] = {name: [] for name in tools}
    for turn in range(repeat):
        for name in tools if turn % 2 == 0 else reversed(tools):
            found[name].append(timed(lambda: tools[name](folder)))  # noqa: B023 - called at once
    return found


def summarise(title: str, found: dict[str, list[Measured]]) -> None:
    """Print medians and ratios."""
    rates = {
        name: statistics.median(run.files / run.seconds for run in runs)
        for name, runs in found.items()
    }
    base = rates.get("dcmsend", 0.0)
    print(f"\n{title}\n\n| tool | files/s | vs dcmsend | s | CPU us/file |\n|---|---|---|---|---|")
    for name, runs in found.items():
        seconds = statistics.median(run.seconds for run in runs)
        cpu = statistics.median(run.cpu_seconds / run.files for run in runs) * 1e6
        ratio = f"{rates[name] / base:.2f}x" if base else ""
        print(f"| {name} | {rates[name]:.0f} | {ratio} | {seconds:.2f} | {cpu:.0f} |")


def list_twice(folder: Path, data: Path) -> list[Measured]:
    """Have the product list a folder in a new installation, then list it unchanged."""
    install_here(data)
    from sender.models import Listing  # noqa: PLC0415
    from sender.services.listing import scan_listing  # noqa: PLC0415

    def scan() -> int:
        waiting = Listing.objects.create(sources=[str(folder)])
        scan_listing(waiting.pk, "benchmark", in_slices=False)
        waiting.refresh_from_db()
        return waiting.files

    return [timed(scan), timed(scan)]


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="of set H")
    parser.add_argument("--in-one-folder", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keeps the files for the next time")
    options = parser.parse_args()
    root = options.folder or Path(tempfile.mkdtemp(prefix="concordat-scan-"))
    sets = (
        (f"Set H: {options.files} files of 16.5 kB", "H", options.files, 86, False),
        (f"{options.in_one_folder} files in one folder", "big", options.in_one_folder, 16, True),
    )
    for title, name, count, size, flat in sets:
        if count:
            folder = make_set(root / name, count, size, flat=flat)
            summarise(title, measure(folder, options.repeat))
    if options.in_one_folder:
        runs = list_twice(folder, root / "var")
        shutil.rmtree(root / "var")
        print("\nThe product's listing of them\n")
        print("| scan | files | s | CPU us/file |\n|---|---|---|---|")
        for name, run in zip(("first", "second"), runs, strict=True):
            cpu = run.cpu_seconds / run.files * 1e6
            print(f"| {name} | {run.files} | {run.seconds:.2f} | {cpu:.0f} |")
    if options.folder is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
