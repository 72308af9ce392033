#!/usr/bin/env python3
"""The product's command line; `manage.py help` lists the commands."""

import os
import sys

WRONG_USE = 2


def main() -> None:
    """Run one command; wrong use and mistakes in the settings are one sentence and exit code 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dicomsite.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import BaseCommand, ManagementUtility, get_commands

    class CommandLine(ManagementUtility):
        def fetch_command(self, subcommand: str) -> BaseCommand:
            if self.settings_exception is not None:
                raise self.settings_exception
            if subcommand not in get_commands():
                print(f"There is no command {subcommand}: see manage.py help.", file=sys.stderr)
                sys.exit(WRONG_USE)
            return super().fetch_command(subcommand)

    try:
        CommandLine(sys.argv).execute()
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr)
        sys.exit(WRONG_USE)


if __name__ == "__main__":
    main()
