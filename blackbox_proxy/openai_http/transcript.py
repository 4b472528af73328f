"""From tokens to the text of one answer: whole characters only, cut at a stop string, each token at its place.

Bytes that end inside a character are held back until the character is whole. What is left of them when the answer
ends becomes U+FFFD, as it does at hosted APIs. Knows no reply shape and no model: a token is whatever it is given.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from blackbox_proxy.core.text import first_stop, held_back, open_bytes

T = TypeVar("T")

Finish = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    """A token, and how many characters of the text stand before it (a fragment: before its character)."""

    token: T
    offset: int


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What one more token made certain: new text, and the tokens that begin in it. Empty while it is held back.

    stop: the stop string that ended the answer, "" where nobody knows which of several; None where none did.
    """

    text: str = ""
    tokens: tuple[Placed[T], ...] = ()
    finish: Finish | None = None
    stop: str | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.tokens or self.finish)


class Writer(Generic[T]):
    """Collects the tokens of one answer, each with the bytes that it stands for (none for what is no text).

    stops: end the answer where they begin. echo: how many of the first tokens are the prompt's; no stop string is
    looked for in them, and they are given out together.
    """

    def __init__(self, *, stops: Sequence[bytes] = (), echo: int = 0) -> None:
        self._stops = tuple(stops)
        self._echo = echo
        self._echo_end = 0
        self._count = 0
        self._text = b""
        self._shown = 0
        self._waiting: list[tuple[int, Placed[T]]] = []
        self._characters = 0
        self._measure = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def generated(self) -> int:
        """How many tokens were taken behind the echo, those that are no text and those behind a stop included."""
        return max(self._count - self._echo, 0)

    def take(self, token: T, piece: bytes, *, ends: bool = False) -> Part[T]:
        """Take the next token; the part has a `finish` when the answer ends with it. ends: it is the end token."""
        self._waiting.append((len(self._text), Placed(token, self._characters)))
        self._count += 1
        self._text += piece
        self._characters += len(self._measure.decode(piece))
        if self._count <= self._echo:
            self._echo_end = len(self._text)
        if self._count < self._echo:
            return Part()
        cut = first_stop(self._text[self._echo_end :], self._stops)
        if cut is not None:
            return self._cut(self._echo_end + cut)
        if self.generated and ends:
            return self.close("stop")
        return self._release(len(self._text) - self._held_back())

    def close(self, finish: Finish) -> Part[T]:
        """Give out everything that was held back."""
        return self._release(len(self._text), finish=finish)

    def _held_back(self) -> int:
        return max(open_bytes(self._text), held_back(self._text[self._echo_end :], self._stops))

    def _cut(self, end: int) -> Part[T]:
        stop = max((one for one in self._stops if self._text.startswith(one, end)), key=len)
        self._text = self._text[:end]
        self._waiting = [(start, placed) for start, placed in self._waiting if start < end]
        return replace(self.close("stop"), stop=stop.decode("utf-8", "replace"))

    def _release(self, until: int, *, finish: Finish | None = None) -> Part[T]:
        until = max(until, self._shown)
        fresh, self._shown = self._text[self._shown : until], until
        ready = [placed for start, placed in self._waiting if start < until or finish]
        del self._waiting[: len(ready)]
        return Part(self._decoder.decode(fresh, finish is not None), tuple(ready), finish)


def joined(parts: Sequence[Part[T]]) -> Part[T]:
    """All parts of one answer in one."""
    tokens = tuple(placed for part in parts for placed in part.tokens)
    return Part("".join(part.text for part in parts), tokens, parts[-1].finish, parts[-1].stop)
