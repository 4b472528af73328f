"""How far the API's unseen tail can change a choice, or a distribution: certificates and bounds on total variation.

Of a token u that the API did not show it is known only that p(u) is at most the ceiling p_k, and that all of them
together hold the tail tau. With w = p exp(alpha d) that bounds the best unseen weight (section 3.1 of docs/method.md)
and the sum Z_U of all unseen weights (3.2), whatever the API's distribution is beyond what it showed. Everything is
relative to offsets as they were computed; the module knows no token and no model.

Weights are divided by exp(shift) throughout, so that nothing overflows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.types import Floats

ROUNDING = 1e-6
"""Nats by which a log-prob on the wire may be off: enough that rounding alone never makes a certificate."""


@final
@dataclass(frozen=True, slots=True)
class Unseen:
    """What is known of the tokens that the API did not show.

    tail: their probability together; ceiling: the largest logp that one of them can have; gain: the largest
    alpha * offset among them, in nats; gains: alpha * offset of every one of them where they can be listed, shape (m,);
    ids: which they are.
    """

    tail: float
    ceiling: float
    gain: float
    gains: Floats | None = None
    ids: NDArray[np.intp] | None = None

    @property
    def cap(self) -> float:
        """Largest logp of one unseen token: 3.0's tolerances included."""
        return min(self.ceiling + ROUNDING, math.log(self.mass) if self.mass > 0.0 else -math.inf)

    @property
    def mass(self) -> float:
        """The tail, with what rounding may have hidden of it: 1 - (1 - tail) exp(-ROUNDING)."""
        if self.tail <= 0.0 and not self._listed:
            return 0.0
        return self.tail + (1.0 - self.tail) * -math.expm1(-ROUNDING)

    @property
    def _listed(self) -> bool:
        """Whether there may be an unseen token at all."""
        return self.gain > -math.inf

    @property
    def best(self) -> float:
        """Log of the largest weight that one unseen token can have (3.1)."""
        return self.cap + self.gain if self._listed else -math.inf


NOTHING = Unseen(0.0, -math.inf, -math.inf)
"""Where the target leaves out what the API did not show."""


def is_certain(best: float, unseen: Unseen) -> bool:
    """Whether a token of log-weight `best` outweighs every unseen one (3.1)."""
    return best - ROUNDING > unseen.best


def unseen_weight(unseen: Unseen, *, temperature: float = 1.0, shift: float = 0.0) -> tuple[float, float]:
    """Lower and upper bound of the sum of (w(u) / e^shift)^(1/T) over the unseen tokens u (3.2).

    At T = 1 both are the extreme points of a fractional knapsack, and tight. Below 1 the sum is convex in p, so that
    the same extreme point is the largest; above 1 Hölder's inequality bounds it. Without a list of the gains their
    largest stands for all; then nothing bounds a sum above T = 1.
    """
    if unseen.best == -math.inf:
        return 0.0, 0.0
    cap, mass = math.exp(unseen.cap), unseen.mass
    if unseen.gains is None:
        return 0.0, _crude(unseen, temperature=temperature, shift=shift)
    weights = _exp((unseen.gains - shift) / temperature)
    if temperature > 1.0:
        flat = cap ** (1 / temperature) * weights.sum()
        return 0.0, float(min(flat, _hoelder(weights, mass, temperature=temperature)))
    high = _knapsack(weights, mass=mass, cap=cap, power=1 / temperature, largest=True)
    if temperature < 1.0:
        return 0.0, high
    return _knapsack(weights, mass=min(unseen.tail, mass), cap=cap, power=1.0, largest=False), high


def _exp(logs: Floats) -> Floats:
    """exp, where too much is infinite without a warning."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(logs), dtype=np.float64)


def _crude(unseen: Unseen, *, temperature: float, shift: float) -> float:
    """Upper bound from the largest gain alone: p^(1/T) <= p cap^(1/T - 1) while T <= 1."""
    if temperature > 1.0:
        return math.inf
    log = math.log(unseen.mass) + (1 / temperature - 1) * unseen.cap + (unseen.gain - shift) / temperature
    return math.exp(log) if log < 700.0 else math.inf


def _hoelder(weights: Floats, mass: float, *, temperature: float) -> float:
    """Sum of p^(1/T) m^(1/T) with sum p = mass: at most mass^(1/T) (sum m^(1/(T-1)))^((T-1)/T); weights are m^(1/T)."""
    top = float(weights.max())
    if not 0.0 < top < math.inf:
        return top
    power = temperature / (temperature - 1.0)
    spread = float(np.power(weights / top, power).sum())
    return float(mass ** (1 / temperature) * top * spread ** (1 / power))


def _knapsack(weights: Floats, *, mass: float, cap: float, power: float, largest: bool) -> float:
    """Extreme value of sum p^power * weight with 0 <= p <= cap and sum p = mass: fill the best, or worst, first."""
    whole = min(int(mass // cap), len(weights))
    order = np.sort(weights) if whole + 1 >= len(weights) else _first(weights, whole + 1, largest=largest)
    if largest:
        order = order[::-1]
    total: float = cap**power * float(order[:whole].sum())
    if whole < len(weights):
        total += float(max(mass - whole * cap, 0.0) ** power) * float(order[whole])
    return total


def _first(weights: Floats, count: int, *, largest: bool) -> Floats:
    """The `count` extreme ones, sorted upwards; without sorting the rest."""
    if largest:
        return np.sort(np.partition(weights, len(weights) - count)[len(weights) - count :])
    return np.sort(np.partition(weights, count - 1)[:count])


def distance(shown: float, guessed: float, unseen: tuple[float, float]) -> float:
    """Bound on the total variation between the distribution that is used and the target's (3.2).

    shown: weight of all tokens whose p is known; guessed: weight given to unseen ones by imputing (0 where they are
    left out); unseen: bounds of the true weight of those. The two distributions are proportional on what was shown, so
    they differ by at most the larger of the two shares of the unseen.
    """
    high = unseen[1]
    if math.isinf(high):
        return 1.0
    largest = max(high, guessed)
    return largest / (shown + largest) if largest > 0.0 else 0.0
