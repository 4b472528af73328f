"""What a fit is to do: its options, the lines as they are parted, and the task that they make."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from blackbox_proxy.evaluation.answering import BenchPair
from blackbox_proxy.evaluation.answers import key_of
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.task import ScoringRule, Task
from blackbox_proxy.fitting.comparing import FitLimits
from blackbox_proxy.fitting.examples import Examples, Split, read_examples, split, with_choices
from blackbox_proxy.fitting.experts import BASE
from blackbox_proxy.recipes import RecipeEndpoint

LONGER = 1.5
"""How much longer than the longest reference an answer may be."""

ROOM = 8
"""Tokens more."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a fit does.

    Attributes:
        instructions: Instructions that are tried; "" takes the system turn of the lines, where they have one.
        scorer: How an answer is scored (`[scorer]` of a task).
        base: The untuned model that an expert is trained over where no pair is given.
        seed: Draws the parts, the examples, and the expert's first weights.
        limits: Money, time, and what decides.
    """

    instructions: str = ""
    scorer: ScoringRule = field(default_factory=ScoringRule)
    base: str = BASE
    seed: int = 0
    limits: FitLimits = field(default_factory=FitLimits)


@dataclass(frozen=True, slots=True)
class FitPlan:
    """Lines that were read and parted, and what is to be done with them."""

    examples: Examples
    parts: Split
    options: FitOptions
    endpoint: RecipeEndpoint

    @property
    def mark(self) -> str:
        """Changes with the lines and how they are parted."""
        parts = {name: [item.name for item in getattr(self.parts, name)] for name in ("train", "validation", "test")}
        return key_of({"lines": self.examples.digest, "base": self.options.base, **parts})[:16]

    @property
    def where(self) -> str:
        """Which endpoint this is, as answers are told apart by it."""
        return self.endpoint.profile or self.endpoint.base_url

    @property
    def instructions(self) -> str:
        """Those that are given, or else those of the lines."""
        return self.options.instructions or self.examples.instructions

    @property
    def summary(self) -> str:
        """How the lines are parted, in one line."""
        parts, examples = self.parts, self.examples
        again = f"; {examples.repeated} said the same as another" if examples.repeated else ""
        labels = f"; {len(examples.labels)} different answers, which may be chosen from" if examples.labels else ""
        return (
            f"{len(examples.items)} lines: {len(parts.train)} to learn from, {len(parts.validation)} to compare on, "
            f"{len(parts.test)} held back{labels}{again}"
        )


def planned(lines: Path, options: FitOptions, endpoint: RecipeEndpoint, *, trains: bool) -> FitPlan:
    """Read, check and part the lines. trains: whether an expert learns from them. Raises InputError."""
    examples = read_examples(lines)
    scorer(options.scorer)
    return FitPlan(examples, split(examples.items, seed=options.seed, trains=trains), options, endpoint)


def task_of(plan: FitPlan, pair: BenchPair) -> Task:
    """The parts as a task. An answer may be half as long again as the longest reference."""
    items = plan.examples.items
    longest = max(len(pair.spell(right.encode())) for item in items for right in item.right)
    labels = plan.examples.labels
    parts = plan.parts
    train, validation, test = (with_choices(part, labels) for part in (parts.train, parts.validation, parts.test))
    rule = plan.options.scorer
    return Task(
        name=plan.mark,
        title=Path(plan.examples.where).name,
        about="",
        source="",
        train=train,
        validation=validation,
        test=test,
        few_shot=0,
        instructions="",
        majority=False,
        scorer=rule,
        form=re.compile(rule.form) if rule.form else None,
        pair=None,
        alpha=1.0,
        max_tokens=round(LONGER * longest) + ROOM,
        alphas=(),
        knobs={},
        who="none",
    )
