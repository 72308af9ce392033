"""The web server as a process: `python -m sender.process.web --bind 127.0.0.1:8000`."""

import argparse
import os
import sys
import threading
from collections.abc import Sequence

from waitress.server import create_server

from sender.process.lifeline import Lifeline

THREADS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve pages until told to end; return the exit code."""
    parser = argparse.ArgumentParser(description="The web server.")
    parser.add_argument("--bind", required=True, metavar="HOST:PORT")
    parser.add_argument("--exit-with-stdin", action="store_true")
    options = parser.parse_args(arguments)
    lifeline = Lifeline(with_stdin=options.exit_with_stdin)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dicomsite.settings")
    from dicomsite.wsgi import application  # noqa: PLC0415 - reads the settings

    try:
        server = create_server(application, listen=options.bind, threads=THREADS, ident="")
    except OSError as error:
        sys.stderr.write(f"The web server can't listen on {options.bind}: {error.strerror}.\n")
        return 2
    threading.Thread(target=server.run, daemon=True).start()
    lifeline.watch()
    while not lifeline.wait(1.0):
        pass
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
