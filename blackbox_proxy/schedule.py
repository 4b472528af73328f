"""alpha along an answer. Frozen data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from blackbox_proxy.errors import InputError


@dataclass(frozen=True, slots=True)
class Schedule:
    """alpha along an answer, by points (token, alpha); tokens are counted from 0.

    Between two points it goes in a straight line; before the first and behind the last it stays as it is there.

    >>> [Schedule(((0, 1.5), (4, 0.5))).at(token) for token in (0, 1, 4, 9)]
    [1.5, 1.25, 0.5, 0.5]
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        tokens = [token for token, _ in self.points]
        if not tokens or tokens[0] < 0 or any(one >= other for one, other in pairwise(tokens)):
            raise InputError(
                f"the tokens of a schedule must grow from 0 or more, not {tokens}", hint="for instance 0:1.5,8:1.0"
            )
        for token, alpha in self.points:
            if not math.isfinite(alpha):
                raise InputError(
                    f"alpha must be a finite number, not {alpha} at token {token}", hint="for instance 0:1.5,8:1.0"
                )

    @classmethod
    def read(cls, text: str) -> Schedule:
        """A schedule as it is written on a command line, `TOKEN:ALPHA,...`. Raises InputError where it is none.

        >>> Schedule.read("0:1.5, 8:1").points
        ((0, 1.5), (8, 1.0))
        """
        points = (point.partition(":") for point in text.split(","))
        try:
            return cls(tuple((int(token), float(alpha)) for token, _, alpha in points))
        except ValueError:
            raise InputError(
                f"a schedule is written TOKEN:ALPHA,TOKEN:ALPHA, not {text!r}", hint="for instance 0:1.5,8:1.0"
            ) from None

    def __str__(self) -> str:
        return ",".join(f"{token}:{alpha:g}" for token, alpha in self.points)

    def at(self, token: int) -> float:
        """alpha at a token."""
        for (start, before), (end, after) in pairwise(self.points):
            if start <= token < end:
                return before + (after - before) * (token - start) / (end - start)
        first, last = self.points[0], self.points[-1]
        return first[1] if token < first[0] else last[1]
