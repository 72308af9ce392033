"""The audit log: who did what, written in the transaction that does it."""

import json
from typing import Any

from django.utils import timezone

from sender.models import AuditEntry
from sender.services.canonical import digest


def write_entry(
    *,
    actor: str,
    action: str,
    subject: str,
    facts: dict[str, Any],
    address: str = "",
    result: str = "done",
) -> AuditEntry:
    """Write one entry.

    Args:
        facts: what changed, as JSON can hold it; no secrets, no patient data.
        result: "done" or "refused".
    """
    now = timezone.now()
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return AuditEntry.objects.create(
        at=now,
        actor=actor[:150],
        address=address[:64],
        action=action,
        subject=subject[:200],
        result=result,
        facts=facts,
        record_digest=digest(now, actor[:150], address[:64], action, subject[:200], result, text),
    )
