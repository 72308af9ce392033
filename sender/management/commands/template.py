"""`manage.py template import|show|list`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from sender.management.base import ConcordatCommand
from sender.models import ContextTemplate
from sender.negotiation.rules import InvalidTemplate, lint, parse_json
from sender.services.templates import BuiltIn, UnknownName, find_version, save_version


class Command(ConcordatCommand):
    """Keep context templates."""

    help = "Import a context template from a file, show one, or list them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="import|show|list")
        imported = verbs.add_parser("import", help="import a template file (JSON)")
        imported.add_argument("file")
        show = verbs.add_parser("show", help="show a template as a template file")
        show.add_argument("name", help="NAME, or NAME@N for its Nth version")
        show.add_argument("--json", action="store_true")
        listing = verbs.add_parser("list", help="list the templates")
        listing.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> int:
        verbs = {"import": self._import, "show": self._show, "list": self._list}
        return verbs[options["verb"]](options)

    def _import(self, options: dict[str, Any]) -> int:
        try:
            spec = parse_json(Path(options["file"]).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['file']} can't be read: {error}") from error
        except InvalidTemplate as error:
            raise CommandError(str(error)) from error
        for problem in lint(spec):
            self.say(f"Warning: {problem}")
        try:
            version = save_version(spec, actor=self.actor)
        except BuiltIn as error:
            raise CommandError(str(error)) from error
        self.say(f"Template {version.template.name} has version {version.version}.")
        return 0

    def _show(self, options: dict[str, Any]) -> int:
        try:
            version = find_version(options["name"])
        except UnknownName as error:
            raise CommandError(str(error)) from error
        document = {**version.document, "version": version.version}
        if options["json"]:
            self.write_json(document)
            return 0
        self.write(f"{version.template.name}, version {version.version}: {version.spec.note}")
        rows = [
            {
                "id": 2 * position + 1,
                "abstract_syntax": context.abstract_syntax,
                "transfer_syntaxes": " ".join(context.transfer_syntaxes),
            }
            for position, context in enumerate(version.spec.contexts)
        ]
        self.show(rows, as_json=False, columns=("id", "abstract_syntax", "transfer_syntaxes"))
        return 0

    def _list(self, options: dict[str, Any]) -> int:
        rows = []
        for template in ContextTemplate.objects.prefetch_related("versions"):
            newest = max(template.versions.all(), key=lambda version: version.version)
            rows.append(
                {
                    "name": template.name,
                    "version": newest.version,
                    "contexts": newest.context_count,
                }
            )
        self.show(rows, as_json=options["json"], columns=("name", "version", "contexts"))
        return 0
