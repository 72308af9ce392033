"""Conversion keeps every element and every pixel, or refuses."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from sender.dicom.encoding import ConversionFailed, EncodedDataset, convert
from sender.dicom.files import scan
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance
from tests import factories
from tests.samples import sample

ILE, ELE, DEFLATED = (
    syntaxes.IMPLICIT_VR_LE,
    syntaxes.EXPLICIT_VR_LE,
    syntaxes.DEFLATED_EXPLICIT_VR_LE,
)


def scanned(path: Path) -> ScannedInstance:
    found = scan(str(path), relative_path=path.name)
    assert isinstance(found, ScannedInstance), found
    return found


def read(encoded: EncodedDataset) -> Dataset:
    """Read converted data back, as a receiver would."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(encoded.transfer_syntax)
    head = DicomBytesIO()
    head.write(bytes(128) + b"DICM")
    write_file_meta_info(head, meta, enforce_standard=False)
    return dcmread(BytesIO(head.getvalue() + encoded.content))


def write(path: Path, **options: object) -> ScannedInstance:
    return scanned(factories.write_instance(path, sop_instance="1.2.3", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [ILE, ELE, DEFLATED])
@pytest.mark.parametrize("stored", [ELE, syntaxes.RLE_LOSSLESS, syntaxes.JPEG_2000_LOSSLESS])
def test_pixels_and_identity_survive(stored: str, wanted: str, tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm", transfer_syntax=stored, rows=32)
    encoded = convert(instance, wanted)
    assert encoded.transfer_syntax == wanted
    result = read(encoded)
    source = dcmread(instance.path)
    assert result.SOPInstanceUID == "1.2.3"
    assert np.array_equal(pixel_array(result), pixel_array(source))
    assert result.PatientName == source.PatientName


def test_private_elements_and_sequences_survive(tmp_path: Path) -> None:
    item = Dataset()
    item.CodeValue = "X"
    path = factories.write_instance(
        tmp_path / "x.dcm", sop_instance="1.2.3", extra=[("ConceptCodeSequence", [item])]
    )
    dataset = dcmread(path)
    block = dataset.private_block(0x0009, "ACME", create=True)
    block.add_new(0x01, "LO", "kept")
    dataset.save_as(path)
    result = read(convert(scanned(path), ILE))
    assert result.ConceptCodeSequence[0].CodeValue == "X"
    assert bytes(result[0x0009, 0x1001].value).strip() == b"kept"


@pytest.mark.parametrize("wanted", [syntaxes.JPEG_BASELINE, syntaxes.EXPLICIT_VR_BE, "1.2.3"])
def test_nothing_is_converted_to_another_syntax(wanted: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="never converted"):
        convert(write(tmp_path / "x.dcm"), wanted)


def test_big_endian_data_stay_as_they_are() -> None:
    with pytest.raises(ConversionFailed, match="big endian"):
        convert(scanned(sample("MR_small_bigendian.dcm")), ELE)


def test_what_would_grow_too_large_is_refused(tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm", transfer_syntax=syntaxes.RLE_LOSSLESS, rows=64)
    with pytest.raises(ConversionFailed, match="would exceed"):
        convert(instance, ELE, largest=100)


def test_damaged_pixel_data_are_refused_with_a_reason(tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm", transfer_syntax=syntaxes.JPEG_2000_LOSSLESS, rows=64)
    path = Path(instance.path)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"\xff\x4f\xff\x51")
    content[at : at + 60] = bytes(60)
    path.write_bytes(bytes(content))
    with pytest.raises(ConversionFailed, match="JPEG 2000 Lossless could not be made Explicit"):
        convert(scanned(path), ELE)


COLOUR = [
    "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_gdcm_KY.dcm",
    "examples_ybr_color.dcm", "SC_rgb_rle.dcm",
]  # fmt: skip


@pytest.mark.parametrize("name", COLOUR)
def test_colour_stays_what_it_was(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        instance = scanned(sample(name))
        result = read(convert(instance, ELE))
        before = pixel_array(dcmread(instance.path))
        after = pixel_array(result)
    assert result.PhotometricInterpretation == "RGB"
    assert before.shape == after.shape
    assert int(np.abs(before.astype(int) - after.astype(int)).max()) <= 2
