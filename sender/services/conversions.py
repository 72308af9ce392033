"""Conversions of a batch: begun before the association is opened, done ahead of their sending.

The peer must not wait for a decoder, and a decoder that crashes must not end a worker: children
convert (dicom/converting.py), a few instances ahead, while others are sent.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from django.conf import settings

from sender.dicom.converting import Closed, Converter, Job
from sender.dicom.encoding import EncodedDataset
from sender.negotiation.contexts import Proposal
from sender.negotiation.matching import Choice, Conversion, choose, conversion_of
from sender.negotiation.outcomes import ContextOutcome
from sender.negotiation.rules import TemplateOptions
from sender.services.results import DueItem

AHEAD = 8
"""Instances of a batch whose conversion is asked for before they are needed."""
LONGEST_PREPARATION_SECONDS = 4.0
"""So long the first conversion is waited for before the association is opened."""


class Conversions:
    """The conversions of one association; starts nothing until one is asked for.

    A context manager: at its end no child, thread or file is left.
    """

    def __init__(self) -> None:
        self._converter: Converter | None = None
        self._jobs: dict[int, tuple[str, Job | OSError]] = {}
        self._is_closed = False
        self._starting = threading.Lock()

    def __enter__(self) -> "Conversions":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, item: DueItem, transfer_syntax: str) -> None:
        """Have an item converted; asking again for the same costs nothing."""
        known, job = self._jobs.get(item.item_id, ("", None))
        if known == transfer_syntax:
            return
        if isinstance(job, Job):
            self._started().cancel(job)
        # Policy has decided already, so data compressed with loss may be decompressed.
        try:
            asked: Job | OSError = self._started().submit(
                item.instance, transfer_syntax, lossy_allowed=True
            )
        except OSError as error:  # no room for results: raised when it is taken
            asked = error
        self._jobs[item.item_id] = (transfer_syntax, asked)

    def take(self, item: DueItem) -> EncodedDataset:
        """Wait for an item that was asked for; the caller discards the result.

        Raises: as `Converter.result`.
        """
        _, job = self._jobs.pop(item.item_id)
        if isinstance(job, OSError):
            raise job
        return self._started().result(job)

    def wait(self, item: DueItem, seconds: float) -> None:
        """Wait until an item that was asked for is converted, or can't be; or so long."""
        _, job = self._jobs[item.item_id]
        if isinstance(job, Job):
            self._started().wait(job, seconds)

    def close(self) -> None:
        """End the children, and remove what was not taken; from any thread, more than once."""
        with self._starting:
            self._is_closed = True
            converter = self._converter
        if converter is not None:
            converter.close()

    def _started(self) -> Converter:
        """Raises: Closed, OSError: there is no room for its folder."""
        with self._starting:
            if self._is_closed:
                raise Closed("the conversions were closed")
            if self._converter is None:
                folder = Path(settings.DATA_DIR) / "converting"
                folder.mkdir(mode=0o700, exist_ok=True)
                self._converter = Converter(
                    folder=str(folder), processes=settings.CONVERT_PROCESSES
                )
            return self._converter


def prepare(
    conversions: Conversions,
    items: Iterator[DueItem],
    proposal: Proposal,
    options: TemplateOptions,
) -> Iterator[DueItem]:
    """Begin what has to be converted whatever the peer will answer; return all items again.

    That is what the proposal has no context for in its own syntax. Returns once the first item
    can be sent, or some seconds later: the rest then goes on while the association is open.
    """
    head = list(islice(items, AHEAD))
    granted = [
        ContextOutcome(context, negotiated=True, result=0, accepted=context.transfer_syntaxes[0])
        for context in proposal.contexts
    ]
    asked = [item for item in head if _ask(conversions, item, granted, options)]
    if asked and asked[0] is head[0]:
        conversions.wait(head[0], LONGEST_PREPARATION_SECONDS)
    return _chain(head, items)


def _chain(head: Sequence[DueItem], rest: Iterator[DueItem]) -> Iterator[DueItem]:
    yield from head
    yield from rest


def _ask(
    conversions: Conversions,
    item: DueItem,
    granted: Sequence[ContextOutcome],
    options: TemplateOptions,
) -> bool:
    """Have an item converted that will have to be though all is accepted; tell whether it will."""
    if conversion_of(item.instance.kind, options) is Conversion.NONE:
        return False
    choice = choose(item.instance.kind, granted, options)
    if not isinstance(choice, Choice) or choice.conversion is Conversion.NONE:
        return False
    conversions.ask(item, choice.transfer_syntax)
    return True


def in_order(
    conversions: Conversions, chosen: Iterator[tuple[DueItem, Choice]]
) -> Iterator[tuple[DueItem, Choice]]:
    """Yield items as they can be sent: what travels unchanged at once, the rest when converted.

    Conversions keep their order among themselves, and only a few are ahead at any time.
    """
    ahead: deque[tuple[DueItem, Choice]] = deque()
    for item, choice in chosen:
        if choice.conversion is Conversion.NONE:
            yield item, choice
            continue
        conversions.ask(item, choice.transfer_syntax)
        ahead.append((item, choice))
        if len(ahead) > AHEAD:
            yield ahead.popleft()
    yield from ahead
