"""`manage.py sender`: background sending without the web, for further hosts."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from sender.management.base import ConcordatCommand, worker_count
from sender.process.children import sender_children
from sender.process.supervisor import Supervisor


class Command(ConcordatCommand):
    """Run sender processes until stopped."""

    help = "Run the background sender; further hosts need nothing else."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workers", type=worker_count, default=settings.WORKERS)

    def run(self, **options: Any) -> int:
        supervisor = Supervisor(
            sender_children(options["workers"]),
            log_directory=settings.DATA_DIR / "logs",
            report=self.say,
        )
        supervisor.catch_signals()
        self.say(f"The sender runs with {options['workers']} workers; Ctrl-C stops it.")
        supervisor.run()
        return 0
