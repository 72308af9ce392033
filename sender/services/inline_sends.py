"""Inline sends: each belongs to the process that runs it, while that lives.

What is left of one whose process is gone goes on in the background.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db.models import QuerySet

from sender.models import Send
from sender.models.sends import ENDED_STATES
from sender.services import forgetting
from sender.services.keeping import kept
from sender.services.owners import is_dead, lease_end, owner_name
from sender.services.patience import persist
from sender.services.vigil import WATCH

LEFT = "The command that ran it ended before it was through"
SILENT = "The command that ran it gave no sign of life"
FOLLOWS = "what was left is for the background sender."
logger = logging.getLogger(__name__)


def of_this_process() -> dict[str, object]:
    """Return the columns of a send that this process runs."""
    return {"inline": True, "runner": owner_name(), "runner_until": lease_end()}


@contextmanager
def kept_here(sends: Sequence[Send]) -> Iterator[None]:
    """Keep inline sends of this process until the block is left; what is not through is let go."""
    mine = _unfinished().filter(pk__in=[send.pk for send in sends])
    try:
        with kept(lambda: mine.update(runner_until=lease_end())):
            yield
    finally:
        persist(lambda: _let_go(mine, LEFT))
        persist(forgetting.forget_entries)


def let_go_of_abandoned() -> None:
    """Let sends go on in the background whose process is gone, or gives no sign of life."""
    leases = dict(_unfinished().values_list("pk", "runner_until"))
    over = WATCH.over("inline sends", leases.items())
    for send in _unfinished().filter(pk__in=leases):
        if is_dead(send.runner):
            _let_go(_unfinished().filter(pk=send.pk), LEFT)
        elif send.pk in over:
            _let_go(_unfinished().filter(pk=send.pk, runner_until=leases[send.pk]), SILENT)


def _let_go(sends: QuerySet[Send], why: str) -> None:
    for send in sends:
        said = f"{send.detail} {why}: {FOLLOWS}".strip()[:400]
        if sends.filter(pk=send.pk).update(inline=False, detail=said):
            logger.warning("Send %s is left to the background sender. %s.", send.pk, why)


def _unfinished() -> QuerySet[Send]:
    return Send.objects.filter(inline=True).exclude(state__in=ENDED_STATES)
