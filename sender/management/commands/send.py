"""`manage.py send PATH… --to NAME`."""

import gc
import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from django.core.management.base import CommandError
from django.db import connection
from django.db.models import QuerySet

from sender.analytics.sends import at_work, progress, seconds_to_last_outcome
from sender.management import send_options
from sender.management.base import NOT_ALL, OK, ConcordatCommand
from sender.models import (
    Association,
    BatchState,
    Destination,
    Listing,
    Send,
    SendState,
    TemplateVersion,
)
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.rules import DERIVED_FROM_FILES
from sender.negotiation.selection import InvalidSelection
from sender.negotiation.stalls import SAID
from sender.services import (
    expectations,
    gate,
    heartbeat,
    inline_sends,
    listing,
    path_lists,
    planner,
    sources,
)
from sender.services.gate import By, Closed
from sender.services.patience import persist
from sender.services.sending import InvalidSource, SendOrder, WrongState, create_sends

Target = tuple[Destination, TemplateVersion]
POLL_SECONDS = 0.5
LOOKS = 5
"""How often during that time the end is looked for."""
MOST_TOLD = 20


class Command(ConcordatCommand):
    """Send folders or files to destinations and wait until nothing is left to try."""

    help = "Send DICOM files to destinations; every instance and negotiation is recorded."

    def add_arguments(self, parser: ArgumentParser) -> None:
        send_options.add_options(parser)

    def run(self, **options: Any) -> int:
        targets = self._targets(options)
        order = self._order(options, targets)
        if not options["inline"] and not heartbeat.sender_state().is_live:
            raise CommandError(
                "No sender is running, so nothing was created. "
                "Start one (manage.py up, or manage.py sender), or use --inline."
            )
        try:
            sends = create_sends(order, targets, start=True)
        except (InvalidSource, InvalidSelection, WrongState) as error:
            raise CommandError(str(error)) from error
        is_through = self._run_here(sends) if options["inline"] else self._await(sends)
        if not is_through and (left := list(_unfinished(sends))):
            return self._leave(left)
        return self._report(sends, as_json=options["json"])

    def _targets(self, options: dict[str, Any]) -> list[Target]:
        """Return destinations, each once, with their templates."""
        names = list(dict.fromkeys(options["to"]))
        templates = options["template"] or [DERIVED_FROM_FILES.name]
        if len(templates) not in (1, len(names)):
            raise CommandError(
                "Give one --template for all destinations, or one for each --to in its order."
            )
        if len(templates) == 1:
            templates = templates * len(names)
        return [
            (self.destination(name), self.template_version(template))
            for name, template in zip(names, templates, strict=True)
        ]

    def _order(self, options: dict[str, Any], targets: Sequence[Target]) -> SendOrder:
        paths = send_options.resolved_paths(options)
        path_list = send_options.path_list_of(options)
        if not path_list and not listing.holds_files(paths):
            raise CommandError(f"There are no files in {', '.join(options['paths'])}.")
        selection, listed = send_options.selection_of(options)
        destination, version = targets[0]
        return SendOrder(
            destination=destination,
            template_version=version,
            sources=paths,
            requested_by=self.actor,
            roots=sources.shell_roots(),
            path_list=path_list,
            selection=selection,
            expected=expectations.of_list(listed),
            **send_options.manner_of(options),
        )

    def _run_here(self, sends: Sequence[Send]) -> bool:
        """Plan and send in this process; False if the person stopped it with Ctrl-C."""
        stopping = threading.Event()
        try:
            with inline_sends.kept_here(sends):
                run = _engine()
                gc.freeze()  # collections of garbage need not look at all that is loaded
                for send in sends:
                    planner.plan_send(send.pk, in_slices=False)
                self._tell_lines(sends[0])
                with _ctrl_c_sets(stopping):
                    _run_inline(sends, partial(run, is_stopping=stopping.is_set))
        except KeyboardInterrupt:
            return False
        return not stopping.is_set()

    def _leave(self, sends: Sequence[Send]) -> int:
        """Say what becomes of sends that are not through when the person leaves them."""
        numbers = ", ".join(str(send.pk) for send in sends)
        self.write(numbers)
        if heartbeat.sender_state().is_live:
            self.say(f"Send {numbers} goes on without this command.")
            return OK
        self.say(
            f"Nobody works on send {numbers} now: no sender is running. "
            "It goes on once one is (manage.py up, or manage.py sender)."
        )
        return NOT_ALL

    def _await(self, sends: Sequence[Send]) -> bool:
        """Await the sends; False if the person detached from them with Ctrl-C.

        What may be held for ever is not waited for; whatever keeps a send back is told once.
        """
        waits = [Waiting(send) for send in sends]
        try:
            while persist(lambda: not self._are_ended(sends) and self._may_move(waits)):
                self._rest(sends)
        except KeyboardInterrupt:
            return False
        finally:
            connection.close()
        self._tell_lines(sends[0])
        return True

    def _rest(self, sends: Sequence[Send]) -> None:
        """Wait a while, or until all sends have ended."""
        for _ in range(LOOKS):
            time.sleep(POLL_SECONDS / LOOKS)
            if not persist(_unfinished(sends).exists):
                return

    def _may_move(self, waits: Sequence["Waiting"]) -> bool:
        """Tell whether any send goes on in a while that is known; say once what keeps one back."""
        moving = [wait for wait in waits if not wait.send.is_ended]
        for wait in moving:
            for sentence in wait.look():
                self.say(sentence)
        return not all(wait.may_last for wait in moving)

    def _are_ended(self, sends: Sequence[Send]) -> bool:
        done = total = 0
        for send in sends:
            send.refresh_from_db()
            counts = progress(send)
            total += counts.total
            done += counts.total - counts.counts[InstanceOutcome.PENDING]
        states = ", ".join(dict.fromkeys(send.get_state_display() for send in sends))
        found = Listing.objects.filter(sends=sends[0]).first()
        if not total and found is not None:
            states = f"{states}: {found.found_files} files found, {found.opened} read"
        self.show_progress(done=done, total=total, what=states)
        return all(send.is_ended for send in sends)

    def _tell_lines(self, send: Send) -> None:
        """Say which lines of a list of paths can't be used."""
        if send.listing is None:
            return
        problems = path_lists.problems(send.listing)
        for line in problems[:MOST_TOLD]:
            self.say(f"Line {line.number}: {line.said} {line.problem}.")
        more = problems.count() - MOST_TOLD
        if more > 0:
            self.say(f"{more} more lines can't be used.")

    def _report(self, sends: Sequence[Send], *, as_json: bool) -> int:
        documents = persist(lambda: [_document(send) for send in sends])
        if as_json:
            self.write_json(documents[0] if len(documents) == 1 else documents)
        else:
            for send, document in zip(sends, documents, strict=True):
                self._write_account(send, document, is_named=len(sends) > 1)
        self._tell_shortfalls(sends[0])
        for detail in dict.fromkeys(send.detail for send in sends if send.detail):
            self.say(detail)
        return 0 if all(send.state == SendState.SUCCEEDED for send in sends) else 1

    def _write_account(self, send: Send, document: dict[str, Any], *, is_named: bool) -> None:
        to = f" to {send.destination}" if is_named else ""
        self.write(f"Send {send.pk}{to}: {send.get_state_display()}")
        for outcome, number in document["instances"].items():
            if number:
                self.write(f"  {outcome}: {number}")
        for name in ("excluded", "already_there"):
            if document[name]:
                self.write(f"  {name.replace('_', ' ')}: {document[name]}")

    def _tell_shortfalls(self, send: Send) -> None:
        """Say what of a list of UIDs was not found, or not whole."""
        found = Listing.objects.filter(sends=send).first()
        short = expectations.shortfalls(found) if found else []
        for entry in short[:MOST_TOLD]:
            self.say(_said(entry))
        if len(short) > MOST_TOLD:
            self.say(
                f"{len(short) - MOST_TOLD} more; "
                f"manage.py export_send {send.pk} --missing lists them all."
            )


