"""Once more: what did not arrive, all of it or a part; or everything again, on purpose."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from sender.models import (
    Send,
    SendItem,
    SendState,
    SourceFile,
    StudyOrder,
    StudyPart,
)
from sender.models.sends import ENDED_STATES
from sender.models.sources import CONFLICT
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.selection import parse_selection
from sender.services import cancelling, expectations, holds, reopening, sending, tickets
from sender.services.audit import write_entry
from sender.services.locks import lock_send
from sender.services.sending import SendOrder, WrongState
from sender.services.subsets import MAY_RETRY, Items, Subset

_AGAIN = (SendState.PARTIAL, SendState.FAILED, SendState.ERRORED)
_GOES_ON_OR_AGAIN = frozenset({*reopening.GOES_ON, *_AGAIN})


def is_retriable(send: Send) -> bool:
    """Tell whether something of a send can be tried again, if it did not arrive.

    Of one that was cancelled, once it was planned; else nobody knows what it was to send.
    """
    is_cancelled = send.state == SendState.CANCELLED
    return send.is_wholly_planned if is_cancelled else send.state in _GOES_ON_OR_AGAIN


def retriable_studies(send: Send, uids: Sequence[str]) -> set[str]:
    """Return those of some studies of which something may be tried again."""
    lost = frozenset() if send.is_wholly_planned else {InstanceOutcome.CANCELLED}
    rows = SendItem.objects.filter(
        part=OuterRef("pk"), batch__isnull=False, outcome__in=MAY_RETRY - lost
    )
    parts = StudyPart.objects.filter(Exists(rows), send=send, study_instance_uid__in=uids)
    return set(parts.order_by().values_list("study_instance_uid", flat=True))


def retry_failed(send: Send, actor: str) -> int:
    """Try again what failed or is unknown; return how many instances that is.

    Raises:
        WrongState: as `retry_some`.
    """
    return retry_some(send, actor, Subset())


def retry_some(send: Send, actor: str, subset: Subset) -> int:
    """Try a part of a send again, its attempts counted anew; return how many instances that is.

    The wish stands at once. Many rows are taken up here while that takes no time, and else by the
    tick (reopening.py). A destination that the engine held for being out of reach is called at
    once.

    Raises:
        WrongState: nothing of it can be retried, or the send is not planned yet, or was cancelled
            before its plan was complete, or the same is being taken up already.
    """
    with transaction.atomic():
        holds.try_now(send.destination_id)
        count = take_up(send, subset, takes_cancelled=True)
        if not count:
            raise WrongState(f"Nothing in send {send.pk} that could be tried again is like that.")
        write_entry(
            actor=actor,
            action="send.retry",
            subject=str(send.pk),
            facts={"instances": count, **subset.facts},
        )
    reopening.settle(send.pk, seconds=cancelling.MOMENT_SECONDS)
    send.refresh_from_db()
    return count


def take_up(send: Send, subset: Subset, *, takes_cancelled: bool = False) -> int:
    """Have a part of a send sent again, in the caller's transaction; return how many rows it has.

    Many rows are left to the tick.

    Args:
        takes_cancelled: of a send that was cancelled too, since a person wants it.

    Raises:
        WrongState: the send is not planned (wholly, where something of it was cancelled), or was
            cancelled otherwise, or the same is being taken up already.
    """
    items = subset.rows(send)
    if not items.exists():
        return 0
    found = lock_send(send.pk)
    _check(found, items, takes_cancelled=takes_cancelled)
    if reopening.is_wished(found, subset):
        raise WrongState(f"Send {send.pk} is being made ready to try just that again already.")
    count = reopening.reopen(found, subset)
    if not count:
        return 0
    if sending.move_send(send.pk, SendState.QUEUED, before=(*_AGAIN, SendState.CANCELLED)):
        Send.objects.filter(pk=send.pk).update(
            finished_at=None, control="", detail="", inline=False
        )
    tickets.issue_work(send.destination_id)
    return count


def _check(send: Send, items: Items, *, takes_cancelled: bool) -> None:
    """Check that rows of a send may be tried again, by its state.

    Raises:
        WrongState: they may not.
    """
    is_cancelled = send.state == SendState.CANCELLED
    if send.state not in _GOES_ON_OR_AGAIN and not (is_cancelled and takes_cancelled):
        state = send.get_state_display().lower()
        raise WrongState(f"Send {send.pk} is {state}: nothing of it can be tried again.")
    if send.is_wholly_planned:
        return
    if is_cancelled or items.filter(outcome=InstanceOutcome.CANCELLED).exists():
        raise WrongState(
            f"Send {send.pk} ended before its plan was complete: send it again as a whole."
        )


def send_again(send: Send, actor: str, reason: str, *, roots: Sequence[Path] | None = ()) -> Send:
    """Send everything again on purpose, as a new send of the same sources and rules.

    Args:
        roots: folders that may be read, as `SendOrder` has them.

    Raises:
        WrongState: no reason is given, the send has not ended, it is being sent again already, or
            the destination is disabled.
        InvalidSource: a source is gone or outside the allowed roots.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise WrongState("Say why it is sent again: it will stand in the audit log.")
    if not send.is_ended:
        raise WrongState(f"Send {send.pk} has not ended; what failed of it can be retried.")
    listing = send.listing
    if listing is None:
        raise WrongState(f"The sources of send {send.pk} are not known any more.")
    order = SendOrder(
        destination=send.destination,
        template_version=send.template_version,
        sources=listing.sources,
        requested_by=actor,
        name=send.name,
        retries=send.retries,
        roots=roots,
        selection=parse_selection(listing.rules),
        expected=[replace(entry, found=None) for entry in expectations.of_listing(listing)],
        study_order=StudyOrder(send.study_order),
        windows=send.windows,
        zone=send.zone,
        priority=send.priority,
        again_of=send,
        again_reason=reason[:400],
    )
    with transaction.atomic():
        lock_send(send.pk)  # a button may be clicked twice
        _refuse_another(send)
        return sending.create_send(order, start=True)


