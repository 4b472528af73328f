"""Between which numbers a value must lie, declared where the value is, and said in words where it does not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval of numbers, in which only finite ones lie.

    >>> str(Bounds(1)), str(Bounds(0, above=True)), str(Bounds(0, 1)), str(Bounds(0, 1, above=True)), str(Bounds())
    ('at least 1', 'above 0', 'in [0, 1]', 'in (0, 1]', 'a finite number')

    Attributes:
        least: The smallest number.
        most: The largest number.
        above: Whether `least` itself lies outside.
        below: Whether `most` itself lies outside.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False

    def hold(self, value: float) -> bool:
        """Whether a number lies inside."""
        inside = value > self.least if self.above else value >= self.least
        inside = inside and (value < self.most if self.below else value <= self.most)
        return inside and -math.inf < value < math.inf

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"in {'(' if self.above else '['}{self.least:g}, {self.most:g}{')' if self.below else ']'}"
        if self.least > -math.inf:
            return f"{'above' if self.above else 'at least'} {self.least:g}"
        return "a finite number"
