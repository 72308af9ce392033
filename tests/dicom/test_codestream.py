"""Whether compressed data lost information, and how large they say that they are."""

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from sender.dicom import codestream
from sender.dicom.files import scan
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance
from sender.negotiation.matching import is_lossy
from tests import factories
from tests.samples import sample

J2K, HTJ2K = syntaxes.JPEG_2000, syntaxes.HTJ2K
REVERSIBLE, IRREVERSIBLE = 1, 0


def make(path: Path, syntax: str, declared: str | None, *, irreversible: bool) -> ScannedInstance:
    """Write a file whose code stream openjpeg made, with Lossy Image Compression as wanted."""
    factories.write_instance(
        path, sop_instance="1.2.3", transfer_syntax=syntaxes.JPEG_2000_LOSSLESS, rows=64
    )
    dataset = dcmread(path)
    if irreversible:
        dataset.decompress(generate_instance_uid=False)
        dataset.compress(J2K, j2k_cr=[4.0], generate_instance_uid=False)
    for name in ("LossyImageCompression", "LossyImageCompressionRatio"):
        if name in dataset:
            delattr(dataset, name)
    if declared is not None:
        dataset.LossyImageCompression = declared
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(path)
    found = scan(str(path), relative_path=path.name)
    assert isinstance(found, ScannedInstance), found
    return found


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
@pytest.mark.parametrize(
    ("declared", "irreversible", "lossy"),
    [
        ("01", True, True),
        ("01", False, True),  # contradictory: the declaration counts
        ("00", False, False),
        ("00", True, True),  # contradictory: what the code stream proves counts
        (None, True, True),
        (None, False, None),  # reversible, yet nobody says that nothing was left out
        ("", False, None),
        ("", True, True),
    ],
)
def test_lossy_is_what_is_declared_or_proved(
    syntax: str, declared: str | None, irreversible: bool, lossy: bool | None, tmp_path: Path
) -> None:
    found = make(tmp_path / "x.dcm", syntax, declared, irreversible=irreversible)
    assert found.kind.transfer_syntax == syntax
    assert found.kind.lossy is lossy
    assert is_lossy(found.kind) is (lossy is not False)


def test_other_syntaxes_are_not_looked_into(tmp_path: Path) -> None:
    found = make(tmp_path / "x.dcm", syntaxes.JPEG_2000_LOSSLESS, None, irreversible=False)
    assert found.kind.lossy is None
    assert not is_lossy(found.kind)


@pytest.mark.parametrize("cut", [0, 1, 3, 12, 30, 44, 50, 58])
def test_a_code_stream_that_ends_early_tells_nothing(cut: int) -> None:
    assert codestream.is_irreversible(reading(stream(IRREVERSIBLE)[:cut]), 0, cut) is None


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


def stream(transformation: int, *more: bytes, components: int = 1) -> bytes:
    """Return a main header: SOC, SIZ, COD, and more."""
    size = struct.pack(">HIIIIIIIIH", 0, 640, 480, 0, 0, 640, 480, 0, 0, components)
    size += bytes([11, 1, 1]) * components
    cod = struct.pack(">BBHBBBBBB", 0, 0, 1, 0, 5, 4, 4, 0, transformation)
    return b"\xff\x4f" + segment(0xFF51, size) + segment(0xFF52, cod) + b"".join(more)


def reading(content: bytes) -> codestream.ReadAt:
    return lambda position, length: content[position : position + length]


def coc(component: int, transformation: int, *, wide: bool = False) -> bytes:
    number = struct.pack(">H" if wide else ">B", component)
    return segment(0xFF53, number + bytes([0, 5, 4, 4, 0, transformation]))


TILE = segment(0xFF90, bytes(8))
DATA = b"\xff\x93" + bytes(20)


@pytest.mark.parametrize(
    ("content", "irreversible"),
    [
        (stream(IRREVERSIBLE), True),
        (stream(REVERSIBLE), None),
        (stream(REVERSIBLE, segment(0xFF64, bytes(3000)), coc(0, IRREVERSIBLE)), True),
        (stream(REVERSIBLE, coc(0, REVERSIBLE)), None),
        (stream(REVERSIBLE, coc(256, IRREVERSIBLE, wide=True), components=257), True),
        (stream(REVERSIBLE, TILE, coc(0, IRREVERSIBLE), DATA), True),
        (stream(REVERSIBLE, TILE, DATA, coc(0, IRREVERSIBLE)), None),
        (b"\xff\x4f" + segment(0xFF64, b"no COD") + TILE + DATA, None),
        (b"no code stream at all", None),
        (b"", None),
    ],
)
def test_the_transformation_is_found_wherever_it_may_stand(
    content: bytes, irreversible: bool | None
) -> None:
    assert codestream.is_irreversible(reading(content), 0, len(content)) is irreversible


def test_a_header_without_end_is_given_up() -> None:
    content = b"\xff\x4f" + segment(0xFF64, b"") * 100_000
    assert codestream.is_irreversible(reading(content), 0, len(content)) is None


def test_sizes_are_read_from_the_header() -> None:
    content = stream(REVERSIBLE, components=3)
    found = codestream.frame_size(reading(content), 0, len(content))
    assert found == codestream.FrameSize(480, 640, 3, 12)


@pytest.mark.parametrize(
    "name",
    [
        "JPEG2000.dcm", "693_J2KI.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_jpeg_dcmtk.dcm",
        "JPGExtended.dcm", "JPEG-lossy.dcm", "MR_small_jpeg_ls_lossless.dcm",
        "JPEGLSNearLossless_16.dcm", "JPEGLSNearLossless_08.dcm", "examples_jpeg2k.dcm",
    ],
)  # fmt: skip
def test_sizes_agree_with_the_data_set(name: str) -> None:
    dataset = dcmread(sample(name))
    frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    found = codestream.frame_size(reading(frame), 0, len(frame))
    assert found is not None
    size = (found.rows, found.columns, found.samples)
    assert size == (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
    assert found.bits <= dataset.BitsAllocated


def test_jpeg_ls_tells_its_size(tmp_path: Path) -> None:
    path = factories.write_instance(
        tmp_path / "x", sop_instance="1.2.3", transfer_syntax=syntaxes.JPEG_LS_LOSSLESS, rows=48
    )
    dataset = dcmread(path)
    assert np.asarray(dataset.pixel_array).shape == (48, 48)
    frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    found = codestream.frame_size(reading(frame), 0, len(frame))
    assert found == codestream.FrameSize(48, 48, 1, 16)
