"""One task, evaluated: which arms, at which alpha, asked or found again, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.advice import advice
from blackbox_proxy.evaluation.answering import Bench, key, place_key
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob, Arm, ArmSizes, arms, in_order, recipe_arm
from blackbox_proxy.evaluation.run import EvaluationStage, Run, Spread, stages
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.statistics import Mean, mean
from blackbox_proxy.evaluation.summary import ArmAnswers, figures, given, majority
from blackbox_proxy.evaluation.task import Item, Task
from blackbox_proxy.recipes import FittedRecipe

Watch = Callable[[str, int], Callable[[object], object]]
"""Told what is asked now and how many questions that takes; gives what is told each answer."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What is to be asked.

    only: names of arms, all where there are none. tune: choose alpha on validation first. recipe: a fitted recipe,
    which is one more arm.
    """

    sizes: ArmSizes = field(default_factory=ArmSizes)
    only: tuple[str, ...] = ()
    tune: bool = False
    at_once: int = 1
    recipe: FittedRecipe | None = None


@dataclass(frozen=True, slots=True)
class Tuned:
    """An alpha that was chosen on the validation items, and what each had scored there."""

    alpha: float
    scores: tuple[tuple[float, Mean], ...]


@dataclass(frozen=True, slots=True)
class TaskOutcomeFigures:
    """What came out. figures: ready for JSON. arms: with each answer. asked: how many answers were made now."""

    task: Task
    alpha: float
    tuned: Tuned | None
    figures: dict[str, object]
    arms: tuple[ArmAnswers, ...]
    asked: int

    @property
    def advice(self) -> tuple[str, ...]:
        """What it comes to."""
        return advice(self.arms, self.figures, items=len(self.task.test))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One task with what it is evaluated with. watch: told what is asked at the moment. spread: as of `Run`."""

    bench: Bench
    store: AnswerStore
    options: EvaluationOptions
    watch: Watch
    spread: Spread | None = None

    def __call__(self) -> TaskOutcomeFigures:
        """Ask what is wanted and has no answer yet, and put the figures together from all answers that are there."""
        bench, task = self.bench, self.bench.task
        tuned = self._tune() if self.options.tune else None
        alpha = task.alpha if tuned is None else tuned.alpha
        items = in_order(task.test)
        every = arms(task, alpha=alpha, sizes=self.options.sizes, tuned=bench.tuned is not None)
        if self.options.recipe is not None:
            every = (*every, recipe_arm(self.options.recipe, n=every[0].n))
        asked = self._ask(stages(_chosen(every, self.options.only), items))
        answered = tuple(one for arm in every if (one := self._given(arm, items)).answers or one.errors)
        if task.majority:
            n = max((len(one.answers) for one in answered), default=0)
            answered = (*answered, majority(task, items[:n], scorer(task.scorer)))
        summed = figures(task, answered, items, places=self._places(every, items))
        return TaskOutcomeFigures(task, alpha, tuned, summed, answered, asked)

    def _ask(self, plan: Sequence[EvaluationStage], *, what: str = "") -> int:
        """Go through the stages; gives how many answers were made."""
        run = Run(self.bench, self.store, self.options.at_once, self.spread)
        run.tick = self.watch(f"{self.bench.task.title}{what}", run.waiting(plan))
        run(plan)
        return run.asked

    def _given(self, arm: Arm, items: Sequence[Item]) -> ArmAnswers:
        asked = [(item, self.store.last(key(self.bench, AnswerJob(arm, item)))) for item in items[: arm.n]]
        return given(arm, asked, scorer(self.bench.task.scorer))

    def _places(self, every: Sequence[Arm], items: Sequence[Item]) -> dict[str, KeptAnswer]:
        looked = [AnswerJob(arm, item) for arm in every if arm.looks for item in items[: arm.n]]
        both = ((job.item.name, self.store.last(place_key(self.bench, job))) for job in looked)
        return {name: answer for name, answer in both if answer is not None}

    def _tune(self) -> Tuned:
        """The alpha with the best mean on validation; of equal ones the nearest to the task's own."""
        task = self.bench.task
        if not task.validation or not task.alphas:
            raise InputError(
                f"{task.title} has no validation items to choose alpha on, or no alphas to choose from",
                hint="give [data] validation and [steering] alphas in task.toml",
            )
        items = in_order(task.validation)
        tried = [Arm(f"validation_alpha_{a:g}", "steered", len(items), task.who, alpha=a) for a in task.alphas]
        self._ask(stages(tried, items), what=", validation")
        scores = [(arm.alpha, mean(list(self._given(arm, items).scores.values()))) for arm in tried]
        known = [(alpha, score) for alpha, score in scores if alpha is not None and score is not None]
        if not known:
            raise InputError(f"no validation item of {task.title} could be answered", hint="see the answers' errors")
        best = max(known, key=lambda one: (one[1].value, -abs(one[0] - task.alpha)))
        return Tuned(best[0], tuple(known))


def _chosen(every: Sequence[Arm], only: Sequence[str]) -> list[Arm]:
    names = [arm.name for arm in every]
    strange = [name for name in only if name not in names]
    if strange:
        raise InputError(f"this task has no arm {strange[0]!r}", hint=f"there are {', '.join(names)}")
    return [arm for arm in every if not only or arm.name in only]
