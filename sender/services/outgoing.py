"""What of a batch can travel in the open association, and as what; the rest is settled here."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.conf import settings

from sender.dicom.converting import Closed
from sender.dicom.encoding import ConversionFailed, EncodedDataset, SourceUnusable
from sender.dicom.requestor import FileRange, StoreRequest
from sender.negotiation import retry
from sender.negotiation.matching import Choice, Conversion, Refusal, choose
from sender.negotiation.outcomes import InstanceOutcome, StoreOutcome
from sender.negotiation.retry import Stops
from sender.services import conversions, sight
from sender.services.delays import due_at
from sender.services.passages import Barred, Passage, Run
from sender.services.results import Change, DueItem, ItemChange, Tried, untried
from sender.services.tallies import DELIVERED

logger = logging.getLogger(__name__)

ALL = ""
"""Stands for all SOP classes."""


@dataclass(slots=True)
class Outgoing:
    """An item on its way: what carries it, and its converted data if it had to be converted."""

    item: DueItem
    choice: Choice
    converted: EncodedDataset | None = None

    def request(self) -> StoreRequest:
        """Return the request that stores it."""
        scanned = self.item.instance
        return StoreRequest(
            scanned.kind.sop_class,
            scanned.sop_instance,
            self.choice.context_id,
            self.converted.content if self.converted else FileRange.of(scanned),
        )

    def discard(self) -> None:
        """Give back what the conversion took."""
        if self.converted is not None:
            self.converted.discard()


def requests(
    passage: Passage, run: Run, items: Iterable[DueItem], waiting: dict[str, Outgoing]
) -> Iterator[StoreRequest]:
    """Yield a request per item that an accepted context can carry; settle the others here.

    Ends when nothing more is to be begun.
    """
    try:
        for item, choice in conversions.in_order(passage.conversions, _chosen(passage, run, items)):
            if not passage.may_begin():
                return
            outgoing = Outgoing(item, choice)
            if choice.conversion is not Conversion.NONE:
                outgoing.converted = _converted(passage, run, item)
                if outgoing.converted is None:
                    continue
            waiting[item.instance.sop_instance] = outgoing
            yield outgoing.request()
    except Closed:  # we end the association: what was not converted by then stays as it was
        return


def _chosen(
    passage: Passage, run: Run, items: Iterable[DueItem]
) -> Iterator[tuple[DueItem, Choice]]:
    """Yield items with the context that carries them."""
    options = run.send.template_version.spec.options
    contexts = passage.opened.association.contexts
    choices: dict[object, Choice | Refusal] = {}
    study = ""
    for item in items:
        if passage.gives_way and study and item.instance.study_instance != study:
            passage.stopping.set()
        if passage.stopping.is_set():
            return
        kind, study = item.instance.kind, item.instance.study_instance
        if _bar_of(run, item) is not None:
            run.left_out.append(item)
            continue
        if kind not in choices:
            choices[kind] = choose(kind, contexts, options)
        choice = choices[kind]
        if isinstance(choice, Refusal):
            _park(run, item, choice.reason)
        else:
            yield item, choice


def _converted(passage: Passage, run: Run, item: DueItem) -> EncodedDataset | None:
    """Return an item converted; None if it can't be, which is settled here."""
    try:
        return passage.conversions.take(item)
    except SourceUnusable as error:
        change = ItemChange(InstanceOutcome.FAILED, str(error)[:600], rule=retry.NOT_SENT.rule)
        if _leaves(passage, run, item):
            change = left_to_others(item, str(error))
    except ConversionFailed as error:
        change = ItemChange(
            InstanceOutcome.UNSENDABLE, str(error)[:600], rule="conversion_failed", tried=False
        )
    except OSError as error:  # no room for the result, or no process: not the instance's fault
        logger.error("Nothing can be converted now: %s", error)
        change = ItemChange(
            InstanceOutcome.PENDING,
            f"it could not be converted here: {error.strerror or error}"[:600],
            rule=retry.LOCAL.rule,
            retry_at=due_at(retry.LOCAL, 1, run.jitter),
            tried=False,
        )
    _settle_untried(run, item, change)
    return None


def must_leave(passage: Passage, run: Run, item: DueItem, outcome: StoreOutcome) -> bool:
    """Tell whether an item is left to other hosts because its source went out of our sight.

    Then nothing more is begun: the others of the batch are for them, too.
    """
    is_unread = outcome.status is None and outcome.outcome is InstanceOutcome.FAILED
    return is_unread and _leaves(passage, run, item)


def _leaves(passage: Passage, run: Run, item: DueItem) -> bool:
    is_left = sight.leaves_file(run.send, item.instance.path)
    if is_left:
        passage.stopping.set()
    return is_left


def left_to_others(item: DueItem, why: str) -> ItemChange:
    """Return what becomes of an item that another host may be able to read."""
    change = ItemChange(
        InstanceOutcome.PENDING,
        f"not read on host {settings.SENDER_HOST}: {why}"[:600],
        rule=retry.OUT_OF_SIGHT.rule,
        tried=False,
    )
    return untried(item.item_id, Tried(item.attempts, item.rule), change)


def _settle_untried(run: Run, item: DueItem, change: ItemChange) -> InstanceOutcome:
    """Settle an item that is not sent now; return its outcome."""
    change = untried(item.item_id, Tried(item.attempts, item.rule), change)
    run.changes.append(Change(item.item_id, item.part_id, change))
    return change.outcome


def _park(run: Run, item: DueItem, reason: str) -> None:
    """No accepted context carries the item: it waits until one does."""
    change = ItemChange(
        InstanceOutcome.UNSENDABLE, reason[:600], rule=retry.NO_CONTEXT.rule, tried=False
    )
    if _settle_untried(run, item, change) is InstanceOutcome.UNSENDABLE:
        run.parked.add((item.instance.kind.sop_class, item.instance.kind.transfer_syntax))


def _bar_of(run: Run, item: DueItem) -> Barred | None:
    return run.barred.get(ALL) or run.barred.get(item.instance.kind.sop_class)


def settle_left_out(run: Run) -> None:
    """Settle what was left out because the peer refused others for a reason that holds for it too.

    If the peer stored something meanwhile that the same reason spoke against, it stays to be tried.
    """
    for item in run.left_out:
        barred = _bar_of(run, item)
        if barred is not None:
            change = ItemChange(
                InstanceOutcome.FAILED, barred.reason, rule=barred.rule, tried=False
            )
            _settle_untried(run, item, change)
    run.left_out.clear()


def refuse_all(passage: Passage, run: Run, items: Iterable[DueItem]) -> None:
    """No context was accepted: say for each item why not."""
    options = run.send.template_version.spec.options
    contexts = passage.opened.association.contexts
    for item in items:
        choice = choose(item.instance.kind, contexts, options)
        if isinstance(choice, Refusal):
            _park(run, item, choice.reason)


def learn(passage: Passage, run: Run, item: DueItem, change: ItemChange) -> None:
    """Remember what the peer would refuse for the same reason as this item.

    Nothing of what it stored in the same association: so the reason it gave can't be the whole one.
    """
    sop_class = item.instance.kind.sop_class
    if change.outcome in DELIVERED:
        passage.stored.add(sop_class)
        run.barred.pop(sop_class, None)
        run.barred.pop(ALL, None)
        return
    decision = retry.RULES[change.rule]
    barred = Barred(decision.rule, f"not tried: {decision.reason}")
    if decision.stops is Stops.SOP_CLASS and sop_class not in passage.stored:
        run.barred[sop_class] = barred
    elif decision.stops is Stops.BATCH and not passage.stored:
        run.barred[ALL] = barred