def _refuse_another(send: Send) -> None:
    """Raises: WrongState: it is being sent again already."""
    repeated = Send.objects.filter(again_of=send).exclude(again_reason=PICKED)
    made = repeated.exclude(state__in=ENDED_STATES).order_by("pk").first()
    if made is not None:
        raise WrongState(f"It is being sent again already, as send {made.pk}.")


PICKED = "one of the files of a conflict was picked"


@dataclass(frozen=True, slots=True)
class Pick:
    """A send that was made for one of the files of a conflict.

    Attributes:
        may_be_repeated: it has ended, and delivered nothing.
    """

    send: Send
    may_be_repeated: bool


def picks_of(send: Send) -> dict[str, Pick]:
    """Return the newest pick for each path that was picked of a send, the oldest first."""
    made = Send.objects.filter(again_of=send, again_reason=PICKED).select_related("listing")
    arrived = StudyPart.objects.filter(Q(sent__gt=0) | Q(warning__gt=0), send=OuterRef("pk"))
    return {
        path: Pick(one, may_be_repeated=one.is_ended and not one.has_arrived)
        for one in made.annotate(has_arrived=Exists(arrived)).order_by("pk")
        for path in one.sources
    }


def picks_for(
    send: Send, picks: Mapping[str, Pick], sop_instances: Collection[str]
) -> dict[str, Pick]:
    """Return, by SOP Instance UID, what was picked of conflicts; what may yet arrive before others.

    One of the files of a conflict is sent and no more: who picked one has decided.

    Args:
        picks: as `picks_of` has them.
    """
    if not picks:
        return {}
    rows = _conflicts(send).filter(file__sop_instance_uid__in=sop_instances)
    found: dict[str, Pick] = {}
    for item in rows.select_related("file__folder").order_by("pk"):
        picked, uid = picks.get(item.file.path), item.file.sop_instance_uid
        if picked and (uid not in found or found[uid].may_be_repeated):
            found[uid] = picked
    return found


def _conflicts(send: Send) -> Items:
    return send.items.filter(outcome=InstanceOutcome.UNSENDABLE, reason=CONFLICT)


def _refuse_another_pick(send: Send, file: SourceFile) -> None:
    """Raises: WrongState: one of the files of the conflict was picked already."""
    before = picks_for(send, picks_of(send), [file.sop_instance_uid]).get(file.sop_instance_uid)
    if before is not None and not before.may_be_repeated:
        which = "this file" if file.path in before.send.sources else "another file of the conflict"
        raise WrongState(f"Send {before.send.pk} was made for {which} already.")


def pick(send: Send, item_id: int, actor: str, *, roots: Sequence[Path] | None = ()) -> Send:
    """Send one of the files that share a SOP Instance UID, as a send of its own.

    The other send keeps its account: there the files stay a conflict.

    Args:
        roots: folders that may be read, as `SendOrder` has them.

    Raises:
        WrongState: the row is no conflict, a send was made for one of its files that may deliver
            it or has, or the destination is disabled.
        InvalidSource: the file is gone or outside the allowed roots.
    """
    item = _conflicts(send).select_related("file__folder").filter(pk=item_id).first()
    if item is None:
        raise WrongState(f"That row of send {send.pk} is no conflict.")
    order = SendOrder(
        destination=send.destination,
        template_version=send.template_version,
        sources=[item.file.path],
        requested_by=actor,
        name=f"Picked from send {send.pk}",
        retries=send.retries,
        roots=roots,
        windows=send.windows,
        zone=send.zone,
        priority=send.priority,
        again_of=send,
        again_reason=PICKED,
    )
    with transaction.atomic():
        lock_send(send.pk)  # a button may be clicked twice
        _refuse_another_pick(send, item.file)
        return sending.create_send(order, start=True)
