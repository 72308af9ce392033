"""Moves the rows of earlier sends into the small rows of 0003: files, studies and kinds once.

Earlier versions knew neither modality nor study date, so that files get no series here: the next
scan reads them again and completes them.
"""

import hashlib
import os
import urllib.parse
from typing import Any

from django.db import migrations

LOSSY = {False: 0, True: 1, None: 2}


def move_rows(apps: Any, schema_editor: Any) -> None:
    """Give each send a listing, and each of its items a file and a part."""
    using = schema_editor.connection.alias
    for send in apps.get_model("sender", "Send").objects.using(using).iterator():
        listing = apps.get_model("sender", "Listing").objects.using(using).create(
            sources=send.sources,
            files=send.listed,
            inline=send.inline,
            state="done" if send.planned_at else "waiting",
            finished_at=send.planned_at,
        )
        send.listing = listing
        send.save(update_fields=["listing"])
        for item in send.items.using(using).order_by("position").iterator(chunk_size=2000):
            _move(apps, using, send, item)


def _move(apps: Any, using: str, send: Any, item: Any) -> None:
    kind = _once(
        apps,
        using,
        "SourceKind",
        sop_class_uid=item.sop_class_uid,
        transfer_syntax_uid=item.transfer_syntax_uid,
        lossy_code=LOSSY[item.lossy],
    )
    path = _real(item.path)
    file = _file(apps, using, path, item, kind, item.mtime_ns)
    part = _once(
        apps, using, "StudyPart", send=send, study_instance_uid=item.study_instance_uid, kind=kind
    )
    setattr(part, item.outcome, getattr(part, item.outcome) + 1)
    if item.outcome in ("sent", "warning"):
        part.converted += item.conversion == "convert"
        part.decompressed += item.conversion == "decompress"
    part.bytes += item.size
    part.save()
    item.file, item.part = file, part
    item.save(update_fields=["file", "part"])
    root = path[: -len(item.relative_path)] if path.endswith(item.relative_path) else ""
    for relative in item.also_at:
        copy = _file(apps, using, os.path.join(root or send.sources[0], relative), item, kind, 0)
        apps.get_model("sender", "ItemCopy").objects.using(using).create(item=item, file=copy)


def _once(apps: Any, using: str, name: str, **key: Any) -> Any:
    return apps.get_model("sender", name).objects.using(using).get_or_create(**key)[0]


def _file(apps: Any, using: str, path: str, item: Any, kind: Any, mtime_ns: int) -> Any:
    """Return the row of a file; of a copy nobody kept the modification time."""
    folder_path, name = (_stored(part) for part in os.path.split(path))
    digest = hashlib.sha256(folder_path.encode()).digest()
    folders = apps.get_model("sender", "SourceFolder").objects.using(using)
    folder = folders.filter(digest=digest).first() or folders.create(
        path=folder_path, digest=digest
    )
    files = apps.get_model("sender", "SourceFile").objects.using(using)
    key = {"folder": folder, "name": name, "size": item.size, "mtime_ns": mtime_ns}
    reason = item.reason.removeprefix(f"{item.relative_path}: ")
    return files.filter(**key).first() or files.create(
        **key,
        kind=kind,
        sop_instance_uid=item.sop_instance_uid,
        dataset_offset=item.dataset_offset,
        reason="" if item.sop_class_uid else reason[:400],
    )


def _real(stored: str) -> str:
    """Return a path as it is: earlier versions escaped a whole path that is no UTF-8."""
    if stored.startswith("//"):
        return os.fsdecode(urllib.parse.unquote_to_bytes(stored[2:]))
    return stored


def _stored(part: str) -> str:
    """Write a folder or a name as models/sources.py does."""
    try:
        part.encode("utf-8")
    except UnicodeEncodeError:
        return "//" + urllib.parse.quote(os.fsencode(part))
    return part


class Migration(migrations.Migration):

    dependencies = [("sender", "0003_bulk_sending")]

    operations = [migrations.RunPython(move_rows, migrations.RunPython.noop, elidable=True)]
