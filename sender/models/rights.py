"""What people may do: five rights, given to roles (groups) by a migration (CONTRACT.md, Roles)."""

from django.db import models


class Right(models.Model):
    """Holds the rights; it has no rows and no table."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = (
            ("read", "Read dashboard, destinations, templates, sends and history"),
            ("read_identifiers", "Read instance UIDs, source paths and Error Comments"),
            ("operate", "Echo, negotiate, send, pause, resume, cancel and retry"),
            ("audit", "Read the audit log and review"),
            ("configure", "Administer destinations, templates, users and settings"),
        )


ROLES: dict[str, tuple[str, ...]] = {
    "viewer": ("read",),
    "operator": ("read", "read_identifiers", "operate"),
    "auditor": ("read", "read_identifiers", "audit"),
    "administrator": ("read", "read_identifiers", "operate", "audit", "configure"),
}
