"""Canonical bytes for digests: a version, then length-prefixed fields in a fixed order."""

import hashlib
from collections.abc import Iterable
from datetime import date, datetime
from uuid import UUID

VERSION = b"\x01"
Value = str | bytes | int | bool | datetime | date | UUID | None


def digest(*fields: Value) -> bytes:
    """Return the SHA-256 of the canonical bytes of `fields`."""
    return hashlib.sha256(VERSION + b"".join(_prefixed(field) for field in fields)).digest()


def digest_of_all(digests: Iterable[bytes]) -> bytes:
    """Return the SHA-256 over an ordered run of digests."""
    running = hashlib.sha256(VERSION)
    for part in digests:
        running.update(part)
    return running.digest()


def _prefixed(value: Value) -> bytes:
    kind, content = _content(value)
    return kind + len(content).to_bytes(4, "big") + content


def _content(value: Value) -> tuple[bytes, bytes]:
    """Return a letter for the type and the bytes; times are whole microseconds since 1970."""
    if value is None:
        return b"n", b""
    if isinstance(value, bool):
        return b"o", b"\x01" if value else b"\x00"
    if isinstance(value, int):
        return b"i", str(value).encode("ascii")
    if isinstance(value, bytes):
        return b"b", value
    if isinstance(value, datetime):
        whole = int(value.timestamp()) * 1_000_000 + value.microsecond
        return b"t", str(whole).encode("ascii")
    if isinstance(value, UUID):
        return b"u", value.bytes
    return b"s", (value.isoformat() if isinstance(value, date) else value).encode("utf-8")
