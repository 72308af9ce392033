"""The data sets of the benchmark, made the same each time and kept for the next run.

A: small CT images. B: tiny MR images. C: large multi-frame CT. D: nine SOP classes in twelve
transfer syntaxes. L: one instance of 2.1 GB. Pixels come from one seeded generator; no value comes
from a patient.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

VERSION = 1
"""Raise it when what is made changes: data sets of other versions are made anew."""
ROOT = "1.2.826.0.1.3680043.10.999"
STUDIES = 5
CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
MR, CR, DX = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
US, SC, XA = (
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.12.1",
)
SR, PDF = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.104.1"
FULL = {"A": 3000, "B": 5000, "C": 20, "D": 920, "L": 1}
"""How many instances each set has."""

Image = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Files on disk, one instance each."""

    name: str
    folder: Path
    count: int
    size: int

    @property
    def label(self) -> str:
        """The name, with the number of instances if it is not the whole set."""
        return self.name if FULL.get(self.name) == self.count else f"{self.name} ({self.count})"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of data in set D: what it is and how its pixels are encoded.

    Attributes:
        encoder: "pydicom", the option of dcmcjpeg that makes this syntax, or "" for raw pixels.
    """

    sop_class: str
    modality: str
    rows: int
    columns: int
    syntax: str
    bits: int = 12
    samples: int = 1
    encoder: str = ""


IMAGES = (
    Kind(CT, "CT", 256, 256, ExplicitVRLittleEndian),
    Kind(MR, "MR", 256, 256, ImplicitVRLittleEndian),
    Kind(CR, "CR", 512, 400, ExplicitVRBigEndian),
    Kind(CT, "CT", 256, 256, DeflatedExplicitVRLittleEndian),
    Kind(US, "US", 240, 320, JPEGBaseline8Bit, bits=8, samples=3, encoder="+eb"),
    Kind(DX, "DX", 512, 512, JPEGExtended12Bit, encoder="+ee"),
    Kind(CT, "CT", 512, 512, JPEGLosslessSV1, encoder="+e1"),
    Kind(CT, "CT", 512, 512, JPEGLSLossless, encoder="pydicom"),
    Kind(CR, "CR", 512, 512, JPEGLSNearLossless, encoder="pydicom"),
    Kind(MR, "MR", 512, 512, JPEG2000Lossless, encoder="pydicom"),
    Kind(DX, "DX", 512, 512, JPEG2000, encoder="pydicom"),
    Kind(XA, "XA", 512, 512, RLELossless, encoder="pydicom"),
    Kind(SC, "OT", 200, 300, ExplicitVRLittleEndian, bits=8, samples=3),
)
"""JPEG lossless process 14 without selection value 1 is left out: storescp +xa refuses it."""
DOCUMENTS = (
    Kind(SR, "SR", 0, 0, ExplicitVRLittleEndian),
    Kind(SR, "SR", 0, 0, ImplicitVRLittleEndian),
    Kind(PDF, "DOC", 0, 0, ExplicitVRLittleEndian),
)
COMPRESSION: dict[str, dict[str, Any]] = {
    JPEGLSNearLossless: {"jls_error": 2},
    JPEG2000: {"j2k_cr": [8.0]},
}
STUDY_OF_D = 50


def data_set(name: str, count: int, folder: Path) -> DataSet:
    """Return the first `count` instances of a set, made unless they are in `folder` already.

    Raises:
        OSError, subprocess.CalledProcessError: they can't be made.
    """
    target = folder / f"{name}-{count}"
    made = target / "MADE.json"
    if not (made.exists() and json.loads(made.read_text())["version"] == VERSION):
        shutil.rmtree(target, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            files = Path(work) / "files"
            _MAKERS[name](count, files)
            _describe(files, Path(work) / "MADE.json")
            Path(work).rename(target)
    told = json.loads(made.read_text())
    return DataSet(name, target / "files", told["count"], told["bytes"])


@contextmanager
def under_new_names(data: DataSet) -> Iterator[DataSet]:
    """Give the files names under which nobody has seen them, until the block ends.

    The product remembers what it has read; measured is how it sends what it does not know yet.
    """
    with tempfile.TemporaryDirectory(prefix="new-", dir=data.folder.parent.parent) as work:
        folder = Path(work) / "files"
        shutil.copytree(data.folder, folder, copy_function=os.link)
        yield replace(data, folder=folder)


def warm(data: DataSet) -> None:
    """Read all files once, so that no sender pays for the disk."""
    for path in sorted(data.folder.rglob("*.dcm")):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 22):
                pass


def _describe(files: Path, made: Path) -> None:
    sizes = [path.stat().st_size for path in files.rglob("*.dcm")]
    made.write_text(json.dumps({"version": VERSION, "count": len(sizes), "bytes": sum(sizes)}))


def _picture(rows: int, columns: int, *, seed: int, highest: int = 4095) -> Image:
    """Return an image with the entropy of a real one: a body, ripples and noise."""
    y, x = np.mgrid[0:rows, 0:columns]
    distance = ((x - columns / 2) / (columns / 3)) ** 2 + ((y - rows / 2) / (rows / 3)) ** 2
    ripples = 150 * np.sin(x / 9 + seed) * np.cos(y / 13)
    noise = np.random.default_rng(seed).normal(0, 25, (rows, columns))
    image = 900 + 700 * np.exp(-distance) + ripples + noise
    found: Image = np.clip(image * highest / 4095, 0, highest).astype("<u2")
    return found


def _header(sop_class: str, modality: str, uids: tuple[str, str, str], number: int) -> Dataset:
    """Return a data set without pixels; `uids` are those of instance, series and study."""
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 100"
    found.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.SOPClassUID = sop_class
    found.SOPInstanceUID, found.SeriesInstanceUID, found.StudyInstanceUID = uids
    found.StudyDate = found.SeriesDate = found.ContentDate = "20240102"
    found.StudyTime = found.ContentTime = "101112.123"
    found.Modality = modality
    found.Manufacturer = "Benchmark"
    found.StudyDescription = "Benchmark study"
    found.PatientName = found.PatientBirthDate = found.PatientSex = ""
    found.PatientID = "BENCH"
    found.SeriesNumber, found.InstanceNumber = 1, number
    found.KVP, found.SliceThickness = "120", "1.25"
    found.ImagePositionPatient = [-250, -250, number * 1.25]
    found.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "T-D1100", "SRT", "Head"
    found.AnatomicRegionSequence = [region]
    found.add_new((0x0009, 0x0010), "LO", "BENCHMARK")
    found.add_new((0x0009, 0x1001), "OB", bytes(range(256)) * 4)
    return found


def _describe_pixels(found: Dataset, kind: Kind, *, frames: int = 1) -> None:
    found.SamplesPerPixel = kind.samples
    found.PhotometricInterpretation = "MONOCHROME2" if kind.samples == 1 else "RGB"
    if kind.samples > 1:
        found.PlanarConfiguration = 0
    found.Rows, found.Columns = kind.rows, kind.columns
    found.BitsAllocated = 16 if kind.bits > 8 else 8
    found.BitsStored, found.HighBit, found.PixelRepresentation = kind.bits, kind.bits - 1, 0
    if frames > 1:
        found.NumberOfFrames = frames


def _write(found: Dataset, path: Path, syntax: str) -> None:
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = UID(syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)


def _uids(set_number: int, study: int, series: int, number: int) -> tuple[str, str, str]:
    study_uid = f"{ROOT}.{set_number}.{study + 1}"
    return f"{study_uid}.{series + 1}.{number + 1}", f"{study_uid}.{series + 1}", study_uid


def _make_series(count: int, files: Path, kind: Kind, *, number: int, frames: int = 1) -> None:
    """Write one kind of image: five studies of two series each."""
    pictures = [_picture(kind.rows, kind.columns, seed=seed).tobytes() for seed in range(8)]
    for index in range(count):
        study, series = index * STUDIES // count, index * STUDIES * 2 // count % 2
        uids = _uids(number, study, series, index)
        found = _header(kind.sop_class, kind.modality, uids, index + 1)
        _describe_pixels(found, kind, frames=frames)
        found.PixelData = b"".join(pictures[(index + frame) % 8] for frame in range(frames))
        path = files / f"study{study + 1}" / f"series{series + 1}" / f"{index + 1:05d}.dcm"
        _write(found, path, kind.syntax)


def _make_a(count: int, files: Path) -> None:
    _make_series(count, files, Kind(CT, "CT", 512, 512, ExplicitVRLittleEndian), number=1)


def _make_b(count: int, files: Path) -> None:
    _make_series(count, files, Kind(MR, "MR", 64, 64, ExplicitVRLittleEndian), number=2)


def _make_c(count: int, files: Path) -> None:
    kind = Kind(ENHANCED_CT, "CT", 512, 512, ExplicitVRLittleEndian)
    _make_series(count, files, kind, number=3, frames=192)


def _make_l(count: int, files: Path) -> None:
    """Write instances of 2.1 GB: as many frames as an Explicit VR length can take, nearly."""
    kind = Kind(ENHANCED_CT, "CT", 512, 512, ExplicitVRLittleEndian)
    _make_series(count, files, kind, number=5, frames=4006)


def _make_d(count: int, files: Path) -> None:
    """Write the mixed set, kind after kind, so that most studies hold one or two kinds."""
    with tempfile.TemporaryDirectory() as scratch:
        for index, kind in enumerate(_kinds(count)):
            uids = _uids(4, index // STUDY_OF_D, 0, index)
            found = _header(kind.sop_class, kind.modality, uids, index + 1)
            path = files / f"study{index // STUDY_OF_D + 1:02d}" / f"{index + 1:05d}.dcm"
            if kind in DOCUMENTS:
                _fill_document(found, kind, index)
                _write(found, path, kind.syntax)
            else:
                _fill_image(found, kind, index)
                _encode(found, kind, path, Path(scratch) / "raw.dcm")


def _kinds(count: int) -> Iterator[Kind]:
    """Yield the kind of each instance: every kind as often, but for a rest of images."""
    kinds = (*IMAGES, *DOCUMENTS)
    for index in range(count):
        yield kinds[index * len(kinds) // count]


def _fill_image(found: Dataset, kind: Kind, seed: int) -> None:
    _describe_pixels(found, kind)
    image = _picture(kind.rows, kind.columns, seed=seed, highest=(1 << kind.bits) - 1)
    if kind.bits == 8:
        pixels = np.repeat(image.astype("u1")[:, :, None], kind.samples, axis=2)
        found.PixelData = pixels.tobytes()
    else:
        found.PixelData = image.astype(">u2" if _is_big_endian(kind) else "<u2").tobytes()


def _is_big_endian(kind: Kind) -> bool:
    return not UID(kind.syntax).is_little_endian


def _encode(found: Dataset, kind: Kind, path: Path, raw: Path) -> None:
    """Write an image in its transfer syntax; its UIDs stay as they are."""
    if not kind.encoder:
        _write(found, path, kind.syntax)
        return
    _write(found, raw, ExplicitVRLittleEndian)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind.encoder != "pydicom":
        subprocess.run(["dcmcjpeg", kind.encoder, "+un", str(raw), str(path)], check=True)
        return
    found = dcmread(raw)
    options = COMPRESSION.get(UID(kind.syntax), {})
    found.compress(UID(kind.syntax), generate_instance_uid=False, **options)
    found.save_as(path)


def _fill_document(found: Dataset, kind: Kind, index: int) -> None:
    if kind.sop_class == PDF:
        found.MIMETypeOfEncapsulatedDocument = "application/pdf"
        found.EncapsulatedDocument = b"%PDF-1.4\n" + bytes(range(256)) * 128 + b"\n%%EOF\n"
        return
    found.ValueType, found.ContinuityOfContent = "CONTAINER", "SEPARATE"
    found.CompletionFlag, found.VerificationFlag = "COMPLETE", "UNVERIFIED"
    found.ContentSequence = [_finding(number) for number in range(30)]


def _finding(number: int) -> Dataset:
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121071", "DCM", "Finding"
    found = Dataset()
    found.RelationshipType, found.ValueType = "CONTAINS", "TEXT"
    found.ConceptNameCodeSequence = [name]
    found.TextValue = f"Finding {number} of a benchmark that means nothing. " * 4
    return found


def _make_warm_up(count: int, files: Path) -> None:
    """Write what a background sender sends before it is measured: no instance of the sets."""
    _make_series(count, files, Kind(CT, "CT", 512, 512, ExplicitVRLittleEndian), number=8)


def _make_single(count: int, files: Path) -> None:
    """Write one tiny instance, of no set: what a send costs that has nothing to send."""
    _make_series(count, files, Kind(MR, "MR", 64, 64, ExplicitVRLittleEndian), number=9)


_MAKERS: dict[str, Callable[[int, Path], None]] = {
    "A": _make_a,
    "B": _make_b,
    "C": _make_c,
    "D": _make_d,
    "L": _make_l,
    "single": _make_single,
    "warm-up": _make_warm_up,
}
