"""Next tokens of one tokenizer under a model of another, by a slow and obvious way: cut what the model may well write.

The chance of a token of the API is the mass of the model's continuations that the API's tokenizer cuts so. They are
written out, likeliest first, the whole text with each of them is cut, and the token behind the text is counted. A
continuation with which the text would be cut elsewhere is none that an API can have which ended a token there. Where
the model ends a token that its own tokenizer would not end, that border is taken for one of the API as well: the two
sides of it are cut by themselves.

Shares below `WRITTEN` of the whole are written on no further, those below `COUNTED` are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Ids, Vocabulary
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Candidate,
    Capabilities,
    Kind,
    Logits,
    Position,
    Prompt,
    Purpose,
    Reply,
    TokenPath,
    Usage,
)
from tests.core.toys import prefix_of

WRITTEN = 3e-4
COUNTED = 3e-6
LONGEST = 5
"""Tokens of a continuation at most."""

TOP_K = 20

END = b""
"""Stands for the end of the answer."""


class Begun(NamedTuple):
    """A path that spells the text, or a beginning of it, and a continuation.

    gap: what is left to spell of the text. text: the continuation. sealed: up to where it is cut in one; -1 where there
    is no border that the model has set against its tokenizer. share: of all that may follow the text.
    """

    path: TokenPath
    gap: bytes
    text: bytes
    sealed: int
    share: float


class Table(NamedTuple):
    """What was found after a text: the shares of the API's next tokens, `END` among them, of what was looked at.

    kept: share of the continuations that leave the text as the API cuts it, those among them that were not looked at.
    """

    shares: dict[bytes, float]
    kept: float

    def logp(self, piece: bytes) -> float:
        """Log-prob of a token; -inf where none was found."""
        share = self.shares.get(piece, 0.0)
        return math.log(share / self.kept) if share > 0.0 else -math.inf

    def best(self, count: int) -> list[bytes]:
        """The likeliest."""
        return sorted(self.shares, key=lambda piece: -self.shares[piece])[:count]


@dataclass
class Oracle:
    """Next tokens of `api` after texts of one answer, as a model writes them.

    vocabulary, spell: the model's own, and its tokenizer. logits: the model's, after each token path of the answer.
    """

    vocabulary: Vocabulary
    spell: Callable[[bytes], Sequence[int]]
    api: Vocabulary
    logits: Callable[[Sequence[TokenPath]], Sequence[Logits]]
    _known: dict[TokenPath, Logits] = field(default_factory=dict)
    _tables: dict[bytes, Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lengths = np.array([len(piece) for piece in self.vocabulary.pieces])
        self._text_ids = np.flatnonzero(self.vocabulary.is_text)
        self._against = lru_cache(maxsize=1 << 16)(self._sets_border)
        self._cut = lru_cache(maxsize=1 << 16)(self._pieces)

    def table(self, text: bytes) -> Table:
        """The API's next tokens after a text."""
        if text not in self._tables:
            self._tables[text] = self._table(text)
        return self._tables[text]

    def _chances(self, paths: Sequence[TokenPath]) -> list[Logits]:
        """Chances of the next token after each path, shape (V,) each."""
        new = [path for path in dict.fromkeys(paths) if path not in self._known]
        if new:
            for path, row in zip(new, self.logits(new), strict=True):
                chances = np.exp(row.astype(np.float64) - float(row.max()))
                self._known[path] = (chances / chances.sum()).astype(np.float32)
        return [self._known[path] for path in paths]

    def _spelt(self, text: bytes) -> tuple[list[Begun], float]:
        """The paths that spell the text or a beginning of it, with their chance in place of a share; and its own."""
        found: list[list[Begun]] = [[] for _ in range(len(text) + 1)]
        found[0] = [Begun((), text, b"", -1, 1.0)]
        for at in range(len(text) + 1):
            whole = self._beginning(found[: at + 1], text[:at])
            found[at] = [one for one in found[at] if one.share >= WRITTEN * whole]
            for one, chances in zip(found[at], self._chances([one.path for one in found[at]]), strict=True):
                for i, length in self._inside(one.gap):
                    share = one.share * float(chances[i])
                    found[at + length].append(Begun((*one.path, i), one.gap[length:], b"", -1, share))
        return [one for paths in found for one in paths], self._beginning(found, text)

    def _inside(self, gap: bytes) -> Iterator[tuple[int, int]]:
        """The tokens that a text begins with, with their lengths."""
        yield from self.vocabulary.proper_prefixes(gap)
        if gap:
            yield from ((i, len(gap)) for i in self.vocabulary.ids_of(gap))

    def _beginning(self, found: Sequence[Sequence[Begun]], text: bytes) -> float:
        """The chance that the answer begins with `text`, by the paths found to its beginnings."""
        whole = math.fsum(one.share for one in found[len(text)])
        for at in range(max(0, len(text) - self.vocabulary.longest), len(text)):
            ids = self._beyond(text[at:])
            for one, chances in zip(found[at], self._chances([one.path for one in found[at]]), strict=True):
                whole += one.share * float(chances[ids].sum(dtype=np.float64))
        return whole

    def _beyond(self, gap: bytes) -> Ids:
        """Ids of the tokens that spell a gap and go on."""
        ids = self.vocabulary.starting_with(gap)
        return np.asarray(ids[self._lengths[ids] > len(gap)], dtype=np.intp)

    def _table(self, text: bytes) -> Table:
        spelt, whole = self._spelt(text)
        level = [one._replace(share=one.share / whole) for one in spelt if len(one.gap) < self.vocabulary.longest]
        shares: dict[bytes, float] = {}
        broken = 0.0
        for depth in range(LONGEST):
            longer: list[Begun] = []
            distributions = self._chances([one.path for one in level])
            for one, chances in zip(level, distributions, strict=True):
                for then in self._leaves(one, chances):
                    if then.share >= WRITTEN and depth < LONGEST - 1 and then.path and not self._settled(text, then):
                        longer.append(then)
                        continue
                    token = self._next(text, then)
                    if token is None:
                        broken += then.share
                    else:
                        shares[token] = shares.get(token, 0.0) + then.share
            level = longer
        return Table(shares, 1.0 - broken)

    def _leaves(self, one: Begun, chances: Logits) -> Iterator[Begun]:
        """A path with each token more. The end, and what is not looked at, leave what is written as it is: no path."""
        looked = 0.0
        ids = self._beyond(one.gap) if one.gap else self._text_ids
        shares = chances[ids].astype(np.float64) * one.share
        counted = shares >= COUNTED
        for i, share in zip(ids[counted].tolist(), shares[counted].tolist(), strict=True):
            looked += share
            yield self._longer(one, i, share)
        if one.text:
            yield Begun((), b"", one.text, one.sealed, max(one.share - looked, 0.0))
        elif not one.gap:
            yield Begun((), b"", END, -1, one.share * float(chances[self.vocabulary.ends].sum()))

    def _longer(self, one: Begun, i: int, share: float) -> Begun:
        sealed = one.sealed
        if sealed < 0 and not one.gap and one.path and self._against(one.path[-1], i):
            sealed = len(one.text)
        return Begun((*one.path, i), b"", one.text + self.vocabulary.pieces[i][len(one.gap) :], sealed, share)

    def _sets_border(self, left: int, right: int) -> bool:
        """Whether the model's tokenizer would not end a token between these two."""
        pieces = self.vocabulary.pieces
        ends = self._ends([pieces[i] for i in self.spell(pieces[left] + pieces[right])])
        return len(pieces[left]) not in ends

    @staticmethod
    def _ends(pieces: Sequence[bytes]) -> list[int]:
        ends, at = [], 0
        for piece in pieces:
            at += len(piece)
            ends.append(at)
        return ends

    def _behind(self, text: bytes, one: Begun) -> list[bytes] | None:
        """The API's tokens behind the text, as far as they are cut in one; None where it does not end one there."""
        if one.sealed == 0:
            return self._cut(one.text)
        pieces = self._cut(text + (one.text if one.sealed < 0 else one.text[: one.sealed]))
        ends = [0, *self._ends(pieces)]
        return pieces[ends.index(len(text)) :] if len(text) in ends else None

    def _pieces(self, text: bytes) -> list[bytes]:
        return [self.api.pieces[i] for i in self.api.cut(text)]

    def _next(self, text: bytes, one: Begun) -> bytes | None:
        """The API's next token; None where the text would be cut elsewhere."""
        if not one.text:
            return END
        pieces = self._behind(text, one)
        return pieces[0] if pieces else None

    def _settled(self, text: bytes, one: Begun) -> bool:
        """Whether what follows can hardly change the next token: two more lie behind it, or a word ends with it."""
        if one.sealed > 0:
            return True
        pieces = self._behind(text, one)
        if not pieces or len(pieces) == 1:
            return False
        left, right = pieces[0][-1:], pieces[1]
        return len(pieces) > 2 or (right[:1] == b" " and right[1:2].isalpha()) or (left.isalnum() and _parts(right))


