"""What a fit is to do: its options, the lines as they are parted, and the task that they make."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answering import BenchPair
from blackbox_proxy.evaluation.task import ScoringRule, Task
from blackbox_proxy.fitting.examples import Examples, Split, read_examples, split, with_choices
from blackbox_proxy.fitting.experts import BASE
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.offtask import USUAL
from blackbox_proxy.kept import key_of
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
        off_task: Questions of another kind that the winner is asked; 0 for none.
    """

    instructions: str = ""
    scorer: ScoringRule = field(default_factory=ScoringRule)
    base: str = BASE
    seed: int = 0
    limits: FitLimits = field(default_factory=FitLimits)
    off_task: int = USUAL


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
        return where_of(self.endpoint)

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


def where_of(endpoint: RecipeEndpoint) -> str:
    """Which endpoint this is, as answers are told apart by it; a stand-in's port is another each time."""
    return f"standin {endpoint.standin}" if endpoint.standin else endpoint.profile or endpoint.base_url


def planned(lines: Path, options: FitOptions, endpoint: RecipeEndpoint, *, trains: bool) -> FitPlan:
    """Read, check and part the lines. trains: whether an expert learns from them. Raises InputError."""
    _check_form(options.scorer)
    examples = read_examples(lines)
    return FitPlan(examples, split(examples.items, seed=options.seed, trains=trains), options, endpoint)


def _check_form(rule: ScoringRule) -> None:
    try:
        re.compile(rule.form)
    except re.error as error:
        raise InputError(
            f"the form {rule.form!r} is no regular expression: {error}", hint="see the documentation of `re`"
        ) from None


def task_of(plan: FitPlan, pair: BenchPair) -> Task:
    """The parts as a task. An answer may be half as long again as the longest reference."""
    items, labels, parts = plan.examples.items, plan.examples.labels, plan.parts
    longest = max(len(pair.spell(right.encode())) for item in items for right in item.right)
    train, validation, test = (with_choices(part, labels) for part in (parts.train, parts.validation, parts.test))
    blank = task_of_items(
        Path(plan.examples.where).name, plan.options.scorer, max_tokens=round(LONGER * longest) + ROOM
    )
    return replace(blank, train=train, validation=validation, test=test)


def task_of_items(name: str, rule: ScoringRule, *, max_tokens: int) -> Task:
    """A task without items yet, and without anything that a task's file may say besides."""
    return Task(
        name=name,
        title=name,
        about="",
        source="",
        train=(),
        validation=(),
        test=(),
        few_shot=0,
        instructions="",
        majority=False,
        scorer=rule,
        form=re.compile(rule.form) if rule.form else None,
        pair=None,
        alpha=1.0,
        max_tokens=max_tokens,
        alphas=(),
        knobs={},
        who="none",
    )
