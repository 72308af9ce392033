"""Files that come through the browser: taken in, unpacked, put where uploads are kept.

Everything is bounded while it arrives and while it is inflated; nothing of it stands below the
uploads before all of it is there. What is refused leaves nothing behind.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from sender.models import Upload, UploadState
from sender.models.sources import printable
from sender.services import archives
from sender.services.archives import BadArchive, Member
from sender.services.audit import write_entry
from sender.services.owners import owner_name
from sender.services.uploads import Refused, are_allowed, folder, free_bytes, incoming, sweep

LARGEST_RATIO = 250
"""Inflated to stored bytes of an upload; images reach 10, empty ones somewhat more."""
UNSUSPICIOUS_BYTES = 256 << 20
"""So much may come out of however few bytes."""
LOOK_EVERY_BYTES = 16 << 20
SEEN_EVERY_SECONDS = 30.0
MOST_TOLD = 100
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_UNSAFE_FIRST = "._-"


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upload may be.

    Attributes:
        received: bytes that come through the browser.
        unpacked: bytes on the disk, archives unpacked.
        files: on the disk.
    """

    received: int
    unpacked: int
    files: int


def limits() -> Limits:
    """Return what this installation allows."""
    return Limits(
        received=settings.UPLOAD_MEGABYTES * 1_000_000,
        unpacked=settings.UPLOAD_UNPACKED_MEGABYTES * 1_000_000,
        files=settings.UPLOAD_FILES,
    )


