"""Whether a recipe still holds: it is run on fresh lines, and what it scores is held against its evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from blackbox_proxy.api import Api
from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.answers import AnswerStore
from blackbox_proxy.evaluation.arms import AnswerJob, recipe_arm
from blackbox_proxy.evaluation.run import Run, stages
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.statistics import Mean, mean
from blackbox_proxy.evaluation.summary import ArmAnswers, given
from blackbox_proxy.evaluation.task import ScoringRule, Task
from blackbox_proxy.fitting.examples import read_examples, with_choices
from blackbox_proxy.fitting.fit import OpenedPair, Telling
from blackbox_proxy.fitting.planning import task_of_items
from blackbox_proxy.recipes import FittedRecipe

LEAST = 5
"""Fewest fresh lines."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """What a recipe scores on fresh lines.

    foretold: what it had scored, or was foretold to. local: of a route, the share that the expert answered alone, and
    what that had been on validation lines.
    """

    scored: Mean
    foretold: Mean
    local: Mean | None = None
    local_before: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the intervals overlap, or the fresh score is the better one."""
        return self.scored.high >= self.foretold.low

    @property
    def sentence(self) -> str:
        """What came of it."""
        verdict = "it still holds" if self.holds else "it no longer holds: fit anew, or look at what has changed"
        scores = (
            f"on {self.scored.n} fresh lines the recipe scores {self.scored}, and it had {self.foretold}: {verdict}"
        )
        if self.local is None:
            return scores
        had = "" if self.local_before is None else f", and {self.local_before:.0%} had been"
        return f"{scores}; {self.local.value:.0%} were answered by the tuned small model alone{had}"


def fresh_task(recipe: FittedRecipe, lines: Path) -> Task:
    """Fresh lines as a task of the recipe. Raises InputError where they are none, or those it was fitted on."""
    examples = read_examples(lines, least=LEAST)
    if examples.digest == recipe.evidence.lines_digest:
        raise InputError(
            f"{lines} holds the lines that the recipe was fitted on, which say nothing new", hint="give fresh lines"
        )
    evidence = recipe.evidence
    rule = ScoringRule.model_validate({"kind": evidence.scorer, "form": evidence.form})
    items = with_choices(examples.items, recipe.options)
    tokens = int(recipe.steering.get("max_tokens", 64))
    return replace(task_of_items(lines.name, rule, max_tokens=tokens), test=items)


def recheck(
    recipe: FittedRecipe,
    task: Task,
    *,
    api: Api,
    where: str,
    opened: OpenedPair | None,
    store: AnswerStore,
    telling: Telling,
) -> Recheck:
    """Run the recipe on fresh lines.

    Args:
        recipe: The recipe.
        task: The lines (`fresh_task`).
        api: The hosted model.
        where: Which endpoint it is, as answers are told apart by it.
        opened: The pair; None where the recipe needs none.
        store: Where answers are kept.
        telling: Who hears of it.

    Raises:
        InputError: Where no line was answered.
    """
    if opened is not None and opened.mark != recipe.evidence.pair_digest:
        telling.say("the pair is another one than the recipe was fitted with")
    arm = recipe_arm(recipe, n=len(task.test))
    pair, mark = (opened.pair, opened.mark) if opened else (None, "")
    bench = Bench(task, api, pair, where, mark)
    run, plan = Run(bench, store), stages([arm], task.test)
    run.tick = telling.watch("fresh lines", run.waiting(plan))
    run(plan)
    asked = [(item, store.last(key(bench, AnswerJob(arm, item)))) for item in task.test]
    answered = given(arm, asked, scorer(task.scorer))
    scored = mean(list(answered.scores.values()))
    if scored is None:
        raise InputError("no fresh line was answered", hint="see the errors that were kept with the answers")
    return Recheck(scored, _foretold(recipe), *_local(recipe, answered))


def _local(recipe: FittedRecipe, answered: ArmAnswers) -> tuple[Mean | None, float | None]:
    """The share that was answered locally, and what it had been; None where nothing is routed."""
    if recipe.route is None:
        return None, None
    before = recipe.evidence.route
    said = mean([float(not answer.calls) for answer in answered.answers.values()])
    return said, None if before is None else before.local


def _foretold(recipe: FittedRecipe) -> Mean:
    known = recipe.evidence
    if known.n:
        return Mean(known.score, known.low, known.high, known.n)
    return Mean(known.predicted, known.predicted_low, known.predicted_high, known.validation)
