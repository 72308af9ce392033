"""The product within this process, on a new SQLite database."""

import contextlib
import os
from pathlib import Path


def install_here(data: Path) -> None:
    """Make a new installation and set Django up for it; only after that its models can be used.

    Args:
        data: its data directory.
    """
    os.environ["CONCORDAT_DATA_DIR"] = str(data)
    os.environ["DJANGO_SETTINGS_MODULE"] = "dicomsite.settings"
    import django  # noqa: PLC0415 - reads the environment set above

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    with contextlib.redirect_stdout(None):
        call_command("migrate", verbosity=0)
