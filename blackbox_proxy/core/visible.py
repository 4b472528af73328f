"""Tokens as a person can see them: what cannot be printed is spelt out, so that no text looks like another.

Knows neither a terminal nor a page.
"""

from __future__ import annotations

from blackbox_proxy.types import Kind

MARKS = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}


def visible(piece: bytes, kind: Kind = Kind.TEXT) -> str:
    r"""A token with spaces and line ends marked, what cannot be printed as \x.., the end as <end>.

    >>> visible(b" a\x1b\xff")
    '\u2423a\\x1b\\xff'
    """
    if kind is Kind.END:
        return "<end>"
    return "".join(MARKS.get(sign) or printable(sign) for sign in piece.decode("utf-8", "backslashreplace"))


def one_line(text: str) -> str:
    """A text as one line: line ends and tabs marked, what cannot be printed spelt out, spaces left alone."""
    return "".join(" " if sign == " " else MARKS.get(sign) or printable(sign) for sign in text.strip())


def paragraphs(text: str) -> str:
    """A text with its spaces and line ends as they are; what else cannot be printed is spelt out."""
    return "".join(sign if sign == "\n" else printable(sign) for sign in text)


def printable(sign: str) -> str:
    """A character, or its escape where it cannot be printed."""
    return sign if sign.isprintable() else ascii(sign)[1:-1]