@dataclass(slots=True)
class Receiving:
    """An upload on its way: `begin_file`, `write` …, `end_file`, for each file; then `finish`.

    Each of them raises Refused, after which nothing of the upload is left. `abandon` may be called
    at any time, and does nothing once the upload is finished.
    """

    upload: Upload
    limits: Limits
    _count: int = 0
    _received: int = 0
    _written: int = 0
    _looked_at: int = 0
    _seen_at: float = field(default_factory=time.monotonic)
    _name: str = ""
    _file: BinaryIO | None = None
    _is_open: bool = True

    @property
    def _staging(self) -> Path:
        return incoming() / self.upload.folder

    def begin_file(self, name: str) -> None:
        """Begin a file that the person calls `name`."""
        with self._refusing():
            self._name = said_name(name)
            self._file = (self._staging / "received").open("xb")

    def write(self, block: bytes) -> None:
        """Take bytes of the file."""
        with self._refusing():
            self._received += len(block)
            if self._received > self.limits.received:
                raise Refused(f"This upload is larger than {say_bytes(self.limits.received)}, "
                              "the most that is allowed here.")  # fmt: skip
            assert self._file is not None
            self._put(self._file, block)

    def end_file(self) -> None:
        """End the file; an archive is unpacked at once."""
        with self._refusing():
            assert self._file is not None
            self._file.close()
            self._file = None
            received = self._staging / "received"
            with received.open("rb") as file:
                is_archive = archives.is_archive(file.read(132))
                if is_archive:
                    file.seek(0)
                    self._unpack(file)
            if is_archive:
                received.unlink()
            else:
                received.rename(self._next(self._name))

    def finish(self) -> Upload:
        """Put a complete upload where sends find it."""
        with self._refusing():
            if not self._count:
                raise Refused(_nothing(self.upload))
            shutil.move(self._staging / "files", folder() / self.upload.folder)
            self.upload.state, self.upload.ready_at = UploadState.READY, timezone.now()
            self.upload.files, self.upload.bytes = self._count, self._on_disk()
            self.upload.owner = ""
            with transaction.atomic():
                self.upload.save()
                write_entry(
                    actor=self.upload.uploaded_by,
                    action="upload.add",
                    subject=self.upload.folder,
                    facts={
                        "files": self._count,
                        "bytes": self.upload.bytes,
                        "left_out": self.upload.left_out_files,
                    },
                )
        self._is_open = False
        shutil.rmtree(self._staging, ignore_errors=True)
        return self.upload

    def abandon(self) -> None:
        """Remove whatever has come so far."""
        if not self._is_open:
            return
        self._is_open = False
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        shutil.rmtree(self._staging, ignore_errors=True)
        shutil.rmtree(folder() / self.upload.folder, ignore_errors=True)
        Upload.objects.filter(pk=self.upload.pk).delete()

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn what goes wrong into a refusal that leaves nothing behind."""
        try:
            yield
        except Refused as refusal:
            self._refuse(str(refusal))
            raise
        except BadArchive as error:
            said = f"{self._name} can't be unpacked: {error}. Nothing of this upload was kept."
            self._refuse(said)
            raise Refused(said) from None
        except OSError as error:
            said = say_disk_error(error)
            self._refuse(said)
            raise Refused(said) from error

    def _refuse(self, said: str) -> None:
        self.abandon()
        write_entry(
            actor=self.upload.uploaded_by,
            action="upload.add",
            subject=self.upload.folder,
            facts={"reason": said[:400]},
            result="refused",
        )

    def _put(self, file: BinaryIO, block: bytes) -> None:
        """Write bytes, if the disk has room for them."""
        self._written += len(block)
        if self._written - self._looked_at >= LOOK_EVERY_BYTES or not self._looked_at:
            self._looked_at = self._written
            if free_bytes() < LOOK_EVERY_BYTES:
                raise OSError(errno.ENOSPC, "No space left on device")
        file.write(block)
        if time.monotonic() - self._seen_at > SEEN_EVERY_SECONDS:
            self._seen_at = time.monotonic()
            Upload.objects.filter(pk=self.upload.pk).update(seen_at=timezone.now())

    def _next(self, name: str) -> Path:
        """Return where the next file goes, under a name of our own."""
        self._count += 1
        if self._count > self.limits.files:
            raise Refused(f"This upload holds more than {self.limits.files} files, "
                          "the most that is allowed here.")  # fmt: skip
        return self._staging / "files" / f"{self._count:06d}-{own_name(name)}"

    def _unpack(self, file: BinaryIO) -> None:
        before = self._count
        stored = os.fstat(file.fileno()).st_size
        unpacked = 0
        for member in archives.members(file):
            if member.fault:
                self._leave_out(member)
                continue
            with self._next(member.name).open("xb") as target:
                for block in archives.content(file, member):
                    unpacked += len(block)
                    self._check_unpacked(unpacked, stored)
                    self._put(target, block)
        if before == self._count and not self.upload.left_out_files:
            raise Refused(f"{self._name} is an empty archive. Nothing of this upload was kept.")

    def _check_unpacked(self, unpacked: int, stored: int) -> None:
        if unpacked > max(UNSUSPICIOUS_BYTES, LARGEST_RATIO * stored):
            raise Refused(
                f"{self._name} unpacks to more than {LARGEST_RATIO} times its size, as no real "
                "data do. Nothing of this upload was kept."
            )
        if self._written > self.limits.unpacked + self._received:
            raise Refused(
                f"{self._name} unpacks to more than {say_bytes(self.limits.unpacked)}, the most "
                "that is allowed here. Nothing of this upload was kept."
            )

    def _leave_out(self, member: Member) -> None:
        self.upload.left_out_files += 1
        if len(self.upload.left_out) < MOST_TOLD:
            self.upload.left_out.append([said_name(member.name), member.fault])

    def _on_disk(self) -> int:
        with os.scandir(folder() / self.upload.folder) as found:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in found)


def receive(name: str, actor: str) -> Receiving:
    """Begin an upload.

    Args:
        name: what the person calls it; "" for the time of day.

    Raises:
        Refused: the disk has no room, or uploads are not allowed.
    """
    sweep()
    if not are_allowed():
        raise Refused(
            "Uploads can't be sent here: their folder lies outside the allowed source roots. "
            "An administrator sets them with CONCORDAT_SOURCE_ROOTS."
        )
    now = timezone.now()
    upload = Upload.objects.create(
        folder=f"{now:%Y%m%d}-{secrets.token_hex(8)}",
        name=said_name(name) or f"Upload of {timezone.localtime(now):%Y-%m-%d %H:%M}",
        uploaded_by=actor,
        owner=owner_name(),
    )
    try:
        (incoming() / upload.folder / "files").mkdir(mode=0o750, parents=True)
    except OSError as error:
        upload.delete()
        raise Refused(say_disk_error(error)) from error
    return Receiving(upload, limits())


def said_name(name: str) -> str:
    """Return a name as text in one line for people, at most 120 characters."""
    return printable(name.strip())[:120]


def own_name(name: str) -> str:
    """Return a name for the disk: the last parts of a path, plain letters and digits only."""
    parts = [part for part in re.split(r"[/\\]+", name) if part not in ("", ".", "..")]
    plain = [unicodedata.normalize("NFKD", part) for part in parts[-3:]]
    said = "-".join(_ODD.sub("_", part.encode("ascii", "ignore").decode()) for part in plain)
    return said.lstrip(_UNSAFE_FIRST)[-80:].lstrip(_UNSAFE_FIRST) or "file"


def say_bytes(number: int) -> str:
    """Say bytes in decimal units."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{number} bytes"


def say_disk_error(error: OSError) -> str:
    """Say what went wrong on the disk."""
    if error.errno in _FULL:
        return "The disk of this server has no room for this upload. Nothing of it was kept."
    said = (error.strerror or "unknown cause").lower()
    return f"This upload could not be stored ({said}). Nothing of it was kept."


def _nothing(upload: Upload) -> str:
    if upload.left_out:
        name, fault = upload.left_out[0]
        return f"No file of this upload can be unpacked: {name}: {fault}."
    return "No file was chosen."
