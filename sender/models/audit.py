"""Who did what: the audit log, the retention gate and facts fixed for the installation."""

from typing import Any

from django.db import models


class AuditEntry(models.Model):
    """One thing that somebody did; written once, never changed.

    Attributes:
        actor: a user's name, "cli:<operating-system user>", "schedule:<name>", or "system".
        action: verb and noun, like "destination.add".
        subject: what it was done to, by name or number; no patient data.
        facts: what changed; no secrets, no patient data.
        result: "done" or "refused".
    """

    at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    address = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=64)
    subject = models.CharField(max_length=200, blank=True)
    result = models.CharField(max_length=16, default="done")
    facts: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    record_digest = models.BinaryField(max_length=32)

    class Meta:
        ordering = ("-at", "-id")
        indexes = (models.Index(name="audit_by_time", fields=("-at", "-id")),)

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


class RetentionGate(models.Model):
    """While a row stands here, deletion from the append-only tables is possible.

    It is inserted and removed in the transaction that deletes; the triggers look for it.
    """

    opened_at = models.DateTimeField(auto_now_add=True)
    reason = models.CharField(max_length=200)


class Installation(models.Model):
    """What is fixed once for this database: one row.

    Attributes:
        time_zone: IANA name; fixes where a site-local day begins.
    """

    time_zone = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
