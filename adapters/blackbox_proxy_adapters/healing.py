"""The distribution after text + held, given the positions after text: token healing, and skipping what a reply repeats.

An endpoint may have been sent less than the text so far, because it loses what stands at the end (white space), or may
repeat some of it. What was held back (`held`) is then the beginning of what it says:

* While the sampled tokens lie wholly inside `held`, the walk goes on: the next position is conditioned on exactly them.
* At the position where `held` ends, the tokens that start with what is left of it are kept, and it is cut off them.
* They are divided by their mass S and that of whatever may agree as well: what was not shown, tokens whose bytes are
  lost, and tokens that end inside `held`. All that counts as unseen, so each kept token's probability is a lower bound,
  `tail` is an upper bound, and so is `ceiling`: what has b of the mass at most has b / (S + b) of the healed one.

The distribution is that of the path that was sampled through `held`; other spellings of it are not followed. Pure
arithmetic: knows no request and no reply shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

from blackbox_proxy.types import Candidate, Kind, Position

from .pieces import kind_of
from .positions import log_add, unknown

_SPOKEN = (Kind.TEXT, Kind.FRAGMENT)


class Healed(NamedTuple):
    """Positions after text + held. agrees: whether the token that was sampled where `held` ends agrees with it."""

    positions: tuple[Position, ...]
    agrees: bool


def heal(positions: Sequence[Position], held: bytes, *, chance: float | None = None) -> tuple[Position, ...] | None:
    """`healed`, but the positions alone."""
    rest = healed(positions, held, chance=chance)
    return None if rest is None else rest.positions


def healed(positions: Sequence[Position], held: bytes, *, chance: float | None = None) -> Healed | None:
    """The positions that follow `held`; none where they end with it, and None where they end before.

    Where the sampled token does not agree with `held`, what is sampled from the healed distribution stands in its
    place, and positions after it are dropped. chance: a number in [0, 1) to draw that by; None takes the likeliest.
    """
    pending = held
    for at, position in enumerate(positions):
        if not pending:
            return Healed(tuple(positions[at:]), agrees=True)
        sampled = position.sampled
        if sampled.kind in _SPOKEN and pending.startswith(sampled.piece):
            pending = pending[len(sampled.piece) :]
        else:
            agrees = _starts(sampled, pending)
            here = _cut(position, pending, chance=chance)
            return Healed((here, *positions[at + 1 :]) if agrees else (here,), agrees)
    return None if pending else Healed((), agrees=True)


def _starts(candidate: Candidate, pending: bytes) -> bool:
    """Whether it says what is left, and more."""
    return candidate.kind in _SPOKEN and candidate.piece.startswith(pending) and candidate.piece != pending


def _may_agree(candidate: Candidate, pending: bytes) -> bool:
    """Whether what is left may come of it: it ends inside, or nobody knows its bytes."""
    return candidate.kind is Kind.SPECIAL or (candidate.kind in _SPOKEN and pending.startswith(candidate.piece))


def _cut(position: Position, pending: bytes, *, chance: float | None) -> Position:
    """The position where `pending`, which is not empty, is what is held of its token."""
    masses = _merged([_without(c, pending) for c in position.top if _starts(c, pending)])
    vague = math.fsum(math.exp(c.logp) for c in position.top if _may_agree(c, pending))
    shown, unseen = math.fsum(map(math.exp, masses.values())), position.tail + vague
    if shown + unseen <= 0.0:
        return unknown()
    norm = math.log(shown + unseen)
    ranked = sorted(masses.items(), key=itemgetter(1), reverse=True)
    top = tuple(Candidate(piece, min(0.0, logp - norm), kind_of(piece)) for piece, logp in ranked)
    # One unseen token says `pending` with a given string behind it, and one ends at each of its bytes on the way there.
    likeliest = vague + min((len(pending) + 1) * math.exp(position.ceiling), position.tail)
    ceiling = math.log(likeliest / (shown + likeliest)) if likeliest > 0.0 else -math.inf
    if _starts(position.sampled, pending):
        shortened = _without(position.sampled, pending)
        sampled = Candidate(shortened.piece, min(0.0, shortened.logp - norm), kind_of(shortened.piece))
    else:
        sampled = _drawn(top, chance=chance)
    return Position(sampled, top, min(1.0, unseen / (shown + unseen)), ceiling)


def _without(candidate: Candidate, pending: bytes) -> Candidate:
    return replace(candidate, piece=candidate.piece[len(pending) :])


def _merged(candidates: Sequence[Candidate]) -> dict[bytes, float]:
    """Log-prob per piece; an id stands for the whole token, so it cannot tell the rest of two tokens apart."""
    masses: dict[bytes, float] = {}
    for c in candidates:
        masses[c.piece] = log_add(masses[c.piece], c.logp) if c.piece in masses else c.logp
    return masses


def _drawn(top: Sequence[Candidate], *, chance: float | None) -> Candidate:
    """The likeliest, or one drawn by `chance`; where that falls among what is unseen nobody knows which."""
    if chance is None:
        return top[0] if top else unknown().sampled
    below = 0.0
    for candidate in top:
        below += math.exp(candidate.logp)
        if chance < below:
            return candidate
    return unknown().sampled
