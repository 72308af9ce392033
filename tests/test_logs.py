"""The lines of the logs."""

import logging
import sys
from logging.config import DictConfigurator

from dicomsite.settings import LOGGING


def line_of(message: str, *arguments: object, with_traceback: bool = False) -> str:
    """Return what the log has of a message."""
    formatter = DictConfigurator(LOGGING).configure_formatter({**LOGGING["formatters"]["line"]})
    facts = ("sender", logging.WARNING, __file__, 1, message, arguments)
    return str(
        formatter.format(logging.LogRecord(*facts, sys.exc_info() if with_traceback else None))
    )


def test_what_a_text_holds_makes_no_second_line() -> None:
    line = line_of("%s can't be read: %s.", "/data/a\n2026 ERROR sender b\r\x1b[1m", "odd\u2028")
    assert len(line.splitlines()) == 1
    assert line.endswith(r"/data/a\x0a2026 ERROR sender b\x0d\x1b[1m can't be read: odd\x2028.")


def test_words_of_all_languages_stay_as_they_are() -> None:
    assert line_of("%s", "Müller, 山田").endswith("WARNING sender Müller, 山田")


def test_a_traceback_comes_after_its_line() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        told = line_of("failed", with_traceback=True).splitlines()
    assert told[0].endswith("WARNING sender failed")
    assert told[-1] == "ValueError: odd"
