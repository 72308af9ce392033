"""`manage.py export_send ID`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from sender.analytics.sends import export_rows
from sender.management.base import ConcordatCommand
from sender.models import Send


class Command(ConcordatCommand):
    """Account for every instance or file that a send listed."""

    help = "Write a CSV with one row per instance or file of a send."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("send", type=int, metavar="ID", help="the send's number")

    def run(self, **options: Any) -> int:
        send = Send.objects.filter(pk=options["send"]).first()
        if send is None:
            raise CommandError(f"There is no send {options['send']}.")
        self.write_csv(export_rows(send))
        return 0
