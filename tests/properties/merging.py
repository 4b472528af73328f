"""A tokenizer that merges by rank, and toy models whose answers are short: so that every continuation can be listed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.types import Distribution, Logits, PairDistributions, TokenPath

NEVER = -80.0
"""A logit that stands for no chance at all."""


def merging(letters: Sequence[bytes], merges: Sequence[bytes]) -> Vocabulary:
    """A vocabulary of some letters and of merges, whose tokenizer merges the first ranked neighbours first.

    A merge that cannot come from two pieces before it is left out, so that every piece is a token of its own bytes.
    """
    pieces = list(dict.fromkeys(letters))
    for merge in merges:
        if merge not in pieces and _cut(merge, (*pieces, merge)) == [merge]:
            pieces.append(merge)
    ranks = tuple(pieces)
    vocabulary = Vocabulary([*pieces, b"</s>"], ends=[len(pieces)])
    return vocabulary.cut_by(lambda text: [ranks.index(piece) for piece in cut(text, ranks)])


def _cut(text: bytes, ranks: tuple[bytes, ...]) -> list[bytes]:
    parts = [text[n : n + 1] for n in range(len(text))]
    while True:
        merged = [(ranks.index(a + b), n) for n, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not merged:
            return parts
        _, n = min(merged)
        parts[n : n + 2] = [parts[n] + parts[n + 1]]


cut = lru_cache(maxsize=1 << 18)(_cut)


@dataclass(frozen=True)
class ShortModel:
    """A toy model that ends for sure after `depth` tokens, and has chances by the last two tokens before."""

    vocabulary: Vocabulary
    seed: int
    depth: int
    sharpness: float = 2.0

    def distribution(self, path: TokenPath) -> Distribution:
        rng = np.random.default_rng([self.seed, len(path), *(i + 1 for i in path[-2:])])
        logits = self.sharpness * rng.standard_normal(len(self.vocabulary))
        if len(path) >= self.depth:
            logits[self.vocabulary.order] = NEVER
        found: Logits = logits.astype(np.float32)
        return Distribution(found, float(np.logaddexp.reduce(found.astype(np.float64))))


@dataclass(frozen=True)
class ShortPair:
    """Two of them."""

    expert: ShortModel
    anti_expert: ShortModel

    @property
    def vocabulary(self) -> Vocabulary:
        return self.expert.vocabulary

    def distributions(self, path: TokenPath) -> PairDistributions:
        return PairDistributions(self.expert.distribution(path), self.anti_expert.distribution(path))


def answers(model: ShortModel) -> Iterator[tuple[tuple[bytes, ...], float]]:
    """Every answer, as the tokens that the model writes, with its chance."""
    pending: list[tuple[TokenPath, float]] = [((), 1.0)]
    pieces = model.vocabulary.pieces
    while pending:
        path, chance = pending.pop()
        distribution = model.distribution(path)
        for i, logit in enumerate(distribution.logits.tolist()):
            if logit <= NEVER:
                continue
            here = chance * math.exp(logit - distribution.log_norm)
            if i in model.vocabulary.ends:
                yield tuple(pieces[i] for i in path), here
            else:
                pending.append(((*path, i), here))


def own_borders(tokens: Sequence[bytes], own: Vocabulary | None) -> set[int]:
    """The places in an answer at which the model ends a token though its tokenizer would not; none without one."""
    if own is None:
        return set()
    ends = accumulate(map(len, tokens))
    return {end for end, (one, other) in zip(ends, pairwise(tokens), strict=False) if _begins(own, one + other) != one}


def _begins(vocabulary: Vocabulary, text: bytes) -> bytes:
    return vocabulary.pieces[vocabulary.cut(text)[0]]


def next_tokens(
    model: ShortModel, text: bytes, api: Vocabulary, *, bordered: bool, own: Vocabulary | None = None
) -> tuple[Mapping[bytes, float], float]:
    """By brute force: the masses of the API's next tokens after `text`, b"" the end; and all mass that goes on from it.

    bordered: only answers count that the API cuts after `text`. own: the model's tokenizer; where the model sets a
    border that it would not set, the API sets it too.
    """
    found: dict[bytes, float] = {}
    free = 0.0
    for tokens, chance in answers(model):
        answer = b"".join(tokens)
        if not answer.startswith(text):
            continue
        free += chance
        borders = own_borders(tokens, own)
        end = min((border for border in borders if border > len(text)), default=len(answer))
        if bordered and len(text) not in borders:
            whole = [api.pieces[i] for i in api.cut(answer[:end])]
            ends = [0, *accumulate(map(len, whole))]
            if len(text) not in ends:
                continue
            rest = whole[ends.index(len(text)) :]
        else:
            rest = [api.pieces[i] for i in api.cut(answer[len(text) : end])]
        name = rest[0] if rest else b""
        found[name] = found.get(name, 0.0) + chance
    return found, free
