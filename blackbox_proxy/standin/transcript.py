"""From tokens to the text of one answer: whole characters only, cut at a stop string, each token at its place.

Bytes that end inside a character are held back until the character is whole. What is left of them when the answer
ends becomes U+FFFD, as it does at hosted APIs. Knows no reply shape and no model.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final

from blackbox_proxy.core.text import first_stop, held_back, open_bytes
from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.standin.engine import Token

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A token, and how many characters of the text stand before it (a fragment: before its character)."""

    token: Token
    offset: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one more token made certain: new text, and the tokens that begin in it. Empty while it is held back."""

    text: str = ""
    tokens: tuple[Placed, ...] = ()
    finish: Finish | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.tokens or self.finish)


@final
class Transcript:
    """Collects the tokens of one answer.

    echo: the prompt's pieces, which the first tokens stand for; no stop string is looked for in them. Tokens that
    stand for no text (the end token, other special ones) are placed, but leave no text.
    """

    def __init__(self, vocabulary: Vocabulary, *, stops: Sequence[bytes] = (), echo: Sequence[bytes] = ()) -> None:
        self._vocabulary = vocabulary
        self._ends = frozenset(vocabulary.ends.tolist())
        self._stops = tuple(stops)
        self._echo = tuple(echo)
        self._own = sum(map(len, echo))
        self._count = 0
        self._text = b""
        self._shown = 0
        self._waiting: list[tuple[int, Placed]] = []
        self._characters = 0
        self._measure = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def generated(self) -> int:
        """How many tokens the model was asked for so far, the end token and those behind a stop string included."""
        return max(self._count - len(self._echo), 0)

    def add(self, token: Token) -> Part:
        """Take the next token; the part has a `finish` when the answer ends with it."""
        self._waiting.append((len(self._text), Placed(token, self._characters)))
        piece = self._piece(token.id)
        self._count += 1
        self._text += piece
        self._characters += len(self._measure.decode(piece))
        if self._count < len(self._echo):
            return Part()
        cut = first_stop(self._text[self._own :], self._stops)
        if cut is not None:
            return self._cut(self._own + cut)
        if self.generated and token.id in self._ends:
            return self.close("stop")
        return self._release(len(self._text) - self._held_back())

    def close(self, finish: Finish) -> Part:
        """Give out everything that was held back."""
        return self._release(len(self._text), finish=finish)

    def _piece(self, token: int) -> bytes:
        if self._count < len(self._echo):
            return self._echo[self._count]
        return self._vocabulary.text_of((token,))

    def _held_back(self) -> int:
        return max(open_bytes(self._text), held_back(self._text[self._own :], self._stops))

    def _cut(self, end: int) -> Part:
        self._text = self._text[:end]
        self._waiting = [(start, placed) for start, placed in self._waiting if start < end]
        return self.close("stop")

    def _release(self, until: int, *, finish: Finish | None = None) -> Part:
        until = max(until, self._shown)
        fresh, self._shown = self._text[self._shown : until], until
        ready = [placed for start, placed in self._waiting if start < until or finish]
        del self._waiting[: len(ready)]
        return Part(self._decoder.decode(fresh, finish is not None), tuple(ready), finish)


def write(tokens: Iterable[Token | None], transcript: Transcript) -> Iterator[Part]:
    """One part per token, possibly an empty one, so that whoever pulls may stop between any two; the last finishes.

    None among the tokens is work without a token yet.
    """
    for token in tokens:
        part = Part() if token is None else transcript.add(token)
        yield part
        if part.finish:
            return
    yield transcript.close("length")
