"""Context templates: new ones, and new versions of them; old versions never change."""

import hashlib

from django.db import transaction

from sender.models import ContextTemplate, TemplateVersion
from sender.negotiation.rules import TemplateSpec, canonical_bytes, to_document
from sender.services.audit import write_entry


class UnknownName(ValueError):
    """There is no such template or version."""


class BuiltIn(ValueError):
    """A built-in template can't be changed; it can be cloned under another name."""


def save_version(spec: TemplateSpec, *, actor: str) -> TemplateVersion:
    """Write a template, or a new version of it if it says something new.

    Raises:
        BuiltIn: the name is that of a built-in template and the content differs.
    """
    digest = hashlib.sha256(canonical_bytes(spec)).digest()
    with transaction.atomic():
        template, created = ContextTemplate.objects.select_for_update().get_or_create(
            name=spec.name
        )
        newest = template.versions.order_by("-version").first()
        if newest is not None and bytes(newest.digest) == digest:
            return newest
        if template.built_in:
            raise BuiltIn(f"{spec.name} is built in; import it under another name.")
        version = TemplateVersion.objects.create(
            template=template,
            version=1 if newest is None else newest.version + 1,
            digest=digest,
            document=to_document(spec),
            context_count=len(spec.contexts),
            created_by=actor,
        )
        write_entry(
            actor=actor,
            action="template.add" if created else "template.change",
            subject=spec.name,
            facts={"version": version.version, "contexts": version.context_count},
        )
    return version


def find_version(name: str) -> TemplateVersion:
    """Return the newest version of NAME, or the Nth of NAME@N.

    Raises:
        UnknownName: there is none.
    """
    title, _, number = name.partition("@")
    versions = TemplateVersion.objects.select_related("template").filter(template__name=title)
    if number and not number.isdecimal():
        raise UnknownName(f"{name}: the version of a template is a number, as in NAME@2.")
    found = (
        versions.filter(version=int(number)).first()
        if number
        else (versions.order_by("-version").first())
    )
    if found is None:
        raise UnknownName(f"There is no template {name}.")
    return found
