"""Fits the weights of the rule `learnt` to the places of reference answers (section 1.9 of docs/method.md).

At a place the steered distribution over its classes is a multinomial logistic model of (b, c), so that the loss, minus
the log-likelihood of the references' own tokens, is convex. It is held near the best fixed alpha by a ridge, whose
weight is chosen by cross-validation over lines; where none beats the best fixed alpha on held-out lines, that stays.
Arrays alone: knows no model and no text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.errors import InputError
from blackbox_proxy.learnt import FEATURES, LearntWeights
from blackbox_proxy.types import Floats, ReferencePlace

PENALTIES = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
"""Weights of the ridge that are tried, in nats of the whole loss, the strongest first."""

FOLDS = 5
STEPS = 100
"""Most Newton steps of a fit."""

ENOUGH = 1e-8
"""Decrement in nats below which a fit is finished."""

MOST_ALPHA = 10.0


@final
@dataclass(frozen=True, slots=True)
class WeightFit:
    """Weights that were fitted, and what they are worth on lines that they were not fitted to.

    Attributes:
        weights: The weights; those of `alpha` where nothing did better.
        alpha: The best fixed alpha on all lines.
        lines: How many reference answers there were.
        places: How many places they have.
        fixed: Nats a place that `alpha` loses, on the lines that it was chosen on.
        learnt: Nats a place that weights with this penalty lose on held-out lines.
        penalty: Weight of the ridge; infinite where the fixed alpha stays.
    """

    weights: LearntWeights
    alpha: float
    lines: int
    places: int
    fixed: float
    learnt: float
    penalty: float

    @property
    def is_fixed(self) -> bool:
        """Whether nothing did better than the fixed alpha."""
        return math.isinf(self.penalty)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The N classes of T places, one place behind the other.

    logp, members: log p, log E and -log A of the classes, shape (N,) and (2, N). place: whose they are, shape (N,);
    starts: the first class of each place, chosen: the reference's, shape (T,). features: shape (T, F). line: of each
    place, shape (T,).
    """

    logp: Floats
    members: Floats
    place: NDArray[np.intp]
    starts: NDArray[np.intp]
    chosen: NDArray[np.intp]
    features: Floats
    line: NDArray[np.intp]

    @classmethod
    def of(cls, lines: Sequence[Sequence[ReferencePlace]]) -> _Table:
        """Raises InputError where there is no place."""
        rows = [(number, place) for number, line in enumerate(lines) for place in line]
        if not rows:
            raise InputError(
                "there is no place of a reference answer to fit weights to", hint="collect some first (`collect`)"
            )
        counts = np.array([len(place.logp) for _, place in rows], dtype=np.intp)
        starts = np.cumsum(counts) - counts
        columns = [(place.logp, place.expert, place.anti_expert) for _, place in rows]
        logp, expert, anti_expert = (np.concatenate([one[n] for one in columns]) for n in range(3))
        return cls(
            logp,
            np.stack([expert, -anti_expert]),
            np.repeat(np.arange(len(rows)), counts),
            starts,
            starts + np.array([place.chosen for _, place in rows], dtype=np.intp),
            np.array([place.features for _, place in rows], dtype=np.float64),
            np.array([number for number, _ in rows], dtype=np.intp),
        )

    def where(self, kept: NDArray[np.bool_]) -> _Table:
        """Some of the places."""
        counts = np.diff(self.starts, append=len(self.logp))[kept]
        starts, classes = np.cumsum(counts) - counts, kept[self.place]
        return _Table(
            self.logp[classes],
            self.members[:, classes],
            np.repeat(np.arange(len(counts)), counts),
            starts,
            starts + (self.chosen - self.starts)[kept],
            self.features[kept],
            self.line[kept],
        )

    def sums(self, values: Floats) -> Floats:
        """Of values of the classes, shape (.., N), the sum at each place, shape (.., T)."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=-1), dtype=np.float64)

    def __len__(self) -> int:
        return len(self.starts)


def _log_shares(table: _Table, w: Floats) -> Floats:
    """Steered log-probs of all classes, shape (N,), with the weights w = (b, c), shape (2 F,)."""
    powers = table.features @ w.reshape(2, -1).T
    score = table.logp + (powers[table.place].T * table.members).sum(axis=0)
    score -= np.maximum.reduceat(score, table.starts)[table.place]
    return np.asarray(score - np.log(table.sums(np.exp(score)))[table.place], dtype=np.float64)


def _nats(table: _Table, w: Floats) -> float:
    """Minus the log-likelihood."""
    return float(-_log_shares(table, w)[table.chosen].sum())


def _gradient(table: _Table, w: Floats) -> Floats:
    """That of the loss, shape (2 F,): the features' products with what the two logs are on average, less the chosen."""
    means = table.sums(np.exp(_log_shares(table, w)) * table.members)
    return np.asarray(((means - table.members[:, table.chosen]) @ table.features).ravel(), dtype=np.float64)


