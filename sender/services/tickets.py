"""Tickets of the queue: wake-up calls that carry one id and nothing else (QUEUE.md).

Any ticket may be lost, doubled or late without harm: the truth is in our tables, and the tick
issues tickets again. So a Redis that is away (CONCORDAT_REDIS_URL) spoils nothing but time.
"""

import logging

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ
from django_q.tasks import async_task

MAIN = "main"
INTERACTIVE = "ui"
CLUSTERS = (MAIN, INTERACTIVE)
MOST_WAITING = 64
logger = logging.getLogger(__name__)


def issue_plan(send_id: int) -> None:
    """Have a send listed and planned, once the current transaction is committed."""
    _issue("sender.tasks.plan_send", send_id, cluster=MAIN)


def issue_work(destination_id: int) -> None:
    """Have due batches of a destination sent."""
    _issue("sender.tasks.work_for_destination", destination_id, cluster=MAIN)


def issue_probe(hold_id: int) -> None:
    """Have a blocked destination asked whether it is mended."""
    _issue("sender.tasks.probe_destination", hold_id, cluster=MAIN)


def issue_run(run_id: int) -> None:
    """Have a run of a schedule started."""
    _issue("sender.tasks.start_run", run_id, cluster=MAIN)


def issue_enquiry(enquiry_id: int) -> None:
    """Have a person's echo or negotiation run, past all bulk work."""
    _issue("sender.tasks.answer_enquiry", enquiry_id, cluster=INTERACTIVE)


def waiting(*clusters: str) -> int:
    """Return how many tickets wait; one that a worker has taken is locked and waits no more.

    Args:
        clusters: whose; of all, if none is named.

    A queue that can't be reached counts as full: nothing is issued until it can.
    """
    if not settings.REDIS_URL:
        waits = OrmQ.objects.filter(lock__lte=timezone.now(), key__in=clusters or CLUSTERS)
        return int(waits.count())
    try:
        return sum(int(get_broker(name).queue_size()) for name in clusters or CLUSTERS)
    except _outages() as error:
        logger.error("The queue can't be reached: %s", error)
        return MOST_WAITING


def _issue(task: str, number: int, *, cluster: str) -> None:
    transaction.on_commit(lambda: _enqueue(task, number, cluster))


def _enqueue(task: str, number: int, cluster: str) -> None:
    try:
        async_task(task, number, cluster=cluster)
    except _outages() as error:
        logger.error("A ticket can't be issued; the tick issues it later: %s", error)


def _outages() -> tuple[type[Exception], ...]:
    """Return what a Redis raises that is away; the database tells its own outages."""
    if not settings.REDIS_URL:
        return ()
    from redis.exceptions import RedisError  # noqa: PLC0415 - an optional package

    return (RedisError,)
