"""Fits how probable the expert's own answer is to be right, by what is known of it (`routing.ROUTE_FEATURES`).

A logistic model, held near the one constant that the scores have on average by a ridge on the standardised features,
whose weight is chosen by cross-validation; where nothing beats the constant on held-out lines, that stays. A more
probable answer is never less sure. One further line that is half right keeps few lines from being certain. Arrays
alone: knows no model and no text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.decoding.routing import ROUTE_FEATURES, RouteFeature
from blackbox_proxy.types import Floats

PENALTIES = (math.inf, 100.0, 10.0, 1.0, 0.1)
"""Weights of the ridge that are tried, in nats of the whole loss, the strongest first; infinite: the constant."""

FOLDS = 5
STEPS = 50
"""Most Newton steps of a fit."""

ENOUGH = 1e-9
"""Decrement in nats below which a fit is finished."""


SPREADS: Floats = np.array([0.5, 0.5, 0.5, 0.05])
"""Least standard deviation of each feature behind the first that it is standardised by: what hardly varies on the lines
may lie far away on others."""

GROWS = np.array([name in {"answer", "weakest", "end"} for name in ROUTE_FEATURES])
"""Which features may only make an answer surer the larger they are: the log-probs."""


@final
@dataclass(frozen=True, slots=True)
class SurenessFit:
    """Weights that were fitted, and what they are worth on lines that they were not fitted to.

    Attributes:
        weights: The weight of each feature in the logit of being right.
        penalty: Weight of the ridge; infinite where the constant stays.
        held_out: Nats a line that weights with this penalty lose on held-out lines.
        constant: Nats a line that the constant loses there; never less than `held_out`.
    """

    weights: tuple[tuple[RouteFeature, float], ...]
    penalty: float
    held_out: float
    constant: float


def fit_sureness(features: Sequence[Sequence[float]], scores: Sequence[float], *, seed: int = 0) -> SurenessFit:
    """The weights that are best on lines that they were not fitted to.

    Args:
        features: Of each line's answer, shape (n, F), in the order of `ROUTE_FEATURES`.
        scores: How right each answer is, 0 to 1.
        seed: Of how the lines are divided into folds.
    """
    rows, right = _arrays(features, scores)
    lost = np.zeros(len(PENALTIES))
    for out in folds_of(len(right), seed=seed):
        path = _path(rows[~out], right[~out])
        lost += [_nats(rows[out] @ w, right[out]) for w in path]
    best = int(np.argmin(lost))
    w = _fitted(rows, right, penalty=PENALTIES[best])
    lines = max(len(right), 1)
    weights = tuple(zip(ROUTE_FEATURES, w.tolist(), strict=True))
    return SurenessFit(weights, PENALTIES[best], float(lost[best]) / lines, float(lost[0]) / lines)


def folds_of(count: int, *, seed: int) -> list[NDArray[np.bool_]]:
    """Which of some lines each fold holds out; no folds where there are too few lines."""
    if count < FOLDS:
        return []
    fold = np.empty(count, dtype=np.intp)
    fold[np.random.default_rng(seed).permutation(count)] = np.arange(count) % FOLDS
    return [fold == number for number in range(FOLDS)]


def held_out_sureness(features: Sequence[Sequence[float]], scores: Sequence[float], *, seed: int = 0) -> Floats:
    """How sure each line's answer is by weights that were fitted to the lines of other folds, shape (n,)."""
    rows, right = _arrays(features, scores)
    sure = np.full(len(right), 0.5)
    for out in folds_of(len(right), seed=seed):
        fit = fit_sureness(rows[~out].tolist(), right[~out].tolist(), seed=seed)
        sure[out] = _share(rows[out] @ np.array([weight for _, weight in fit.weights]))
    return sure


def _arrays(features: Sequence[Sequence[float]], scores: Sequence[float]) -> tuple[Floats, Floats]:
    rows = np.asarray(features, dtype=np.float64).reshape(len(scores), len(ROUTE_FEATURES))
    return rows, np.asarray(scores, dtype=np.float64)


def _share(logits: Floats) -> Floats:
    return np.asarray((1.0 + np.tanh(logits / 2.0)) / 2.0)


def _nats(logits: Floats, right: Floats) -> float:
    """Minus the log-likelihood of scores."""
    return float((np.logaddexp(0.0, logits) - right * logits).sum())


def _path(rows: Floats, right: Floats) -> list[Floats]:
    return [_fitted(rows, right, penalty=penalty) for penalty in PENALTIES]


def _fitted(rows: Floats, right: Floats, *, penalty: float) -> Floats:
    """The weights of the least loss plus penalty / 2 |w|^2 over the standardised features, shape (F,)."""
    some = len(rows) > 0
    middle = rows[:, 1:].mean(axis=0) if some else np.zeros(len(SPREADS))
    scale = np.maximum(rows[:, 1:].std(axis=0), SPREADS) if some else SPREADS
    whole = np.vstack([rows, np.concatenate([[1.0], middle])])
    standard = np.hstack([whole[:, :1], (whole[:, 1:] - middle) / scale])
    target = np.append(right, 0.5)
    w = np.zeros(rows.shape[1])
    w[0] = _logit(float(target.mean()))
    if math.isfinite(penalty):
        w = _signed(standard, target, w, penalty=penalty)
    raw = w[1:] / scale
    return np.concatenate([[w[0] - raw @ middle], raw])


def _signed(rows: Floats, right: Floats, start: Floats, *, penalty: float) -> Floats:
    """The weights; log-probs whose weight would be negative are left out, and the rest is fitted again."""
    free = np.ones(len(start), dtype=bool)
    while True:
        ridge = np.array([0.0, *[penalty] * (int(free.sum()) - 1)])
        w = np.zeros(len(start))
        w[free] = _newton(rows[:, free], right, start[free], ridge=ridge)
        if not (w[GROWS] < 0.0).any():
            return w
        free &= ~(GROWS & (w < 0.0))


def _newton(rows: Floats, right: Floats, start: Floats, *, ridge: Floats) -> Floats:
    """Newton's method with halved steps; the loss is convex."""

    def loss(w: Floats) -> float:
        return _nats(rows @ w, right) + float((ridge * w**2).sum()) / 2.0

    w = start
    for _ in range(STEPS):
        share = _share(rows @ w)
        gradient = rows.T @ (share - right) + ridge * w
        hessian = (rows * (share * (1.0 - share))[:, None]).T @ rows + np.diag(ridge + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        if decrement < ENOUGH:
            break
        size, value = 1.0, loss(w)
        while size > ENOUGH and loss(w - size * step) > value - size * decrement / 4.0:
            size /= 2.0
        w = w - size * step
    return w


def _logit(share: float) -> float:
    return math.log(share) - math.log1p(-share)
