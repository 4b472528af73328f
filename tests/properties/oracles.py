"""Slow and obvious definitions that the fast code is held to.

Each says what the word means and nothing about how to compute it well. Knows vocabularies and toy models, no code of
the core beyond them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import PairDistributions, PairPrompt, TokenPath

UNPROMPTED = PairPrompt((), ())

_CODE_POINTS = (*range(0x80, 0x800), *(c for c in range(0x800, 0x110000, 64) if not 0xD800 <= c < 0xE000))
BEGINNINGS = {chr(c).encode()[:n] for c in _CODE_POINTS for n in range(1, len(chr(c).encode()))}
"""Every unfinished character: what the encoding of some character starts with (the last byte never matters)."""


def open_bytes(text: bytes) -> int:
    """The length of the unfinished character at the end, 0 if there is none."""
    return max((n for n in (1, 2, 3) if text[-n:] in BEGINNINGS and len(text) >= n), default=0)


def straddled(pieces: list[bytes], left: bytes, right: bytes) -> bool:
    """Whether some piece, cut in two, has its head at the end of `left` and its rest in agreement with `right`."""
    return any(
        left.endswith(piece[:cut]) and (right.startswith(piece[cut:]) or piece[cut:].startswith(right))
        for piece in pieces
        for cut in range(1, len(piece))
    )


def spellings(vocabulary: Vocabulary, text: bytes) -> Iterator[TokenPath]:
    """Every token sequence whose bytes are exactly `text`."""
    if not text:
        yield ()
    for i in range(len(vocabulary)):
        piece = vocabulary.text_of([i])
        if piece and text.startswith(piece):
            yield from ((i, *rest) for rest in spellings(vocabulary, text[len(piece) :]))


def coverings(vocabulary: Vocabulary, text: bytes) -> Iterator[TokenPath]:
    """Every token sequence that reaches the end of `text` with its last token and not before."""
    for begun in range(len(text)):
        lasts = [i for i in range(len(vocabulary)) if vocabulary.text_of([i]).startswith(text[begun:])]
        yield from ((*path, i) for path in spellings(vocabulary, text[:begun]) for i in lasts)


def chance(model: ToyModel, path: TokenPath, *, after: TokenPath = ()) -> float:
    """Probability that the model goes on with exactly these tokens."""
    taken, total = after, 1.0
    for i in path:
        distribution = model.distribution(taken)
        total *= math.exp(float(distribution.logits[i]) - distribution.log_norm)
        taken = (*taken, i)
    return total


def starts(model: ToyModel, text: bytes, *, after: TokenPath = ()) -> float:
    """Probability that the bytes after a token path start with `text`."""
    if not text:
        return 1.0
    return math.fsum(chance(model, path, after=after) for path in coverings(model.vocabulary, text))


def starts_by_counting(model: ToyModel, text: bytes) -> float:
    """The same by trying every sequence of len(text) tokens, each at least one byte long unless it is silent."""
    total = []
    for path in product(range(len(model.vocabulary)), repeat=len(text)):
        speaks = [model.vocabulary.is_text[i] for i in path]
        until = speaks.index(False) if False in speaks else len(path)
        if model.vocabulary.text_of(path[:until]).startswith(text):
            total.append(chance(model, path))
    return math.fsum(total)


def stops(model: ToyModel, text: bytes, *, after: TokenPath = ()) -> float:
    """Probability that the bytes after a token path are exactly `text` and then an end."""
    return math.fsum(
        chance(model, (*path, int(end)), after=after)
        for path in spellings(model.vocabulary, text)
        for end in model.vocabulary.ends
    )


class Everything(Mapping[TokenPath, PairDistributions]):
    """A table of distributions in which nothing is ever missing."""

    def __init__(self, pair: ToyPair) -> None:
        self._pair = pair
        self._known: dict[TokenPath, PairDistributions] = {}

    def __getitem__(self, path: TokenPath) -> PairDistributions:
        if path not in self._known:
            (self._known[path],) = self._pair.distributions(UNPROMPTED, [path])
        return self._known[path]

    def __contains__(self, path: object) -> bool:
        return True

    def __iter__(self) -> Iterator[TokenPath]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def repeats(text: bytes) -> bool:
    """Whether each byte is the one some way before it, a quarter of the text at most."""
    return any(
        all(text[i] == text[i - period] for i in range(period, len(text))) for period in range(1, len(text) // 4 + 1)
    )
