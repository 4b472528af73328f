"""Who answers: the expert alone where its own answer is sure enough, another way elsewhere.

The expert drafts its whole answer, which costs no call. What is known of it (`FEATURES`) gives the probability that it
is right, by weights that are fitted to answers whose scores are known (`sureness`). Pure; knows no API.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final, get_args

from blackbox_proxy.core.events import Ending, Process, Run
from blackbox_proxy.errors import InputError
from blackbox_proxy.types import Kind, Step

RouteFeature = Literal["one", "answer", "weakest", "end", "distance"]
"""What is known of the expert's own answer: `one`: 1; `answer`: its log-prob, with that of its end; `weakest`: the
least log-prob of a token; `end`: that of its end; `distance`: the members' total variation, on average over its
tokens."""

ROUTE_FEATURES: tuple[RouteFeature, ...] = get_args(RouteFeature)

LEAST = -10.0
"""Log-prob of the end of an answer that was cut, and the least that a token counts for."""

LEAST_ANSWER = -30.0
"""The least log-prob that an answer counts for."""

Elsewhere = Literal["closed", "steered", "choice"]
"""Who answers where the expert is not sure."""

EXAMPLE = 'for instance threshold = 0.8, elsewhere = "closed", weights = { one = 2.0, weakest = 1.5 }'


@final
@dataclass(frozen=True, slots=True)
class Route:
    """When the expert answers alone, and who does elsewhere. Raises InputError for what is none.

    >>> route = Route(0.8, "closed", (("one", 3.0), ("weakest", 2.0)))
    >>> round(route.sureness((1.0, -0.2, -0.1, 0.0, 0.5)), 3)
    0.943

    Attributes:
        threshold: Probability of being right from which the expert's answer is taken; 0 takes all, above 1 takes none.
        elsewhere: Who answers where it is not taken.
        weights: The weight of each feature that counts, in the logit of that probability.
    """

    threshold: float
    elsewhere: Elsewhere
    weights: tuple[tuple[RouteFeature, float], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.weights]
        if not names or len(set(names)) < len(names) or not set(names) <= set(ROUTE_FEATURES):
            raise InputError(
                f"the weights of a route must name some of {', '.join(ROUTE_FEATURES)}, each once, not {names}",
                hint=EXAMPLE,
            )
        if not all(map(math.isfinite, (self.threshold, *(weight for _, weight in self.weights)))):
            raise InputError("the threshold and the weights of a route must be finite numbers", hint=EXAMPLE)
        if self.threshold < 0.0:
            raise InputError(f"the threshold of a route must be 0 or more, not {self.threshold}", hint=EXAMPLE)

    def sureness(self, features: Sequence[float]) -> float:
        """The probability that the expert's own answer is right.

        Args:
            features: Of the answer, in the order of `ROUTE_FEATURES`.
        """
        values = dict(zip(ROUTE_FEATURES, features, strict=True))
        logit = math.fsum(weight * values[name] for name, weight in self.weights)
        return (1.0 + math.tanh(logit / 2.0)) / 2.0

    def takes(self, features: Sequence[float]) -> bool:
        """Whether the expert answers alone."""
        return self.sureness(features) >= self.threshold


def answer_features(steps: Sequence[Step]) -> tuple[float, ...]:
    """What is known of the expert's own answer, in the order of `ROUTE_FEATURES`.

    Args:
        steps: Those of the answer (`expert_steps`).
    """
    logps = [max(step.logp_after if step.logp_after is not None else LEAST, LEAST) for step in steps]
    ended = bool(steps) and steps[-1].kind is Kind.END
    end = logps[-1] if ended else LEAST
    whole = math.fsum(logps) + (0.0 if ended else end)
    apart = [step.divergence for step in steps if step.divergence is not None]
    distance = math.fsum(apart) / len(apart) if apart else 0.0
    return (1.0, max(whole, LEAST_ANSWER), min([*logps, end]), end, distance)


def routed_steps(route: Route, *, draft: Run, otherwise: Run) -> Run:
    """The expert's own answer where it is sure enough, all at once; else that of another run.

    Args:
        route: What decides.
        draft: The expert's answer.
        otherwise: The other run, which is not begun where it is not needed.
    """
    steps, ending = yield from _drafted(draft)
    features = answer_features(steps)
    sureness = route.sureness(features)
    if route.takes(features):
        yield from steps
        return replace(ending, sureness=sureness)
    ending = yield from otherwise
    return replace(ending, sureness=sureness)


def _drafted(draft: Run) -> Process[tuple[list[Step], Ending]]:
    """All steps of a run, none of which is emitted."""
    steps: list[Step] = []
    evidence = None
    while True:
        try:
            event = draft.send(evidence)
        except StopIteration as stop:
            ending: Ending = stop.value
            return steps, ending
        evidence = None
        if isinstance(event, Step):
            steps.append(event)
        else:
            evidence = yield event
