"""`manage.py destination add|list`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from sender.management.base import ConcordatCommand
from sender.models import AssociationScope, Destination
from sender.services.destinations import (
    DestinationFacts,
    InvalidDestination,
    add_destination,
)

COLUMNS = ("name", "ae_title", "address", "port", "calling_ae_title", "enabled")


class Command(ConcordatCommand):
    """Keep destinations."""

    help = "Add a destination, or list them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="add|list")
        add = verbs.add_parser("add", help="write a destination; opens no connection")
        add.add_argument("name")
        add.add_argument("--ae-title", required=True, help="the called AE title")
        add.add_argument("--address", required=True, help="host name or IP address")
        add.add_argument("--port", required=True, type=int)
        add.add_argument("--calling-ae-title", default="CONCORDAT")
        add.add_argument("--max-associations", type=int, default=1)
        for name, seconds in (
            ("connect", 10),
            ("tls", 15),
            ("acse", 30),
            ("progress", 60),
            ("answer", 60),
        ):
            add.add_argument(f"--{name}-timeout", type=float, default=seconds, metavar="SECONDS")
        add.add_argument("--retries", type=int, default=3)
        add.add_argument("--window", dest="windows", default="", metavar="WINDOWS")
        add.add_argument("--profile", default="", metavar="LIMITS", help="limits by time of day")
        add.add_argument("--bytes-per-second", type=int, metavar="N")
        add.add_argument("--instances-per-second", type=int, metavar="N")
        add.add_argument("--instances-per-association", type=int, metavar="N")
        add.add_argument(
            "--association-scope",
            choices=AssociationScope.values,
            default=AssociationScope.STUDIES,
            help="what one association carries",
        )
        add.add_argument("--sends-parked", action="store_true", help="send what waits for a fix")
        add.add_argument("--tls", action="store_true", help="TLS 1.2 or newer, always verified")
        add.add_argument("--tls-ca", dest="tls_ca_file", default="", metavar="FILE")
        add.add_argument("--tls-cert", dest="tls_cert_file", default="", metavar="FILE")
        add.add_argument("--tls-key", dest="tls_key_file", default="", metavar="FILE")
        add.add_argument("--tls-server-name", default="", metavar="NAME")
        listing = verbs.add_parser("list", help="list the destinations")
        listing.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> int:
        return self._add(options) if options["verb"] == "add" else self._list(options)

    def _add(self, options: dict[str, Any]) -> int:
        names = DestinationFacts.__dataclass_fields__
        facts = DestinationFacts(**{name: options[name] for name in names if name in options})
        try:
            destination = add_destination(facts, actor=self.actor, confirmed=True)
        except InvalidDestination as error:
            raise CommandError(str(error)) from error
        self.say(f"Destination {destination.name} was added.")
        return 0

    def _list(self, options: dict[str, Any]) -> int:
        rows = list(Destination.objects.values(*COLUMNS))
        self.show(rows, as_json=options["json"], columns=COLUMNS)
        return 0
