"""`manage.py echo NAME`."""

from argparse import ArgumentParser
from typing import Any

from sender.analytics.history import peer_document, seconds_document
from sender.management.base import ConcordatCommand
from sender.models import Trigger
from sender.services.enquiries import verification_version
from sender.services.probing import contact


class Command(ConcordatCommand):
    """Ask a destination whether it is there: C-ECHO."""

    help = "Open an association with a destination, send a C-ECHO, release, and record it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the destination's name")
        parser.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> int:
        destination = self.destination(options["name"])
        came = contact(destination, verification_version(), Trigger.ECHO, requested_by=self.actor)
        status = came.echo.status if came.echo else None
        row = came.association
        seconds = seconds_document(row)
        document = {
            "association": str(row.uid),
            "outcome": row.outcome,
            "ended": row.ended or None,
            "status": None if status is None else f"{status:04X}",
            "detail": (came.echo.detail if came.echo else "") or row.detail,
            "seconds": {
                "connect": seconds["connect"],
                "negotiate": seconds["negotiation"],
                "echo": came.echo.seconds if came.echo and status is not None else None,
            },
            "peer": peer_document(row),
        }
        if options["json"]:
            self.write_json(document)
        else:
            self.write(f"{destination.name}: {row.outcome}, status {document['status']}")
            if document["detail"]:
                self.write(str(document["detail"]))
        return 0 if status == 0 else 1