class Waiting:
    """What keeps a send back, as looked at again and again while it is waited for."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.may_last = False
        """Nobody knows when it ends; a breaker and a window always do."""
        self._polls = 0
        self._told = ""
        self._stalls: set[datetime] = set()

    def look(self) -> list[str]:
        """Return what is to be said and has not been."""
        return [*self._new_stalls(), *self._new_closing()]

    def _new_stalls(self) -> Iterator[str]:
        """Yield whose a stall is, when one begins."""
        for association in at_work(self.send):
            since, whose = association.stalled_since, association.stall
            if since is not None and whose is not None and since not in self._stalls:
                self._stalls.add(since)
                yield f"An association with {self.send.destination} stalls. {SAID[whose]}"

    def _new_closing(self) -> list[str]:
        """Return what keeps the send back: at the second look, as things settle."""
        closed = self._closed()
        self._polls = self._polls + 1 if closed else 0
        if closed is None or self._polls < 2:
            self.may_last = False
            return []
        self.may_last = closed.by is not By.BREAKER and closed.until is None
        if closed.reason == self._told:
            return []
        self._told = closed.reason
        goes_on = f"Send {self.send.pk} goes on by itself once that is over."
        return [closed.reason, goes_on] if self.may_last else [closed.reason]

    def _closed(self) -> Closed | None:
        """Return why nothing of the send moves; None if something does, or nothing is known."""
        if self.send.state not in (SendState.QUEUED, SendState.RUNNING, SendState.PAUSED):
            return None
        if self.send.batches.filter(state=BatchState.RUNNING).exists():
            return None
        return gate.why_closed(self.send)


def _said(entry: expectations.Expectation) -> str:
    if entry.level == expectations.SOURCE:
        return f"{entry.said} holds no files."
    if entry.is_missing:
        return f"{entry.level_words} {entry.uid} was not found."
    return f"{entry.level_words} {entry.uid}: {entry.found} of {entry.instances} instances found."


def _document(send: Send) -> dict[str, Any]:
    send.refresh_from_db()
    counts = progress(send).counts
    found = Listing.objects.filter(sends=send).first()
    return {
        "send": send.pk,
        "destination": send.destination.name,
        "state": send.state,
        "instances": {outcome.value: counts[outcome] for outcome in InstanceOutcome},
        "associations": Association.objects.filter(send_number=send.pk).count(),
        "seconds": round(seconds_to_last_outcome(send), 3),
        "excluded": found.excluded_files if found else 0,
        "already_there": send.already_there,
        "missing": len(expectations.shortfalls(found)) if found else 0,
    }


def _unfinished(sends: Sequence[Send]) -> QuerySet[Send]:
    numbers = [send.pk for send in sends]
    return Send.objects.filter(pk__in=numbers, finished_at__isnull=True).order_by("pk")


def _engine() -> Callable[..., None]:
    """Return what runs a send here.

    It takes half a second to import (pynetdicom, codecs), which who only waits need not spend.
    """
    from sender.services import engine  # noqa: PLC0415

    return engine.run_inline


def _run_inline(sends: Sequence[Send], run: Callable[[Send], None]) -> None:
    """Send in this process, to all destinations at once: one that hangs holds up no other."""

    def run_beside(send_id: int) -> None:
        try:
            run(Send.objects.get(pk=send_id))
        finally:
            connection.close()

    others = [
        threading.Thread(target=run_beside, args=(send.pk,), daemon=True) for send in sends[1:]
    ]
    for thread in others:
        thread.start()
    try:
        run(Send.objects.get(pk=sends[0].pk))
    finally:
        for thread in others:
            thread.join()


@contextmanager
def _ctrl_c_sets(stopping: threading.Event) -> Iterator[None]:
    """Let Ctrl-C stop the work in order; a second one ends it at once."""

    def stop(*_: object) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
