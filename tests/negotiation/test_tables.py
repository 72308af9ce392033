"""The tables agree with the installed libraries, so that an upgrade can't go unnoticed."""

import pynetdicom.sop_class
import pytest
from pydicom.uid import UID_dictionary

from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.syntaxes import Family

_LIBRARY_SYNTAXES = {
    uid: entry for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"
}
_LIBRARY_CLASSES = {
    str(uid): keyword
    for table in vars(pynetdicom.sop_class).values()
    if isinstance(table, dict)
    for keyword, uid in table.items()
    if isinstance(uid, str) and uid.startswith("1.2.840.10008.") and keyword[:1].isupper()
}


def test_every_transfer_syntax_of_the_libraries_is_in_the_table() -> None:
    ours = {s.uid: (s.name, s.keyword, s.retired) for s in syntaxes.TRANSFER_SYNTAXES}
    theirs = {uid: (e[0], e[4], e[3] == "Retired") for uid, e in _LIBRARY_SYNTAXES.items()}
    assert ours == theirs


def test_every_sop_class_of_pynetdicom_is_in_the_table() -> None:
    assert {s.uid for s in sop_classes.SOP_CLASSES} == set(_LIBRARY_CLASSES)


def test_a_sop_class_has_the_name_of_the_standard() -> None:
    entries = {sop.uid: UID_dictionary.get(sop.uid) for sop in sop_classes.SOP_CLASSES}
    of_the_standard = {uid: entry[0] for uid, entry in entries.items() if entry is not None}
    ours = {sop.uid: sop.name for sop in sop_classes.SOP_CLASSES if sop.uid in of_the_standard}
    assert of_the_standard
    assert ours == of_the_standard


@pytest.mark.parametrize("syntax", syntaxes.TRANSFER_SYNTAXES, ids=lambda s: s.keyword)
def test_encapsulation_agrees_with_pydicom(syntax: syntaxes.TransferSyntax) -> None:
    from pydicom.uid import UID

    if syntax.family in (Family.REFERENCED, Family.OTHER) or ".1.2.7." in syntax.uid:
        assert not syntax.encapsulated
    elif syntax.keyword != "Papyrus3ImplicitVRLittleEndian":
        assert syntax.encapsulated == UID(syntax.uid).is_encapsulated


def test_short_names_are_unique() -> None:
    names = [syntax.short_name for syntax in syntaxes.TRANSFER_SYNTAXES]
    assert len(names) == len(set(names))


def test_uncompressed_and_deflated_convert_freely_while_endianness_stays() -> None:
    free = [*syntaxes.FREELY_CONVERTIBLE, syntaxes.EXPLICIT_VR_BE]
    pairs = {(a, b) for a in free for b in free if syntaxes.freely_convertible(a, b)}
    little = syntaxes.FREELY_CONVERTIBLE
    assert pairs == {(a, b) for a in little for b in little} | {
        (syntaxes.EXPLICIT_VR_BE, syntaxes.EXPLICIT_VR_BE)
    }


@pytest.mark.parametrize(
    ("uid", "lossy"),
    [
        (syntaxes.JPEG_BASELINE, True),
        (syntaxes.JPEG_EXTENDED, True),
        (syntaxes.JPEG_LS_NEAR_LOSSLESS, True),
        (syntaxes.JPEG_2000, None),
        (syntaxes.HTJ2K, None),
        (syntaxes.JPEG_2000_LOSSLESS, False),
        (syntaxes.RLE_LOSSLESS, False),
        (syntaxes.IMPLICIT_VR_LE, False),
        ("1.2.3.4", None),
    ],
)
def test_loss_is_known_from_the_syntax_or_only_from_the_data(uid: str, lossy: bool | None) -> None:
    assert syntaxes.is_lossy(uid) is lossy
