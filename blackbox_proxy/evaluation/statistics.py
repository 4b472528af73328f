"""What scores say of one arm, and of two: bootstrap intervals, paired differences, the gap that is closed. Pure.

Intervals are of 95 %, percentiles of means of items drawn with replacement. Where all values are equal a bootstrap has
nothing to draw from: then Wilson's bound says how many unseen ones could be otherwise, and each is taken at its worst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blackbox_proxy.types import Floats

DRAWS = 10_000
SEED = 0
TAILS = (2.5, 97.5)
Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its interval of 95 %, over `n` items."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """The mean and its interval, to two digits."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Paired:
    """How much better one arm is than another on the same items. p: two-sided, that there is no difference."""

    value: float
    low: float
    high: float
    n: int
    p: float


def mean(scores: Sequence[float], *, least: float = 0.0, most: float = 1.0) -> Mean | None:
    """The mean of scores between `least` and `most`; None where there are none."""
    if not scores:
        return None
    values = np.asarray(scores, dtype=np.float64)
    if np.ptp(values) == 0.0:
        return _all_equal(float(values[0]), len(values), least=least, most=most)
    low, high = np.percentile(_means(values), TAILS)
    return Mean(float(values.mean()), float(low), float(high), len(values))


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    >>> wilson(5, 10)
    (0.237, 0.763)
    """
    low, high = share_interval(hits / of if of else 0.0, of)
    return round(low, 3), round(high, 3)


def share_interval(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `n`, which need not be whole."""
    if not n:
        return 0.0, 1.0
    spread = Z95**2 / n
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    return (share + spread / 2 - half) / (1 + spread), (share + spread / 2 + half) / (1 + spread)


def paired(one: Sequence[float], other: Sequence[float]) -> Paired | None:
    """`one` less `other`, item by item; None where there are no items. Raises ValueError for unequal lengths."""
    gaps = [a - b for a, b in zip(one, other, strict=True)]
    gap = mean(gaps, least=-1.0, most=1.0)
    return None if gap is None else Paired(gap.value, gap.low, gap.high, gap.n, chance(gaps))


def chance(gaps: Sequence[float]) -> float:
    """Probability of a mean at least this far from 0, were each difference as likely to have the other sign.

    Exact where differences are -1, 0 or 1 (McNemar's test); otherwise by draws.

    >>> chance([1.0, 1.0, 1.0, 0.0, -1.0])
    0.625
    """
    values = np.asarray([gap for gap in gaps if gap], dtype=np.float64)
    if not len(values):
        return 1.0
    if set(np.abs(values).tolist()) == {1.0}:
        more = int((values > 0).sum())
        fewer = min(more, len(values) - more)
        tail = sum(math.comb(len(values), k) for k in range(fewer + 1))
        return float(min(1.0, 2 * tail / 2 ** len(values)))
    signs = np.random.default_rng(SEED).integers(0, 2, (DRAWS, len(values))) * 2 - 1
    reached = np.abs(signs @ values) >= abs(values.sum()) - 1e-9
    return float((reached.sum() + 1) / (DRAWS + 1))


def gap_closed(steered: Sequence[float], closed: Sequence[float], tuned: Sequence[float]) -> Mean | None:
    """Share of the way from the closed model to a directly tuned one that steering goes, over the same items.

    None where the tuned one is no better, since there is no way then; draws in which it is not are left out.
    """
    rows = np.asarray([steered, closed, tuned], dtype=np.float64)
    way = float((rows[2] - rows[1]).mean()) if rows.shape[1] else 0.0
    if way <= 0.0:
        return None
    drawn = [_means(row) for row in rows]
    ways = drawn[2] - drawn[1]
    shares = (drawn[0] - drawn[1])[ways > 0.0] / ways[ways > 0.0]
    low, high = np.percentile(shares, TAILS)
    return Mean(float((rows[0] - rows[1]).mean()) / way, float(low), float(high), rows.shape[1])


def _means(values: Floats) -> Floats:
    """Means of draws with replacement; the same items are drawn for every row of the same length."""
    drawn = np.random.default_rng(SEED).integers(0, len(values), (DRAWS, len(values)))
    means: Floats = values[drawn].mean(axis=1)
    return means


def _all_equal(value: float, n: int, *, least: float, most: float) -> Mean:
    """Wilson's upper bound of a share that was never seen, for values at either end."""
    unseen = Z95**2 / (n + Z95**2)
    return Mean(value, value - unseen * (value - least), value + unseen * (most - value), n)
