"""Arms whose weights are fitted to reference answers: the rule `learnt`, and the alpha that makes them likeliest. Pure.

The references are those of validation lines: an expert is surer of the lines that it was trained on than of others, and
weights that were fitted there would follow it too far. So that the comparison stays honest, each validation line is
answered with weights that were fitted to the other folds; the weights of a recipe, which the held-back lines are
answered with, are fitted to all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from blackbox_proxy.core.decoding.learning import WeightFit, fit_weights
from blackbox_proxy.evaluation.arms import Arm
from blackbox_proxy.fitting.candidates import ALPHAS, FRONT_ALPHAS, FitArm, introduced
from blackbox_proxy.fitting.fronts import Front
from blackbox_proxy.fitting.places import CollectedLine

FOLDS = 5

LEAST = 8
"""Fewest lines that weights are fitted to."""

NEAR = 0.1
"""An alpha that is no further from one that is tried anyway is no arm of its own."""


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Weights of all lines; by the name of each line, those that were fitted without its fold."""

    whole: WeightFit
    by_line: Mapping[str, WeightFit]

    @property
    def sentence(self) -> str:
        """What came of it."""
        whole = self.whole
        fixed, learnt = (f"{max(0.0, nats):.3f}" for nats in (whole.fixed, whole.learnt))
        at = f"the references of {whole.lines} lines lose {fixed} nats a place at the best alpha, "
        if whole.is_fixed:
            return f"{at}{whole.alpha:.2f}; no learnt weights do better on lines that they were not fitted to"
        return f"{at}{whole.alpha:.2f}, and {learnt} by learnt weights that were fitted to other lines"


def cross_fitted(lines: Sequence[CollectedLine], *, seed: int) -> CrossFit | None:
    """Weights of some lines; None where too few of them have places. seed: of the folds."""
    usable = sorted((line for line in lines if line.places), key=lambda line: line.item)
    if len(usable) < LEAST:
        return None
    order = random.Random(seed).sample(usable, len(usable))
    by_line: dict[str, WeightFit] = {}
    for fold in range(FOLDS):
        others = fit_weights([line.places for at, line in enumerate(order) if at % FOLDS != fold], seed=seed)
        by_line |= {line.item: others for line in order[fold::FOLDS]}
    return CrossFit(fit_weights([line.places for line in order], seed=seed), by_line)


def fitted_arms(fit: CrossFit, front: Front) -> Iterator[FitArm]:
    """The rule `learnt`, where it is better than one alpha; the best alpha, where nothing near it is tried anyway."""
    if not fit.whole.is_fixed:
        by_line = {name: _learnt(one) for name, one in fit.by_line.items()}
        yield introduced(_learnt(fit.whole), "the closed model, steered by learnt weights", front, by_line=by_line)
    if min(abs(fit.whole.alpha - other) for other in (0.0, *(FRONT_ALPHAS if front.before else ALPHAS))) > NEAR:
        said = f"the closed model, steered at alpha {fit.whole.alpha:.2f}, at which the references are likeliest"
        by_line = {name: _likeliest(one) for name, one in fit.by_line.items()}
        yield introduced(_likeliest(fit.whole), said, front, by_line=by_line)


def _learnt(fit: WeightFit) -> Arm:
    return Arm("steered_learnt", "steered", 0, alpha=1.0, knobs=(("learnt", fit.weights), ("rule", "learnt")))


def _likeliest(fit: WeightFit) -> Arm:
    return Arm("steered_alpha_fitted", "steered", 0, alpha=round(fit.alpha, 3))
