"""Instances that a peer may hold although it never said so: they are never called failed.

A C-STORE without a trusted answer may have been carried out (RELIABILITY.md, the truth rule). That
the peer refused the same instance later, for a reason that passes, does not undo it.
"""

from django.db.models import Exists, OuterRef, Q

from sender.models import InstanceAttempt
from sender.negotiation import retry
from sender.negotiation.outcomes import InstanceOutcome


def in_doubt() -> Q:
    """Return the condition on rows of a send that have no outcome yet."""
    unanswered = InstanceAttempt.objects.filter(
        item_id=OuterRef("pk"), outcome=InstanceOutcome.UNKNOWN
    )
    return Q(rule__in=retry.UNANSWERED) | Q(Exists(unanswered), attempts__gt=0)


def is_in_doubt(item_id: int, *, attempts: int, rule: str) -> bool:
    """Tell whether a row that was tried before is one of them.

    Args:
        attempts: how often it was tried.
        rule: what was decided after the last time.
    """
    if rule in retry.UNANSWERED:
        return True
    unanswered = InstanceAttempt.objects.filter(item_id=item_id, outcome=InstanceOutcome.UNKNOWN)
    return attempts > 0 and unanswered.exists()
