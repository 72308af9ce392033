"""`manage.py send PATH… --to NAME`."""

import time
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import connection

from sender.analytics.sends import at_work, progress
from sender.management.base import ConcordatCommand
from sender.models import Association, BatchState, Send, SendState
from sender.negotiation.outcomes import InstanceOutcome
from sender.negotiation.rules import DERIVED_FROM_FILES
from sender.negotiation.stalls import SAID
from sender.services import engine, gate, heartbeat, listing, planner, sources
from sender.services.gate import By, Closed
from sender.services.sending import InvalidSource, SendOrder, WrongState, create_send

POLL_SECONDS = 0.5


def may_last(closed: Closed) -> bool:
    """Tell whether nobody knows when it ends; a breaker and a window always do."""
    return closed.by is not By.BREAKER and closed.until is None


class Command(ConcordatCommand):
    """Send folders or files to a destination and wait until nothing is left to try."""

    help = "Send DICOM files to a destination; every instance and negotiation is recorded."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="PATH", help="a folder or a file")
        parser.add_argument("--to", required=True, metavar="NAME", help="the destination's name")
        parser.add_argument("--template", default=DERIVED_FROM_FILES.name, help="NAME or NAME@N")
        parser.add_argument("--inline", action="store_true", help="send in this process")
        parser.add_argument("--retries", type=int, help="automatic attempts after the first")
        parser.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> int:
        order = self._order(options)
        if not options["inline"] and not heartbeat.sender_state().is_live:
            raise CommandError(
                "No sender is running, so nothing was created. "
                "Start one (manage.py up, or manage.py sender), or use --inline."
            )
        try:
            send = create_send(order, start=True)
        except (InvalidSource, WrongState) as error:
            raise CommandError(str(error)) from error
        if options["inline"]:
            planner.plan_send(send.pk, in_slices=False)
            engine.run_inline(send)
        elif not self._await_end(send):
            self.write(str(send.pk))
            self.say(f"Send {send.pk} goes on without this command.")
            return 0
        return self._report(send, as_json=options["json"])

    def _order(self, options: dict[str, Any]) -> SendOrder:
        roots = sources.shell_roots()
        retries = options["retries"]
        if retries is not None and not 0 <= retries <= 20:
            raise CommandError("--retries is a number from 0 to 20.")
        try:
            paths = [sources.resolve_source(path, roots) for path in options["paths"]]
        except InvalidSource as error:
            raise CommandError(str(error)) from error
        if not listing.holds_files(paths):
            raise CommandError(f"There are no files in {', '.join(options['paths'])}.")
        return SendOrder(
            destination=self.destination(options["to"]),
            template_version=self.template_version(options["template"]),
            sources=paths,
            requested_by=self.actor,
            retries=retries,
            inline=options["inline"],
            roots=roots,
        )

    def _await_end(self, send: Send) -> bool:
        """Wait while something is done for the send; False if the person detached with Ctrl-C.

        What may be held for ever is not waited for; whatever keeps the send back is told once.
        """
        told, polls = "", 0
        stalls: set[datetime] = set()
        try:
            while not self._is_ended(send):
                self._tell_stalls(send, stalls)
                closed = self._closed(send)
                polls = polls + 1 if closed else 0
                if closed and polls > 1 and told != closed.reason:
                    told = closed.reason
                    self.say(told)
                if closed and polls > 1 and may_last(closed):
                    self.say(f"Send {send.pk} goes on by itself once that is over.")
                    return True
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            return False
        finally:
            connection.close()
        return True

    def _tell_stalls(self, send: Send, told: set[datetime]) -> None:
        """Say once whose a stall is when one begins."""
        for association in at_work(send):
            since, whose = association.stalled_since, association.stall
            if since is not None and whose is not None and since not in told:
                told.add(since)
                self.say(f"An association with {send.destination} stalls. {SAID[whose]}")

    def _closed(self, send: Send) -> Closed | None:
        """Return why nothing of the send moves; None if something does, or nothing is known."""
        if send.state not in (SendState.QUEUED, SendState.RUNNING, SendState.PAUSED):
            return None
        if send.batches.filter(state=BatchState.RUNNING).exists():
            return None
        return gate.why_closed(send)

    def _is_ended(self, send: Send) -> bool:
        send.refresh_from_db()
        counts = progress(send)
        done = counts.total - counts.counts[InstanceOutcome.PENDING]
        self.show_progress(done=done, total=counts.total, what=send.get_state_display())
        return send.is_ended

    def _report(self, send: Send, *, as_json: bool) -> int:
        send.refresh_from_db()
        counts = progress(send).counts
        seconds = 0.0
        if send.started_at and send.finished_at:
            seconds = (send.finished_at - send.started_at).total_seconds()
        document = {
            "send": send.pk,
            "state": send.state,
            "instances": {outcome.value: counts[outcome] for outcome in InstanceOutcome},
            "associations": Association.objects.filter(send_number=send.pk).count(),
            "seconds": round(seconds, 3),
        }
        if as_json:
            self.write_json(document)
        else:
            self.write(f"Send {send.pk}: {send.get_state_display()}")
            for outcome in InstanceOutcome:
                if counts[outcome]:
                    self.write(f"  {outcome.value}: {counts[outcome]}")
        if send.detail:
            self.say(send.detail)
        return 0 if send.state == SendState.SUCCEEDED else 1
