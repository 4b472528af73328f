"""The arms that a fit compares, and how simple each is. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from blackbox_proxy.evaluation.arms import Arm, Speaker
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.recipes import Way, introduction
from blackbox_proxy.types import Capabilities

SHOTS = (2, 6, 12)
"""Numbers of examples that are tried."""

STEERED_SHOTS = 6
"""Examples before a question that is steered too."""

ALPHAS = (0.5, 1.0, 1.5)
"""Weights of the pair's offset that are tried."""


WAYS: Mapping[Speaker, Way] = {
    "closed": "closed",
    "expert": "expert",
    "choice": "choice",
    "steered": "steered",
    "route": "route",
}
"""Who answers in a recipe, by who does in an arm; the simplest first."""


@dataclass(frozen=True, slots=True)
class FitArm:
    """An arm of the comparison: what it is in words, and the examples that its turns came from."""

    arm: Arm
    description: str
    instructions: str = ""
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return self.arm.name

    @property
    def way(self) -> Way:
        """Who answers, as a recipe says it."""
        return WAYS[self.arm.speaker]

    @property
    def effort(self) -> tuple[int, int]:
        """How much there is to run and to keep: the parts that are needed, then the turns before the question."""
        return [*WAYS].index(self.arm.speaker), len(self.arm.before)


@dataclass(frozen=True, slots=True)
class Material:
    """What arms are made of. examples: in the order in which they are taken. labels: what may be chosen from."""

    examples: tuple[tuple[str, str], ...]
    instructions: str
    labels: tuple[str, ...]
    able: Capabilities


def drawn(items: Sequence[Item], *, seed: int) -> tuple[tuple[str, str], ...]:
    """Examples for prompts, in an order that a seed draws; the first ones have as many different answers as there are.

    >>> few = [Item(prompt=str(n), reference="ab"[n // 3]) for n in range(6)]
    >>> {answer for _, answer in drawn(few, seed=0)[:2]} == {"a", "b"}
    True
    """
    order = random.Random(seed).sample(list(items), len(items))
    seen: dict[str, int] = {}
    ranked: list[tuple[int, int, Item]] = []
    for at, item in enumerate(order):
        seen[item.reference] = seen.get(item.reference, -1) + 1
        ranked.append((seen[item.reference], at, item))
    ranked.sort(key=lambda one: one[:2])
    return tuple((item.prompt, item.reference) for _, _, item in ranked[: max(SHOTS)])


def candidates(material: Material) -> tuple[FitArm, ...]:
    """Every arm, the closed model by itself first.

    A further way to combine the pair with the closed model joins in `_steered`, as one more arm with its knobs.
    """
    return (*_closed(material), _expert(), *_steered(material), *_choices(material))


def _closed(material: Material) -> Iterator[FitArm]:
    alone = Arm("closed", "closed", 0)
    yield FitArm(alone, "the closed model by itself")
    if material.instructions:
        yield _introduced(alone, material, "the closed model", instructed=True)
    for count in _counts(material):
        yield _introduced(alone, material, "the closed model", count=count)
        if material.instructions:
            yield _introduced(alone, material, "the closed model", count=count, instructed=True)


def _expert() -> FitArm:
    return FitArm(Arm("expert", "expert", 0), "the tuned small model by itself")


def _steered(material: Material) -> Iterator[FitArm]:
    """Steered arms: each alpha, what the endpoint can tell beyond its top-k, and examples besides."""
    for alpha in ALPHAS:
        arm = Arm(f"steered_alpha_{alpha:g}", "steered", 0, alpha=alpha)
        yield FitArm(arm, f"the closed model, steered at alpha {alpha:g}")
    if material.able.reveal != "none":
        arm = Arm("steered_reveal", "steered", 0, alpha=1.0, knobs=(("tail", "reveal"),))
        yield FitArm(arm, "the closed model, steered at alpha 1, asked for log-probs beyond its top-k")
    count = min(STEERED_SHOTS, len(material.examples))
    if count:
        arm = Arm("steered", "steered", 0, alpha=1.0)
        yield _introduced(arm, material, "the closed model, steered at alpha 1,", count=count)


def _choices(material: Material) -> Iterator[FitArm]:
    """The steered odds of the labels, where there are labels; without any weight of the pair, too."""
    for alpha in (0.0, 1.0) if material.labels else ():
        arm = Arm(f"choice_alpha_{alpha:g}", "choice", 0, alpha=alpha)
        steered = f"steered at alpha {alpha:g}" if alpha else "unsteered"
        yield FitArm(arm, f"the likeliest of the {len(material.labels)} labels, {steered}")


def _counts(material: Material) -> Sequence[int]:
    """Numbers of examples that there are enough lines for."""
    return [count for count in SHOTS if count <= len(material.examples)]


def _introduced(arm: Arm, material: Material, words: str, *, count: int = 0, instructed: bool = False) -> FitArm:
    """The same arm with turns before the question. words: what it is without them."""
    suffix = "_instructed" if instructed else ""
    examples, instructions = material.examples[:count], material.instructions if instructed else ""
    behind = [*(["instructions"] if instructed else []), *([f"{count} examples"] if count else [])]
    name = f"{arm.name}{suffix}{f'_shots_{count}' if count else ''}"
    turned = replace(arm, name=name, before=introduction(instructions, examples))
    return FitArm(turned, f"{words} after {' and '.join(behind)}", instructions, examples)
