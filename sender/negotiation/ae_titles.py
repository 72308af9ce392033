"""Application entity titles: value representation AE, PS3.5 table 6.2-1 and PS3.8 section 9.3.2."""

MAXIMUM_LENGTH = 16


class InvalidAETitle(ValueError):
    """The text can't be an application entity title; the message says why, in the user's words."""


def parse_ae_title(text: str) -> str:
    """Return `text` without its leading and trailing spaces, which the standard ignores.

    Raises:
        InvalidAETitle: it is empty, longer than 16 characters, or holds a backslash, a control
            character or a character outside the default repertoire (ISO 646).
    """
    title = text.strip(" ")
    if not title:
        raise InvalidAETitle("An AE title needs at least one character that is not a space.")
    if len(title) > MAXIMUM_LENGTH:
        raise InvalidAETitle(f"An AE title has at most 16 characters; this one has {len(title)}.")
    for character in title:
        if character == "\\":
            raise InvalidAETitle("An AE title can't contain a backslash.")
        if not " " <= character <= "~":
            named = character if character.isprintable() else f"U+{ord(character):04X}"
            raise InvalidAETitle(
                f"An AE title holds only ASCII letters, digits and signs, not {named}."
            )
    return title
