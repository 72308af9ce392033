"""The web server as a process: `python -m sender.process.web --bind 127.0.0.1:8000`."""

import argparse
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Sequence

from waitress.server import BaseWSGIServer, create_server

from sender.process.bodies import UNLIMITED, BodyRule, BodyRules, limited_channel
from sender.process.lifeline import Lifeline

THREADS = 8
PLAIN_BYTES = 8 << 20
ROOM_FOR_HEADS = 64 << 20
"""Beside the files of an upload, for the boundaries and names of very many."""
logger = logging.getLogger("sender.process.web")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve pages until told to end; return the exit code."""
    parser = argparse.ArgumentParser(description="The web server.")
    parser.add_argument("--bind", required=True, metavar="HOST:PORT")
    parser.add_argument("--exit-with-stdin", action="store_true")
    options = parser.parse_args(arguments)
    lifeline = Lifeline(with_stdin=options.exit_with_stdin)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dicomsite.settings")
    from dicomsite.wsgi import application  # noqa: PLC0415 - reads the settings

    _prepare()
    BaseWSGIServer.channel_class = limited_channel(_body_rules())
    try:
        server = create_server(
            application,
            listen=options.bind,
            threads=THREADS,
            ident="",
            max_request_body_size=UNLIMITED,
        )
    except OSError as error:
        sys.stderr.write(f"The web server can't listen on {options.bind}: {error.strerror}.\n")
        return 2
    threading.Thread(target=server.run, daemon=True).start()
    lifeline.watch()
    while not lifeline.wait(1.0):
        pass
    server.close()
    return 0


def _prepare() -> None:
    """Have bodies stored on the disk of the data, and remove what a killed server left there."""
    from django.db import DatabaseError, connection  # noqa: PLC0415

    from sender.services import uploads  # noqa: PLC0415

    tempfile.tempdir = str(uploads.incoming())
    try:
        uploads.sweep()
    except DatabaseError as error:
        logger.warning("Uploads that were cut short could not be removed: %s", error)
    finally:
        connection.close()


def _body_rules() -> BodyRules:
    from django.urls import reverse  # noqa: PLC0415

    from sender.services import path_lists, reception, upload_passes, uploads  # noqa: PLC0415

    most = reception.limits().received
    lists = 2 * path_lists.LARGEST_LIST + PLAIN_BYTES
    upload = BodyRule(
        most + ROOM_FOR_HEADS,
        f"An upload may have {reception.say_bytes(most)} at most. Nothing of it was kept. "
        "If it is smaller, open the page for uploads again, and send it from there.",
        has_pass=upload_passes.is_held,
    )
    words = f"What is sent here may have {reception.say_bytes(PLAIN_BYTES)} at most."
    plain = BodyRule(PLAIN_BYTES, words)
    by_path = {
        reverse("uploads"): upload,
        reverse("send_new"): BodyRule(
            lists, f"Lists may have {reception.say_bytes(path_lists.LARGEST_LIST)} each."
        ),
    }
    return BodyRules(by_path, plain, uploads.free_bytes)


if __name__ == "__main__":
    sys.exit(main())
