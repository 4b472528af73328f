"""The arms of an evaluation: who answers, what is shown to whom, and over how many questions. Pure.

closed              the closed model by itself
closed_few_shot     the same after examples, as turns of a chat
closed_instructed   the same after the task's instructions and the examples
closed_tuned        a directly tuned closed model, where there is one: the far end of the gap
anti_expert         the untuned small model by itself
expert              the tuned small model by itself
steered             the closed model, steered by the difference of these two
steered_few_shot    the same after examples, which only the closed model sees
..._documents...    any of them with the documents shown to other members than in the main arms
closed_majority     the most frequent of several whole answers of the closed model, shown all that helps it
steered_answers     the best of the same number by the pair
steered_alpha_...   steered at other alphas
in_place            what the closed model says where the form has the fact; asked where `steered` is wrong
recipe              what a fitted recipe says (`recipes`)
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from blackbox_proxy.evaluation.task import Item, Task, Who
from blackbox_proxy.recipes import FittedRecipe, introduction
from blackbox_proxy.types import Message, Prompt

Speaker = Literal["closed", "tuned", "anti_expert", "expert", "steered", "choice"]

Looks = Literal["wrong", "always"]
"""After which answers the closed model is asked what it says in the place of the fact."""

SEED = 0
"""Draws the examples and the order of the questions; equal for all arms, so that they are paired."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer.

    examples, instructions: what stands before the question. who: who is shown documents. alpha: where it is steered.
    n: how many questions it answers, the first ones. draws: how many whole answers it is chosen from; 0 for none.
    looks: which of its answers are looked into (`ceiling`). before: further turns that the closed model reads before
    the question. knobs: of steering, in place of the task's.
    """

    name: str
    speaker: Speaker
    n: int
    who: Who = "none"
    examples: bool = False
    instructions: bool = False
    alpha: float | None = None
    draws: int = 0
    looks: Looks | None = None
    before: tuple[Message, ...] = ()
    knobs: tuple[tuple[str, object], ...] = ()

    @property
    def introduced(self) -> bool:
        """Whether anything but documents stands before the question."""
        return self.examples or bool(self.before)

    @property
    def calls(self) -> bool:
        """Whether it calls the hosted model."""
        return self.speaker not in ("anti_expert", "expert")

    def shown(self, member: Literal["closed", "pair"]) -> bool:
        """Whether a member sees the documents."""
        return self.who in (member, "both")


@dataclass(frozen=True, slots=True)
class AnswerJob:
    """One arm, one question."""

    arm: Arm
    item: Item


@dataclass(frozen=True, slots=True)
class ArmSizes:
    """How many questions the main arms answer at most (None: all), and how many the others do.

    draws: how many whole answers are drawn for those that choose among them; without any there are no such arms.
    """

    main: int | None = None
    others: int = 40
    draws: int = 0


def main_arms(task: Task, *, alpha: float, n: int) -> list[Arm]:
    """The five that every task has; without examples four."""
    every = [
        Arm("closed", "closed", n),
        Arm("closed_few_shot", "closed", n, examples=True),
        Arm("anti_expert", "anti_expert", n),
        Arm("expert", "expert", n),
        Arm("steered", "steered", n, alpha=alpha, looks="wrong"),
    ]
    return [replace(arm, who=task.who) for arm in every if task.few_shot or not arm.examples]


def arms(task: Task, *, alpha: float, sizes: ArmSizes, tuned: bool) -> tuple[Arm, ...]:
    """All arms of a task. tuned: whether there is a directly tuned model to compare with."""
    n = len(task.test) if sizes.main is None else min(sizes.main, len(task.test))
    few = min(sizes.others, n)
    every = main_arms(task, alpha=alpha, n=n)
    if task.few_shot:
        every.append(Arm("steered_few_shot", "steered", few, task.who, examples=True, alpha=alpha))
    if tuned:
        every.append(Arm("closed_tuned", "tuned", n, task.who))
    if task.instructions:
        every.append(Arm("closed_instructed", "closed", few, task.who, examples=True, instructions=True))
    if task.has_documents:
        every += _with_documents(task, alpha=alpha, n=few)
    if sizes.draws:
        shown = Arm("", "closed", few, task.who, bool(task.few_shot), bool(task.instructions), draws=sizes.draws)
        every.append(replace(shown, name="closed_majority"))
        every.append(replace(shown, name="steered_answers", speaker="steered", alpha=alpha))
    every += [Arm(f"steered_alpha_{a:g}", "steered", few, task.who, alpha=a) for a in task.alphas]
    return tuple(every)


def _with_documents(task: Task, *, alpha: float, n: int) -> Iterable[Arm]:
    yield Arm("closed_documents", "closed", n, "closed")
    if task.few_shot:
        yield Arm("closed_few_shot_documents", "closed", n, "closed", examples=True)
    yield Arm("anti_expert_documents", "anti_expert", n, "pair")
    yield Arm("expert_documents", "expert", n, "pair")
    who: tuple[Who, ...] = ("closed", "pair", "both")
    for one in who:
        yield Arm(f"steered_documents_{one}", "steered", n, one, alpha=alpha)


def in_order(items: Sequence[Item]) -> tuple[Item, ...]:
    """The questions in an order in which the first ones are a fair sample."""
    return tuple(random.Random(SEED).sample(items, len(items)))


def recipe_arm(recipe: FittedRecipe, *, n: int) -> Arm:
    """The arm that a fitted recipe describes."""
    chosen = {name: value for name, value in recipe.steering.items() if name != "max_tokens"}
    knobs = tuple(sorted(chosen.items())) if recipe.way in ("steered", "choice") else ()
    alpha = recipe.steering.get("alpha") if knobs else None
    draws = int(chosen.get("samples", 0)) if recipe.way == "closed" and chosen.get("way") == "answers" else 0
    return Arm("recipe", recipe.way, n, alpha=alpha, draws=draws, before=recipe.before, knobs=knobs)


def examples(task: Task, arm: Arm) -> tuple[Message, ...]:
    """What stands before the question of an arm: the same for all, so that a provider's cache can hold it."""
    drawn = random.Random(SEED).sample(task.train, task.few_shot) if arm.examples else []
    shown = [(task.asked(item, shown=arm.shown("closed")), item.reference) for item in drawn]
    return (*introduction(task.instructions if arm.instructions else "", shown), *arm.before)


def closed_prompt(task: Task, job: AnswerJob) -> Prompt:
    """What the hosted model reads."""
    asked = Message("user", task.asked(job.item, shown=job.arm.shown("closed")))
    return Prompt(messages=(*examples(task, job.arm), asked))


def pair_prompt(task: Task, job: AnswerJob) -> Prompt:
    """What both members of the pair read."""
    return Prompt.ask(task.asked(job.item, shown=job.arm.shown("pair")))
