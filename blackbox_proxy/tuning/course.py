"""The course of a training run: losses so far, the best epoch, and whether it is time to stop. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Course:
    """`losses`: one a step. `validations`: one an epoch, or none without validation lines. Nats per learnt token.

    `per_epoch` is the number of steps of an epoch.
    """

    per_epoch: int
    losses: tuple[float, ...] = ()
    validations: tuple[float, ...] = ()

    def stepped(self, loss: float) -> Course:
        """The course after one more step."""
        return replace(self, losses=(*self.losses, loss))

    def validated(self, loss: float) -> Course:
        """The course after one more validation."""
        return replace(self, validations=(*self.validations, loss))

    @property
    def ends_an_epoch(self) -> bool:
        """Whether the last step was the last one of an epoch."""
        return bool(self.losses) and len(self.losses) % self.per_epoch == 0

    @property
    def means(self) -> Sequence[float]:
        """The mean loss of each epoch that is complete."""
        whole = range(0, len(self.losses) - self.per_epoch + 1, self.per_epoch)
        return [sum(self.losses[start : start + self.per_epoch]) / self.per_epoch for start in whole]

    @property
    def best(self) -> int:
        """The epoch, from 1, of the lowest validation loss, the first of equals; the last epoch without any.

        A loss that is no number is never the best.
        """
        if not self.validations:
            return len(self.losses) // self.per_epoch
        numbers = [loss if loss == loss else float("inf") for loss in self.validations]  # noqa: PLR0124 (NaN)
        return numbers.index(min(numbers)) + 1

    @property
    def is_best(self) -> bool:
        """Whether the last epoch is the best so far."""
        return self.best == max(len(self.validations), 1)

    def exhausted(self, patience: int) -> bool:
        """Whether the last `patience` epochs were no better than one before them; never for 0."""
        return bool(self.validations) and 0 < patience <= len(self.validations) - self.best


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: the course so far, steps in all at most, tokens of the last step, and seconds spent in steps."""

    course: Course
    steps: int
    tokens: int
    seconds: float


def steps_of(examples: int, *, batch: int, epochs: int) -> tuple[int, int]:
    """Steps of an epoch, and of all epochs."""
    per_epoch = math.ceil(examples / batch)
    return per_epoch, epochs * per_epoch
