"""Sources of offsets besides one pair: a table of strings, and a weighted sum of any other sources.

    Steerer(api, OffsetTable({b" colour": 2.0, b" color": -2.0}))
    Steerer(api, WeightedSum([(tone, 1.0), (domain, 0.5)]))

Each has the one method `score` of `types.OffsetSource`. Offsets are natural logs; positive ones favour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import final

import numpy as np

from blackbox_proxy.errors import InputError
from blackbox_proxy.types import Floats, OffsetSource, Prompt, Proposer, Scores


@final
@dataclass(frozen=True, slots=True)
class OffsetTable:
    """A source of offsets: a fixed one for each of some strings, wherever they stand.

    Attributes:
        offsets: Nats by string; b"" is the end.
        other: Nats of all other strings.
    """

    offsets: Mapping[bytes, float]
    other: float = 0.0

    def __post_init__(self) -> None:
        for piece, offset in [*self.offsets.items(), (None, self.other)]:
            if not math.isfinite(offset):
                strings = "all other strings" if piece is None else repr(piece)
                raise InputError(
                    f"the offset of {strings} must be a finite number of nats, not {offset}",
                    hint="20 nats are as good as never or always",
                )

    def score(self, _context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores:  # noqa: ARG002 (OffsetSource's)
        """The offsets, over an anti-expert that is 1 everywhere: only the difference counts."""
        offset = np.array([self.offsets.get(piece, self.other) for piece in pieces], dtype=np.float64)
        even = np.zeros(len(pieces))
        bounds = np.stack([offset, even])
        return Scores(offset, even, bounds, bounds, (self.offsets.get(b"", self.other), 0.0), self.other)


@final
@dataclass(frozen=True, slots=True)
class WeightedSum:
    """A source of offsets: several sources, each with a weight; their offsets add up.

    Attributes:
        parts: Sources with their weights. An unseen tail is taken to be shaped like the first; each proposes strings
            where it can.
    """

    parts: Sequence[tuple[OffsetSource, float]]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("a weighted sum needs at least one source", hint="give tuples of (source, weight)")
        for _, weight in self.parts:
            if not math.isfinite(weight):
                raise InputError(f"a weight must be a finite number, not {weight}", hint="1.0 takes a source as it is")

    def score(self, context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores:
        """The first source's anti-expert, and over it the sum of all weighted offsets."""
        parts = [(source.score(context, pieces, prompt=prompt), weight) for source, weight in self.parts]
        anti_expert, (_, even) = parts[0][0].anti_expert, parts[0][0].end
        bounds = [_bounds(scores, weight) for scores, weight in parts]
        lower, upper = (np.stack([anti_expert + sum(b[n] for b in bounds), anti_expert]) for n in (0, 1))
        offset = sum(weight * scores.offset for scores, weight in parts)
        end = math.fsum(weight * (scores.end[0] - scores.end[1]) for scores, weight in parts)
        others = [weight * scores.other for scores, weight in parts if scores.other is not None]
        other = math.fsum(others) if len(others) == len(parts) else None
        return Scores(anti_expert + offset, anti_expert, lower, upper, (even + end, even), other)

    def propose(self, context: bytes, count: int, *, prompt: Prompt) -> Sequence[bytes]:
        """What the sources propose, in turn: the likeliest of each, then the second of each, up to `count`."""
        lists = [
            source.propose(context, count, prompt=prompt)
            for source, weight in self.parts
            if weight > 0.0 and isinstance(source, Proposer)
        ]
        in_turn = (piece for row in zip_longest(*lists) for piece in row if piece is not None)
        return tuple(islice(dict.fromkeys(in_turn), count))


def _bounds(scores: Scores, weight: float) -> tuple[Floats, Floats]:
    """Lower and upper bound of a weighted offset, each of shape (n,)."""
    low, high = scores.lower[0] - scores.upper[1], scores.upper[0] - scores.lower[1]
    return (weight * low, weight * high) if weight >= 0.0 else (weight * high, weight * low)
