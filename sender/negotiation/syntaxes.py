"""Transfer syntaxes, PS3.5 section 10 and PS3.6 table A-1: what each is and how data may change.

The table holds all that the installed pydicom and pynetdicom know; a test keeps it so. It is ours
because pynetdicom patches pydicom's dictionary when it is imported, so that two processes could
disagree about the same UID.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

IMPLICIT_VR_LE = "1.2.840.10008.1.2"
EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BE = "1.2.840.10008.1.2.2"
ENCAPSULATED_EXPLICIT_VR_LE = "1.2.840.10008.1.2.1.98"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"

FREELY_CONVERTIBLE = frozenset({IMPLICIT_VR_LE, EXPLICIT_VR_LE, DEFLATED_EXPLICIT_VR_LE})
"""Uncompressed and deflated little endian data convert freely among these (client's document)."""
FALLBACK = (EXPLICIT_VR_LE, IMPLICIT_VR_LE)
"""What a context for converted or decompressed data proposes, in this order."""


class Family(StrEnum):
    """How pixel data are kept, in the words of the pages."""

    UNCOMPRESSED = "Uncompressed"
    DEFLATED = "Deflated"
    LOSSLESS = "Lossless"
    LOSSY = "Lossy"
    LOSSLESS_OR_LOSSY = "Lossless or lossy"
    VIDEO = "Video"
    REFERENCED = "Referenced"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One row of the table.

    Attributes:
        name: the standard's name, PS3.6 table A-1.
        short_name: the name on pages.
        encapsulated: pixel data are a sequence of fragments, PS3.5 annex A.4.
        deflated: the whole data set is deflated.
    """

    uid: str
    name: str
    keyword: str
    short_name: str
    family: Family
    encapsulated: bool = False
    deflated: bool = False
    big_endian: bool = False
    retired: bool = False

    @property
    def implicit(self) -> bool:
        """Whether value representations are left to the dictionary, PS3.5 annex A.1."""
        return self.keyword.endswith("ImplicitVRLittleEndian")


# fmt: off
TRANSFER_SYNTAXES: tuple[TransferSyntax, ...] = (
    TransferSyntax("1.2.840.10008.1.2", "Implicit VR Little Endian", "ImplicitVRLittleEndian", "Implicit VR LE", Family.UNCOMPRESSED),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.1", "Explicit VR Little Endian", "ExplicitVRLittleEndian", "Explicit VR LE", Family.UNCOMPRESSED),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.1.98", "Encapsulated Uncompressed Explicit VR Little Endian", "EncapsulatedUncompressedExplicitVRLittleEndian", "Encapsulated Explicit VR LE", Family.UNCOMPRESSED, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian", "DeflatedExplicitVRLittleEndian", "Deflated", Family.DEFLATED, deflated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.2", "Explicit VR Big Endian", "ExplicitVRBigEndian", "Explicit VR BE", Family.UNCOMPRESSED, big_endian=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)", "JPEGBaseline8Bit", "JPEG Baseline", Family.LOSSY, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 and 4)", "JPEGExtended12Bit", "JPEG Extended", Family.LOSSY, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.52", "JPEG Extended (Process 3 and 5)", "JPEGExtended35", "JPEG Extended 3 and 5", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)", "JPEGSpectralSelectionNonHierarchical68", "JPEG Spectral Selection 6 and 8", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)", "JPEGSpectralSelectionNonHierarchical79", "JPEG Spectral Selection 7 and 9", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.55", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)", "JPEGFullProgressionNonHierarchical1012", "JPEG Full Progression 10 and 12", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.56", "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)", "JPEGFullProgressionNonHierarchical1113", "JPEG Full Progression 11 and 13", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)", "JPEGLossless", "JPEG Lossless", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.58", "JPEG Lossless, Non-Hierarchical (Process 15)", "JPEGLosslessNonHierarchical15", "JPEG Lossless 15", Family.LOSSLESS, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.59", "JPEG Extended, Hierarchical (Process 16 and 18)", "JPEGExtendedHierarchical1618", "JPEG Extended hierarchical 16 and 18", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.60", "JPEG Extended, Hierarchical (Process 17 and 19)", "JPEGExtendedHierarchical1719", "JPEG Extended hierarchical 17 and 19", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.61", "JPEG Spectral Selection, Hierarchical (Process 20 and 22)", "JPEGSpectralSelectionHierarchical2022", "JPEG Spectral Selection hierarchical 20 and 22", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.62", "JPEG Spectral Selection, Hierarchical (Process 21 and 23)", "JPEGSpectralSelectionHierarchical2123", "JPEG Spectral Selection hierarchical 21 and 23", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.63", "JPEG Full Progression, Hierarchical (Process 24 and 26)", "JPEGFullProgressionHierarchical2426", "JPEG Full Progression hierarchical 24 and 26", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.64", "JPEG Full Progression, Hierarchical (Process 25 and 27)", "JPEGFullProgressionHierarchical2527", "JPEG Full Progression hierarchical 25 and 27", Family.LOSSY, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.65", "JPEG Lossless, Hierarchical (Process 28)", "JPEGLosslessHierarchical28", "JPEG Lossless hierarchical 28", Family.LOSSLESS, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.66", "JPEG Lossless, Hierarchical (Process 29)", "JPEGLosslessHierarchical29", "JPEG Lossless hierarchical 29", Family.LOSSLESS, encapsulated=True, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.70", "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])", "JPEGLosslessSV1", "JPEG Lossless SV1", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless Image Compression", "JPEGLSLossless", "JPEG-LS Lossless", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.81", "JPEG-LS Lossy (Near-Lossless) Image Compression", "JPEGLSNearLossless", "JPEG-LS Near-Lossless", Family.LOSSY, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.90", "JPEG 2000 Image Compression (Lossless Only)", "JPEG2000Lossless", "JPEG 2000 Lossless", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.91", "JPEG 2000 Image Compression", "JPEG2000", "JPEG 2000", Family.LOSSLESS_OR_LOSSY, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)", "JPEG2000MCLossless", "JPEG 2000 Part 2 Lossless", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2 Multi-component Image Compression", "JPEG2000MC", "JPEG 2000 Part 2", Family.LOSSLESS_OR_LOSSY, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.94", "JPIP Referenced", "JPIPReferenced", "JPIP", Family.REFERENCED),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", "JPIPReferencedDeflate", "JPIP Deflate", Family.REFERENCED, deflated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level", "MPEG2MPML", "MPEG-2 ML", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.100.1", "Fragmentable MPEG2 Main Profile / Main Level", "MPEG2MPMLF", "MPEG-2 ML fragmentable", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.101", "MPEG2 Main Profile / High Level", "MPEG2MPHL", "MPEG-2 HL", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.101.1", "Fragmentable MPEG2 Main Profile / High Level", "MPEG2MPHLF", "MPEG-2 HL fragmentable", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", "MPEG4HP41", "H.264 HP 4.1", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1", "MPEG4HP41F", "H.264 HP 4.1 fragmentable", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "MPEG4HP41BD", "H.264 BD 4.1", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.103.1", "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "MPEG4HP41BDF", "H.264 BD 4.1 fragmentable", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "MPEG4HP422D", "H.264 2D 4.2", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.104.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "MPEG4HP422DF", "H.264 2D 4.2 fragmentable", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "MPEG4HP423D", "H.264 3D 4.2", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.105.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "MPEG4HP423DF", "H.264 3D 4.2 fragmentable", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "MPEG4HP42STEREO", "H.264 Stereo 4.2", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.106.1", "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "MPEG4HP42STEREOF", "H.264 Stereo 4.2 fragmentable", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile / Level 5.1", "HEVCMP51", "HEVC 5.1", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.108", "HEVC/H.265 Main 10 Profile / Level 5.1", "HEVCM10P51", "HEVC Main 10 5.1", Family.VIDEO, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 Image Compression (Lossless Only)", "HTJ2KLossless", "HTJ2K Lossless", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)", "HTJ2KLosslessRPCL", "HTJ2K Lossless RPCL", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000 Image Compression", "HTJ2K", "HTJ2K", Family.LOSSLESS_OR_LOSSY, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced", "JPIPHTJ2KReferenced", "JPIP HTJ2K", Family.REFERENCED),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.205", "JPIP HTJ2K Referenced Deflate", "JPIPHTJ2KReferencedDeflate", "JPIP HTJ2K Deflate", Family.REFERENCED, deflated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.5", "RLE Lossless", "RLELossless", "RLE Lossless", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.6.1", "RFC 2557 MIME encapsulation", "RFC2557MIMEEncapsulation", "MIME encapsulation", Family.OTHER, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.6.2", "XML Encoding", "XMLEncoding", "XML Encoding", Family.OTHER, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.7.1", "SMPTE ST 2110-20 Uncompressed Progressive Active Video", "SMPTEST211020UncompressedProgressiveActiveVideo", "SMPTE Progressive Video", Family.VIDEO),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.7.2", "SMPTE ST 2110-20 Uncompressed Interlaced Active Video", "SMPTEST211020UncompressedInterlacedActiveVideo", "SMPTE Interlaced Video", Family.VIDEO),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.7.3", "SMPTE ST 2110-30 PCM Digital Audio", "SMPTEST211030PCMDigitalAudio", "SMPTE Audio", Family.VIDEO),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.20", "Papyrus 3 Implicit VR Little Endian", "Papyrus3ImplicitVRLittleEndian", "Papyrus 3", Family.UNCOMPRESSED, retired=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.110", "JPEG XL Lossless", "JPEGXLLossless", "JPEG XL Lossless", Family.LOSSLESS, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression", "JPEGXLJPEGRecompression", "JPEG XL Recompression", Family.LOSSY, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.4.112", "JPEG XL", "JPEGXL", "JPEG XL", Family.LOSSLESS_OR_LOSSY, encapsulated=True),  # noqa: E501
    TransferSyntax("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression", "DeflatedImageFrameCompression", "Deflated Image Frame", Family.LOSSLESS, encapsulated=True),  # noqa: E501
)
# fmt: on

_BY_UID: Mapping[str, TransferSyntax] = {syntax.uid: syntax for syntax in TRANSFER_SYNTAXES}
_DECODABLE = frozenset(
    {
        JPEG_BASELINE,
        JPEG_EXTENDED,
        JPEG_LOSSLESS,
        JPEG_LOSSLESS_SV1,
        JPEG_LS_LOSSLESS,
        JPEG_LS_NEAR_LOSSLESS,
        JPEG_2000_LOSSLESS,
        JPEG_2000,
        HTJ2K_LOSSLESS,
        HTJ2K_LOSSLESS_RPCL,
        HTJ2K,
        RLE_LOSSLESS,
        ENCAPSULATED_EXPLICIT_VR_LE,
    }
)


def find(uid: str) -> TransferSyntax | None:
    """Return the row for a UID, None for one that the standard does not know (private ones)."""
    return _BY_UID.get(uid)


def name_of(uid: str) -> str:
    """Return the standard's name, or the UID itself where there is none."""
    syntax = find(uid)
    return syntax.name if syntax else uid


def short_name_of(uid: str) -> str:
    """Return the name on pages, or the UID itself where there is none."""
    syntax = find(uid)
    return syntax.short_name if syntax else uid


def is_native(uid: str) -> bool:
    """Tell whether pixel data are uncompressed: implicit, explicit (LE, BE) or deflated."""
    return uid in FREELY_CONVERTIBLE or uid == EXPLICIT_VR_BE


def is_deflated(uid: str) -> bool:
    """Tell whether the whole data set is deflated (PS3.5 annex A.5)."""
    syntax = find(uid)
    return syntax is not None and syntax.deflated


def freely_convertible(stored: str, accepted: str) -> bool:
    """Tell whether data convert without touching pixel data: same endianness, none compressed."""
    if stored == accepted:
        return True
    return stored in FREELY_CONVERTIBLE and accepted in FREELY_CONVERTIBLE


def is_decodable(uid: str) -> bool:
    """Tell whether compressed data in this syntax can be decompressed here; video never is."""
    return uid in _DECODABLE


def is_lossy(uid: str) -> bool | None:
    """Tell whether the syntax itself loses information; None: only the data can tell."""
    syntax = find(uid)
    if syntax is None or syntax.family is Family.LOSSLESS_OR_LOSSY:
        return None
    return syntax.family in (Family.LOSSY, Family.VIDEO)


def uid_named(text: str) -> str:
    """Return the UID for a name or keyword of the standard; whatever else stays as it is."""
    return _BY_NAME.get(" ".join(text.split()).casefold(), text)


_BY_NAME: Mapping[str, str] = {
    name.casefold(): syntax.uid
    for syntax in TRANSFER_SYNTAXES
    for name in (syntax.keyword, syntax.name, syntax.short_name)
}
