"""Wait for the fix: what no context carried is parked until a later negotiation would carry it."""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from sender.models import Destination, ParkedPair, Send, SendItem, StudyPart
from sender.models.reading import proposal_of
from sender.models.sends import ENDED_STATES, SendState
from sender.negotiation import parking, retry
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import ContextOutcome, ContextResult, InstanceOutcome
from sender.services import again
from sender.services.audit import write_entry
from sender.services.sending import WrongState
from sender.services.subsets import Items, Subset

logger = logging.getLogger(__name__)
SYSTEM = "system"
_MOST_EXAMPLES = 100
Pair = tuple[str, str]
"""SOP class UID and transfer syntax UID."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An instance that stands for all of its pair in one send."""

    item: SendItem
    proposal: Proposal


def park(destination_id: int, pairs: Iterable[Pair]) -> None:
    """Note what the destination's contexts did not carry; runs in the caller's transaction.

    What was offered before and was refused again waits anew.
    """
    for sop_class, transfer_syntax in sorted(set(pairs)):
        ParkedPair.objects.update_or_create(
            destination_id=destination_id,
            sop_class_uid=sop_class,
            transfer_syntax_uid=transfer_syntax,
            defaults={"parked_at": timezone.now(), "offered_at": None, "association_uid": None},
        )


def negotiated(destination: Destination, contexts: Sequence[ContextOutcome], attempt: UUID) -> None:
    """Offer the parked data that the peer would accept by what it has just accepted.

    They are sent at once if the destination says so.
    """
    accepted = parking.now_accepted(contexts)
    parked = ParkedPair.objects.filter(
        destination=destination,
        offered_at=None,
        sop_class_uid__in={sop_class for sop_class, _ in accepted},
    )
    freed = [pair for pair in parked if _would_travel(pair, accepted)]
    for pair in freed:
        logger.info(
            "%s accepts %s in %s now.", destination, pair.sop_class_uid, pair.transfer_syntax_uid
        )
    if freed and destination.sends_parked:
        # Not marked first: an outage in between would leave them offered, and never sent.
        send_parked(destination, [_key(pair) for pair in freed], SYSTEM)
        return
    ParkedPair.objects.filter(pk__in=[pair.pk for pair in freed], offered_at=None).update(
        offered_at=timezone.now(), association_uid=attempt
    )


def send_parked(destination: Destination, pairs: Iterable[Pair], actor: str) -> int:
    """Send parked data after all, each instance in its own send; return how many there are.

    Sends that were cancelled stay as they are.
    """
    count = 0
    wanted = sorted(set(pairs))
    with transaction.atomic():
        concerned = {(send, pair) for pair in wanted for send in _sends_with(destination, *pair)}
        for send, pair in sorted(concerned, key=_by_send):  # in the order of locks.py
            with contextlib.suppress(WrongState):  # it was cancelled meanwhile
                count += again.take_up(send, _subset(*pair))
        for sop_class, transfer_syntax in wanted:
            ParkedPair.objects.filter(
                destination=destination,
                sop_class_uid=sop_class,
                transfer_syntax_uid=transfer_syntax,
            ).delete()
        write_entry(
            actor=actor,
            action="destination.send_parked",
            subject=destination.name,
            facts={"instances": count},
        )
    return count


def _by_send(waiting: tuple[Send, Pair]) -> tuple[int, Pair]:
    send, pair = waiting
    return send.pk, pair


def _subset(sop_class: str, transfer_syntax: str) -> Subset:
    return Subset(
        outcomes=frozenset({InstanceOutcome.UNSENDABLE}),
        rule=retry.NO_CONTEXT.rule,
        sop_class=sop_class,
        transfer_syntax=transfer_syntax,
    )


def parked_rows(destination: Destination, pair: ParkedPair) -> int:
    """Return how many rows wait for the pair, in sends that were not cancelled.

    An instance that several sends have counts for each: as often it would be sent.
    """
    return _items(destination, pair.sop_class_uid, pair.transfer_syntax_uid).count()


def _sends_with(destination: Destination, sop_class: str, transfer_syntax: str) -> list[Send]:
    items = _items(destination, sop_class, transfer_syntax)
    numbers = items.order_by().values_list("send_id", flat=True).distinct()
    return list(Send.objects.filter(pk__in=list(numbers)).order_by("pk"))


def _items(destination: Destination, sop_class: str, transfer_syntax: str) -> Items:
    """Return the parked items of a pair, by way of the few parts that have unsendable ones."""
    conditions = _of_pair(destination, sop_class, transfer_syntax)
    return _parked().filter(**{f"part__{name}": value for name, value in conditions.items()})


def _of_pair(destination: Destination, sop_class: str, transfer_syntax: str) -> dict[str, object]:
    """Return what parts of a pair are, in sends not cancelled, that have something unsendable."""
    return {
        "send__destination": destination,
        "send__state__in": [*_GOES_ON],
        "unsendable__gt": 0,
        "kind__sop_class_uid": sop_class,
        "kind__transfer_syntax_uid": transfer_syntax,
    }


def _parked() -> Items:
    return SendItem.objects.filter(
        outcome=InstanceOutcome.UNSENDABLE, rule=retry.NO_CONTEXT.rule, batch__isnull=False
    )


_GOES_ON = (ENDED_STATES - {SendState.CANCELLED}) | {
    SendState.QUEUED,
    SendState.RUNNING,
    SendState.PAUSED,
}


def _key(pair: ParkedPair) -> Pair:
    return pair.sop_class_uid, pair.transfer_syntax_uid


def _would_travel(pair: ParkedPair, accepted: set[Pair]) -> bool:
    """Tell whether one of the sends that wait would get the pair through now."""
    return any(
        parking.could_be_sent(
            waiting.item.part.kind.kind,
            _as_answered(waiting.proposal, accepted),
            waiting.item.send.template_version.spec.options,
        )
        for waiting in _representatives(pair)
    )


def _representatives(pair: ParkedPair) -> Iterable[_Waiting]:
    """Yield one instance for each proposal by which data of the pair would be sent.

    One of each part is looked at, in the newest sends: what is of the same study and kind travels
    by the same contexts, and a peer waits meanwhile.
    """
    conditions = _of_pair(pair.destination, pair.sop_class_uid, pair.transfer_syntax_uid)
    parts = StudyPart.objects.filter(**conditions)
    example = Subquery(_parked().filter(part=OuterRef("pk")).order_by().values("pk")[:1])
    found = parts.order_by("-send_id").values_list(example, flat=True)
    newest = [number for number in found if number is not None][:_MOST_EXAMPLES]
    items = SendItem.objects.filter(pk__in=newest).order_by("-send_id")
    seen: set[tuple[int, int]] = set()
    for item in items.select_related(
        "batch__definition_list", "send__template_version", "part__kind"
    ):
        assert item.batch is not None
        key = item.batch.definition_list_id, item.send.template_version_id
        if key not in seen:
            seen.add(key)
            yield _Waiting(item, proposal_of(item.batch.definition_list))


def _as_answered(proposal: Proposal, accepted: set[Pair]) -> list[ContextOutcome]:
    """Return how the peer would probably answer a proposal, by the pairs that it accepts."""
    found = []
    for context in proposal.contexts:
        taken = [s for s in context.transfer_syntaxes if (context.abstract_syntax, s) in accepted]
        result = (
            ContextResult.ACCEPTANCE if taken else ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        )
        found.append(
            ContextOutcome(
                context, negotiated=True, result=result, accepted=taken[0] if taken else None
            )
        )
    return found
