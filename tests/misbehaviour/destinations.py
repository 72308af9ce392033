"""Destinations for whole sends, each of a new name."""

from itertools import count

from tests.misbehaviour.shell import Shell

TEMPLATE = "As in the catalogue"
PATIENT, IMPATIENT = 5, 0.6
_numbers = count(1)


def destination(shell: Shell, port: int, *, patience: float = PATIENT, **options: object) -> str:
    """Add a destination whose timeouts are all `patience` seconds; return its name."""
    name = f"peer{next(_numbers)}"
    phases = ("connect", "tls", "acse", "progress", "answer")
    timeouts = {f"{phase}_timeout": patience for phase in phases}
    shell.add_destination(name, port, **{**timeouts, **options})
    return name
