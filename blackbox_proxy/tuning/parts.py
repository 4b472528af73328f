"""Short trainings on a part of the lines, from the same untrained changes; they leave the model as it was.

Knows PyTorch (extra [tune]). Does not know what is concluded from them (`learning`, `holding`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from peft import PeftModel
from torch import Tensor

from blackbox_proxy.tuning.course import Course
from blackbox_proxy.tuning.data import Data, Example
from blackbox_proxy.tuning.learning import FEWEST, SHARES, HeldLoss, LearningCurve, curve_of
from blackbox_proxy.tuning.losses import Kinds, batch_loss
from blackbox_proxy.tuning.model import copied, put_back
from blackbox_proxy.tuning.recipe import Recipe
from blackbox_proxy.tuning.train import Hooks, fit


@dataclass(frozen=True, slots=True)
class TuningBench:
    """A model with changes beside its weights, what its tokens are, and the changes before any training."""

    model: PeftModel
    kinds: Kinds
    untrained: Mapping[str, Tensor]


@contextmanager
def trained_on(bench: TuningBench, examples: Sequence[Example], *, recipe: Recipe, hooks: Hooks) -> Iterator[bool]:
    """The model as a training on these examples alone leaves it, for as long as the context lasts.

    Gives whether the training was over; where it was told to stop, the model is not to be used.
    """
    before = copied(bench.model)
    put_back(bench.model, bench.untrained)
    try:
        yield fit(bench.model, Data(examples), bench.kinds, recipe=recipe, hooks=hooks).finished
    finally:
        put_back(bench.model, before)


@torch.no_grad()
def held_losses(bench: TuningBench, held: Sequence[Example], recipe: Recipe) -> list[HeldLoss]:
    """What each held line loses with the changes as they are."""
    counts = [len(example.completion) for example in held]
    losses = [batch_loss(bench.model, [example], bench.kinds, recipe=recipe).item() for example in held]
    return [HeldLoss(count * loss, count) for count, loss in zip(counts, losses, strict=True)]


def shuffled(examples: Sequence[Example], recipe: Recipe) -> list[Example]:
    """The examples in an order of which every beginning is a fair part."""
    return random.Random(recipe.seed).sample(examples, len(examples))


def part_of(recipe: Recipe, share: int, *, epochs: int) -> Recipe:
    """The recipe for one line of `share`: smaller batches, so that fewer lines still are as many steps."""
    return replace(recipe, batch=max(1, recipe.batch // share), epochs=epochs)


def learning_curve(
    bench: TuningBench, data: Data, *, recipe: Recipe, course: Course, stop: Callable[[], bool]
) -> LearningCurve | None:
    """The curve of a model that was trained on all lines, with its best epoch in place.

    The parts are read as often as the epoch that was kept, without validation between.
    None where there are too few lines to be divided or none held, and where it was stopped.
    """
    if len(data.train) < FEWEST or not data.held:
        return None
    sizes, losses = list[int](), list[list[HeldLoss]]()
    order, hooks = shuffled(data.train, recipe), Hooks(stop=stop)
    for share in SHARES:
        part = order[: len(order) // share]
        short = part_of(recipe, share, epochs=max(1, course.best))
        with trained_on(bench, part, recipe=short, hooks=hooks) as finished:
            if not finished:
                return None
            sizes.append(len(part))
            losses.append(held_losses(bench, data.held, recipe))
    return curve_of([*sizes, len(data.train)], [*losses, held_losses(bench, data.held, recipe)])
