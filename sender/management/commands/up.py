"""`manage.py up`: everything that one host needs, as one process tree."""

import os
import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from sender.management.base import ConcordatCommand, worker_count
from sender.process.children import demo_child, sender_children, web_child
from sender.process.lock import AlreadyRunning, DirectoryLock
from sender.process.preflight import NotReady, check_database, check_port, split_bind
from sender.process.supervisor import Supervisor
from sender.services import demo, users


class Command(ConcordatCommand):
    """Migrate, then run web server, sender and demo receiver until stopped."""

    help = "Start Concordat: web server, background sender and demo receiver."
    migrates = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bind", default=settings.BIND, metavar="HOST:PORT")
        parser.add_argument("--workers", type=worker_count, default=settings.WORKERS)
        parser.add_argument("--no-demo", action="store_true", help="no demo receiver and data")
        parser.add_argument("--no-sender", action="store_true", help="web only; senders elsewhere")

    def run(self, **options: Any) -> int:
        lock = DirectoryLock(settings.DATA_DIR)
        try:
            lock.acquire()
            host, port = split_bind(options["bind"])
            check_port(host, port, what="The web server", remedy="Choose another with --bind.")
            if not options["no_demo"]:
                check_port(
                    "127.0.0.1",
                    settings.DEMO_PORT,
                    what="The demo receiver",
                    remedy="Set CONCORDAT_DEMO_PORT, or leave it out with --no-demo.",
                )
            check_database()
        except (AlreadyRunning, NotReady) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{settings.DATA_DIR} can't be written: {error}") from error
        self._prepare(with_demo=not options["no_demo"])
        supervisor = self._supervisor(options)
        supervisor.catch_signals()
        self._greet(host, port)
        supervisor.run()
        self.say("Concordat has stopped.")
        return 0

    def _prepare(self, *, with_demo: bool) -> None:
        call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
        _collect_static()
        if with_demo:
            demo.prepare_demo()
        connection.close()

    def _supervisor(self, options: dict[str, Any]) -> Supervisor:
        # The pages tell which sends wait for a share of so many workers.
        os.environ["CONCORDAT_WORKERS"] = str(options["workers"])
        children = [] if options["no_demo"] else [demo_child(settings.DEMO_PORT)]
        if not options["no_sender"]:
            children += sender_children(options["workers"])
        children.append(web_child(options["bind"]))
        return Supervisor(children, log_directory=settings.DATA_DIR / "logs", report=self.say)

    def _greet(self, host: str, port: int) -> None:
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        self.say(f"Concordat runs at {address} with its data in {settings.DATA_DIR}.")
        if users.is_setup_open():
            self.say(
                "There is no administrator yet. Open this link, which works once, to make one:\n"
                f"  {address}setup/{users.setup_token()}/"
            )
        connection.close()
        self.say("Ctrl-C stops it.")


def _collect_static() -> None:
    """Collect the static files with hashed names, in a process whose settings say so."""
    result = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "collectstatic", "--noinput", "-v0"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "dicomsite.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise CommandError(f"The static files can't be collected: {result.stderr.strip()}")
