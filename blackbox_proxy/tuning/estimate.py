"""What a training run will take: steps, tokens, memory, and from a measured pace also time. Pure.

The memory is that of PyTorch in float32 with every block's intermediate results kept for the way back; held against the
peak of real runs (ARCHITECTURE.md, section on tuning).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blackbox_proxy.tuning.course import steps_of
from blackbox_proxy.tuning.data import Data, Example
from blackbox_proxy.tuning.learning import SHARES
from blackbox_proxy.tuning.recipe import Recipe
from blackbox_proxy.tuning.sizes import Sizes

FLOAT = 4
"""Bytes of a number in float32."""

SEARCH = 2 * 2 / 2 + 2 / 3
"""What the search for facts reads, in epochs: two trainings half of the lines twice, the gains all lines twice."""

PROCESS = 700_000_000
"""Bytes of the process itself: Python, PyTorch and the other libraries."""


@dataclass(frozen=True, slots=True)
class TuningEstimate:
    """What a run takes at most. Tokens of one epoch; `learnt` are those of completions; memory in bytes."""

    steps: int
    per_epoch: int
    tokens: int
    learnt: int
    longest: int
    trained: int
    memory: int

    def seconds(self, pace: float, recipe: Recipe, held: Sequence[Example], *, curve: bool = False) -> float:
        """The whole run at `pace` seconds a token; a validation has no way back, which is two thirds of a step.

        curve: whether the learning curve is measured; the search for facts counts where the recipe has it.
        """
        validation = sum(len(example.ids) for example in held) / 3
        parts = recipe.epochs * sum(1 / share for share in SHARES) if curve and held else 0.0
        parts += SEARCH if recipe.facts and recipe.slot is None and held else 0.0
        return pace * (recipe.epochs * (self.tokens + validation) + parts * self.tokens)


def estimate(sizes: Sizes, data: Data, recipe: Recipe) -> TuningEstimate:
    """Of a run with these examples; `sizes` are the base model's."""
    per_epoch, steps = steps_of(len(data.train), batch=recipe.batch, epochs=recipe.epochs)
    every = (*data.train, *data.held)
    longest = max(len(example.ids) for example in every)
    answer = max(len(example.completion) for example in every)
    trained = sizes.blocks * recipe.rank * sum(sum(sizes.projection(name)) for name in recipe.targets)
    return TuningEstimate(
        steps=steps,
        per_epoch=per_epoch,
        tokens=sum(len(example.ids) for example in data.train),
        learnt=sum(len(example.completion) for example in data.train),
        longest=longest,
        trained=trained,
        memory=PROCESS
        + FLOAT * (sizes.parameters + 4 * trained + _activations(sizes, recipe, longest=longest, answer=answer)),
    )


def _activations(sizes: Sizes, recipe: Recipe, *, longest: int, answer: int) -> int:
    """Numbers kept for the way back by a batch of the longest lines: in each block, and at the output of answers."""
    rows = recipe.batch * longest
    block = 10 * sizes.width + 5 * sizes.inner + sizes.heads * longest
    return rows * sizes.blocks * block + 4 * recipe.batch * answer * sizes.vocabulary
