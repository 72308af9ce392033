"""Zip archives read member by member, with nothing in them believed.

The zip format as PKWARE's APPNOTE 6.3 has it: the central directory says what there is, in section
4.3.12. It is walked through a small window and data are inflated in blocks, so that neither many
members nor large ones need memory. Only stored and deflated members are read: other methods need
dictionaries as large as the archive wishes.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
BLOCK = 1 << 16
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_UTF_8 = 0x0800
_UNIX_SYSTEMS = (3, 19)
_DOS_FOLDER = 0x10
_LONG_16, _LONG_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_EXTRA = 0x0001
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_LONGEST_COMMENT = 0xFFFF


class BadArchive(ValueError):
    """An archive can't be read; the message is a clause in the user's words."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive.

    Attributes:
        name: as the archive has it; never a path to be used.
        size: bytes once inflated, as the archive claims.
        fault: why it can't be unpacked, "" if it can.
    """

    name: str
    method: int
    crc: int
    stored_size: int
    size: int
    header_at: int
    fault: str


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the central directory is, and how far the offsets in it are shifted."""

    start: int
    end: int
    shift: int


def is_archive(head: bytes) -> bool:
    """Tell whether a file begins as a zip archive does, and not as a DICOM file."""
    return head[:4] in SIGNATURES and head[128:132] != b"DICM"


def members(file: BinaryIO) -> Iterator[Member]:
    """Yield the files of an archive, folders left out.

    Args:
        file: the archive.

    Raises:
        BadArchive: it is cut off or contradicts itself.
    """
    directory = _find_directory(file, os.fstat(file.fileno()).st_size)
    position = directory.start
    while position < directory.end:
        head = _read(file, position, _CENTRAL.size)
        fields = _CENTRAL.unpack(head)
        if fields[0] != b"PK\x01\x02":
            raise BadArchive("its directory is damaged")
        name_length, extra_length, comment_length = fields[10:13]
        tail = _read(file, position + _CENTRAL.size, name_length + extra_length)
        position += _CENTRAL.size + name_length + extra_length + comment_length
        member = _member(fields, tail[:name_length], tail[name_length:], directory.shift)
        if member is not None:
            yield member
    if position != directory.end:
        raise BadArchive("its directory is damaged")


