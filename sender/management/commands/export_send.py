"""`manage.py export_send ID`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from sender.analytics.sends import export_rows
from sender.management.base import ConcordatCommand
from sender.models import Send
from sender.services import expectations


class Command(ConcordatCommand):
    """Account for every instance or file that a send listed."""

    help = "Write a CSV with one row per instance or file of a send."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("send", type=int, metavar="ID", help="the send's number")
        parser.add_argument(
            "--missing",
            action="store_true",
            help="write what of its list of UIDs was not found, or not whole, instead",
        )

    def run(self, **options: Any) -> int:
        send = Send.objects.filter(pk=options["send"]).first()
        if send is None:
            raise CommandError(f"There is no send {options['send']}.")
        if not options["missing"]:
            self.write_csv(export_rows(send))
        elif send.listing is not None:
            self.write_csv(expectations.export(send.listing))
        return 0
