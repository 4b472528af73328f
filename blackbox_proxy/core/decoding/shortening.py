"""Which of the tokens that an endpoint shows compete: each takes the pair's work, and some show their whole vocabulary.

The likeliest that may follow compete, so many that a further one hardly wins; what is left over counts as not shown, so
that certificates and bounds stay true. Where the pair proposes one of the others, it competes with its own log-prob.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from blackbox_proxy.core.decoding.acceptors import Acceptor
from blackbox_proxy.types import Candidate, Kind, Position

COMPETING = 512
"""Tokens that compete where the best is chosen."""

DRAWN = 4096
"""Tokens that compete where one is drawn: what is left over is never drawn."""


def shortened(position: Position, text: bytes, *, accepts: Acceptor, count: int) -> tuple[Position, float]:
    """The position with the `count` likeliest of its tokens that may follow the text; the others are `further` ones.

    Returns also the probability of those that were looked at and may not follow: they are left out.
    """
    top = position.top
    if len(top) <= count:
        return position, 0.0
    kept, end = _fitting(top, text, accepts=accepts, count=count)
    out = math.fsum(math.exp(c.logp) for c in top[:end]) - math.fsum(math.exp(c.logp) for c in kept)
    below = math.fsum(math.exp(c.logp) for c in top[end:])
    ceiling = max([position.ceiling, *(c.logp for c in top[end : end + 1])])
    tail = min(1.0, position.tail + below)
    return replace(position, top=kept, tail=tail, ceiling=ceiling, further=top[end:]), max(out, 0.0)


def _fitting(
    top: Sequence[Candidate], text: bytes, *, accepts: Acceptor, count: int
) -> tuple[tuple[Candidate, ...], int]:
    """The first tokens of the list that may follow, and behind how many of the list they are found."""
    # Where a constraint leaves little, most tokens start otherwise already: that costs next to nothing to see.
    starts = {*accepts.starts(text)}
    kept: list[Candidate] = []
    for n, candidate in enumerate(top):
        piece = candidate.piece if candidate.kind is Kind.TEXT else b""
        begins = not starts or piece[:1] in starts
        if piece and not (begins and accepts.follows(text, accepts.cut(text, piece))):
            continue
        kept.append(candidate)
        if len(kept) == count:
            return tuple(kept), n + 1
    return tuple(kept), len(top)


def competing(position: Position, pieces: Collection[bytes]) -> Position:
    """The position, with the further tokens that are some of the pieces among those that compete."""
    if not position.further:
        return position
    proposed = {*pieces}
    return with_requested(position, [c for c in position.further if c.string in proposed])


def with_requested(position: Position, candidates: Sequence[Candidate]) -> Position:
    """The position with further candidates, taken out of its tail."""
    listed = {(c.piece, c.id) for c in (*position.top, *position.requested)}
    fresh = tuple(c for c in candidates if (c.piece, c.id) not in listed)
    if not fresh:
        return position
    taken = math.fsum(math.exp(c.logp) for c in fresh if math.isfinite(c.logp))
    return replace(position, requested=(*position.requested, *fresh), tail=max(position.tail - taken, 0.0))
