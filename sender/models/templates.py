"""Context templates and their immutable versions."""

from typing import Any

from django.db import models

from sender.models.destinations import validate_name
from sender.negotiation.rules import TemplateSpec, parse


class ContextTemplate(models.Model):
    """A named proposal that administrators write; what it says stands in its versions."""

    name = models.CharField(max_length=80, unique=True, validators=[validate_name])
    built_in = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-built_in", "name")

    def __str__(self) -> str:
        return self.name

    @property
    def newest(self) -> "TemplateVersion":
        """The version that new work uses.

        Raises:
            TemplateVersion.DoesNotExist: never for a template that services made.
        """
        return self.versions.latest("version")


class TemplateVersion(models.Model):
    """One version of a template: written once, never changed."""

    template = models.ForeignKey(ContextTemplate, on_delete=models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    digest = models.BinaryField(max_length=32)
    document: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField()
    context_count = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150)

    class Meta:
        ordering = ("template", "-version")
        constraints = (
            models.UniqueConstraint(name="template_version_once", fields=("template", "version")),
        )

    def __str__(self) -> str:
        return f"{self.template}@{self.version}"

    @property
    def spec(self) -> TemplateSpec:
        """What this version says."""
        return parse(self.document)