def _hessian(table: _Table, w: Floats) -> Floats:
    """That of the loss, shape (2 F, 2 F): the features' products with how the two logs vary together at a place."""
    share = np.exp(_log_shares(table, w))
    means = table.sums(share * table.members)
    apart = table.members - means[:, table.place]
    features = table.features
    vary = {(i, j): table.sums(share * apart[i] * apart[j]) for i, j in ((0, 0), (0, 1), (1, 1))}
    blocks = {key: (features * one[:, None]).T @ features for key, one in vary.items()}
    return np.block([[blocks[0, 0], blocks[0, 1]], [blocks[0, 1], blocks[1, 1]]])


def _vector(weights: LearntWeights) -> Floats:
    """(b, c) in the order of `FEATURES`, shape (2 F,)."""
    by_name = {name: both for name, *both in weights.terms}
    both = np.array([by_name.get(name, (0.0, 0.0)) for name in FEATURES], dtype=np.float64)
    return np.asarray(both.T.ravel(), dtype=np.float64)


def _weights(w: Floats) -> LearntWeights:
    b, c = w.reshape(2, -1).tolist()
    return LearntWeights(tuple(zip(FEATURES, b, c, strict=True)))


def nats_lost(weights: LearntWeights, lines: Sequence[Sequence[ReferencePlace]]) -> float:
    """Nats a place that weights lose on reference answers: minus the mean log-likelihood of their own tokens.

    Args:
        weights: The weights; `LearntWeights.fixed(alpha)` for a fixed alpha.
        lines: The places of each reference answer.

    Raises:
        InputError: Where there is no place.
    """
    table = _Table.of(lines)
    return _nats(table, _vector(weights)) / len(table)


def _best_alpha(table: _Table) -> float:
    """The fixed alpha of the least loss in [0, `MOST_ALPHA`], by halving where its slope changes its sign."""
    low, high = 0.0, MOST_ALPHA
    one = _vector(LearntWeights.fixed(1.0))
    for _ in range(40):
        alpha = (low + high) / 2.0
        low, high = (alpha, high) if _gradient(table, alpha * one) @ one < 0.0 else (low, alpha)
    return (low + high) / 2.0


def _fitted(table: _Table, start: Floats, *, near: Floats, penalty: float) -> Floats:
    """The weights of the least loss plus penalty / 2 |w - near|^2, by Newton's method with halved steps."""

    def ridge(w: Floats) -> float:
        return penalty / 2.0 * float(((w - near) ** 2).sum())

    w = start
    for _ in range(STEPS):
        gradient = _gradient(table, w) + penalty * (w - near)
        step = np.linalg.solve(_hessian(table, w) + penalty * np.eye(len(w)), gradient)
        decrement = float(gradient @ step)
        if decrement < ENOUGH:
            break
        size, value = 1.0, _nats(table, w) + ridge(w)
        while size > ENOUGH and _nats(table, w - size * step) + ridge(w - size * step) > value - size * decrement / 4.0:
            size /= 2.0
        w = w - size * step
    return w


def _path(table: _Table) -> list[Floats]:
    """The weights for each of `PENALTIES`, held near the table's own best alpha."""
    near = _vector(LearntWeights.fixed(_best_alpha(table)))
    path, w = [], near
    for penalty in PENALTIES:
        w = _fitted(table, w, near=near, penalty=penalty)
        path.append(w)
    return path


def fit_weights(lines: Sequence[Sequence[ReferencePlace]], *, seed: int = 0) -> WeightFit:
    """The weights of the rule `learnt` that are best for reference answers, on lines that they were not fitted to.

    The loss on held-out lines is never above that of the fixed alpha that is best on all of them: where it would be,
    the fixed alpha is given as weights.

    Args:
        lines: The places of each reference answer, a line's together (`Steerer.collect`).
        seed: Of how the lines are divided into folds.

    Raises:
        InputError: Where there is no place.
    """
    table = _Table.of(lines)
    alpha = _best_alpha(table)
    fixed = _nats(table, _vector(LearntWeights.fixed(alpha)))
    used = np.unique(table.line)
    fold = np.empty(used.max() + 1, dtype=np.intp)
    fold[np.random.default_rng(seed).permutation(used)] = np.arange(len(used)) % FOLDS
    held = np.full(len(PENALTIES), 0.0 if len(used) >= FOLDS else np.inf)
    for number in range(FOLDS if len(used) >= FOLDS else 0):
        out = fold[table.line] == number
        held += [_nats(table.where(out), w) for w in _path(table.where(~out))]
    best = int(np.argmin(held))
    count = len(table)
    if not held[best] < fixed:
        still = LearntWeights.fixed(alpha)
        return WeightFit(still, alpha, len(used), count, fixed / count, fixed / count, math.inf)
    weights = _weights(_path(table)[best])
    return WeightFit(weights, alpha, len(used), count, fixed / count, float(held[best]) / count, PENALTIES[best])
