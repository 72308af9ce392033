"""`manage.py negotiate NAME --template T`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from sender.analytics.history import as_document
from sender.management.base import ConcordatCommand
from sender.models import Trigger
from sender.negotiation.contexts import InvalidProposal
from sender.services.probing import contact

COLUMNS = ("id", "abstract_syntax", "proposed", "result", "accepted")


class Command(ConcordatCommand):
    """Propose a template and see what the peer answers; no data are sent."""

    help = "Propose the contexts of a template to a destination, release, and record the answer."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the destination's name")
        parser.add_argument("--template", required=True, help="NAME or NAME@N")
        parser.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> int:
        destination = self.destination(options["name"])
        version = self.template_version(options["template"])
        try:
            came = contact(destination, version, Trigger.NEGOTIATE, requested_by=self.actor)
        except InvalidProposal as error:
            raise CommandError(
                f"The template {version} derives its contexts from files; "
                "negotiate needs one that lists contexts."
            ) from error
        document = as_document(came.association)
        if options["json"]:
            self.write_json(document)
        else:
            self.write(f"{destination.name}: {document['outcome']} {document['detail']}".strip())
            self.show(document["contexts"], as_json=False, columns=COLUMNS)
        accepted = any(context["result"] == 0 for context in document["contexts"])
        return 0 if accepted and came.association.outcome == "established" else 1
