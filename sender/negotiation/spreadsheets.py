"""CSV for people's spreadsheets: without cells that a spreadsheet would execute."""

import csv
from collections.abc import Iterable, Iterator, Sequence

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_lines(rows: Iterable[Sequence[object]], *, line_end: str) -> Iterator[str]:
    """Yield rows as lines of CSV, as they are read."""
    writer = csv.writer(_Echo(), lineterminator=line_end)
    for row in rows:
        yield writer.writerow([neutralise(cell) for cell in row])


def neutralise(cell: object) -> str:
    """Return a cell's text; one that a spreadsheet would take for a formula gets an apostrophe."""
    text = "" if cell is None else str(cell)
    if text.startswith(FORMULA_STARTS) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Echo:
    """A file that hands each line back."""

    def write(self, line: str) -> str:
        return line
