"""Writes an answer while it becomes certain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

from blackbox_proxy.core.text import Release


@final
class AnswerText:
    """One answer, piece by piece: whole UTF-8 only, and nothing that may turn out to be a stop string.

    stops: the texts before which the answer ends. write: where its text goes.
    """

    def __init__(self, stops: Sequence[str], write: Callable[[str], None]) -> None:
        self._release = Release([stop.encode() for stop in stops])
        self._write = write
        self._text = b""
        self._shown = ""

    def take(self, piece: bytes) -> None:
        """Write what is certain with the next token."""
        self._text += piece
        fresh = self._release(self._text)
        self._shown += fresh
        self._write(fresh)

    def close(self, text: str) -> None:
        """Write what was held back, and end the line. text: the whole answer, or what there is of it."""
        self._write(text[len(self._shown) :] + ("\n" if self._text else ""))
