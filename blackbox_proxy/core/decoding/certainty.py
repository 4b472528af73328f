"""Which masses a choice depends on, and what to read next so that they are known.

What is not certain of a mass, since the pair's distributions are not known far enough, may change a steered score. It
is read on only where that could change the choice, or the distribution that is drawn from. Knows no token and asks
nobody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from blackbox_proxy.core.alignment.tokencover import LEAST_MASS, TokenCover
from blackbox_proxy.core.decoding import combine
from blackbox_proxy.core.decoding.readings import ScoredPosition
from blackbox_proxy.core.decoding.sampling import tempered
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats, TokenPath

TOLERANCE = 0.05
"""Nats by which what is certain of a string's masses may fall short before more is read."""

LASTING = 0.1
"""Share of what is written of a string already that is taken to stay its own, whatever the pair writes behind it.

What goes on to another string mostly does so under both members, and the offset stays. Of what has written only a part
of a string none is taken to complete it.
"""

SHARE = 1e-3
"""Where tokens are drawn, the probability below which a string's masses need not be certain."""


def matter(
    cover: TokenCover, scored: ScoredPosition, masses: Floats, *, steering: Steering, smooth: float
) -> list[int]:
    """Columns of the strings whose masses decide.

    Greedy: the best, and those that would be better if what is not certain of the losing member's mass were not there.
    Drawn: all that are likely to be. masses: shape (2, n). smooth: the constant that is added to masses in a ratio.
    """
    score = scored.scores.score
    if steering.temperature > 0.0:
        return np.flatnonzero(tempered(score, steering) >= SHARE).tolist()
    return [int(np.argmax(score)), *_contenders(cover, scored, masses, smooth=smooth)]


def next_to_read(cover: TokenCover, masses: Floats, columns: Sequence[int], *, smooth: float) -> TokenPath | None:
    """The path that would narrow the widest of some strings' masses; None where all are certain enough."""
    widths = {n: _width(cover, masses, n, smooth=smooth) for n in columns}
    widest = max(widths, key=widths.__getitem__)
    return cover.widest(widest, usual=True) if widths[widest] > TOLERANCE else None


def _width(cover: TokenCover, masses: Floats, n: int, *, smooth: float) -> float:
    """Nats by which what is certain of a string's masses falls short of their estimate, both members together."""
    spare = smooth + LEAST_MASS
    return float(np.log((masses[:, n] + spare) / (cover.low_of(n) + spare)).sum())


def _contenders(cover: TokenCover, scored: ScoredPosition, masses: Floats, *, smooth: float) -> list[int]:
    """Strings that would win if what is not certain of the losing member's mass were not there.

    The losing member is the anti-expert, or with a negative alpha the expert. Of strings that the other one finds
    hardly probable there is no evidence to win by.
    """
    gains, loses = (0, 1) if scored.alpha > 0.0 else (1, 0)
    score, spare, weight = scored.scores.score, smooth + LEAST_MASS, abs(scored.alpha) * max(scored.powers[loses], 0.0)
    best = float(score.max())
    lasting = LASTING * cover.once()[loses]
    room = weight * np.log((masses[loses] + spare) / (lasting + spare))
    columns = np.flatnonzero((masses[gains] >= combine.REAL) & (score < best) & (score + room > best))
    return [
        n
        for n in columns.tolist()
        if weight * math.log((masses[loses, n] + spare) / (max(cover.low_of(n)[loses], lasting[n]) + spare))
        > best - float(score[n])
    ]
