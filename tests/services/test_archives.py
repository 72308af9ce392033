"""Archives as they come: whole, odd, damaged, hostile. What the standard library writes is read."""

import io
import random
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.services import archives
from sender.services.archives import BadArchive, Member
from tests.archives import entry, flagged, lying, many_empty, overlapping, zipped


def opened(tmp_path: Path, content: bytes) -> BinaryIO:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    return path.open("rb")


def unpacked(tmp_path: Path, content: bytes) -> dict[str, bytes]:
    with opened(tmp_path, content) as file:
        return {
            member.name: b"".join(archives.content(file, member))
            for member in archives.members(file)
            if not member.fault
        }


def faults(tmp_path: Path, content: bytes) -> dict[str, str]:
    with opened(tmp_path, content) as file:
        return {m.name: m.fault for m in archives.members(file) if m.fault}


LARGE = random.Random(1).randbytes(300_000) + bytes(500_000)


@pytest.mark.parametrize("stored", [True, False])
def test_members_come_out_whole(stored: bool, tmp_path: Path) -> None:
    files: list[tuple[str | zipfile.ZipInfo, bytes]] = [
        ("a.dcm", b"abc"), ("sub/b.dcm", LARGE), ("empty", b""), ("ä.dcm", b"x"),
    ]  # fmt: skip
    content = zipped([*files, ("sub/", b""), (entry("folder", mode=0o040755), b"")], stored=stored)
    assert unpacked(tmp_path, content) == dict(files)


def test_zip64_prefixes_and_comments_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        with archive.open(zipfile.ZipInfo("big"), "w", force_zip64=True) as member:
            member.write(LARGE)
        archive.comment = b"PK\x05\x06 is no end" * 3
    for content in (buffer.getvalue(), b"#!/bin/sh\n" + buffer.getvalue()):
        assert unpacked(tmp_path, content) == {"big": LARGE}


@pytest.mark.slow
def test_more_members_than_16_bits_count(tmp_path: Path) -> None:
    files: list[tuple[str | zipfile.ZipInfo, bytes]] = [(f"{n}", b"") for n in range(65_600)]
    with opened(tmp_path, zipped(files)) as file:
        assert sum(1 for _ in archives.members(file)) == 65_600


@pytest.mark.slow
def test_many_members_need_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    with opened(tmp_path, many_empty(100_000)) as file:
        tracemalloc.start()
        assert sum(1 for _ in archives.members(file)) == 100_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_large_member_is_inflated_block_by_block(tmp_path: Path) -> None:
    with opened(tmp_path, zipped([("zeros", bytes(20_000_000))])) as file:
        (member,) = archives.members(file)
        assert max(map(len, archives.content(file, member))) <= archives.BLOCK


@pytest.mark.parametrize(
    ("info", "fault"),
    [
        (entry("link", mode=0o120777), "it is a link"),
        (entry("link", mode=0o120777, system=19), "it is a link"),
        (entry("device", mode=0o020666), "it is no regular file"),
        (entry("pipe", mode=0o010644), "it is no regular file"),
    ],
)
def test_what_is_no_file_is_told(info: zipfile.ZipInfo, fault: str, tmp_path: Path) -> None:
    assert faults(tmp_path, zipped([(info, b"/etc/passwd")])) == {info.filename: fault}


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x2001])
def test_encrypted_members_are_told(flags: int, tmp_path: Path) -> None:
    assert faults(tmp_path, flagged(zipped([("a", b"x")]), flags)) == {"a": "it is encrypted"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_told(method: int, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a", b"x")
    assert "is compressed by method" in faults(tmp_path, buffer.getvalue())["a"]


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04",
        zipped([("a", LARGE)])[:-1],
        zipped([("a", LARGE)])[:-30],
        zipped([("a", LARGE)])[:1000],
        zipped([("a", LARGE)])[50_000:],
        lying(bytes(1000), 999),
        lying(bytes(1000), 1001),
        flagged(zipped([("a", b"x")]), 0).replace(b"PK\x01\x02", b"PK\x01\x03"),
        zipped([("a", b"x")]).replace(b"PK\x03\x04", b"PK\x03\x05"),
        zipped([("a", b"hello there")], stored=True).replace(b"hello", b"HELLO"),
    ],
)
def test_what_is_cut_off_or_damaged_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadArchive):
        unpacked(tmp_path, content)


def test_parts_of_an_archive_in_several_are_refused(tmp_path: Path) -> None:
    content = bytearray(zipped([("a", b"x")]))
    at = content.rfind(b"PK\x05\x06")
    content[at + 4] = 3
    with pytest.raises(BadArchive, match="one part of an archive in several"):
        unpacked(tmp_path, bytes(content))


def test_members_may_overlap_for_all_that_is_read(tmp_path: Path) -> None:
    assert unpacked(tmp_path, overlapping(3, b"abc")) == {"0": b"abc", "1": b"abc", "2": b"abc"}


def test_a_data_set_with_a_preamble_like_an_archive_is_none() -> None:
    assert archives.is_archive(b"PK\x03\x04" + bytes(128))
    assert not archives.is_archive(b"PK\x03\x04" + bytes(124) + b"DICM")
    assert not archives.is_archive(b"PK")


@settings(max_examples=150, deadline=None)
@given(
    at=st.integers(0, 400),
    garbage=st.binary(min_size=1, max_size=12),
    cut=st.integers(0, 400),
)
def test_whatever_is_damaged_nothing_but_a_refusal_follows(
    at: int, garbage: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(zipped([("a/b", b"hello" * 40), ("c", bytes(300)), ("d", b"")]))
    content[at : at + len(garbage)] = garbage
    path = tmp_path_factory.getbasetemp() / "fuzzed.zip"
    path.write_bytes(bytes(content[: len(content) - cut % 3]))
    read = 0
    with path.open("rb") as file:
        try:
            for member in archives.members(file):
                assert isinstance(member, Member)
                if not member.fault:
                    read += sum(map(len, archives.content(file, member)))
        except BadArchive:
            return
    assert read < 10_000
