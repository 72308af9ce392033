"""Numbers of rows that come with a request."""

LONGEST = 18
"""Digits that every database takes; `int` itself raises an error for some thousands of them."""


def number_in(text: str) -> int | None:
    """Return the number that a text is; None: it is none, or none that a row can have."""
    return int(text) if text.isdecimal() and len(text) <= LONGEST else None
