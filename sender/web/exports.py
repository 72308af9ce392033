"""CSV to download."""

from collections.abc import Iterable, Sequence

from django.http import StreamingHttpResponse

from sender.negotiation.spreadsheets import csv_lines


def csv_response(rows: Iterable[Sequence[object]], name: str) -> StreamingHttpResponse:
    """Return rows as a CSV file to download, written as they are read."""
    lines = csv_lines(rows, line_end="\r\n")
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
