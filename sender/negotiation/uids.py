"""Unique identifiers, PS3.5 section 9.1: what counts as one."""

import re

MAXIMUM_LENGTH = 64
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")


def is_valid_uid(text: str) -> bool:
    """Tell whether `text` is a syntactically valid UID (PS3.5 section 9.1).

    At most 64 characters; at least two components of digits joined by dots; no component starts
    with a superfluous zero.
    """
    return len(text) <= MAXIMUM_LENGTH and _UID.fullmatch(text) is not None
