"""Uploads: folders of files that came through the browser, one per upload."""

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone


class UploadState(models.TextChoices):
    """The life of an upload."""

    RECEIVING = "receiving", "Being received"
    READY = "ready", "Ready"
    DELETING = "deleting", "Being deleted"


class Upload(models.Model):
    """Files of one upload, in a folder with a name that the server made.

    Attributes:
        folder: the name of its folder below `uploads` in the data directory.
        name: what people call it.
        bytes: of all files, unpacked.
        left_out: pairs of a name and why that file of an archive was not kept; the first hundred.
        left_out_files: how many that are.
        owner: the process that receives it; `seen_at` is its last sign of life.
    """

    folder = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    state = models.CharField(
        max_length=16, choices=UploadState.choices, default=UploadState.RECEIVING
    )
    files = models.PositiveIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    left_out: "models.JSONField[list[Any], list[Any]]" = models.JSONField(default=list)
    left_out_files = models.PositiveIntegerField(default=0)
    uploaded_by = models.CharField(max_length=150)
    owner = models.CharField(max_length=128, blank=True)
    seen_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        """The absolute path of its folder."""
        return str((settings.DATA_DIR / "uploads").resolve() / self.folder)
