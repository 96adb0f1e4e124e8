"""Text for a terminal: what a model or a person wrote can't move the cursor or change a colour."""


def safe(text: str) -> str:
    """The text with control characters written out, line breaks kept.

    >>> safe("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
