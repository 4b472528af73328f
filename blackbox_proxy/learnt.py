"""Weights of the rule `learnt`: how much log E and log A count at a place, by what is known before anything is chosen.

The score of a string s is log p(s) + (b . f) log E(s) - (c . f) log A(s), with f the features of the place (section 1.9
of docs/method.md). With b = c = (alpha, 0, ...) that is proxy-tuning. Frozen data; knows no model and no text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, final, get_args

from blackbox_proxy.errors import InputError

Feature = Literal["one", "expert", "distance", "api"]
"""What is known of a place: `one`: 1 everywhere; `expert`: the expert's largest next-token probability; `distance`: the
total variation of the members' next-token distributions; `api`: the largest probability that the API shows."""

FEATURES: tuple[Feature, ...] = get_args(Feature)

Powers = tuple[float, float]
"""How much log E and log A count at a place: (b . f, c . f)."""

EVEN: Powers = (1.0, 1.0)
"""The powers of every rule but `learnt`: those of a ratio."""

EXAMPLE = "for instance one:1.2:0.8,expert:0.4:0"


@final
@dataclass(frozen=True, slots=True)
class LearntWeights:
    """Weights of the rule `learnt`, by feature.

    >>> weights = LearntWeights.read("one:1.2:0.8, expert:0.5:0")
    >>> weights.powers((1.0, 0.9, 0.1, 0.4))
    (1.65, 0.8)
    >>> str(weights)
    'one:1.2:0.8,expert:0.5:0.0'

    Attributes:
        terms: For each feature that counts: its name, its weight b on log E, and its weight c on log A.
    """

    terms: tuple[tuple[Feature, float, float], ...]

    def __post_init__(self) -> None:
        names = [name for name, _, _ in self.terms]
        if not names or len(set(names)) < len(names) or not set(names) <= set(FEATURES):
            raise InputError(
                f"learnt weights must name some of {', '.join(FEATURES)}, each once, not {names}", hint=EXAMPLE
            )
        for name, *weights in self.terms:
            if not all(map(math.isfinite, weights)):
                raise InputError(f"learnt weights must be finite numbers, not {weights} of {name}", hint=EXAMPLE)

    @classmethod
    def fixed(cls, alpha: float) -> LearntWeights:
        """The weights of proxy-tuning with one alpha everywhere."""
        return cls((("one", alpha, alpha),))

    @classmethod
    def read(cls, text: str) -> LearntWeights:
        """Weights as they are written on a command line, `FEATURE:B:C,...`. Raises InputError where they are none."""
        try:
            terms = [(name.strip(), float(b), float(c)) for name, b, c in (t.split(":") for t in text.split(","))]
        except ValueError:
            raise InputError(
                f"learnt weights are written FEATURE:B:C,FEATURE:B:C, not {text!r}", hint=EXAMPLE
            ) from None
        return cls(tuple((cast("Feature", name), b, c) for name, b, c in terms))

    def __str__(self) -> str:
        return ",".join(f"{name}:{float(b)!r}:{float(c)!r}" for name, b, c in self.terms)

    def powers(self, features: Sequence[float]) -> Powers:
        """How much log E and log A count at a place.

        Args:
            features: Of the place, in the order of `FEATURES`.
        """
        values = dict(zip(FEATURES, features, strict=True))
        return (
            math.fsum(b * values[name] for name, b, _ in self.terms),
            math.fsum(c * values[name] for name, _, c in self.terms),
        )
