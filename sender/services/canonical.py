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
    match value:
        case None:
            found = b"n", b""
        case bool():
            found = b"o", b"\x01" if value else b"\x00"
        case int():
            found = b"i", str(value).encode("ascii")
        case bytes():
            found = b"b", value
        case datetime():
            whole = int(value.timestamp()) * 1_000_000 + value.microsecond
            found = b"t", str(whole).encode("ascii")
        case UUID():
            found = b"u", value.bytes
        case date():
            found = b"s", value.isoformat().encode("ascii")
        case _:
            found = b"s", value.encode("utf-8")
    return found
