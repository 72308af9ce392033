"""Conversion keeps every element and every pixel, or refuses."""

import errno
import os
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from sender.dicom import encoding, pixels, reading, rewriting
from sender.dicom.encoding import (
    ConversionFailed,
    EncodedDataset,
    Limits,
    SourceUnusable,
    convert,
)
from sender.dicom.files import scan
from sender.dicom.listed import FileRange
from sender.dicom.spool import SpoolFailed
from sender.negotiation import syntaxes
from sender.negotiation.instances import ScannedInstance, Unreadable
from tests import factories
from tests.samples import ALL, sample

ILE, ELE, DEFLATED = (
    syntaxes.IMPLICIT_VR_LE,
    syntaxes.EXPLICIT_VR_LE,
    syntaxes.DEFLATED_EXPLICIT_VR_LE,
)
LOSSLESS = [
    syntaxes.RLE_LOSSLESS,
    syntaxes.JPEG_2000_LOSSLESS,
    syntaxes.JPEG_LS_LOSSLESS,
]


def scanned(path: Path) -> ScannedInstance:
    found = scan(str(path), relative_path=path.name)
    assert isinstance(found, ScannedInstance), found
    return found


def content(encoded: EncodedDataset) -> bytes:
    if isinstance(encoded.content, bytes):
        return encoded.content
    return Path(encoded.content.path).read_bytes()


