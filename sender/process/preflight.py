"""What must be right before the processes start; each fault is one sentence."""

import contextlib
import socket

from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader


class NotReady(Exception):
    """The product can't start; the message says why and what to do."""


def split_bind(bind: str) -> tuple[str, int]:
    """Split HOST:PORT.

    Raises:
        NotReady: it is not of that form.
    """
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise NotReady(f"--bind {bind}: write HOST:PORT, such as 127.0.0.1:8000.")
    return host.strip("[]"), int(port)


def check_port(host: str, port: int, *, what: str, remedy: str) -> None:
    """Make sure that nobody listens where we want to.

    Raises:
        NotReady: the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as error:
        raise NotReady(
            f"{what} can't listen on {host}:{port} ({error.strerror}). {remedy}"
        ) from error


def check_database() -> None:
    """Make sure that the database answers and is not newer than this program.

    Raises:
        NotReady: it is away, or its schema is newer.
    """
    try:
        connection.ensure_connection()
        loader = MigrationLoader(connection)
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        raise NotReady(f"The database can't be used: {reason}. Check DATABASE_URL.") from error
    known = {name for app, name in loader.disk_migrations if app == "sender"}
    newer = sorted({name for app, name in loader.applied_migrations if app == "sender"} - known)
    if newer:
        raise NotReady(
            f"The database was made by a newer Concordat (it has {newer[-1]}): "
            "install that version, or use another database."
        )
