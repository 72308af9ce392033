#!/usr/bin/env python3
"""The product's command line; `manage.py help` lists the commands."""

import os
import sys


def main() -> None:
    """Run one command; a mistake in the settings is one sentence and exit code 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dicomsite.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
