"""Compares arms by successive halving on validation lines, within money and time, and tests the winner once.

Answers are kept by `evaluation`'s store, and every decision follows from kept answers alone, so that a run which was
killed goes on, and decides the same. The ledger's budget is the hard limit; what is planned here keeps below it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import final

from blackbox_proxy.errors import BlackboxProxyError, InputError, OverBudget
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob, Arm
from blackbox_proxy.evaluation.evaluate import Watch
from blackbox_proxy.evaluation.run import Run, stages
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.statistics import Mean, mean
from blackbox_proxy.evaluation.summary import ArmAnswers, given
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.selecting import POINT, Preference, Terms, Trial, best_of, foretold, halved, rounds, winner

KEPT_BACK = 0.95
"""Share of the budget that is planned with; a request may cost more than those before."""

FEWEST = 5
"""Fewest lines on which arms are compared, or the winner is tested."""

VALIDATION_TIME = 0.8
"""Share of the time that the comparison may take; the rest is for the test."""


class TimeUp(BlackboxProxyError):
    """The time that a fit may take is used up."""


@dataclass(frozen=True, slots=True)
class FitLimits:
    """What a comparison may take, and how it decides.

    Attributes:
        budget: US dollars; None for no limit. The ledger holds it too.
        minutes: Minutes, training included; None for no limit.
        prefer: What decides between arms.
        point: US dollars for 1,000 answers that 0.01 of score is worth, for `prefer="balanced"`.
        at_once: Calls of the closed model under way at a time.
    """

    budget: Decimal | None = None
    minutes: float | None = None
    prefer: Preference = "quality"
    point: float = POINT
    at_once: int = 1

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0.0:
            raise InputError(f"minutes must be above 0, not {self.minutes:g}", hint="leave it out for no limit")
        if not (math.isfinite(self.point) and self.point >= 0.0):
            raise InputError(f"a point is worth 0 dollars or more, not {self.point:g}", hint=f"{POINT:g} is usual")

    @property
    def terms(self) -> Terms:
        """What decides between arms."""
        return Terms(self.prefer, self.point)

    def room(self, spent: Decimal | None) -> float | None:
        """US dollars that may be spent yet; None for no limit."""
        if self.budget is None or spent is None:
            return None
        return KEPT_BACK * float(self.budget) - float(spent)

    def late(self, started: float) -> bool:
        """Whether the time is used up. started: by `time.monotonic`."""
        return self.minutes is not None and time.monotonic() > started + 60 * self.minutes


@dataclass(frozen=True, slots=True)
class ComparedArms:
    """What came out of a comparison.

    Attributes:
        chosen: The winner, with its validation answers.
        trials: All arms, in order, each with what it answered.
        stayed: Rounds that each arm took part in, by name.
        predicted: What the winner should score on other lines.
        tested: What it scored on held-back lines; None where they were not asked.
        answers: What it answered there.
        spent: US dollars of all answers; None where no price is known.
        notes: What cut the comparison short, if anything did.
    """

    chosen: Trial
    trials: tuple[Trial, ...]
    stayed: dict[str, int]
    predicted: Mean
    tested: Mean | None
    answers: ArmAnswers
    spent: Decimal | None
    notes: tuple[str, ...] = ()


@final
@dataclass(slots=True)
class ArmComparison:
    """One comparison. say: told each decision in one line. watch: told what is asked. started: by `clock`."""

    bench: Bench
    store: AnswerStore
    candidates: Sequence[FitArm]
    limits: FitLimits
    say: Callable[[str], object]
    watch: Watch
    clock: Callable[[], float] = time.monotonic
    started: float = field(default_factory=time.monotonic)
    stayed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _keys: set[str] = field(default_factory=set)

    def __call__(self) -> ComparedArms:
        """Compare, choose, test."""
        finalists = self._halve(self._usable())
        chosen = winner(finalists, self.limits.terms)
        predicted = foretold(chosen, finalists, lines=len(self.bench.task.test))
        self.say(f"chosen: {chosen.name}, {_score(predicted)} foretold from {predicted.n} validation lines")
        answers = self._test(chosen)
        tested = mean(list(answers.scores.values()))
        if tested is not None:
            self.say(f"on {tested.n} held-back lines it scores {_score(tested)}")
        trials = tuple(self._trial(one, len(self.bench.task.validation)) for one in self.candidates)
        return ComparedArms(chosen, trials, self.stayed, predicted, tested, answers, self._spent(), tuple(self.notes))

    def _usable(self) -> list[FitArm]:
        """Every arm; without those that call an endpoint which shows no log-probs."""
        item, closed = self.bench.task.validation[0], self.candidates[0]
        try:
            self._ask([closed.arm], (item,), "a first question", deadline=math.inf)
        except OverBudget:
            raise InputError(
                f"the budget of {self.limits.budget} USD does not pay for one answer", hint="raise it"
            ) from None
        kept = self.store.last(key(self.bench, AnswerJob(closed.arm, item)))
        if kept is None or "log-prob" not in kept.error:
            return self._affordable([*self.candidates])
        self._note(f"the endpoint shows no log-probs ({kept.error}): only the tuned small model can be compared")
        return [one for one in self.candidates if not one.arm.calls]

    def _affordable(self, usable: list[FitArm]) -> list[FitArm]:
        """The arms whose first round the budget pays for, by the first answer; the simplest are kept longest."""
        if self.limits.budget is None:
            return usable
        (first,) = self._trial(self.candidates[0], 1).given.answers.values() or (None,)
        if first is None or first.cost is None:
            return usable
        size = rounds(len(self.bench.task.validation))[0]
        while usable and self._first_round(usable, first, size) > KEPT_BACK * float(self.limits.budget) / 2:
            usable.remove(max(usable, key=lambda one: (one.arm.calls, self._first_round([one], first, size))))
        if sum(one.arm.calls for one in usable) < 2:
            needed = 2 * self._first_round(self.candidates[:2], first, size) / KEPT_BACK
            raise InputError(
                f"a budget of {self.limits.budget} USD decides nothing: about {needed:.4f} USD compare two arms on "
                f"{size} lines, and test one",
                hint="raise it, or give shorter lines",
            )
        if len(usable) < len(self.candidates):
            gone = [one.name for one in self.candidates if one not in usable]
            self._note(f"the budget does not pay for {', '.join(gone)}: they are not compared")
        return usable

    def _first_round(self, arms: Sequence[FitArm], first: KeptAnswer, size: int) -> float:
        """Dollars that a round should take, by one answer of the closed model.

        Prompts are longer by their examples; a steered answer takes about a call for every other token of its own.
        """
        task, one = self.bench.task, float(first.cost or 0)
        typical = sum(len(item.prompt) for item in task.validation) / len(task.validation) + 30
        total = 0.0
        for arm in (one.arm for one in arms if one.arm.calls):
            longer = 1.0 + sum(len(turn.content) for turn in arm.before) / typical
            calls = max(1.0, first.output / 2) if arm.speaker == "steered" else 1.0
            total += one * longer * calls * size
        return total

    def _halve(self, usable: Sequence[FitArm]) -> tuple[Trial, ...]:
        """Round after round: ask, then drop what can no longer win."""
        arms, items = list(usable), self.bench.task.validation
        trials: tuple[Trial, ...] = ()
        for number, size in enumerate(rounds(len(items)), 1):
            if trials:
                arms = [trial.candidate for trial in self._payable(trials, size)]
            if not arms or not self._round(arms, items[:size], number):
                break
            asked = [self._trial(one, size) for one in arms]
            trials = self._decided([trial for trial in asked if len(trial.scores) >= min(FEWEST, size)], number, size)
            arms = [trial.candidate for trial in trials]
        if not trials:
            trials = tuple(t for one in usable if (t := self._trial(one, len(items))).scores)
        if not trials:
            raise InputError(
                "no arm answered any validation line, so nothing can be decided",
                hint="; ".join(self.notes) or "see the errors that were kept with the answers",
            )
        return trials

    def _decided(self, trials: Sequence[Trial], number: int, size: int) -> tuple[Trial, ...]:
        """Those that stay after a round; says why."""
        if not trials:
            return ()
        stay, dropped = halved(trials, self.limits.terms)
        best = best_of(trials, self.limits.terms)
        gone = f"; dropped, since they are behind it: {', '.join(t.name for t in dropped)}" if dropped else ""
        self.say(
            f"round {number}, {size} lines: {len(trials)} arms, the best is {best.name} with {best.score:.2f}{gone}"
            f" ({self._so_far()})"
        )
        return stay

    def _round(self, arms: Sequence[FitArm], items: Sequence[Item], number: int) -> bool:
        """Ask the arms; whether the round is whole."""
        for one in arms:
            self.stayed[one.name] = number
        try:
            self._ask([one.arm for one in arms], items, f"round {number}", deadline=self._deadline(VALIDATION_TIME))
        except (OverBudget, TimeUp) as error:
            self._note(f"the comparison ends in round {number}: {error.message}")
            return len(items) == rounds(len(self.bench.task.validation))[0]
        return True

    def _payable(self, trials: Sequence[Trial], size: int) -> Sequence[Trial]:
        """The arms that the budget pays for in the next round, with a test of the dearest; the dearest go first."""
        budget, spent = self.limits.budget, self._spent()
        if budget is None or spent is None:
            return trials
        room, tests = KEPT_BACK * float(budget) - float(spent), len(self.bench.task.test)
        stay, best = list(trials), best_of(trials, self.limits.terms)
        while stay and _expected(stay, size, tests) > room:
            others = [trial for trial in stay if trial is not best]
            if len(others) < 1:
                self._note(f"the budget does not pay for more than {len(best.scores)} validation lines")
                return ()
            dearest = max(others, key=lambda trial: trial.cheapness)
            stay.remove(dearest)
            self._note(f"{dearest.name} is dropped: the budget does not pay for its next round")
        return stay if len(stay) > 1 else ()

    def _test(self, chosen: Trial) -> ArmAnswers:
        """The winner on the held-back lines, or as many as the budget pays for."""
        items, budget, spent = self.bench.task.test, self.limits.budget, self._spent()
        if budget is not None and spent is not None and 0.0 < chosen.per_answer < math.inf:
            count = int((KEPT_BACK * float(budget) - float(spent)) / chosen.per_answer)
            items = items[: max(0, count)]
        arm = chosen.candidate.arm
        try:
            if len(items) >= FEWEST:
                self._ask([arm], items, "the test", deadline=self._deadline(1.0))
        except (OverBudget, TimeUp) as error:
            self._note(f"the test is not whole: {error.message}")
        answered = self._given(arm, items)
        if len(answered.scores) >= FEWEST:
            return answered
        self._note("the held-back lines were not asked: money or time did not suffice")
        return ArmAnswers(arm, {}, {})

    def _ask(self, arms: Sequence[Arm], items: Sequence[Item], what: str, *, deadline: float) -> None:
        """Ask what has no answer yet. Raises OverBudget, TimeUp, and what ends a run."""
        plan = stages([replace(arm, n=len(items)) for arm in arms], items)
        self._keys |= {key(self.bench, AnswerJob(arm, item)) for arm in arms for item in items}
        self.bench.stop.clear()
        run = Run(self.bench, self.store, at_once=self.limits.at_once)
        shown = self.watch(what, run.waiting(plan))

        def tick(answer: object) -> None:
            shown(answer)
            if self.clock() > deadline:
                raise TimeUp("the time is used up", hint="give more --minutes; what was answered is kept")

        run.tick = tick
        run(plan)

    def _trial(self, one: FitArm, count: int) -> Trial:
        return Trial(one, self._given(one.arm, self.bench.task.validation[:count]))

    def _given(self, arm: Arm, items: Sequence[Item]) -> ArmAnswers:
        asked = [(item, self.store.last(key(self.bench, AnswerJob(arm, item)))) for item in items]
        return given(arm, asked, scorer(self.bench.task.scorer))

    def _spent(self) -> Decimal | None:
        """Dollars of what was asked for so far; None where some are unknown.

        What a run that was killed had asked for beyond that does not count yet, or this one would decide otherwise.
        """
        costs = [answer.cost for at in self._keys if (answer := self.store.last(at)) is not None]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if len(known) == len(costs) else None

    def _deadline(self, share: float) -> float:
        return math.inf if self.limits.minutes is None else self.started + 60 * self.limits.minutes * share

    def _so_far(self) -> str:
        spent = self._spent()
        paid = "an unknown price" if spent is None else f"{float(spent):.4f} USD"
        return f"{paid} and {self.clock() - self.started:.0f} s so far"

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)


def _expected(trials: Sequence[Trial], size: int, tests: int) -> float:
    """Dollars for the lines that a round adds, and for a test of the dearest arm."""
    more = sum(trial.per_answer * max(0, size - len(trial.scores)) for trial in trials)
    return more + max(trial.per_answer for trial in trials) * tests


def _score(value: Mean) -> str:
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"
