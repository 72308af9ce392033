"""Rows that every installation has: roles, built-in templates, "no answer", the site's time zone.

They are made after each migration, where missing, so that a flushed database has them again.
"""

import hashlib

from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from sender.models.audit import Installation
from sender.models.history import NO_RESULT_LIST, PresentationContextDefinitionResultList
from sender.models.rights import ROLES
from sender.models.templates import ContextTemplate, TemplateVersion
from sender.negotiation.rules import BUILT_IN, TemplateSpec, canonical_bytes, to_document


def create_first_rows(using: str) -> None:
    """Make what is missing; change nothing that is there but the rights of a role."""
    with transaction.atomic(using=using):
        PresentationContextDefinitionResultList.objects.using(using).get_or_create(
            pk=NO_RESULT_LIST, defaults={"digest": hashlib.sha256(b"").digest()}
        )
        if not Installation.objects.using(using).exists():
            Installation.objects.using(using).create(time_zone=settings.TIME_ZONE)
        for role, rights in ROLES.items():
            _create_role(using, role, rights)
        for spec in BUILT_IN:
            _create_template(using, spec)


def _create_role(using: str, role: str, rights: tuple[str, ...]) -> None:
    group, _ = Group.objects.using(using).get_or_create(name=role)
    wanted = Permission.objects.using(using).filter(
        content_type__app_label="sender", codename__in=rights
    )
    group.permissions.set(wanted)


def _create_template(using: str, spec: TemplateSpec) -> None:
    """Make a built-in template; one that a release changed gets a new version."""
    digest = hashlib.sha256(canonical_bytes(spec)).digest()
    template, _ = ContextTemplate.objects.using(using).get_or_create(
        name=spec.name, defaults={"built_in": True}
    )
    newest = template.versions.using(using).order_by("-version").first()
    if newest is None or bytes(newest.digest) != digest:
        TemplateVersion.objects.using(using).create(
            template=template,
            version=newest.version + 1 if newest else 1,
            digest=digest,
            document=to_document(spec),
            context_count=len(spec.contexts),
            created_by="system",
        )
