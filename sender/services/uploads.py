"""Files that came through the browser (reception.py): kept in a folder each, used, deleted."""

import re
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from sender.models import ListedPath, Schedule, Send, Upload, UploadState
from sender.models.sends import ENDED_STATES
from sender.services.audit import write_entry
from sender.services.owners import is_dead, is_of_this_system, owner_name

KEPT_FREE_BYTES = 512 << 20
"""The database lives on the same disk as a rule: it must not be filled up."""
ABANDONED_AFTER = timedelta(minutes=10)


class Refused(ValueError):
    """An upload is not taken; the message says why, in the user's words."""


class UploadInUse(ValueError):
    """An upload can't be deleted now; the message says why, in the user's words."""


def folder() -> Path:
    """Return the folder below which each upload has its own."""
    return Path(settings.DATA_DIR / "uploads").resolve()


def incoming() -> Path:
    """Return the folder in which uploads are until they are complete."""
    return Path(settings.DATA_DIR / "incoming").resolve()


def are_allowed() -> bool:
    """Tell whether what is uploaded may be sent: its folder lies in the allowed source roots."""
    if settings.SOURCE_ROOTS is None:
        return True
    return any(folder().is_relative_to(Path(root).resolve()) for root in settings.SOURCE_ROOTS)


def free_bytes() -> int:
    """Return how many more bytes uploads may take of the disk."""
    return max(0, shutil.disk_usage(incoming()).free - KEPT_FREE_BYTES)


def sweep() -> None:
    """Remove what is left of uploads whose process is gone, and of deletions cut short."""
    long_ago = timezone.now() - ABANDONED_AFTER
    for upload in Upload.objects.exclude(state=UploadState.READY):
        if upload.seen_at < long_ago or _is_gone(upload.owner):
            shutil.rmtree(incoming() / upload.folder, ignore_errors=True)
            shutil.rmtree(folder() / upload.folder, ignore_errors=True)
            Upload.objects.filter(pk=upload.pk).exclude(state=UploadState.READY).delete()


def _is_gone(owner: str) -> bool:
    """Tell whether a process is gone; one that had our number before us is."""
    _, number, started, *_ = [*owner.split(":"), "", ""]
    _, our_number, our_start, *_ = owner_name().split(":")
    if is_of_this_system(owner) and number == our_number:
        return started != our_start
    return is_dead(owner)


def delete_upload(upload: Upload, actor: str) -> None:
    """Delete an upload with its files.

    Raises:
        UploadInUse: a send that has not ended, or a schedule, names it; or the files stay.
    """
    with transaction.atomic():
        found = Upload.objects.select_for_update().filter(pk=upload.pk).first()
        if found is None or found.state != UploadState.READY:
            raise UploadInUse(f"{upload.name} is being received or deleted just now.")
        users = users_of(found)
        if users:
            raise UploadInUse(f"{found.name} can't be deleted: {users[0]} still needs it.")
        found.state, found.seen_at, found.owner = UploadState.DELETING, timezone.now(), owner_name()
        found.save()
        write_entry(
            actor=actor,
            action="upload.delete",
            subject=found.folder,
            facts={"files": found.files, "bytes": found.bytes},
        )
    try:
        shutil.rmtree(folder() / found.folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        Upload.objects.filter(pk=found.pk).update(state=UploadState.READY)
        why = (error.strerror or "unknown cause").lower()
        raise UploadInUse(f"{found.name} can't be deleted: {why}.") from error
    found.delete()


def users_of(upload: Upload) -> list[str]:
    """Return in words what still needs the files of an upload."""
    waiting = Send.objects.exclude(state__in=ENDED_STATES).filter(listing__isnull=False)
    listed = ListedPath.objects.filter(path__startswith=f"{upload.path}/")
    by_list = set(listed.values_list("listing_id", flat=True))
    users = [
        f"send {number}"
        for number, listing_id, sources in waiting.order_by("pk").values_list(
            "pk", "listing_id", "listing__sources"
        )
        if listing_id in by_list or _names(sources, upload)
    ]
    schedules = Schedule.objects.values_list("name", "sources")
    return users + [f"the schedule {n}" for n, sources in schedules if _names(sources, upload)]


def _names(sources: Sequence[str], upload: Upload) -> bool:
    return any(path == upload.path or path.startswith(f"{upload.path}/") for path in sources)


def hold(paths: Sequence[str]) -> None:
    """Make sure, in the caller's transaction, that uploads at these real paths stay.

    Raises:
        Refused: one is being deleted.
    """
    root = f"{folder()}/"
    names = {path[len(root) :].split("/")[0] for path in paths if path.startswith(root)}
    for upload in Upload.objects.select_for_update().filter(folder__in=names).order_by("pk"):
        if upload.state != UploadState.READY:
            raise Refused(f"{upload.name} is being deleted.")


def in_words(texts: Sequence[str]) -> list[str]:
    """Return paths, or texts that hold some, with the names of uploads for their folders."""
    path = re.compile(rf"{re.escape(str(folder()))}/([0-9]{{8}}-[0-9a-f]{{16}})")
    folders = {found for text in texts for found in path.findall(text)}
    if not folders:
        return list(texts)
    rows = Upload.objects.filter(folder__in=folders)
    names = {row.folder: f"upload “{row.name}”" for row in rows}
    return [path.sub(lambda it: names.get(it[1], "a deleted upload"), text) for text in texts]
