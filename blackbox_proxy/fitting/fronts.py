"""What may stand before a question: instructions, and sets of examples from the lines to learn from. Pure.

A set is the same for every question: it is written into the recipe, and a provider's cache holds it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.recipes import introduction
from blackbox_proxy.types import Message

SHOTS = (2, 6, 12)
"""Numbers of examples that are tried of the first draw."""

FURTHER = 6
"""Examples of the other sets."""

GRAM = 3
"""Characters of the pieces by which questions are compared."""

Pairs = tuple[tuple[str, str], ...]
"""Questions with their answers."""


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Examples in the order in which they are taken. mark: in names of arms. words: what set it is; "" for the first.

    numbers: how many of them are tried.
    """

    examples: Pairs
    mark: str = ""
    words: str = ""
    numbers: tuple[int, ...] = SHOTS

    @property
    def counts(self) -> Sequence[int]:
        """Numbers that there are enough of."""
        return [count for count in self.numbers if count <= len(self.examples)]


@dataclass(frozen=True, slots=True)
class Front:
    """What the closed model reads before a question. chosen: the set that the examples are of."""

    instructions: str = ""
    examples: Pairs = ()
    chosen: ExampleSet = ExampleSet(())

    @property
    def before(self) -> tuple[Message, ...]:
        """As turns."""
        return introduction(self.instructions, self.examples)

    @property
    def suffix(self) -> str:
        """In names of arms."""
        shots = f"_shots_{len(self.examples)}{self.chosen.mark}" if self.examples else ""
        return f"{'_instructed' if self.instructions else ''}{shots}"

    @property
    def words(self) -> str:
        """What it is; "" for nothing."""
        shots = f"{len(self.examples)} examples{self.chosen.words}" if self.examples else ""
        return " and ".join(part for part in ("instructions" if self.instructions else "", shots) if part)


def example_sets(items: Sequence[Item], *, seed: int) -> tuple[ExampleSet, ...]:
    """The sets that are tried: two draws that share no line, and one that is nearest to all questions.

    Args:
        items: The lines to learn from.
        seed: Draws.
    """
    first = drawn(items, seed=seed)
    used = {item.name for item in first[:FURTHER]}
    second = drawn([item for item in items if item.name not in used], seed=seed)
    return (
        ExampleSet(_pairs(first[: max(SHOTS)])),
        ExampleSet(_pairs(second[:FURTHER]), "_again", " of another draw", (FURTHER,)),
        ExampleSet(_pairs(covering(items, FURTHER)), "_near", " nearest to all questions", (FURTHER,)),
    )


def drawn(items: Sequence[Item], *, seed: int) -> Sequence[Item]:
    """Examples for prompts, in an order that a seed draws; the first ones have as many different answers as there are.

    >>> few = [Item(prompt=str(n), reference="ab"[n // 3]) for n in range(6)]
    >>> {item.reference for item in drawn(few, seed=0)[:2]} == {"a", "b"}
    True
    """
    order = random.Random(seed).sample(list(items), len(items))
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, int, Item]] = []
    for at, item in enumerate(order):
        ranked.append((seen[item.reference], at, item))
        seen[item.reference] += 1
    return [item for _, _, item in sorted(ranked, key=lambda one: one[:2])]


def covering(items: Sequence[Item], count: int) -> Sequence[Item]:
    """Those of which each question has one that is as near as can be, taken greedily; nearness is by shared letters.

    >>> one, other = (Item(prompt=p, reference="r") for p in ("the capital of France?", "12 + 3?"))
    >>> near = Item(prompt="the capital of Spain?", reference="r")
    >>> [item.prompt for item in covering([one, near, other], 2)]
    ['the capital of France?', '12 + 3?']
    """
    grams = [_grams(item.prompt) for item in items]
    near = [[_shared(one, other) for other in grams] for one in grams]
    best, chosen = [0.0] * len(items), list[int]()
    while len(chosen) < min(count, len(items)):
        gains = {
            at: sum(max(value, had) for value, had in zip(near[at], best, strict=True))
            for at in range(len(items))
            if at not in chosen
        }
        at = max(gains, key=lambda one: gains[one])
        chosen.append(at)
        best = [max(value, had) for value, had in zip(near[at], best, strict=True)]
    return [items[at] for at in chosen]


def _pairs(items: Sequence[Item]) -> Pairs:
    return tuple((item.prompt, item.reference) for item in items)


def _grams(text: str) -> Mapping[str, int]:
    """How often each run of a few characters stands in a text."""
    padded = f" {text.lower()} "
    return Counter(padded[at : at + GRAM] for at in range(max(1, len(padded) - GRAM + 1)))


def _shared(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """What two texts share, 0 to 1."""
    both = sum(min(count, other[gram]) for gram, count in one.items() if gram in other)
    return 2 * both / (sum(one.values()) + sum(other.values()))
