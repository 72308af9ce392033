"""Moves the rows of earlier sends into the small rows of 0003: files, studies and kinds once."""

import hashlib
import os
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
    def once(name: str, **key: Any) -> Any:
        return apps.get_model("sender", name).objects.using(using).get_or_create(**key)[0]

    path, name = os.path.split(item.path)
    digest = hashlib.sha256(path.encode()).digest()
    folders = apps.get_model("sender", "SourceFolder").objects.using(using)
    folder = folders.filter(digest=digest).first() or folders.create(path=path, digest=digest)
    kind = once(
        "SourceKind",
        sop_class_uid=item.sop_class_uid,
        transfer_syntax_uid=item.transfer_syntax_uid,
        lossy_code=LOSSY[item.lossy],
    )
    study = once("SourceStudy", uid=item.study_instance_uid)
    series = once("SourceSeries", study=study, uid=item.series_instance_uid, modality="")
    is_file = not item.sop_class_uid
    files = apps.get_model("sender", "SourceFile").objects.using(using)
    key = {"folder": folder, "name": name, "size": item.size, "mtime_ns": item.mtime_ns}
    file = files.filter(**key).first() or files.create(
        **key,
        kind=kind,
        series=None if is_file else series,
        sop_instance_uid=item.sop_instance_uid,
        dataset_offset=item.dataset_offset,
        reason=item.reason[:400] if is_file else "",
    )
    part = once("StudyPart", send=send, study_instance_uid=item.study_instance_uid, kind=kind)
    setattr(part, item.outcome, getattr(part, item.outcome) + 1)
    if item.outcome in ("sent", "warning"):
        part.converted += item.conversion == "convert"
        part.decompressed += item.conversion == "decompress"
    part.bytes += item.size
    part.save()
    item.file, item.part = file, part
    item.save(update_fields=["file", "part"])


class Migration(migrations.Migration):

    dependencies = [("sender", "0003_bulk_sending")]

    operations = [migrations.RunPython(move_rows, migrations.RunPython.noop, elidable=True)]
