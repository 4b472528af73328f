"""The learning curve of lines: what held lines lose after a training on a quarter, on half and on all of them.

Pure. Says whether more lines would help. Does not know how the parts are trained (`parts` does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SHARES = (4, 2)
"""The lines are divided by these for the short trainings."""

FEWEST = 16
"""Lines that a training needs at least to be divided."""

CLEAR = 2.0
"""Standard errors that a fall must have to be clear."""

WORTH = 0.03
"""Share of the loss that a fall must be to be worth a sentence."""


@dataclass(frozen=True, slots=True)
class HeldLoss:
    """What one held line loses in all, in nats, and its learnt tokens."""

    nats: float
    tokens: int


def mean_loss(losses: Sequence[HeldLoss]) -> float:
    """Nats per learnt token."""
    return sum(one.nats for one in losses) / sum(one.tokens for one in losses)


def fall(before: Sequence[HeldLoss], after: Sequence[HeldLoss]) -> tuple[float, float]:
    """How much less the same lines lose after than before, in nats per token, and the standard error over the lines.

    The error of one line alone is infinite: nothing is clear then.
    """
    tokens, lines = sum(one.tokens for one in after), len(after)
    mean = mean_loss(before) - mean_loss(after)
    if lines < 2:
        return mean, math.inf
    pairs = zip(before, after, strict=True)
    squares = sum((one.nats - other.nats - mean * other.tokens) ** 2 for one, other in pairs)
    return mean, math.sqrt(squares * lines / (lines - 1)) / tokens


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Held losses after a training on fewer lines and on all.

    Attributes:
        lines: Lines that were trained on, rising; the last number is that of all.
        losses: What the held lines lose after each of these trainings, in nats per learnt token.
        last_fall: How much the last doubling of the lines took off, in nats per learnt token.
        error: The standard error of `last_fall`, over held lines.
    """

    lines: tuple[int, ...]
    losses: tuple[float, ...]
    last_fall: float
    error: float

    @property
    def more_lines_help(self) -> bool:
        """Whether the loss still fell clearly from half of the lines to all of them."""
        return self.last_fall > max(CLEAR * self.error, WORTH * self.losses[-1])

    def sentence(self) -> str:
        """The curve in words, with what follows from it first."""
        steps = ", ".join(f"{loss:.3f} of {lines}" for lines, loss in zip(self.lines, self.losses, strict=True))
        figures = f"held loss by lines trained on: {steps} (last fall {self.last_fall:.3f} +- {self.error:.3f})"
        if self.more_lines_help:
            return f"more lines would help: the loss still falls from half of them to all; {figures}"
        return f"no sign that more lines would help; {figures}"


def curve_of(lines: Sequence[int], losses: Sequence[Sequence[HeldLoss]]) -> LearningCurve:
    """The curve of trainings on so many lines, rising, each with the losses of the same held lines."""
    last, error = fall(losses[-2], losses[-1])
    return LearningCurve(tuple(lines), tuple(mean_loss(one) for one in losses), last, error)
