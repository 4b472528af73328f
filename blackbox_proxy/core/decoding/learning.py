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
    """Places side by side, padded to n classes.

    logp, expert, anti_expert: shape (T, n), -inf and 0 where there is no class. features: shape (T, F). chosen, line:
    shape (T,).
    """

    logp: Floats
    expert: Floats
    anti_expert: Floats
    features: Floats
    chosen: NDArray[np.intp]
    line: NDArray[np.intp]

    @classmethod
    def of(cls, lines: Sequence[Sequence[ReferencePlace]]) -> _Table:
        """Raises InputError where there is no place."""
        rows = [(number, place) for number, line in enumerate(lines) for place in line]
        if not rows:
            raise InputError(
                "there is no place of a reference answer to fit weights to", hint="collect some first (`collect`)"
            )
        n = max(len(place.logp) for _, place in rows)
        columns = np.full((3, len(rows), n), 0.0)
        columns[0] = -np.inf
        for at, (_, place) in enumerate(rows):
            columns[:, at, : len(place.logp)] = place.logp, place.expert, place.anti_expert
        return cls(
            columns[0],
            columns[1],
            columns[2],
            np.array([place.features for _, place in rows], dtype=np.float64),
            np.array([place.chosen for _, place in rows], dtype=np.intp),
            np.array([number for number, _ in rows], dtype=np.intp),
        )

    def where(self, kept: NDArray[np.bool_]) -> _Table:
        """Some of the places."""
        columns = self.logp, self.expert, self.anti_expert, self.features, self.chosen, self.line
        return _Table(*(column[kept] for column in columns))  # type: ignore[arg-type]  # each keeps its type

    def __len__(self) -> int:
        return len(self.chosen)


@dataclass(frozen=True, slots=True)
class _Loss:
    """Minus the log-likelihood in nats, its gradient, shape (2 F,), and its Hessian, shape (2 F, 2 F)."""

    value: float
    gradient: Floats
    hessian: Floats


def _log_shares(table: _Table, w: Floats) -> Floats:
    """Steered log-probs of all classes, shape (T, n), with the weights w = (b, c), shape (2 F,)."""
    b, c = table.features @ w[: len(FEATURES)], table.features @ w[len(FEATURES) :]
    score = table.logp + b[:, None] * table.expert - c[:, None] * table.anti_expert
    score -= score.max(axis=1, keepdims=True)
    return np.asarray(score - np.log(np.exp(score).sum(axis=1, keepdims=True)), dtype=np.float64)


def _chosen(table: _Table, values: Floats) -> Floats:
    """The values of the references' own classes, shape (T,)."""
    return np.asarray(values[np.arange(len(table)), table.chosen], dtype=np.float64)


def _nats(table: _Table, w: Floats) -> float:
    """Minus the log-likelihood."""
    return float(-_chosen(table, _log_shares(table, w)).sum())


def _loss(table: _Table, w: Floats) -> _Loss:
    """The loss and its derivatives: the features' products with what the two logs are on average, and how they vary."""
    logs = _log_shares(table, w)
    share = np.exp(logs)
    members = table.expert, -table.anti_expert
    means = [(share * member).sum(axis=1) for member in members]
    pulls = [mean - _chosen(table, member) for mean, member in zip(means, members, strict=True)]
    features, width = table.features, len(FEATURES)
    hessian = np.empty((2 * width, 2 * width))
    for i in range(2):
        for j in range(2):
            vary = (share * (members[i] - means[i][:, None]) * (members[j] - means[j][:, None])).sum(axis=1)
            rows, columns = slice(i * width, (i + 1) * width), slice(j * width, (j + 1) * width)
            hessian[rows, columns] = (features * vary[:, None]).T @ features
    gradient = np.concatenate([features.T @ pull for pull in pulls])
    return _Loss(float(-_chosen(table, logs).sum()), gradient, hessian)


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
        low, high = (alpha, high) if _loss(table, alpha * one).gradient @ one < 0.0 else (low, alpha)
    return (low + high) / 2.0


def _fitted(table: _Table, start: Floats, *, near: Floats, penalty: float) -> Floats:
    """The weights of the least loss plus penalty / 2 |w - near|^2, by Newton's method with halved steps."""

    def ridge(w: Floats) -> float:
        return penalty / 2.0 * float(((w - near) ** 2).sum())

    w = start
    for _ in range(STEPS):
        loss = _loss(table, w)
        gradient = loss.gradient + penalty * (w - near)
        step = np.linalg.solve(loss.hessian + penalty * np.eye(len(w)), gradient)
        decrement = float(gradient @ step)
        if decrement < ENOUGH:
            break
        size, value = 1.0, loss.value + ridge(w)
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
