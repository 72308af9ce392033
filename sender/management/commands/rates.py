"""`manage.py rates`."""

from argparse import ArgumentParser
from datetime import date, datetime, timedelta
from typing import Any

from django.core.management.base import CommandError

from sender.analytics.rates import (
    DEFAULT_DAYS,
    Bucket,
    RateQuery,
    RateRow,
    TooLong,
    acceptance,
    last_days,
)
from sender.management.base import ConcordatCommand, parse_instant
from sender.services.installation import site_day

COLUMNS = (
    "bucket",
    "transfer_syntax",
    "accepted",
    "rejected",
    "not_chosen",
    "other",
    "unknown",
    "rate",
    "associations",
    "low",
    "high",
)


class Command(ConcordatCommand):
    """Read acceptance rates per transfer syntax over time."""

    help = "Acceptance rates per transfer syntax: accepted / (accepted + rejected), over time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true")
        parser.add_argument("--destination", metavar="NAME")
        parser.add_argument("--since", type=parse_instant, help="inclusive; its site-local day")
        parser.add_argument("--until", type=parse_instant, help="exclusive")
        parser.add_argument("--bucket", choices=[b.value for b in Bucket], default="day")

    def run(self, **options: Any) -> int:
        name = options["destination"]
        since, until = options["since"], options["until"]
        first, last = last_days(DEFAULT_DAYS)
        query = RateQuery(
            first=site_day(since) if since else first,
            last=_last_day(until) if until else last,
            bucket=Bucket(options["bucket"]),
            destination_id=self.destination(name).pk if name else None,
            since=since,
            until=until,
        )
        try:
            rows = [_document(row) for row in acceptance(query)]
        except TooLong as error:
            raise CommandError(f"{error} Give --since and --until.") from error
        self.show(rows, as_json=options["json"], columns=COLUMNS)
        return 0


def _last_day(until: datetime) -> date:
    """Return the site-local day that holds the last moment before `until`."""
    return site_day(until - timedelta(microseconds=1))


def _document(row: RateRow) -> dict[str, Any]:
    tally = row.tally
    low, high = tally.interval or (None, None)
    bucket = row.bucket.isoformat().replace("+00:00", "Z")
    return {
        "bucket": bucket,
        "transfer_syntax": row.transfer_syntax,
        "accepted": tally.accepted,
        "rejected": tally.rejected,
        "not_chosen": tally.not_chosen,
        "other": tally.other,
        "unknown": tally.unknown,
        "rate": tally.rate,
        "associations": tally.associations,
        "low": low,
        "high": high,
    }
