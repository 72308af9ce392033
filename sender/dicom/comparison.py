"""Whether two data sets say the same, whatever their encoding."""

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

_TRAILING_PADDING = 0xFFFCFFFC


class Different(ValueError):
    """They differ; the message says where, as a clause without values."""


def compare(source: Dataset, result: Dataset, ignored: frozenset[int] = frozenset()) -> None:
    """Compare two data sets at the top level, and sequences within them by value.

    Args:
        ignored: tags that may differ.

    Raises:
        Different: they do not say the same.
    """
    tags = _data_tags(source) - ignored
    if tags != _data_tags(result) - ignored:
        raise Different("elements appeared or vanished")
    for tag in sorted(tags):
        if not _is_same(source, result, tag):
            raise Different(f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) did not survive")


def _data_tags(dataset: Dataset) -> set[int]:
    """Return the tags of elements that hold data: no group lengths, no padding (PS3.5 7.2, 7.1)."""
    return {int(tag) for tag in list(dataset.keys()) if tag & 0xFFFF and tag != _TRAILING_PADDING}


def _is_same(source: Dataset, result: Dataset, tag: int) -> bool:
    before: DataElement | RawDataElement = source.get_item(tag)
    after: DataElement | RawDataElement = result.get_item(tag)
    if before.VR != "SQ" and before.is_raw and after.is_raw and before.value == after.value:
        return True
    one: DataElement = source[tag]
    other: DataElement = result[tag]
    return bool(one.value == other.value) or _raw(one) == _raw(other)


def _raw(element: DataElement) -> bytes:
    """Return an element as implicit VR bytes: what counts when only one side knows its VR."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = True
    holder = Dataset()
    holder.add(element)
    write_dataset(buffer, holder)
    return bytes(buffer.getvalue())
