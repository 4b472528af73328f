"""Compares arms by successive halving on validation lines, within money and time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

from blackbox_proxy.errors import InputError, OverBudget
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.affording import FIRST_SHARE, LATER_SHARE, Forecast, next_round, too_little
from blackbox_proxy.fitting.asker import LineAsker, TimeUp
from blackbox_proxy.fitting.candidates import FitArm, Material, arms_behind, first_arms
from blackbox_proxy.fitting.collecting import Collector, Room
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.limits import COLLECTING_TIME, VALIDATION_TIME
from blackbox_proxy.fitting.routing import RoutedTrial, routed
from blackbox_proxy.fitting.selecting import Trial, best_of, foretold, halved, rounds, winner
from blackbox_proxy.fitting.weights import fitted_arms
from blackbox_proxy.workers import Hopeless

FEWEST = 5
"""Fewest lines on which arms are compared."""


@final
@dataclass(slots=True)
class ArmComparison:
    """One comparison.

    Attributes:
        asker: Asks the lines.
        material: What arms are made of.
        collector: Collects what weights are fitted to.
        candidates: All arms so far.
        stayed: Rounds that each arm took part in.
    """

    asker: LineAsker
    material: Material
    collector: Collector
    candidates: list[FitArm] = field(default_factory=list)
    stayed: dict[str, int] = field(default_factory=dict)
    _ended: bool = False

    def __call__(self) -> ComparedArms:
        """Compare and choose; the held-back lines are not asked."""
        finalists = self._halve(self._usable())
        route = self._route(finalists)
        routes = () if route is None else (route.trial,)
        finalists = (*finalists, *routes)
        chosen, task = winner(finalists, self.asker.limits.terms), self.asker.bench.task
        predicted = foretold(chosen, finalists, lines=len(task.test))
        self.asker.say(f"chosen: {chosen.name}, {predicted} foretold from {predicted.n} validation lines")
        trials = (*(self.asker.trial(one, len(task.validation)) for one in self.candidates), *routes)
        nobody = ArmAnswers(chosen.candidate.arm, {}, {})
        return ComparedArms(chosen, trials, finalists, self.stayed, predicted, nobody, route=route)

    def _route(self, finalists: Sequence[Trial]) -> RoutedTrial | None:
        """The expert where it is sure, and elsewhere the best arm that calls: of what both answered, so for no call."""
        expert = next((one for one in self.candidates if one.arm.speaker == "expert"), None)
        calling = [trial for trial in finalists if trial.candidate.arm.calls]
        if expert is None or not calling:
            return None
        other, best = best_of(calling, self.asker.limits.terms), best_of(finalists, self.asker.limits.terms)
        items = [item for item in self.asker.bench.task.validation if item.name in other.scores]
        try:
            self.asker([expert], items, "the expert alone", deadline=self.asker.deadline(VALIDATION_TIME))
        except TimeUp as error:
            self.asker.note(f"no route is made: {error.message}")
            return None
        drafted = Trial(expert, self.asker.given(expert, items))
        route = routed(drafted, other, best=best, terms=self.asker.limits.terms)
        if route is not None:
            self.stayed[route.trial.name] = self.stayed.get(other.name, 0)
            self.asker.say(route.summary)
        return route

    def _usable(self) -> list[FitArm]:
        """The arms that come first, after a first question: what the endpoint shows decides which there are."""
        self.candidates = [*first_arms(self.material)]
        if self.material.sees and (error := self._first_question()):
            self.material = replace(self.material, shows=False)
            self.candidates = [*first_arms(self.material)]
            self.asker.note(
                f"the endpoint shows no log-probs ({error}): the closed model is steered by whole answers alone"
            )
        if not self.material.sees:
            self._first_question()
        usable = self._affordable(self.candidates, FIRST_SHARE)
        if sum(one.arm.calls for one in usable) < min(2, sum(one.arm.calls for one in self.candidates)):
            raise too_little(self.asker.limits.budget, self.candidates, self._forecast(), size=self._first_size)
        return usable

    def _first_question(self) -> str:
        """Ask the closed model by itself one line; why that failed for want of log-probs, if it did."""
        item, closed = self.asker.bench.task.validation[0], self.candidates[0]
        try:
            self.asker([closed], (item,), "a first question", deadline=math.inf)
        except OverBudget:
            raise InputError(
                f"the budget of {self.asker.limits.budget} USD does not pay for one answer", hint="raise it"
            ) from None
        kept = self.asker.store.last(self.asker.key(closed, item))
        return kept.error if kept is not None and "log-prob" in kept.error else ""

    def _affordable(self, arms: Sequence[FitArm], share: float) -> list[FitArm]:
        """The arms whose first round a share of the budget pays for; says what they should cost."""
        size, forecast = self._first_size, self._forecast()
        room = self.asker.room(share)
        stay = list(arms)
        if forecast is not None and room is not None:
            stay = forecast.payable(arms, size, room)
        if stay:
            paid = "" if forecast is None else f", for about {forecast.round(stay, size):.4f} USD"
            number = "1 arm answers" if len(stay) == 1 else f"{len(stay)} arms answer"
            self.asker.say(f"{number} {size} lines{paid}: {', '.join(one.name for one in stay)}")
        if len(stay) < len(arms):
            gone = [one.name for one in arms if one not in stay]
            self.asker.note(f"the budget does not pay for {', '.join(gone)}: they are not compared")
        return stay

    @property
    def _first_size(self) -> int:
        """Lines of the first round."""
        return rounds(len(self.asker.bench.task.validation))[0]

    def _forecast(self) -> Forecast | None:
        """What arms should cost; None where the price of an answer is unknown."""
        (first,) = self.asker.trial(self.candidates[0], 1).given.answers.values() or (None,)
        if first is None or first.cost is None:
            return None
        able, account = self.material.able, self.asker.bench.api.account
        return Forecast(first, self.asker.bench.task, able.answers_at_once, account.price() if account else None)

    def _halve(self, usable: Sequence[FitArm]) -> tuple[Trial, ...]:
        """Round after round: ask, then drop what can no longer win. Behind the first one the other arms join."""
        arms, items = list(usable), self.asker.bench.task.validation
        trials: tuple[Trial, ...] = ()
        for number, size in enumerate(rounds(len(items)), 1):
            if trials:
                arms = [trial.candidate for trial in self._payable(trials, size)]
            if not arms or not self._round(arms, items[:size], number):
                break
            if number == 1 and not self._ended:
                arms += self._joined(arms, size)
            asked = [self.asker.trial(one, size) for one in arms]
            trials = self._decided(self._enough(asked, size), number, size)
            arms = [trial.candidate for trial in trials]
        if not trials:
            trials = tuple(t for one in usable if (t := self.asker.trial(one, len(items))).scores)
        if not trials:
            raise InputError(
                "no arm answered any validation line, so nothing can be decided",
                hint="; ".join(self.asker.notes) or "see the errors that were kept with the answers",
            )
        return trials

    def _enough(self, asked: Sequence[Trial], size: int) -> Sequence[Trial]:
        """The arms that answered enough lines; of one that could not it is said why."""
        enough = [trial for trial in asked if len(trial.scores) >= min(FEWEST, size)]
        for trial in asked:
            if trial not in enough and trial.given.errors:
                self.asker.note(
                    f"{trial.name} fails: {self.asker.error(trial.candidate, self.asker.bench.task.validation[:size])}"
                )
        return enough

    def _joined(self, arms: Sequence[FitArm], size: int) -> list[FitArm]:
        """The arms that come second, behind what helped the closed model most; they answer the same lines."""
        closed = [trial for one in arms if one.way == "closed" and (trial := self.asker.trial(one, size)).scores]
        if not closed:
            return []
        best = min(closed, key=lambda trial: (-self.asker.limits.terms.worth(trial), trial.candidate.effort))
        helps, score = best.candidate.front.words, f"{best.score:.2f} on {len(best.scores)} lines"
        self.asker.say(
            f"the closed model is best after {helps}, with {score}: other ways to answer are tried behind them"
            if helps
            else f"nothing before the question helps the closed model, which has {score}: other ways are tried so too"
        )
        fit = self.collector(best, self._room()) if self.material.steers_tokens else None
        front = best.candidate.front
        later = [*arms_behind(front, self.material), *(fitted_arms(fit, front) if fit else ())]
        self.candidates += later
        usable = self._affordable(later, LATER_SHARE)
        self._round(usable, self.asker.bench.task.validation[:size], 1)
        return usable

    def _room(self) -> Room:
        """What the collection may take: half of what the second arms have."""
        room = self.asker.room(LATER_SHARE)
        return Room(None if room is None else room / 2, self.asker.deadline(COLLECTING_TIME))

    def _decided(self, trials: Sequence[Trial], number: int, size: int) -> tuple[Trial, ...]:
        """Those that stay after a round; says why."""
        if not trials:
            return ()
        stay, dropped = halved(trials, self.asker.limits.terms)
        best = best_of(trials, self.asker.limits.terms)
        gone = f"; dropped, since they are behind it: {', '.join(t.name for t in dropped)}" if dropped else ""
        self.asker.say(
            f"round {number}, {size} lines: {len(trials)} arms, the best is {best.name} with {best.score:.2f}{gone}"
            f" ({self.asker.so_far()})"
        )
        return stay

    def _round(self, arms: Sequence[FitArm], items: Sequence[Item], number: int) -> bool:
        """Ask the arms; whether the round is whole. An arm that fails on line after line is asked no more of them."""
        for one in arms:
            self.stayed[one.name] = number
        what, deadline = f"round {number}", self.asker.deadline(VALIDATION_TIME)
        try:
            try:
                self.asker(arms, items, what, deadline=deadline)
            except Hopeless:
                for one in arms:
                    self._try(one, items, what, deadline=deadline)
        except (OverBudget, TimeUp) as error:
            self._ended = True
            self.asker.note(f"the comparison ends in round {number}: {error.message}")
            return len(items) == self._first_size
        return True

    def _try(self, one: FitArm, items: Sequence[Item], what: str, *, deadline: float) -> None:
        """Ask an arm by itself. Raises the error of the closed model by itself, without which nothing goes on."""
        try:
            self.asker([one], items, what, deadline=deadline)
        except Hopeless:
            if one is self.candidates[0]:
                raise

    def _payable(self, trials: Sequence[Trial], size: int) -> Sequence[Trial]:
        """The arms that the budget pays for in the next round, with a test of the dearest; the dearest go first."""
        room, tests = self.asker.room(), len(self.asker.bench.task.test)
        if room is None:
            return trials
        stay, best = list(trials), best_of(trials, self.asker.limits.terms)
        while stay and next_round(stay, size, tests) > room:
            others = [trial for trial in stay if trial is not best]
            if len(others) < 1:
                self.asker.note(f"the budget does not pay for more than {len(best.scores)} validation lines")
                return ()
            dearest = max(others, key=lambda trial: trial.cheapness)
            stay.remove(dearest)
            self.asker.note(f"{dearest.name} is dropped: the budget does not pay for its next round")
        return stay if len(stay) > 1 else ()
