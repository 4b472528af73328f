"""Fits the low-rank changes: step by step, validated after every epoch, and able to go on from a checkpoint.

A run that was broken off and gone on with takes the very steps of an unbroken one. Knows PyTorch (extra [tune]); does
not know files, nor what a loss is made of.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from peft import PeftModel
from torch import Tensor

from blackbox_proxy.errors import InputError
from blackbox_proxy.tuning.checkpoint import State
from blackbox_proxy.tuning.course import Course, Progress, steps_of
from blackbox_proxy.tuning.data import Data, Example, batches
from blackbox_proxy.tuning.losses import Kinds, batch_loss
from blackbox_proxy.tuning.model import copied, put_back, trained
from blackbox_proxy.tuning.recipe import Recipe

SAVED_EVERY = 60.0
"""Seconds after which a checkpoint is written in the middle of an epoch: what a killed run loses at most."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a run tells and asks between steps.

    step: is told of every step. save: is given what a checkpoint holds. stop: whether to break off, after a last save.
    limit: seconds after which a run is over, with its best epoch so far; the first epoch is always finished, and no
    other is begun that would not end in time.
    """

    step: Callable[[Progress], None] = lambda _: None
    save: Callable[[State], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    limit: float = math.inf
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a run went. finished: it was not told to stop. seconds: spent in steps and validations."""

    course: Course
    finished: bool
    seconds: float


def fit(
    model: PeftModel,
    data: Data,
    kinds: Kinds,
    *,
    recipe: Recipe,
    hooks: Hooks | None = None,
    state: State | None = None,
) -> Fitted:
    """Trains the changes beside the model's weights, and leaves the best epoch's there where there is validation.

    state: where to go on from; None begins.
    """
    run = _Run(model, data, kinds, recipe=recipe, hooks=hooks or Hooks())
    if state is not None:
        run.restore(state)
    return run.go()


def seconds_per_token(
    model: PeftModel, data: Data, kinds: Kinds, *, recipe: Recipe, clock: Callable[[], float] = time.monotonic
) -> float:
    """Measured on the first batches, which change nothing; the first of three is for warming up."""
    spent, tokens = 0.0, 0
    for number, batch in enumerate(islice(_order(data.train, recipe), 3)):
        before = clock()
        batch_loss(model, batch, kinds, recipe=recipe).backward()
        if number or len(data.train) <= recipe.batch:
            spent, tokens = spent + clock() - before, tokens + _tokens(batch)
    model.zero_grad()
    return spent / tokens


def _tokens(batch: Sequence[Example]) -> int:
    return sum(len(example.ids) for example in batch)


def _order(examples: Sequence[Example], recipe: Recipe) -> Iterator[list[Example]]:
    """The batches of all epochs."""
    rng = random.Random(recipe.seed)
    for _ in range(recipe.epochs):
        yield from batches(examples, recipe.batch, rng=rng)


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise InputError(f"the loss is {loss} at step {step}", hint="try a smaller learning rate")
    return loss


class _Run:
    """A training run between two steps."""

    def __init__(self, model: PeftModel, data: Data, kinds: Kinds, *, recipe: Recipe, hooks: Hooks) -> None:
        per_epoch, self.steps = steps_of(len(data.train), batch=recipe.batch, epochs=recipe.epochs)
        self.model, self.data, self.kinds, self.recipe, self.hooks = model, data, kinds, recipe, hooks
        self.weights = list(trained(model).values())
        self.optimizer = torch.optim.AdamW(self.weights, lr=recipe.learning_rate, weight_decay=0.0)
        self.course, self.best, self.seconds = Course(per_epoch), dict[str, Tensor](), 0.0
        self.saved = hooks.clock()

    def restore(self, state: State) -> None:
        put_back(self.model, state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        self.course, self.best, self.seconds = state.course, state.best, state.seconds

    def go(self) -> Fitted:
        done = len(self.course.losses)
        for batch in islice(_order(self.data.train, self.recipe), done, None):
            if self._is_over():
                break
            before = self.hooks.clock()
            self._step(batch)
            if self.course.ends_an_epoch:
                self._validate()
            self.seconds += self.hooks.clock() - before
            self.hooks.step(Progress(self.course, self.steps, _tokens(batch), self.seconds))
            if self._save_if_due():
                return Fitted(self.course, finished=False, seconds=self.seconds)
        if self.best:
            put_back(self.model, self.best)
        return Fitted(self.course, finished=True, seconds=self.seconds)

    def _is_over(self) -> bool:
        """Whether patience has ended, or time has: in an epoch when it is up, behind one when the next has no room."""
        if not self.course.ends_an_epoch:
            return bool(self.course.means) and self.seconds >= self.hooks.limit
        epoch = self.seconds / len(self.course.means)
        return self.course.exhausted(self.recipe.patience) or self.seconds + epoch > self.hooks.limit

    def _step(self, batch: Sequence[Example]) -> None:
        rate = self.recipe.learning_rate * self.recipe.rate(len(self.course.losses), self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = batch_loss(self.model, batch, self.kinds, recipe=self.recipe)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.course = self.course.stepped(_finite(loss.item(), len(self.course.losses) + 1))

    def _validate(self) -> None:
        """The loss of the held lines, weighted by their learnt tokens; the best epoch's weights are kept."""
        if not self.data.held:
            return
        total = count = 0.0
        for start in range(0, len(self.data.held), self.recipe.batch):
            batch = self.data.held[start : start + self.recipe.batch]
            learnt = sum(len(example.completion) for example in batch)
            with torch.no_grad():
                total += learnt * batch_loss(self.model, batch, self.kinds, recipe=self.recipe).item()
            count += learnt
        self.course = self.course.validated(total / count)
        if self.course.is_best:
            self.best = copied(self.model)

    def _save_if_due(self) -> bool:
        """Saves at the end of an epoch, after a while, and where the run is to stop; whether it is."""
        stop = self.hooks.stop()
        if stop or self.course.ends_an_epoch or self.hooks.clock() - self.saved >= SAVED_EVERY:
            state = State(self.course, copied(self.model), self.best, self.optimizer.state_dict(), self.seconds)
            self.hooks.save(state)
            self.saved = self.hooks.clock()
        return stop
