"""Attributes by keyword and their values as text."""

import re
from pathlib import Path

import pytest
from pydicom import dcmread

from sender.dicom.attributes import text_of
from sender.dicom.files import scan, tag_of
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance
from tests import factories
from tests.samples import sample


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("StudyDescription", 0x00081030),
        (" PatientID ", 0x00100020),
        ("(0008,1030)", 0x00081030),
        ("0008,1030", 0x00081030),
        ("00081030", 0x00081030),
        ("Rows", 0x00280010),
        ("(0009,1001)", 0x00091001),
    ],
)
def test_attributes_are_found_by_keyword_or_tag(keyword: str, tag: int) -> None:
    assert tag_of(keyword) == tag


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("StudyDescripton", "There is no DICOM attribute called “StudyDescripton”"),
        ("", "There is no DICOM attribute"),
        ("(0008,103)", "There is no DICOM attribute"),
        ("TransferSyntaxUID", "does not stand in the data set"),
        ("PixelData", "neither text nor a number"),
        ("ReferencedStudySequence", "neither text nor a number"),
    ],
)
def test_what_no_filter_can_use_is_refused_in_words(keyword: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        tag_of(keyword)


def values(path: Path, *keywords: str) -> dict[str, str | None]:
    wanted = {keyword: tag_of(keyword) for keyword in keywords}
    found = scan(str(path), relative_path="x", wanted=frozenset(wanted.values()))
    assert isinstance(found, ScannedInstance)
    return {keyword: found.values.get(tag) for keyword, tag in wanted.items()}


@pytest.mark.parametrize(
    "syntax",
    [syntaxes.EXPLICIT_VR_LE, syntaxes.IMPLICIT_VR_LE, syntaxes.RLE_LOSSLESS],
)
def test_text_and_numbers_come_out_as_text(syntax: str, tmp_path: Path) -> None:
    extra = [
        ("SpecificCharacterSet", "ISO_IR 192"),
        ("StudyDescription", "Schädel\\Hals"),
        ("ImageType", ["ORIGINAL", "PRIMARY"]),
        ("PixelSpacing", [0.5, 0.25]),
        ("RecommendedDisplayFrameRateInFloat", 12.5),
        ("InstanceNumber", 17),
        ("TextValue", "long text"),
    ]
    path = factories.write_instance(
        tmp_path / "x", sop_instance="1.2.3", transfer_syntax=syntax, extra=extra
    )
    found = values(
        path, "StudyDescription", "ImageType", "PixelSpacing", "InstanceNumber", "Rows",
        "RecommendedDisplayFrameRateInFloat", "TextValue", "AccessionNumber",
    )  # fmt: skip
    assert found == {
        "StudyDescription": "Schädel\\Hals",
        "ImageType": "ORIGINAL\\PRIMARY",
        "PixelSpacing": "0.5\\0.25",
        "InstanceNumber": "17",
        "Rows": "8",
        "RecommendedDisplayFrameRateInFloat": "12.5",
        "TextValue": "long text",
        "AccessionNumber": None,
    }


def test_big_endian_numbers_are_read_as_such() -> None:
    path = sample("MR_small_bigendian.dcm")
    dataset = dcmread(path)
    assert values(path, "Rows", "Modality") == {"Rows": str(dataset.Rows), "Modality": "MR"}


@pytest.mark.parametrize("charset", [None, "ISO_IR 100", "ISO_IR 192", "ISO_IR 144"])
def test_character_sets_are_obeyed(charset: str | None, tmp_path: Path) -> None:
    text = {None: "Plain", "ISO_IR 144": "Люкceмбypг"}.get(charset, "Ümläut")
    extra = [("SpecificCharacterSet", charset)] if charset else []
    path = factories.write_instance(
        tmp_path / "x", sop_instance="1.2.3", extra=[*extra, ("StudyDescription", text)]
    )
    assert values(path, "StudyDescription") == {"StudyDescription": text}


def test_values_that_are_broken_or_too_long_are_absent(tmp_path: Path) -> None:
    assert text_of(0x00280010, b"US", b"123") is None
    assert text_of(0x00091001, b"OB", b"123") is None
    assert text_of(0x00091001, b"", b"a b ") == "a b"
    assert text_of(0x00100010, b"PN", b"\xff\xfe", character_set=b"ISO_IR 999") is not None
    path = factories.write_instance(
        tmp_path / "x", sop_instance="1.2.3", extra=[("TextValue", "x" * 5000)]
    )
    assert values(path, "TextValue") == {"TextValue": None}


def test_nested_values_are_not_taken_for_those_of_the_instance(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.StudyDescription = "nested"
    path = factories.write_instance(
        tmp_path / "x", sop_instance="1.2.3", extra=[("ReferencedStudySequence", [item])]
    )
    assert values(path, "StudyDescription") == {"StudyDescription": None}