def read(encoded: EncodedDataset) -> Dataset:
    """Read converted data back, as a receiver would."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(encoded.transfer_syntax)
    head = DicomBytesIO()
    head.write(bytes(128) + b"DICM")
    write_file_meta_info(head, meta, enforce_standard=False)
    return dcmread(BytesIO(head.getvalue() + content(encoded)))


def write(path: Path, **options: object) -> ScannedInstance:
    return scanned(factories.write_instance(path, sop_instance="1.2.3", **options))  # type: ignore[arg-type]


def quietly(action: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return action()


@pytest.mark.parametrize("wanted", [ILE, ELE, DEFLATED])
@pytest.mark.parametrize("stored", [ELE, ILE, *LOSSLESS])
def test_pixels_and_identity_survive(stored: str, wanted: str, tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm", transfer_syntax=stored, rows=32)
    encoded = convert(instance, wanted)
    assert encoded.transfer_syntax == wanted
    assert encoded.length == len(content(encoded))
    assert encoded.length % 2 == 0
    result = read(encoded)
    source = dcmread(instance.path)
    assert result.SOPInstanceUID == "1.2.3"
    assert np.array_equal(pixel_array(result), pixel_array(source))
    assert result.PatientName == source.PatientName


@pytest.mark.parametrize("wanted", [ILE, ELE])
def test_deflated_data_are_inflated(wanted: str) -> None:
    instance = scanned(sample("image_dfl.dcm"))
    assert instance.kind.transfer_syntax == DEFLATED
    result = read(convert(instance, wanted))
    source = dcmread(instance.path)
    assert result.PixelData == source.PixelData
    assert [element.tag for element in result] == [
        element.tag for element in source if element.tag.element
    ]


def test_what_only_needs_inflating_keeps_its_very_bytes() -> None:
    instance = scanned(sample("image_dfl.dcm"))
    raw = Path(instance.path).read_bytes()[instance.dataset_offset :]
    inflated = zlib.decompressobj(-15).decompress(raw)
    assert content(convert(instance, ELE)) == inflated
    assert zlib.decompressobj(-15).decompress(content(convert(instance, DEFLATED))) == inflated


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


def test_what_stands_behind_pixel_data_survives(tmp_path: Path) -> None:
    path = factories.write_instance(tmp_path / "x.dcm", sop_instance="1.2.3")
    dataset = dcmread(path)
    dataset.DataSetTrailingPadding = b"\0" * 6
    dataset.add_new(0x7FE10010, "LO", "ACME")
    dataset.add_new(0x7FE11001, "OB", b"1234")
    dataset.save_as(path)
    for wanted in (ILE, DEFLATED):
        result = read(convert(scanned(path), wanted))
        assert bytes(result[0x7FE1, 0x1001].value) == b"1234"
        assert "DataSetTrailingPadding" in result


def test_objects_without_pixels_are_converted() -> None:
    for name in ("reportsi.dcm", "test-SR.dcm", "waveform_ecg.dcm"):
        instance = scanned(sample(name))
        wanted = ELE if instance.kind.transfer_syntax == ILE else ILE
        result = quietly(lambda: read(convert(instance, wanted)))  # noqa: B023
        assert result.SOPInstanceUID == instance.sop_instance


@pytest.mark.parametrize("wanted", [syntaxes.JPEG_BASELINE, syntaxes.EXPLICIT_VR_BE, "1.2.3"])
def test_nothing_is_converted_to_another_syntax(wanted: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="never converted"):
        convert(write(tmp_path / "x.dcm"), wanted)


def test_big_endian_data_stay_as_they_are() -> None:
    with pytest.raises(ConversionFailed, match="big endian"):
        convert(scanned(sample("MR_small_bigendian.dcm")), ELE)


def relabelled(instance: ScannedInstance, syntax: str) -> ScannedInstance:
    return instance._replace(kind=instance.kind._replace(transfer_syntax=syntax))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94", "1.2.3"])
def test_video_references_and_unknown_syntaxes_are_not_decoded(syntax: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="can't be decompressed"):
        convert(relabelled(write(tmp_path / "x.dcm"), syntax), ELE, lossy_allowed=True)


LOSSY = ["JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "JPEGLSNearLossless_16.dcm"]


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_data_are_decompressed_only_if_the_caller_says_so(name: str) -> None:
    instance = quietly(lambda: scanned(sample(name)))
    with pytest.raises(ConversionFailed, match="only by explicit policy"):
        convert(instance, ELE)
    assert quietly(lambda: convert(instance, ELE, lossy_allowed=True)).length


def test_where_nobody_knows_of_a_loss_policy_is_asked_too(tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm", transfer_syntax=syntaxes.JPEG_2000_LOSSLESS, rows=32)
    dataset = dcmread(instance.path)
    dataset.file_meta.TransferSyntaxUID = UID(syntaxes.JPEG_2000)
    dataset.save_as(instance.path)
    with pytest.raises(ConversionFailed, match="only by explicit policy"):
        convert(scanned(Path(instance.path)), ELE)


def test_what_would_grow_too_large_is_refused(tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm", transfer_syntax=syntaxes.RLE_LOSSLESS, rows=64)
    with pytest.raises(ConversionFailed, match="would exceed"):
        convert(instance, ELE, limits=Limits(decoded=100))


def test_damaged_pixel_data_are_refused_with_a_reason(tmp_path: Path) -> None:
    instance = write(tmp_path / "x.dcm", transfer_syntax=syntaxes.JPEG_2000_LOSSLESS, rows=64)
    path = Path(instance.path)
    damaged = bytearray(path.read_bytes())
    at = damaged.rindex(b"\xff\x4f\xff\x51")
    damaged[at : at + 60] = bytes(60)
    path.write_bytes(bytes(damaged))
    with pytest.raises(ConversionFailed, match="JPEG 2000 Lossless could not be made Explicit"):
        convert(scanned(path), ELE)


COLOUR = [
    ("SC_rgb_jpeg_dcmtk.dcm", "RGB"), ("SC_rgb_dcmtk_+eb+cy+np.dcm", "RGB"),
    ("SC_rgb_gdcm_KY.dcm", "RGB"), ("examples_ybr_color.dcm", "RGB"), ("SC_rgb_rle.dcm", "RGB"),
    ("examples_jpeg2k.dcm", "RGB"), ("SC_rgb_jpeg_gdcm.dcm", "RGB"),
    ("SC_rgb_jls_lossy_line.dcm", "RGB"), ("SC_rgb_rle_16bit_2frame.dcm", "RGB"),
    ("SC_rgb_small_odd_jpeg.dcm", "RGB"), ("MR_small_RLE.dcm", "MONOCHROME2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "photometric"), COLOUR)
def test_colour_stays_what_it_was(name: str, photometric: str) -> None:
    instance = quietly(lambda: scanned(sample(name)))
    result = quietly(lambda: read(convert(instance, ELE, lossy_allowed=True)))
    before = quietly(lambda: pixel_array(dcmread(instance.path)))
    after = quietly(lambda: pixel_array(result))
    assert result.PhotometricInterpretation == photometric
    assert before.shape == after.shape
    assert int(np.abs(before.astype(int) - after.astype(int)).max()) <= 2


def test_lossless_colours_are_not_rounded_into_others(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    write(path, transfer_syntax=ELE, rows=16)
    dataset = dcmread(path)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "YBR_FULL"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    samples = np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    dataset.PixelData = samples.tobytes()
    dataset["PixelData"].VR = "OB"
    dataset.compress(UID(syntaxes.RLE_LOSSLESS), generate_instance_uid=False)
    dataset.save_as(path)
    result = read(convert(scanned(path), ELE))
    assert result.PhotometricInterpretation == "YBR_FULL"
    assert result.PixelData == samples.tobytes()


def test_an_overlay_in_unused_bits_survives(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    write(path, rows=16)
    dataset = dcmread(path)
    dataset.BitsStored, dataset.HighBit = 12, 11
    samples = np.arange(256, dtype="<u2") | 0x8000
    dataset.PixelData = samples.tobytes()
    dataset.add_new(0x60000102, "US", 15)  # Overlay Bit Position, and no Overlay Data
    dataset.compress(UID(syntaxes.RLE_LOSSLESS), generate_instance_uid=False)
    dataset.save_as(path)
    assert read(convert(scanned(path), ELE)).PixelData == samples.tobytes()


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("frames", [1, 5])
def test_frames_are_decoded_one_by_one(frames: int, extended: bool, tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "x.dcm", frames=frames, rows=16, extended=extended)
    result = read(convert(scanned(path), ELE))
    assert np.array_equal(pixel_array(result), pixel_array(dcmread(path)))
    assert "ExtendedOffsetTable" not in result
    assert int(result.get("NumberOfFrames", 1)) == frames


def multi_frame(
    path: Path, *, frames: int, rows: int, extended: bool = False, said: int | None = None
) -> Path:
    """Write RLE frames that all differ."""
    write(path, rows=rows)
    dataset = dcmread(path)
    single = []
    for number in range(frames):
        dataset.PixelData = (np.arange(rows * rows, dtype="<u2") // 7 + number).tobytes()
        dataset.file_meta.TransferSyntaxUID = UID(ELE)
        dataset.compress(UID(syntaxes.RLE_LOSSLESS), generate_instance_uid=False)
        single.append(next(iter(generate_frames(dataset.PixelData, number_of_frames=1))))
    if said or frames > 1:
        dataset.NumberOfFrames = said or frames
    if extended:
        data, offsets, lengths = encapsulate_extended(single)
        dataset.PixelData, dataset.ExtendedOffsetTable = data, offsets
        dataset.ExtendedOffsetTableLengths = lengths
    else:
        dataset.PixelData = encapsulate(single)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("said", [2, 4])
def test_frames_that_are_missing_or_too_many_are_noticed(said: int, tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "x.dcm", frames=3, rows=16, said=said)
    with pytest.raises(ConversionFailed, match=r"could not be made Explicit VR LE: "):
        quietly(lambda: convert(scanned(path), ELE))


def encapsulated_uncompressed(path: Path, *, odd: bool = False) -> bytes:
    """Write native frames in fragments; return the native pixel data."""
    write(path, rows=16)
    dataset = dcmread(path)
    if odd:
        dataset.Rows = dataset.Columns = 5
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
    length = 25 if odd else 512
    single = [bytes([number] * length) for number in range(1, 4)]
    dataset.NumberOfFrames = 3
    dataset.PixelData = encapsulate([frame + b"\0" * (length % 2) for frame in single])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(syntaxes.ENCAPSULATED_EXPLICIT_VR_LE)
    dataset.save_as(path)
    return b"".join(single)


@pytest.mark.parametrize("odd", [False, True])
def test_frames_without_compression_are_taken_out_of_their_fragments(
    odd: bool, tmp_path: Path
) -> None:
    native = encapsulated_uncompressed(tmp_path / "x.dcm", odd=odd)
    instance = scanned(tmp_path / "x.dcm")
    result = read(convert(instance, ELE))
    assert result.PixelData == native + b"\0" * (len(native) % 2)


class TestBounds:
    """Nothing makes a conversion take more memory or disk than it may."""

    def test_large_results_grow_in_a_private_file(self, tmp_path: Path) -> None:
        path = multi_frame(tmp_path / "x.dcm", frames=4, rows=64)
        folder = tmp_path / "folder"
        folder.mkdir()
        limits = Limits(in_memory=1 << 12, folder=str(folder))
        for wanted in (ELE, ILE, DEFLATED):
            encoded = convert(scanned(path), wanted, limits=limits)
            if wanted == DEFLATED:
                assert isinstance(encoded.content, bytes)
                continue
            assert isinstance(encoded.content, FileRange)
            found = os.stat(encoded.content.path)
            assert found.st_mode & 0o777 == 0o600
            assert encoded.content.offset == 0
            assert (encoded.content.size, encoded.content.mtime_ns) == (
                found.st_size,
                found.st_mtime_ns,
            )
            assert np.array_equal(pixel_array(read(encoded)), pixel_array(dcmread(path)))
            encoded.discard()
            encoded.discard()
        assert os.listdir(folder) == []

    def test_what_fails_leaves_no_file_behind(self, tmp_path: Path) -> None:
        path = multi_frame(tmp_path / "x.dcm", frames=4, rows=64, said=5)
        folder = tmp_path / "folder"
        folder.mkdir()
        with pytest.raises(ConversionFailed):
            quietly(
                lambda: convert(
                    scanned(path), ELE, limits=Limits(in_memory=1 << 12, folder=str(folder))
                )
            )
        assert os.listdir(folder) == []

    def test_a_folder_that_is_gone_says_nothing_about_the_instance(self, tmp_path: Path) -> None:
        path = multi_frame(tmp_path / "x.dcm", frames=4, rows=64)
        limits = Limits(in_memory=1 << 12, folder=str(tmp_path / "gone"))
        with pytest.raises(SpoolFailed):
            convert(scanned(path), ELE, limits=limits)

    def test_a_frame_beyond_all_bounds_is_not_decoded(self, tmp_path: Path) -> None:
        path = multi_frame(tmp_path / "x.dcm", frames=1, rows=16)
        dataset = dcmread(path)
        dataset.Rows = dataset.Columns = 65535
        dataset.save_as(path)
        with pytest.raises(ConversionFailed, match="would exceed 4095 MiB"):
            convert(scanned(path), ELE, limits=Limits())
        dataset.Columns = 4000
        dataset.save_as(path)
        with pytest.raises(ConversionFailed, match="a frame would exceed 256 MiB"):
            convert(scanned(path), ELE, limits=Limits())

    @pytest.mark.parametrize("syntax", [syntaxes.JPEG_2000_LOSSLESS, syntaxes.JPEG_LS_LOSSLESS])
    def test_a_frame_that_claims_another_size_is_not_decoded(
        self, syntax: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = write(tmp_path / "x.dcm", transfer_syntax=syntax, rows=64)
        dataset = dcmread(instance.path)
        dataset.Rows = dataset.Columns = 32
        dataset.save_as(instance.path)

        def refuse(*_: object) -> None:
            raise AssertionError("it was decoded")

        monkeypatch.setattr(pixels, "decoded_frames", refuse)
        with pytest.raises(ConversionFailed, match="64 x 64 pixels of 1 samples, the data set"):
            convert(scanned(Path(instance.path)), ELE)

    def test_much_beside_pixel_data_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rewriting, "LARGEST_REST", 1 << 20)
        instance = write(tmp_path / "x.dcm", extra=[("EncapsulatedDocument", bytes(2 << 20))])
        with pytest.raises(ConversionFailed, match="beside pixel data exceed 1 MiB"):
            convert(instance, ILE)
        assert convert(instance, DEFLATED).length < 1 << 20

    @pytest.mark.slow
    def test_memory_does_not_grow_with_frames(self, tmp_path: Path) -> None:
        path = multi_frame(tmp_path / "x.dcm", frames=64, rows=512)
        instance = scanned(path)
        limits = Limits(in_memory=1 << 20, folder=str(tmp_path))
        convert(instance, ELE, limits=limits).discard()
        tracemalloc.start()
        convert(instance, ELE, limits=limits).discard()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20  # of 32 MiB

    @pytest.mark.slow
    def test_native_pixels_pass_through_in_blocks(self, tmp_path: Path) -> None:
        instance = write(tmp_path / "x.dcm", rows=4096)
        limits = Limits(in_memory=1 << 20, folder=str(tmp_path))
        tracemalloc.start()
        encoded = convert(instance, ILE, limits=limits)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        encoded.discard()
        assert peak < 12 << 20


def bomb(path: Path, pixels_length: int) -> Path:
    """Write a deflated instance that is small, valid and inflates to a lot."""
    template = factories.write_instance(path, sop_instance="1.2.3").read_bytes()
    at = template.rindex(b"\xe0\x7f\x10\x00OW")
    start = template.index(b"\x08\x00\x16\x00UI")
    head = template[:start].replace(
        b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99", 1
    )
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflater.compress(template[start : at + 8] + struct.pack("<I", pixels_length))
    packed += deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(head + packed + block * (pixels_length >> 20) + deflater.flush())
    return path


@pytest.mark.slow
def test_a_deflate_bomb_ends_in_words_and_costs_no_memory(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.dcm", 1 << 30)
    assert path.stat().st_size < 2 << 20
    tracemalloc.start()
    seen = scan(str(path), relative_path="bomb.dcm")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(seen, Unreadable)
    assert seen.reason == "it inflates to more than 1024 MiB"
    assert peak < 2 << 20


@pytest.mark.slow
def test_a_smaller_bomb_is_refused_when_it_would_have_to_be_inflated(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.dcm", 200 << 20)
    instance = scanned(path)
    limits = Limits(decoded=50 << 20, in_memory=1 << 20, folder=str(tmp_path))
    tracemalloc.start()
    with pytest.raises(ConversionFailed, match="inflates to more than 50 MiB"):
        convert(instance, ELE, limits=limits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert os.listdir(tmp_path) == ["bomb.dcm"]


class TestMovingSource:
    """A file that is not as it was listed is never sent mixed."""

    @pytest.fixture
    def instance(self, tmp_path: Path) -> ScannedInstance:
        return write(tmp_path / "x.dcm", transfer_syntax=syntaxes.RLE_LOSSLESS, rows=32)

    @pytest.mark.parametrize("change", ["gone", "cut", "touched", "replaced", "link"])
    def test_it_is_not_converted(
        self, change: str, instance: ScannedInstance, tmp_path: Path
    ) -> None:
        path = Path(instance.path)
        other = factories.write_instance(tmp_path / "other", sop_instance="1.2.4", rows=16)
        if change == "gone":
            path.unlink()
        elif change == "cut":
            os.truncate(path, instance.size - 10)
        elif change == "touched":
            os.utime(path, ns=(0, instance.mtime_ns + 1))
        elif change == "replaced":
            os.replace(other, path)
        else:
            path.unlink()
            os.symlink(other, path)
        said = {"gone": "can't be opened: no such file", "link": "it is a link now"}
        with pytest.raises(SourceUnusable, match=said.get(change, "changed after it was listed")):
            convert(instance, ELE)

    @pytest.mark.parametrize("is_seen", [True, False])
    def test_it_may_not_change_meanwhile_either(
        self, *, is_seen: bool, instance: ScannedInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def rewrite_slowly(*arguments: Any, **options: Any) -> None:
            rewriting.rewrite(*arguments, **options)
            with open(instance.path, "ab" if is_seen else "r+b") as file:
                file.write(b"more")
            if not is_seen:  # of the preamble, in which nothing matters
                os.utime(instance.path, ns=(0, instance.mtime_ns))

        monkeypatch.setattr(encoding, "rewrite", rewrite_slowly)
        with pytest.raises(SourceUnusable, match="changed after it was listed"):
            convert(instance, ELE)

    def test_a_disk_that_fails_says_nothing_of_its_data(
        self, instance: ScannedInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*arguments: Any) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(reading, "read_at", fail)
        with pytest.raises(SourceUnusable, match="the file can't be read: input/output error"):
            convert(instance, ELE)


def converted_or_refused(instance: ScannedInstance, wanted: str) -> EncodedDataset | None:
    """Convert; a refusal must say why in words of ours."""
    refusal = ""
    try:
        return quietly(lambda: convert(instance, wanted, lossy_allowed=True))  # type: ignore[no-any-return]
    except ConversionFailed as error:
        refusal = str(error)
    stored = instance.kind.transfer_syntax
    assert refusal.startswith(syntaxes.short_name_of(stored)) or "big endian" in refusal
    return None


@pytest.mark.parametrize("stored", [syntaxes.RLE_LOSSLESS, syntaxes.JPEG_LS_LOSSLESS, DEFLATED])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_flipped_bits_end_in_words_or_in_a_verified_data_set(
    stored: str, data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "x.dcm"
    write(path, transfer_syntax=stored, rows=16)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        bit = data.draw(st.integers(132 * 8, len(damaged) * 8 - 1))
        damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(damaged))
    seen = scan(str(path), relative_path="x.dcm")
    if isinstance(seen, Unreadable):
        assert seen.reason
        return
    encoded = converted_or_refused(seen, ILE)
    if encoded is not None:
        assert read(encoded).SOPInstanceUID == seen.sop_instance


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_pydicoms_files_are_converted_exactly_or_refused_in_words(path: Path) -> None:
    seen = quietly(lambda: scan(str(path), relative_path=path.name))
    if isinstance(seen, Unreadable):
        return
    encoded = converted_or_refused(seen, ELE)
    if encoded is None:
        return
    source, result = dcmread(path), read(encoded)
    if "PixelData" in source and "Rows" in source:
        assert np.array_equal(
            quietly(lambda: pixel_array(source)), quietly(lambda: pixel_array(result))
        )
