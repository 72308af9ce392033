"""Canonical bytes for digests: a version, then length-prefixed fields in a fixed order."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

VERSION = b"\x01"
Value = str | bytes | int | bool | datetime | date | UUID | None


def digest(*fields: Value) -> bytes:
    """Return the SHA-256 of the canonical bytes of `fields`."""
    parts = [VERSION]
    for field in fields:
        if type(field) is str:  # as nearly all are
            content = field.encode()
            parts += (_text_head(len(content)), content)
        elif type(field) is int:
            content = b"%d" % field
            parts += (_number_head(len(content)), content)
        else:
            parts.append(_prefixed(field))
    return hashlib.sha256(b"".join(parts)).digest()


@lru_cache(maxsize=1024)
def _text_head(length: int) -> bytes:
    return _head(b"s", length)


@lru_cache(maxsize=64)
def _number_head(length: int) -> bytes:
    return _head(b"i", length)


def _head(kind: bytes, length: int) -> bytes:
    return kind + length.to_bytes(4, "big")


class Chain:
    """The SHA-256 over an ordered run of digests, as far as it has come."""

    def __init__(self) -> None:
        self._running = hashlib.sha256(VERSION)
        self.add = self._running.update
        self.digest = self._running.digest


def digest_of_all(digests: Iterable[bytes]) -> bytes:
    """Return the SHA-256 over an ordered run of digests."""
    chain = Chain()
    for part in digests:
        chain.add(part)
    return chain.digest()


def _prefixed(value: Value) -> bytes:
    kind, encode = _ENCODERS.get(type(value)) or _encoder(value)
    content = encode(value)
    return _head(kind, len(content)) + content


def _microseconds(value: datetime) -> bytes:
    """Return whole microseconds since 1970."""
    return b"%d" % (int(value.timestamp()) * 1_000_000 + value.microsecond)


_ENCODERS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"n", lambda _: b""),
    bool: (b"o", lambda value: b"\x01" if value else b"\x00"),
    int: (b"i", lambda value: b"%d" % value),
    bytes: (b"b", lambda value: value),
    datetime: (b"t", _microseconds),
    UUID: (b"u", lambda value: value.bytes),
    date: (b"s", lambda value: value.isoformat().encode("ascii")),
    str: (b"s", str.encode),
}
"""A letter for each type, and how its values become bytes."""


def _encoder(value: Value) -> tuple[bytes, Callable[[Any], bytes]]:
    """Return the encoder of a value whose type is derived from one that is known."""
    for known, encoder in _ENCODERS.items():
        if isinstance(value, known):
            return encoder
    raise TypeError(f"no canonical bytes for {type(value).__name__}")