def content(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield what a member holds, in blocks.

    Raises:
        BadArchive: it is cut off, or is not what the directory claims.
    """
    head = _read(file, member.header_at, _LOCAL.size)
    fields = _LOCAL.unpack(head)
    if fields[0] != b"PK\x03\x04":
        raise BadArchive("a file in it is damaged")
    position = member.header_at + _LOCAL.size + fields[9] + fields[10]
    blocks = _blocks(file, position, member.stored_size)
    if member.method == _DEFLATED:
        blocks = _inflate(blocks)
    crc = size = 0
    for block in blocks:
        size += len(block)
        if size > member.size:
            raise BadArchive("a file in it is larger than the archive says")
        crc = zlib.crc32(block, crc)
        yield block
    if size != member.size or crc != member.crc:
        raise BadArchive("a file in it is damaged")


def _inflate(blocks: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for block in blocks:
            yield from _inflated(inflater, block)
        while not inflater.eof and (more := inflater.decompress(b"", BLOCK)):
            yield more
    except zlib.error:
        raise BadArchive("a file in it is damaged") from None
    if not inflater.eof:
        raise BadArchive("a file in it is cut off")


def _inflated(inflater: "zlib._Decompress", block: bytes) -> Iterator[bytes]:
    while block and not inflater.eof:
        yield inflater.decompress(block, BLOCK)
        block = inflater.unconsumed_tail


def _blocks(file: BinaryIO, position: int, length: int) -> Iterator[bytes]:
    end = position + length
    while position < end:
        block = _read(file, position, min(BLOCK, end - position))
        position += len(block)
        yield block


def _find_directory(file: BinaryIO, size: int) -> _Directory:
    tail_at = max(0, size - _END.size - _LONGEST_COMMENT)
    tail = _read(file, tail_at, size - tail_at)
    index = tail.rfind(b"PK\x05\x06")
    while index >= 0:
        if index + _END.size <= len(tail):
            fields = _END.unpack_from(tail, index)
            if index + _END.size + fields[7] == len(tail):
                return _directory(file, tail_at + index, fields)
        index = tail.rfind(b"PK\x05\x06", 0, index)
    raise BadArchive("it is cut off")


def _directory(file: BinaryIO, end_at: int, fields: tuple[int, ...]) -> _Directory:
    _, disk, first_disk, _, _, length, offset, _ = fields
    if disk not in (0, _LONG_16) or first_disk not in (0, _LONG_16):
        raise BadArchive("it is one part of an archive in several")
    locator_at = end_at - _LOCATOR_64.size
    if locator_at >= 0:
        mark, _, at, _ = _LOCATOR_64.unpack(_read(file, locator_at, _LOCATOR_64.size))
        if mark == b"PK\x06\x07":
            end_at, length, offset = _directory_64(file, locator_at, at)
    start = end_at - length
    if start < 0 or start < offset:
        raise BadArchive("its directory is damaged")
    return _Directory(start, end_at, start - offset)


def _directory_64(file: BinaryIO, locator_at: int, at: int) -> tuple[int, int, int]:
    """Return where a zip64 archive's directory ends, its length and its claimed offset."""
    for place in (at, locator_at - _END_64.size):
        if 0 <= place <= locator_at - _END_64.size:
            fields = _END_64.unpack(_read(file, place, _END_64.size))
            if fields[0] == b"PK\x06\x06":
                return place, fields[8], fields[9]
    raise BadArchive("its directory is damaged")


def _member(fields: tuple[int, ...], name: bytes, extra: bytes, shift: int) -> Member | None:
    """Build a member of its record in the central directory; None for a folder."""
    made_by, flags, method = fields[1], fields[3], fields[4]
    crc, stored_size, size = fields[7], fields[8], fields[9]
    attributes, header_at = fields[15], fields[16]
    size, stored_size, header_at = _long_sizes(extra, size, stored_size, header_at)
    said = name.decode("utf-8" if flags & _UTF_8 else "cp437", "replace")
    mode = attributes >> 16 if made_by >> 8 in _UNIX_SYSTEMS else 0
    if said.endswith(("/", "\\")) or stat.S_ISDIR(mode) or (attributes & _DOS_FOLDER and not size):
        return None
    fault = _fault(flags, method, mode)
    return Member(said, method, crc, stored_size, size, header_at + shift, fault)


def _fault(flags: int, method: int, mode: int) -> str:
    if flags & _ENCRYPTED:
        return "it is encrypted"
    if stat.S_ISLNK(mode):
        return "it is a link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "it is no regular file"
    if method not in (_STORED, _DEFLATED):
        return f"it is compressed by method {method}, which is not read here"
    return ""


def _long_sizes(extra: bytes, *values: int) -> tuple[int, int, int]:
    """Return size, stored size and place, those that need 64 bits from the extra field."""
    found = list(values)
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        data, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _ZIP64_EXTRA:
            for index, value in enumerate(found):
                if value == _LONG_32:
                    if len(data) < 8:
                        raise BadArchive("its directory is damaged")
                    (found[index],) = struct.unpack_from("<Q", data)
                    data = data[8:]
            break
    return found[0], found[1], found[2]


def _read(file: BinaryIO, position: int, length: int) -> bytes:
    """Return bytes of the archive.

    Raises:
        BadArchive: it ends before.
    """
    if position < 0:
        raise BadArchive("its directory is damaged")
    file.seek(position)
    found = file.read(length)
    if len(found) < length:
        raise BadArchive("it is cut off")
    return found
