"""Where the offset acts at all: gates, behind one interface (section 2.1 of docs/method.md).

A gate looks at the two members' distributions of the next token, which the loop has anyway before any string is scored.
Where it is shut, the API's own distribution decides, and the pair scores nothing. Pure array arithmetic: knows no API
and no text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Ids
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import PairDistributions, Position


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether the offset acts at a place. divergence: what was measured, None where nothing was."""

    is_open: bool
    divergence: float | None = None


OPEN = Opening(is_open=True)


class Gate(Protocol):
    """A rule of where to steer."""

    def __call__(self, distributions: PairDistributions) -> Opening:
        """Whether to steer where the members' distributions of the next token are these."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Always:
    """Open everywhere."""

    def __call__(self, distributions: PairDistributions) -> Opening:  # noqa: ARG002 (the interface's)
        """See `Gate`."""
        return OPEN


@final
@dataclass(frozen=True, slots=True, eq=False)
class Divergence:
    """Open where the total variation of the members' distributions exceeds `threshold`. ends: one event together."""

    threshold: float
    ends: Ids

    def __call__(self, distributions: PairDistributions) -> Opening:
        """See `Gate`."""
        apart = total_variation(distributions, ends=self.ends)
        return Opening(apart > self.threshold, apart)


def total_variation(distributions: PairDistributions, *, ends: Ids) -> float:
    """The most by which the two members' probabilities of one event can differ, in [0, 1]; the ends are one token."""
    expert, other = (
        np.exp(distribution.logits - np.float32(distribution.log_norm))
        for distribution in (distributions.expert, distributions.anti_expert)
    )
    apart = (expert - other).astype(np.float64)
    end = float(apart[ends].sum())
    apart[ends] = 0.0
    return min(1.0, (float(np.abs(apart).sum()) + abs(end)) / 2.0)


def features_of(distributions: PairDistributions, position: Position, *, ends: Ids) -> tuple[float, ...]:
    """What is known of a place before anything is chosen there, in the order of `learnt.FEATURES`."""
    expert = distributions.expert
    largest = math.exp(float(expert.logits.max()) - expert.log_norm)
    shown = math.exp(max((candidate.logp for candidate in position.top), default=-math.inf))
    return (1.0, min(1.0, largest), total_variation(distributions, ends=ends), min(1.0, shown))


def gate_of(steering: Steering, *, ends: Ids) -> Gate:
    """The gate that a steering names. ends: the pair's tokens that end an answer."""
    return Divergence(steering.threshold, ends) if steering.gate == "divergence" else Always()
