"""Text of peers and file systems, made fit for pages, logs and databases."""


def printable(text: str) -> str:
    """Return text with whatever is not printable written out, such as \\x00."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
