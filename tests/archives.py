"""Zip archives as hostile people make them, byte by byte where zipfile would not."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")


def zipped(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]], *, stored: bool = False) -> bytes:
    """Return an archive of files."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, *, mode: int = 0o100644, system: int = 3) -> zipfile.ZipInfo:
    """Return an entry with a Unix mode: links are 0o120777."""
    info = zipfile.ZipInfo(name)
    info.create_system = system
    info.external_attr = mode << 16
    return info


def flagged(content: bytes, flags: int) -> bytes:
    """Return an archive whose members all carry some flags."""
    changed = bytearray(content)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = changed.find(mark)
        while position >= 0:
            changed[position + at] |= flags & 0xFF
            changed[position + at + 1] |= flags >> 8
            position = changed.find(mark, position + 4)
    return bytes(changed)


def write_bomb(path: Path, size: int) -> None:
    """Write an archive of one member of zeros, inflated `size` bytes, claimed to be so."""
    crc, deflater = 0, zlib.compressobj(9, zlib.DEFLATED, -15)
    blocks, left = [], size
    zeros = bytes(1 << 20)
    while left:
        block = zeros[: min(left, len(zeros))]
        crc = zlib.crc32(block, crc)
        blocks.append(deflater.compress(block))
        left -= len(block)
    blocks.append(deflater.flush())
    path.write_bytes(_single("zeros", b"".join(blocks), crc, size))


def lying(content: bytes, claimed: int) -> bytes:
    """Return an archive whose member claims to inflate to fewer bytes than it does."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = deflater.compress(content) + deflater.flush()
    return _single("lie", stored, zlib.crc32(content), claimed)


def overlapping(copies: int, content: bytes) -> bytes:
    """Return an archive whose members all are one and the same local file."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = deflater.compress(content) + deflater.flush()
    crc, size = zlib.crc32(content), len(content)
    local = LOCAL.pack(b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(stored), size, 1, 0) + b"x" + stored
    directory = b"".join(
        _central(f"{number}".encode(), crc, len(stored), size) for number in range(copies)
    )
    end = END.pack(b"PK\x05\x06", 0, 0, copies, copies, len(directory), len(local), 0)
    return local + directory + end


def many_empty(members: int) -> bytes:
    """Return an archive of empty members that all share one local header."""
    local = LOCAL.pack(b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"x"
    directory = b"".join(_central(b"%d" % number, 0, 0, 0, method=0) for number in range(members))
    count = min(members, 0xFFFF)
    end = END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(local), 0)
    return local + directory + end


def _single(name: str, stored: bytes, crc: int, size: int) -> bytes:
    encoded = name.encode()
    facts = (crc, len(stored), size, len(encoded), 0)
    local = LOCAL.pack(b"PK\x03\x04", 20, 0, 8, 0, 0, *facts) + encoded + stored
    directory = _central(encoded, crc, len(stored), size)
    end = END.pack(b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(local), 0)
    return local + directory + end


def _central(name: bytes, crc: int, stored: int, size: int, *, method: int = 8) -> bytes:
    facts = (crc, stored, size, len(name), 0, 0, 0, 0, 0, 0)
    return CENTRAL.pack(b"PK\x01\x02", 20, 20, 0, method, 0, 0, *facts) + name
