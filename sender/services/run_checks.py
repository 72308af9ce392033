"""The check before a run: what its plans leave unsendable is said before anything is sent."""

from collections.abc import Iterable, Mapping
from typing import Any

from sender.models import Listing, RunState, ScheduleRun, Send
from sender.services.listing import TOO_YOUNG

NOT_SENT = "not sent"


def note_plan(send: Send) -> None:
    """Write what the plans of a run foresee, in the transaction that releases the send.

    Sends that belong to no run are left alone.
    """
    run = _run_of(send)
    if run is None or send.listing is None:
        return
    planned = Send.objects.filter(listing=send.listing, planned_at__isnull=False)
    said = [
        f"{one.destination}: {words}"
        for one in planned.select_related("destination").order_by("id")
        if (words := doubts(one.plan))
    ]
    warning = "; ".join(filter(None, [_nothing_taken(run, send.listing), *said]))
    ScheduleRun.objects.filter(pk=run.pk).update(warning=_cut(warning))


def note_failure(send: Send, detail: str) -> None:
    """Let a run fail whose sources could not be listed, or hold nothing any more."""
    run = _run_of(send)
    if run is not None:
        ScheduleRun.objects.filter(pk=run.pk).exclude(state=RunState.FAILED).update(
            state=RunState.FAILED, detail=_cut(f"{run.detail} {detail}".strip())
        )


def _run_of(send: Send) -> ScheduleRun | None:
    return ScheduleRun.objects.select_for_update().filter(listing_id=send.listing_id or 0).first()


def _cut(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:399]}…"


def doubts(plan: Mapping[str, Any]) -> str:
    """Say what a plan leaves unsendable, or would if the peer answered as last time; "" if none."""
    kinds = plan.get("kinds", [])
    without = [kind for kind in kinds if kind["travels"] == NOT_SENT]
    doubtful = [kind for kind in kinds if kind.get("doubt")]
    conflicts = plan.get("conflicts", 0)
    said = [
        f"{_counted(without)} no context to travel in" if without else "",
        f"{_counted(doubtful)} no context that was accepted last time" if doubtful else "",
        f"{conflicts:,} files share a SOP Instance UID with another data set" if conflicts else "",
    ]
    return ", ".join(filter(None, said))


def _counted(kinds: Iterable[Mapping[str, Any]]) -> str:
    kinds = list(kinds)
    instances = sum(kind["instances"] for kind in kinds)
    verb = "has" if instances == 1 else "have"
    return f"{_number(instances, 'instance')} of {_number(len(kinds), 'kind')} {verb}"


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _nothing_taken(run: ScheduleRun, listing: Listing) -> str:
    """Say that rules left everything out where the run before took something; "" otherwise."""
    old = listing.excluded_files - listing.excluded.get(TOO_YOUNG, 0)
    if listing.files or not old:
        return ""
    before = (
        Listing.objects.filter(
            runs__schedule=run.schedule_id, runs__intended_at__lt=run.intended_at
        )
        .order_by("-runs__intended_at")
        .first()
    )
    if before is None or not before.files:
        return ""
    return (
        f"the rules left out all {_number(old, 'file')}, where the run before took {before.files:,}"
    )
