"""The tokens of a served model as text: `openai_http.transcript` with the bytes that a vocabulary gives to each id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, final

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.openai_http import transcript as common
from blackbox_proxy.standin.engine import Token

Placed: TypeAlias = common.Placed[Token]
Part: TypeAlias = common.Part[Token]
"""Names for types alone: Python 3.11 cannot call the alias of a generic class that is frozen and has slots."""


@final
class Transcript(common.Writer[Token]):
    """Collects the tokens of one answer.

    echo: the prompt's pieces, which the first tokens stand for. Tokens that stand for no text (the end token, other
    special ones) are placed, but leave no text.
    """

    def __init__(self, vocabulary: Vocabulary, *, stops: Sequence[bytes] = (), echo: Sequence[bytes] = ()) -> None:
        super().__init__(stops=stops, echo=len(echo))
        self._vocabulary = vocabulary
        self._ends = frozenset(vocabulary.ends.tolist())
        self._pieces = iter(echo)

    def add(self, token: Token) -> Part:
        """Take the next token; the part has a `finish` when the answer ends with it."""
        echoed = next(self._pieces, None)
        piece = self._vocabulary.text_of((token.id,)) if echoed is None else echoed
        return self.take(token, piece, ends=token.id in self._ends)


def write(tokens: Iterable[Token | None], transcript: Transcript) -> Iterator[Part]:
    """One part per token, possibly an empty one, so that whoever pulls may stop between any two; the last finishes.

    None among the tokens is work without a token yet.
    """
    for token in tokens:
        part = common.Part() if token is None else transcript.add(token)
        yield part
        if part.finish:
            return
    yield transcript.close("length")
