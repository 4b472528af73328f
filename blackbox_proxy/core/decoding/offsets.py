"""Rules by which offsets abstain: what log E - log A is taken to be where the pair has little evidence.

Of two tiny masses the ratio is noise, and noise that is multiplied by alpha can win (section 1.6 of docs/method.md).
Each rule is a small frozen value that turns a field into one offset per string; `rule_of` makes it from a `Steering`.
Pure array arithmetic: knows no tokens, no API, and nothing of how an offset is then used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol, final

import numpy as np

from blackbox_proxy.core.decoding import combine
from blackbox_proxy.core.decoding.combine import Field, FieldScores
from blackbox_proxy.learnt import EVEN, Powers
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats

FORBIDDEN = 1e4
"""Nats by which the implausible is put behind everything else: finite, for something must win where nothing is left."""


class Rule(Protocol):
    """A rule of abstention."""

    def __call__(self, field: Field) -> Floats:
        """The offset of each of the field's n strings, in nats, shape (n,)."""
        ...

    def most(self, field: Field, *, alpha: float) -> float:
        """The largest alpha * offset that a string outside the field can have, in nats; inf where nothing bounds it."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Ratio:
    """The bare ratio: log E - log A, however small both are; 0 where both are zero."""

    def __call__(self, field: Field) -> Floats:
        """See `Rule`."""
        return combine.offsets(field, evidence=0.0)

    def most(self, field: Field, *, alpha: float) -> float:  # noqa: ARG002 (the interface's)
        """See `Rule`: nothing bounds a ratio."""
        return 0.0 if alpha == 0.0 else math.inf


@final
@dataclass(frozen=True, slots=True)
class Pooled:
    """The ratio, pooled where neither member has evidence: see `combine.offsets`, section 1.6.

    flipped: for a negative alpha.
    """

    evidence: float
    flipped: bool = False

    def __call__(self, field: Field) -> Floats:
        """See `Rule`."""
        return combine.offsets(field, evidence=self.evidence, flipped=self.flipped)

    def most(self, field: Field, *, alpha: float) -> float:
        """See `Rule`: at most, all that is left over under the one member, and nothing of it under the other."""
        if alpha == 0.0 or self.evidence <= 0.0:
            return 0.0 if alpha == 0.0 else math.inf
        pool = combine.pools(field, flipped=self.flipped)
        gains, loses = pool[:: 1 if alpha > 0.0 else -1]
        return abs(alpha) * (math.log1p(self.evidence * gains) - math.log(self.evidence * loses))


@final
@dataclass(frozen=True, slots=True)
class Clipped:
    """The ratio, cut at `clip` nats on both sides: bounds everything, and costs form (docs/method.md, 1.6)."""

    clip: float

    def __call__(self, field: Field) -> Floats:
        """See `Rule`."""
        return np.clip(Ratio()(field), -self.clip, self.clip)

    def most(self, field: Field, *, alpha: float) -> float:  # noqa: ARG002 (the interface's)
        """See `Rule`."""
        return abs(alpha) * self.clip


@final
@dataclass(frozen=True, slots=True)
class Plausible:
    """The ratio, for what the gaining member finds at least `share` times as probable as its best; nothing else wins.

    The gaining member is the expert, or with a negative alpha (`flipped`) the anti-expert.
    """

    share: float
    flipped: bool = False

    def __call__(self, field: Field) -> Floats:
        """See `Rule`. Where the API has no tail, what it did not show cannot win, and is no measure for others."""
        reference = field.masses[1 if self.flipped else 0]
        others = reference if field.tail > 0.0 else reference[: len(field.logp)]
        behind = FORBIDDEN if self.flipped else -FORBIDDEN
        return Ratio()(field) + np.where(reference >= self.share * others.max(initial=0.0), 0.0, behind)

    def most(self, field: Field, *, alpha: float) -> float:  # noqa: ARG002 (the interface's)
        """See `Rule`: a string outside the field may be plausible too."""
        return 0.0 if alpha == 0.0 else math.inf


@final
@dataclass(frozen=True, slots=True)
class Weighted:
    """b log E - c log A, with the two `powers` of a place, and the masses pooled as in `Pooled`: section 1.9.

    flipped: for a negative alpha.
    """

    powers: Powers
    evidence: float
    flipped: bool = False

    def __call__(self, field: Field) -> Floats:
        """See `Rule`."""
        return self._of(combine.smoothed(field, evidence=self.evidence, flipped=self.flipped))

    def most(self, field: Field, *, alpha: float) -> float:
        """See `Rule`: at most, a member finds a string certain whose weight is a gain, and impossible otherwise."""
        signed = alpha * self.powers[0], -alpha * self.powers[1]
        if self.evidence <= 0.0 and any(weight < 0.0 for weight in signed):
            return math.inf
        pool = self.evidence * combine.pools(field, flipped=self.flipped)
        both = zip(signed, pool.tolist(), strict=True)
        return math.fsum(w * (math.log1p(p) if w > 0.0 else math.log(p)) for w, p in both if w != 0.0)

    def apart(self, scores: FieldScores, field: Field) -> FieldScores:
        """The scores with the two logs apart, and the rest weighed as the strings are."""
        logs = combine.smoothed(field, evidence=self.evidence, flipped=self.flipped)
        rest = combine.rest_logs(field)
        return replace(scores, rest=float(self._of(rest)), logs=np.column_stack([logs, rest]))

    def _of(self, logs: Floats) -> Floats:
        return np.asarray(self.powers[0] * logs[0] - self.powers[1] * logs[1], dtype=np.float64)


def rule_of(steering: Steering, *, alpha: float, powers: Powers = EVEN) -> Rule:
    """The rule that a steering names, with its knob.

    alpha: weight of the offset at the place in question; powers: what its learnt weights come to there.
    """
    match steering.rule:
        case "learnt":
            return Weighted(powers, steering.evidence, flipped=alpha < 0.0)
        case "none":
            return Ratio()
        case "clip":
            return Clipped(steering.clip)
        case "plausible":
            return Plausible(steering.plausible, flipped=alpha < 0.0)
        case _:
            return Pooled(steering.evidence, flipped=alpha < 0.0)