def _parts(piece: bytes) -> bool:
    """Whether a token begins with what is never joined to the end of a word before it."""
    return piece[:1].isascii() and not piece[:1].isalnum() and piece[:1] != b"'"


@dataclass
class OracleApi:
    """An API that is the oracle's model, with the tokenizer that the oracle cuts by; it shows the likeliest tokens."""

    oracle: Oracle
    top_k: int = TOP_K
    model: str = "oracle"

    @property
    def vocabulary(self) -> Vocabulary:
        """Its tokenizer is known."""
        return self.oracle.api

    def capabilities(self) -> Capabilities:
        return Capabilities(top_k=self.top_k)

    def text(self, prompt: Prompt) -> str:
        return prompt.text

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        """The distribution after the answer of the ask: one position."""
        place = position(self.oracle.table(prefix_of(ask).answer), self.vocabulary, top_k=self.top_k)
        return Reply((place,), "length", Usage(requests=1))

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return self.send(ask)


def position(table: Table, api: Vocabulary, *, top_k: int) -> Position:
    """A table as an API shows it."""
    ended = api.pieces[int(api.ends[0])]
    top = tuple(
        Candidate(piece, table.logp(piece)) if piece else Candidate(ended, table.logp(END), Kind.END)
        for piece in table.best(top_k)
        if table.shares[piece] > 0.0
    )
    tail = max(0.0, 1.0 - math.fsum(math.exp(c.logp) for c in top))
    return Position(top[0], top, tail, top[-1].logp)
