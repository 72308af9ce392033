"""Many small instances, written fast and without Django."""

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
FOLDER = 500


def uid_of(number: int, root: str = "1.2.3") -> str:
    """Return the SOP Instance UID of an instance by its number."""
    return f"{root}.{number}"


def write_many(target: Path, count: int, *, study: int = 25, root: str = "1.2.3") -> Path:
    """Write instances in folders of 500, `study` of them in each study; return `target`."""
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.Modality = "CT"
    dataset.PatientID = "TEST"
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(32)
    for number in range(count):
        dataset.SOPInstanceUID = uid_of(number, root)
        dataset.StudyInstanceUID = f"{root}.0.{number // study}"
        dataset.SeriesInstanceUID = f"{root}.0.{number // study}.1"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        folder = target / str(number // FOLDER)
        if number % FOLDER == 0:
            folder.mkdir(parents=True)
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return target
