"""`manage.py history`."""

from argparse import ArgumentParser
from typing import Any

from sender.analytics.history import HistoryQuery, as_document, find_associations
from sender.management.base import ConcordatCommand, parse_instant

COLUMNS = ("started_at", "destination", "template", "trigger", "outcome", "ended", "association")


class Command(ConcordatCommand):
    """Read the negotiation history."""

    help = "List associations, newest first, with what was proposed and answered."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true")
        parser.add_argument("--destination", metavar="NAME")
        parser.add_argument("--since", type=parse_instant, help="inclusive instant, ISO 8601")
        parser.add_argument("--until", type=parse_instant, help="exclusive instant, ISO 8601")
        parser.add_argument("--limit", type=int, default=50)

    def run(self, **options: Any) -> int:
        name = options["destination"]
        query = HistoryQuery(
            destination_id=self.destination(name).pk if name else None,
            since=options["since"],
            until=options["until"],
        )
        rows = [
            as_document(row)
            for row in find_associations(query, after=None, limit=max(0, options["limit"])).rows
        ]
        self.show(rows, as_json=options["json"], columns=COLUMNS)
        return 0
