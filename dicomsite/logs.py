"""Lines of the logs: one for each thing told, whatever text it holds."""

import logging

from sender.negotiation.texts import printable

FORBIDDEN = 403


class LineFormatter(logging.Formatter):
    """Writes a message in one line, whatever a peer or a visitor put into it.

    What is told in more lines, such as a traceback, comes after it.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, with what is not printable written out."""
        return printable(super().formatMessage(record))


class RefusalFilter(logging.Filter):
    """Has a refused request told in one line: refusing is no error of ours.

    The path is told without its query, which may hold what somebody searched for.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass; one of a refusal says who wanted what, and lacks which right."""
        request = getattr(record, "request", None)
        if request is not None and getattr(record, "status_code", 0) == FORBIDDEN:
            error = record.exc_info[1] if record.exc_info else None
            lacks = getattr(error, "right", "") or "which nobody has"
            user = request.user.get_username() if hasattr(request, "user") else ""
            record.msg = "Refused: %s %s by %s, needs the right: %s"
            record.args = (request.method, request.path, user or "nobody", lacks)
            record.exc_info = record.exc_text = None
        return True
