"""A gate or a route in place of an arm that harms questions of another kind.

Where the chosen arm loses more score there than is tolerated, variants of it answer the same questions: with the gate
`divergence` at rising thresholds, where it is steered token by token; then as a route, which leaves to the closed model
what the expert is not sure of. The first that loses no more than is tolerated there, and on validation lines may be
taken in the arm's place by what decides between arms, takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

from blackbox_proxy.cassettes.matching import NotRecorded
from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.evaluation.arms import Arm
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.asker import LineAsker
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.heldback import price_of_test
from blackbox_proxy.fitting.limits import OFF_TASK_TIME
from blackbox_proxy.fitting.offtask import OffTaskCheck, OffTaskHarm, price_of_question
from blackbox_proxy.fitting.routing import RoutedTrial, routed
from blackbox_proxy.fitting.selecting import Terms, Trial, foretold
from blackbox_proxy.steering import THRESHOLD, Gate

GATE: Gate = "divergence"

THRESHOLDS = (THRESHOLD, 2 * THRESHOLD, 4 * THRESHOLD)
"""Those that a gate is tried at: the higher, the more is left to the closed model."""


@dataclass(frozen=True, slots=True)
class TriedVariant:
    """A variant with its validation answers, none where those were not asked, and what it does elsewhere.

    route: what it comes to on validation lines, where it is a route.
    """

    trial: Trial
    harm: OffTaskHarm
    route: RoutedTrial | None = None


@dataclass(frozen=True, slots=True)
class HarmRemedy:
    """What became of an arm that harms.

    Attributes:
        before: The arm that had won.
        harm: What it does to questions of another kind.
        tried: Its variants, in the order in which they were tried.
        taken: The one that took its place; None where none may.
    """

    before: Trial
    harm: OffTaskHarm
    tried: tuple[TriedVariant, ...]
    taken: TriedVariant | None = None

    @property
    def sentence(self) -> str:
        """What was tried, with the figures of both."""
        before, n = self.before.name, self.harm.lost.n
        if self.taken is not None:
            return (
                f"{before} had won, but it loses {_lost(self.harm)} of score on {n} questions of another kind. "
                f"{self.taken.trial.name} takes its place: it loses {_lost(self.taken.harm)} there, "
                f"{self._beside(self.taken)}"
            )
        best = min(self.tried, key=lambda one: one.harm.lost.value)
        number = "1 variant of it was" if len(self.tried) == 1 else f"{len(self.tried)} variants of it were"
        return (
            f"{number} tried, and none may take its place: {best.trial.name} loses {_lost(best.harm)} of score on "
            f"these questions instead of {_lost(self.harm)}, {self._beside(best)}"
        )

    def _beside(self, variant: TriedVariant) -> str:
        """Both scores on validation lines."""
        if not variant.trial.scores:
            return "so no validation line was put to it."
        n = len(variant.trial.scores)
        return f"and scores {variant.trial.score:.2f} instead of {self.before.score:.2f} on {n} validation lines."


@final
@dataclass(frozen=True, slots=True)
class HarmlessChoice:
    """Looks for a variant of the chosen arm that harms less.

    Attributes:
        asker: Asks validation lines, and knows what is left.
        check: Asks questions of another kind.
        compared: What the arm was chosen from.
        closed: The closed model by itself.
        harm: What the arm does to questions of another kind.
        items: Those that it was asked.
    """

    asker: LineAsker
    check: OffTaskCheck
    compared: ComparedArms
    closed: Arm
    harm: OffTaskHarm
    items: Sequence[Item]

    def __call__(self) -> HarmRemedy | None:
        """What became of the arm; None where no variant could be tried."""
        before, tried = self.compared.chosen, list[TriedVariant]()
        for variant in self._variants():
            tried.append(variant)
            if not variant.harm.harmful and may_replace(before, variant.trial, self.asker.limits.terms):
                return HarmRemedy(before, self.harm, tuple(tried), variant)
        return HarmRemedy(before, self.harm, tuple(tried)) if tried else None

    def _variants(self) -> Iterator[TriedVariant]:
        """One after another, as far as money and time suffice."""
        yield from self._gated()
        for route in self._routes():
            harm = self._harm(route.trial.candidate, per_question=price_of_question(route.trial))
            if harm is not None:
                yield TriedVariant(route.trial, harm, route)

    def _gated(self) -> Iterator[TriedVariant]:
        """With a gate; a higher threshold is no remedy where the scores have suffered from a lower one."""
        chosen = self.compared.chosen
        for threshold in thresholds(chosen.candidate):
            one = gated(chosen.candidate, threshold)
            lines = self._lines()
            harm = self._harm(one, per_question=price_of_question(chosen), lines=len(lines))
            if harm is None:
                return
            if harm.harmful:
                yield TriedVariant(Trial(one, ArmAnswers(one.arm, {}, {})), harm)
                continue
            trial, route = self._on_validation(one, lines), self.compared.route
            is_routed = route is not None and route.trial is chosen
            yield TriedVariant(
                trial, harm, route.rerouted(trial, self.compared.trials) if route and is_routed else None
            )
            return

    def _lines(self) -> list[Item]:
        """The validation lines of which the chosen arm asked the closed model, so that a gate can change them."""
        answers = self.compared.chosen.given.answers
        return [
            item for item in self.asker.bench.task.validation if item.name in answers and answers[item.name].calls > 0
        ]

    def _on_validation(self, one: FitArm, lines: Sequence[Item]) -> Trial:
        """A gated variant on validation lines; where the expert answered alone, it does so again."""
        asked = unrouted(one)
        try:
            self.asker([asked], lines, "validation lines, gated", deadline=self.asker.deadline(OFF_TASK_TIME))
        except NotRecorded:
            raise
        except BlackboxProxyError as error:
            self.asker.note(f"{one.name} is not tried on all validation lines: {error.message}")
        there, before = self.asker.given(asked, lines), self.compared.chosen.given
        local = [name for name, answer in before.answers.items() if not answer.calls]
        answers = {name: before.answers[name] for name in local} | dict(there.answers)
        scores = {name: before.scores[name] for name in local} | dict(there.scores)
        return Trial(one, ArmAnswers(one.arm, answers, scores, there.errors))

    def _routes(self) -> Iterator[RoutedTrial]:
        """The expert where it is sure, elsewhere the closed model, of answers that are there; the best route first."""
        chosen, trials = self.compared.chosen, self.compared.trials
        expert = next((one for one in trials if one.candidate.arm.speaker == "expert"), None)
        if expert is None or chosen.candidate.way == "closed":
            return
        routes = [
            route
            for other in trials
            if other.candidate.way == "closed" and other.scores.keys() >= chosen.scores.keys()
            if (route := routed(expert, other, best=chosen, terms=self.asker.limits.terms)) is not None
        ]
        terms = self.asker.limits.terms
        fit = [route for route in routes if may_replace(chosen, route.trial, terms)]
        yield from sorted(fit, key=lambda route: (-terms.worth(route.trial), route.trial.cheapness))

    def _harm(self, one: FitArm, *, per_question: float, lines: int = 0) -> OffTaskHarm | None:
        """What a variant does to the questions; None where money or time is not enough for it, which is said."""
        needed = per_question * len(self.items) + self.compared.chosen.per_answer * lines
        room = self.asker.room()
        if room is not None and needed > (spare := room - price_of_test(self.asker, self.compared.chosen)):
            asked = f"{len(self.items)} questions" + (f" and {lines} validation lines" if lines else "")
            said = f"{asked} may take {needed:.4f} USD, and {max(0.0, spare):.4f} USD are to spare"
            self.asker.note(f"{one.name} is not tried: {said}")
            return None
        if self.asker.is_late(OFF_TASK_TIME):
            self.asker.note(f"{one.name} is not tried: the time is used up")
            return None
        harm = self.check.harm_of(one.arm, self.closed, self.items)
        if harm is None or harm.lost.n < self.harm.lost.n:
            self.asker.note(f"{one.name} did not answer all questions of another kind, so it cannot be compared")
            return None
        self.asker.say(f"{one.name} loses {_lost(harm)} of score on {harm.lost.n} questions of another kind")
        return harm


def may_replace(before: Trial, variant: Trial, terms: Terms) -> bool:
    """Whether a variant answered all lines of an arm, and may be taken in its place by what decides between arms."""
    return variant.scores.keys() >= before.scores.keys() and terms.near(before, variant)


def replaced(compared: ComparedArms, remedy: HarmRemedy, *, lines: int) -> ComparedArms:
    """The comparison with a variant in the place of the arm that had won. lines: held-back ones.

    A route may have been compared already.
    """
    known = {trial.name for trial in compared.trials}
    variants = tuple(one.trial for one in remedy.tried if one.trial.scores and one.trial.name not in known)
    trials = (*compared.trials, *variants)
    stayed = compared.stayed | {trial.name: compared.stayed.get(compared.chosen.name, 0) for trial in variants}
    if remedy.taken is None:
        return replace(compared, trials=trials, stayed=stayed)
    chosen = remedy.taken.trial
    predicted = foretold(chosen, (*compared.finalists, chosen), lines=lines)
    route = remedy.taken.route or compared.route
    return replace(compared, chosen=chosen, trials=trials, stayed=stayed, predicted=predicted, route=route)


def thresholds(one: FitArm) -> tuple[float, ...]:
    """Those that a gate of an arm is tried at; none where it is not steered token by token."""
    if one.arm.api_speaker != "steered" or one.draws:
        return ()
    knobs = dict(one.arm.knobs)
    least = knobs.get("threshold", THRESHOLD) if knobs.get("gate") == GATE else 0.0
    return tuple(at for at in THRESHOLDS if isinstance(least, float) and at > least)


def gated(one: FitArm, threshold: float) -> FitArm:
    """An arm, and what answers its lines, with a gate."""

    def shut(arm: Arm) -> Arm:
        knobs = {**dict(arm.knobs), "gate": GATE, "threshold": threshold}
        return replace(arm, name=f"{arm.name}_gate_{threshold:g}", knobs=tuple(sorted(knobs.items())))

    lines = {name: shut(arm) for name, arm in one.by_line.items()}
    description = f"{one.description}, left alone where the members of the pair differ by no more than {threshold:g}"
    return replace(one, arm=shut(one.arm), description=description, by_line=lines)


def unrouted(one: FitArm) -> FitArm:
    """What a route asks elsewhere; an arm that is none as it is."""
    route = one.arm.route
    return one if route is None else replace(one, arm=replace(one.arm, speaker=route.elsewhere, route=None))


def _lost(harm: OffTaskHarm) -> str:
    return f"{harm.lost.value:.2f} ({harm.lost.low:.2f} to {harm.lost.high:.2f})"
