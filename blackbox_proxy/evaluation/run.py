"""Asks all questions of an evaluation, in an order that costs least, and keeps every answer.

What calls the hosted model is asked in an order in which prompts share their beginnings with the one before: the arms
of one question after one another, and those with examples apart, a set of examples at a time. Of arms that share a
prompt the steered one comes first, so that whatever a cache spares is spared the others. What the pair does alone is
done beside the calls that need no pair.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import final

from blackbox_proxy.evaluation.answering import AskBench, Bench, BenchQuestion, Stopped, ask_here, key, place_key
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob, Arm
from blackbox_proxy.evaluation.scoring import Score, scorer
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.workers import FailureStreak, work_through

_HOPELESS = "correct what is wrong; what was answered is kept, and is not asked again"

Unit = tuple[AnswerJob, ...]
"""Jobs that one worker does one after another."""


@dataclass(frozen=True, slots=True)
class EvaluationStage:
    """What is done at the same time: units that call the hosted model, and units of the pair alone."""

    calls: tuple[Unit, ...]
    local: tuple[Unit, ...]


def stages(arms: Sequence[Arm], items: Sequence[Item]) -> tuple[EvaluationStage, ...]:
    """All jobs in order."""
    local = [arm for arm in arms if not arm.calls]
    after = [unit for group in _by_examples(arms) for unit in _by_question(group, items)]
    together = _like_the_main_one([arm for arm in arms if arm.calls and not arm.introduced])
    return (
        EvaluationStage(
            tuple(unit for unit in after if not _steers(unit)),
            tuple((AnswerJob(arm, item),) for arm in local for item in items[: arm.n]),
        ),
        EvaluationStage(tuple(unit for unit in after if _steers(unit)), ()),
        EvaluationStage(tuple(_by_question(together, items)), ()),
    )


def question_by_question(arms: Sequence[Arm], items: Sequence[Item]) -> tuple[EvaluationStage, ...]:
    """All jobs in the order of the questions, none at the same time: for one who watches."""
    return tuple(EvaluationStage((unit,), ()) for unit in _by_question(_like_the_main_one(arms), items))


def _steers(unit: Unit) -> bool:
    """Whether it needs the pair."""
    return any(job.arm.speaker in ("steered", "choice", "route") for job in unit)


def _by_examples(arms: Sequence[Arm]) -> Iterable[list[Arm]]:
    """The arms with examples, those of equal prompts together, the steered one first."""
    groups: defaultdict[tuple[object, ...], list[Arm]] = defaultdict(list)
    for arm in sorted(arms, key=lambda arm: arm.speaker != "steered"):
        if arm.calls and arm.introduced:
            groups[arm.speaker == "tuned", arm.instructions, arm.shown("closed"), arm.before].append(arm)
    return groups.values()


def _by_question(arms: Sequence[Arm], items: Sequence[Item]) -> Iterable[Unit]:
    """A unit for each question: the arms that are asked it, one after another."""
    units = (tuple(AnswerJob(arm, item) for arm in arms if at < arm.n) for at, item in enumerate(items))
    return (unit for unit in units if unit)


def _like_the_main_one(arms: Sequence[Arm]) -> list[Arm]:
    """The main steered arm first, then those whose prompts are like its own, then the others."""
    main = next((arm for arm in arms if arm.looks), None)
    shown = main is not None and main.shown("closed")
    return sorted(arms, key=lambda arm: (arm.speaker == "tuned", arm.shown("closed") != shown, not arm.looks))


Spread = Callable[[Sequence[str]], Sequence[AskBench]]
"""Starts who answers elsewhere what calls the hosted model: one for each question that may be under way at a time.

Told the names of the arms that are answered in this process all the same.
"""


@final
@dataclass(slots=True)
class Run:
    """One pass over the stages.

    at_once: calls under way at a time in this process. spread: who makes the calls in its place, started where any has
    to be made; None for nobody. tick: told each answer. asked: answers made now.
    """

    bench: Bench
    store: AnswerStore
    at_once: int = 1
    spread: Spread | None = None
    tick: Callable[[object], object] = lambda _: None
    asked: int = 0
    _streak: FailureStreak = field(default_factory=lambda: FailureStreak(_HOPELESS))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _score: Score = field(init=False)

    def __post_init__(self) -> None:
        self._score = scorer(self.bench.task.scorer)

    def waiting(self, plan: Sequence[EvaluationStage]) -> int:
        """How many questions have no answer yet."""
        jobs = (job for stage in plan for unit in (*stage.calls, *stage.local) for job in unit)
        return len({at for job in jobs if self.store[at := key(self.bench, job)] is None})

    def __call__(self, plan: Sequence[EvaluationStage]) -> None:
        """Ask what has no answer yet. Raises what ends a run: an interrupt, a budget, errors without end."""
        here = partial(ask_here, self.bench)
        callers = self._callers(plan, here)
        for stage in plan:
            calls, local = deque(stage.calls), deque(stage.local)
            posts = [(calls, partial(self._through, ask)) for ask in callers]
            posts += [(local, partial(self._through, here))] if local else []
            work_through(posts, stop=self.bench.stop, name="evaluate")

    def _callers(self, plan: Sequence[EvaluationStage], here: AskBench) -> Sequence[AskBench]:
        """Who makes the calls; nobody is started elsewhere where none is to be made."""
        units = [unit for stage in plan for unit in stage.calls]
        if self.spread is None or not any(self._is_open(job) for unit in units for job in unit):
            return [here] * self.at_once
        staying = (job.arm.name for stage in plan for unit in stage.local for job in unit)
        return self.spread(list(dict.fromkeys(staying)))

    def _is_open(self, job: AnswerJob) -> bool:
        """Whether anything of a job has to be asked."""
        kept = self.store[key(self.bench, job)]
        return kept is None or (self._looks(job, kept) and self.store[place_key(self.bench, job)] is None)

    def _through(self, ask: AskBench, unit: Unit) -> None:
        """The jobs of a unit. Where the run was stopped meanwhile, no more of them."""
        with suppress(Stopped):
            for job in unit:
                self._do(ask, job)

    def _do(self, ask: AskBench, job: AnswerJob) -> None:
        kept = self.store[key(self.bench, job)]
        if kept is None and not self.bench.stop.is_set():
            kept = self._keep(ask(BenchQuestion(job)))
            self.tick(kept)
        if kept is not None and not kept.error and self._looks(job, kept):
            self._look(ask, job)

    def _looks(self, job: AnswerJob, kept: KeptAnswer) -> bool:
        """Whether an answer is looked into."""
        looks = job.arm.looks
        return looks == "always" or (looks == "wrong" and self._score(kept.text, job.item) < 1.0)

    def _look(self, ask: AskBench, job: AnswerJob) -> None:
        """Ask what the closed model says in the place of the fact, for `ceiling`."""
        if self.store[place_key(self.bench, job)] is None:
            self._keep(ask(BenchQuestion(job, in_place=True)))

    def _keep(self, kept: KeptAnswer) -> KeptAnswer:
        self.store.keep(kept)
        with self._lock:
            self.asked += 1
        self._streak.note(kept.error)
        return kept
