"""The line of a TOML text that brought a value: what `tomllib` does not tell.

Knows TOML only through `tomllib`, so it cannot read a text in another way than the loader does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

Place = Sequence[str | int]
"""The way to a value: keys, and indices of lists."""


def line_of(text: str, place: Place) -> int:
    r"""The first line, from 1, of the statement that brings `place`; of its table where there is no such value.

    >>> line_of("a = 1\n\n[b]\nc = [\n  2,\n]\n", ("b", "c", 0))
    4
    >>> line_of("a = 1\n\n[b]\n", ("b", "missing"))
    3
    """
    for length in range(len(place), 0, -1):
        line = _first_line(text, place[:length])
        if line:
            return line
    return 1


def _first_line(text: str, place: Place) -> int:
    """Reads ever longer beginnings: the first one that holds the place ends with its statement. 0 if none does."""
    lines = text.replace("\r\n", "\n").split("\n")
    whole = 0  # lines read by the last beginning that was TOML
    for end in range(1, len(lines) + 1):
        try:
            read = tomllib.loads("\n".join(lines[:end]) + "\n")
        except tomllib.TOMLDecodeError:
            continue
        if _holds(read, place):
            return _skip_remarks(lines, whole) + 1
        whole = end
    return 0


def _skip_remarks(lines: Sequence[str], at: int) -> int:
    while not lines[at].strip() or lines[at].lstrip().startswith("#"):
        at += 1
    return at


def _holds(value: object, place: Place) -> bool:
    for step in place:
        try:
            value = value[step]  # type: ignore[index]  # what cannot be indexed says so
        except (KeyError, IndexError, TypeError):
            return False
    return True
