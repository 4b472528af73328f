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
from blackbox_proxy.evaluation.answers import AnswerStore
from blackbox_proxy.evaluation.arms import AnswerJob, Arm
from blackbox_proxy.evaluation.evaluate import Watch
from blackbox_proxy.evaluation.run import Run
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.statistics import Mean, mean
from blackbox_proxy.evaluation.summary import ArmAnswers, given
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.affording import FIRST_SHARE, KEPT_BACK, LATER_SHARE, Forecast, next_round, too_little
from blackbox_proxy.fitting.candidates import FitArm, Material, arms_behind, first_arms, stages_of
from blackbox_proxy.fitting.collecting import Collector, Room
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.routing import RoutedTrial, routed
from blackbox_proxy.fitting.selecting import POINT, Preference, Terms, Trial, best_of, foretold, halved, rounds, winner
from blackbox_proxy.fitting.weights import fitted_arms
from blackbox_proxy.workers import Hopeless

FEWEST = 5
"""Fewest lines on which arms are compared, or the winner is tested."""

TRAINING_TIME, COLLECTING_TIME, VALIDATION_TIME = 0.4, 0.6, 0.8
"""Shares of the time after which training, the collection and the comparison end; the rest is for the test."""


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


@final
@dataclass(slots=True)
class ArmComparison:
    """One comparison.

    Attributes:
        bench: What answers are made with.
        store: Where they are kept.
        material: What arms are made of.
        limits: What it may take.
        collector: Collects what weights are fitted to.
        say: Told each decision in one line.
        watch: Told what is asked.
        clock: Seconds.
        started: By `clock`.
        candidates: All arms so far.
        stayed: Rounds that each arm took part in.
        notes: What cut the comparison short.
    """

    bench: Bench
    store: AnswerStore
    material: Material
    limits: FitLimits
    collector: Collector
    say: Callable[[str], object]
    watch: Watch
    clock: Callable[[], float] = time.monotonic
    started: float = field(default_factory=time.monotonic)
    candidates: list[FitArm] = field(default_factory=list)
    stayed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _keys: set[str] = field(default_factory=set)
    _known: dict[tuple[Arm, str], str] = field(default_factory=dict)
    _ended: bool = False

    def __call__(self) -> ComparedArms:
        """Compare, choose, test."""
        finalists = self._halve(self._usable())
        route = self._route(finalists)
        routes = () if route is None else (route.trial,)
        finalists = (*finalists, *routes)
        chosen = winner(finalists, self.limits.terms)
        predicted = foretold(chosen, finalists, lines=len(self.bench.task.test))
        self.say(f"chosen: {chosen.name}, {_score(predicted)} foretold from {predicted.n} validation lines")
        answers = self._test(chosen)
        tested = mean(list(answers.scores.values()))
        if tested is not None:
            self.say(f"on {tested.n} held-back lines it scores {_score(tested)}")
        trials = (*(self._trial(one, len(self.bench.task.validation)) for one in self.candidates), *routes)
        spent, notes = self._spent(), tuple(self.notes)
        return ComparedArms(chosen, trials, self.stayed, predicted, tested, answers, spent, notes, route)

    def _route(self, finalists: Sequence[Trial]) -> RoutedTrial | None:
        """The expert where it is sure, and elsewhere the best arm that calls: of what both answered, so for no call."""
        expert = next((one for one in self.candidates if one.arm.speaker == "expert"), None)
        calling = [trial for trial in finalists if trial.candidate.arm.calls]
        if expert is None or not calling:
            return None
        other, best = best_of(calling, self.limits.terms), best_of(finalists, self.limits.terms)
        items = [item for item in self.bench.task.validation if item.name in other.scores]
        try:
            self._ask([expert], items, "the expert alone", deadline=self._deadline(VALIDATION_TIME))
        except TimeUp as error:
            self._note(f"no route is made: {error.message}")
            return None
        drafted = Trial(expert, self._given(expert, items))
        route = routed(drafted, other, best=best, terms=self.limits.terms)
        if route is not None:
            self.stayed[route.trial.name] = self.stayed.get(other.name, 0)
            self.say(route.summary)
        return route

    def _usable(self) -> list[FitArm]:
        """The arms that come first, after a first question: what the endpoint shows decides which there are."""
        self.candidates = [*first_arms(self.material)]
        if self.material.sees and (error := self._first_question()):
            self.material = replace(self.material, shows=False)
            self.candidates = [*first_arms(self.material)]
            self._note(f"the endpoint shows no log-probs ({error}): the closed model is steered by whole answers alone")
        if not self.material.sees:
            self._first_question()
        usable = self._affordable(self.candidates, FIRST_SHARE)
        if sum(one.arm.calls for one in usable) < min(2, sum(one.arm.calls for one in self.candidates)):
            raise too_little(self.limits.budget, self.candidates, self._forecast(), size=self._first_size)
        return usable

    def _first_question(self) -> str:
        """Ask the closed model by itself one line; why that failed for want of log-probs, if it did."""
        item, closed = self.bench.task.validation[0], self.candidates[0]
        try:
            self._ask([closed], (item,), "a first question", deadline=math.inf)
        except OverBudget:
            raise InputError(
                f"the budget of {self.limits.budget} USD does not pay for one answer", hint="raise it"
            ) from None
        kept = self.store.last(self._key(closed, item))
        return kept.error if kept is not None and "log-prob" in kept.error else ""

    def _affordable(self, arms: Sequence[FitArm], share: float) -> list[FitArm]:
        """The arms whose first round a share of the budget pays for; says what they should cost."""
        size, forecast = self._first_size, self._forecast()
        limit, spent = self.limits.budget, self._spent()
        stay = list(arms)
        if forecast is not None and limit is not None and spent is not None:
            stay = forecast.payable(arms, size, KEPT_BACK * float(limit) * share - float(spent))
        if stay:
            paid = "" if forecast is None else f", for about {forecast.round(stay, size):.4f} USD"
            number = "1 arm answers" if len(stay) == 1 else f"{len(stay)} arms answer"
            self.say(f"{number} {size} lines{paid}: {', '.join(one.name for one in stay)}")
        if len(stay) < len(arms):
            gone = [one.name for one in arms if one not in stay]
            self._note(f"the budget does not pay for {', '.join(gone)}: they are not compared")
        return stay

    @property
    def _first_size(self) -> int:
        """Lines of the first round."""
        return rounds(len(self.bench.task.validation))[0]

    def _forecast(self) -> Forecast | None:
        """What arms should cost; None where the price of an answer is unknown."""
        (first,) = self._trial(self.candidates[0], 1).given.answers.values() or (None,)
        if first is None or first.cost is None:
            return None
        able, account = self.material.able, self.bench.api.account
        return Forecast(first, self.bench.task, able.answers_at_once, account.price() if account else None)

    def _halve(self, usable: Sequence[FitArm]) -> tuple[Trial, ...]:
        """Round after round: ask, then drop what can no longer win. Behind the first one the other arms join."""
        arms, items = list(usable), self.bench.task.validation
        trials: tuple[Trial, ...] = ()
        for number, size in enumerate(rounds(len(items)), 1):
            if trials:
                arms = [trial.candidate for trial in self._payable(trials, size)]
            if not arms or not self._round(arms, items[:size], number):
                break
            if number == 1 and not self._ended:
                arms += self._joined(arms, size)
            asked = [self._trial(one, size) for one in arms]
            trials = self._decided(self._enough(asked, size), number, size)
            arms = [trial.candidate for trial in trials]
        if not trials:
            trials = tuple(t for one in usable if (t := self._trial(one, len(items))).scores)
        if not trials:
            raise InputError(
                "no arm answered any validation line, so nothing can be decided",
                hint="; ".join(self.notes) or "see the errors that were kept with the answers",
            )
        return trials

    def _enough(self, asked: Sequence[Trial], size: int) -> Sequence[Trial]:
        """The arms that answered enough lines; of one that could not it is said why."""
        enough = [trial for trial in asked if len(trial.scores) >= min(FEWEST, size)]
        for trial in asked:
            if trial not in enough and trial.given.errors:
                self._note(f"{trial.name} fails: {self._error(trial.candidate, size)}")
        return enough

    def _error(self, one: FitArm, size: int) -> str:
        """Why an arm did not answer the first line that it failed on."""
        items = self.bench.task.validation[:size]
        kept = (self.store.last(self._key(one, item)) for item in items)
        return next((answer.error for answer in kept if answer is not None and answer.error), "")

    def _joined(self, arms: Sequence[FitArm], size: int) -> list[FitArm]:
        """The arms that come second, behind what helped the closed model most; they answer the same lines."""
        closed = [trial for one in arms if one.way == "closed" and (trial := self._trial(one, size)).scores]
        if not closed:
            return []
        best = min(closed, key=lambda trial: (-self.limits.terms.worth(trial), trial.candidate.effort))
        helps, score = best.candidate.front.words, f"{best.score:.2f} on {len(best.scores)} lines"
        self.say(
            f"the closed model is best after {helps}, with {score}: other ways to answer are tried behind them"
            if helps
            else f"nothing before the question helps the closed model, which has {score}: other ways are tried so too"
        )
        fit = self.collector(best, self._room()) if self.material.steers_tokens else None
        front = best.candidate.front
        later = [*arms_behind(front, self.material), *(fitted_arms(fit, front) if fit else ())]
        self.candidates += later
        usable = self._affordable(later, LATER_SHARE)
        self._round(usable, self.bench.task.validation[:size], 1)
        return usable

    def _room(self) -> Room:
        """What the collection may take: half of what the second arms have."""
        budget, spent, ends = self.limits.budget, self._spent(), self._deadline(COLLECTING_TIME)
        if budget is None or spent is None:
            return Room(None, ends)
        return Room((KEPT_BACK * float(budget) * LATER_SHARE - float(spent)) / 2, ends)

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
        """Ask the arms; whether the round is whole. An arm that fails on line after line is asked no more of them."""
        for one in arms:
            self.stayed[one.name] = number
        what, deadline = f"round {number}", self._deadline(VALIDATION_TIME)
        try:
            try:
                self._ask(arms, items, what, deadline=deadline)
            except Hopeless:
                for one in arms:
                    self._try(one, items, what, deadline=deadline)
        except (OverBudget, TimeUp) as error:
            self._ended = True
            self._note(f"the comparison ends in round {number}: {error.message}")
            return len(items) == self._first_size
        return True

    def _try(self, one: FitArm, items: Sequence[Item], what: str, *, deadline: float) -> None:
        """Ask an arm by itself. Raises the error of the closed model by itself, without which nothing goes on."""
        try:
            self._ask([one], items, what, deadline=deadline)
        except Hopeless:
            if one is self.candidates[0]:
                raise

    def _payable(self, trials: Sequence[Trial], size: int) -> Sequence[Trial]:
        """The arms that the budget pays for in the next round, with a test of the dearest; the dearest go first."""
        budget, spent = self.limits.budget, self._spent()
        if budget is None or spent is None:
            return trials
        room, tests = KEPT_BACK * float(budget) - float(spent), len(self.bench.task.test)
        stay, best = list(trials), best_of(trials, self.limits.terms)
        while stay and next_round(stay, size, tests) > room:
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
                self._ask([chosen.candidate], items, "the test", deadline=self._deadline(1.0))
        except (OverBudget, TimeUp) as error:
            self._note(f"the test is not whole: {error.message}")
        answered = self._given(chosen.candidate, items)
        if len(answered.scores) >= FEWEST:
            return answered
        self._note("the held-back lines were not asked: money or time did not suffice")
        return ArmAnswers(arm, {}, {})

    def _ask(self, arms: Sequence[FitArm], items: Sequence[Item], what: str, *, deadline: float) -> None:
        """Ask what has no answer yet. Raises OverBudget, TimeUp, and what ends a run."""
        plan = stages_of(arms, items)
        self._keys |= {self._key(one, item) for one in arms for item in items}
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
        return Trial(one, self._given(one, self.bench.task.validation[:count]))

    def _given(self, one: FitArm, items: Sequence[Item]) -> ArmAnswers:
        asked = [(item, self.store.last(self._key(one, item))) for item in items]
        return given(one.arm, asked, scorer(self.bench.task.scorer))

    def _key(self, one: FitArm, item: Item) -> str:
        """What an answer is kept under."""
        job = AnswerJob(one.answering(item), item)
        at = (job.arm, item.name)
        if at not in self._known:
            self._known[at] = key(self.bench, job)
        return self._known[at]

    def _spent(self) -> Decimal | None:
        """Dollars of what was asked for so far; None where some are unknown.

        What a run that was killed had asked for beyond that does not count yet, or this one would decide otherwise.
        """
        answers = [answer.cost for at in self._keys if (answer := self.store.last(at)) is not None]
        costs = [*answers, self.collector.cost]
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


def _score(value: Mean) -> str:
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"
