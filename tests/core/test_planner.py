"""The planner against the best fixed choice in hindsight, on what real answers kept of drafts.

A trace holds, for each token of some answers, whether the API would have drafted it, and whether the pair would have
guessed it and been sure (tests/bench/traces.py records them). That is all a round depends on, so any plan can be
played over it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from blackbox_proxy.core.decoding import drafting
from blackbox_proxy.core.decoding.drafting import DRAFTERS, CostRatios, Drafter, Plan, Planner, Seen, Sent
from blackbox_proxy.steering import Prefer
from blackbox_proxy.types import Usage

LIMIT = 16
TRACES = Path(__file__).parent / "traces"
FLAT = CostRatios(1.0, 1.0, 1.0)
LISTED = CostRatios(0.15, 0.075, 0.60)


@dataclass(frozen=True)
class Answered:
    """One answer: tokens of the prompt, and for each of its own whether the API, and the pair, would have said it."""

    input: int
    drafted: str
    guessed: str
    sure: str

    def seen(self, at: int) -> Seen:
        """One token, as the planner is told of it."""
        drafted, guessed, sure = (row[at] == "1" for row in (self.drafted, self.guessed, self.sure))
        return Seen(drafted, guessed, sure, last=at == len(self.drafted) - 1)


@dataclass(frozen=True)
class Pace:
    """Seconds: of a call, of a token that the API writes, of a further prompt in a list, of a token that is read.

    The last is one of the pair's guesses.
    """

    call: float
    token: float
    prompt: float
    read: float
    guess: float


HOSTED = Pace(call=0.5, token=0.02, prompt=0.005, read=0.0002, guess=0.01)
NEAR = Pace(call=0.1, token=0.05, prompt=0.05, read=0.002, guess=0.02)


@dataclass(frozen=True)
class World:
    """Where a trace is played. caches: whether the endpoint's cache holds the prompt of the call before."""

    answers: Sequence[Answered]
    prices: CostRatios
    pace: Pace
    caches: bool

    def play(self, choose: Callable[[], Plan], planner: Planner | None = None) -> tuple[float, float]:
        """Money and seconds of all answers."""
        cost = seconds = 0.0
        for answer in self.answers:
            at = before = 0
            while at < len(answer.drafted):
                plan = choose()
                made, sent = _round(plan, answer, at)
                prompt = answer.input + at
                usage = self.usage(sent, prompt, cached=min(before, prompt), echoed=not _lists(plan))
                took = self.took(plan, sent, prompt)
                before = prompt
                cost, seconds = cost + self.prices.of(usage), seconds + took
                if planner is not None:
                    planner.paid(plan, sent, usage, seconds=took)
                    for here in range(at, at + made):
                        planner.saw(answer.seen(here))
                at += made
        return cost, seconds

    def usage(self, sent: Sent, prompt: int, *, cached: int, echoed: bool) -> Usage:
        """What is billed: what is echoed is read anew, of a list all but what is new in each prompt comes cached."""
        whole = sent.prompts * prompt + sent.behind
        held = 0
        if self.caches and not (echoed and sent.behind):
            held = max(whole - (sent.prompts + prompt - cached), 0) if sent.prompts > 1 else cached
        return Usage(input=whole, cached=held, output=sent.written, requests=1)

    def took(self, plan: Plan, sent: Sent, prompt: int) -> float:
        """Seconds of a round."""
        if sent.is_window:
            return self.pace.call + sent.written * self.pace.token
        if _lists(plan):
            guesses = sent.prompts - 1
            return self.pace.call + self.pace.token + guesses * (self.pace.prompt + self.pace.guess)
        read = (prompt + sent.behind) * self.pace.read
        return self.pace.call + sent.written * self.pace.token + read + sent.behind * self.pace.guess


def _lists(plan: Plan) -> bool:
    return plan.drafter == "pair_prefixes"


@cache
def _round(plan: Plan, answer: Answered, at: int) -> tuple[int, Sent]:
    """How many tokens a round gives, and what it asks for: guesses while the pair is sure, then the API's own draft."""
    left = len(answer.drafted) - at
    guesses = 0
    if plan.drafter != "api":
        # Behind a wrong guess the pair writes on about another text; it is taken to be as sure as before it.
        right = _run(answer.guessed[at:])
        sure = _run(answer.sure[at:])
        foreseen = left - 1 if right >= left - 1 else left
        guesses = min(plan.length, sure, foreseen) if sure <= right else min(plan.length, foreseen)
        if right < guesses:
            behind = guesses * (guesses + 1) // 2 if _lists(plan) else guesses
            return right + 1, Sent(guesses + 1 if _lists(plan) else 1, behind, guesses + 1 if _lists(plan) else 1)
        if guesses and _lists(plan):
            return guesses + 1, Sent(guesses + 1, guesses * (guesses + 1) // 2, guesses + 1)
    ends_there = guesses == left - 1 and plan.drafter != "api" and answer.seen(at + guesses).sure
    window = 1 if ends_there else plan.length if plan.drafter == "api" else plan.window if guesses < plan.length else 1
    run = _run(answer.drafted[at + guesses :])
    written = min(window, left - guesses) if run == left - guesses else window
    return guesses + min(run + 1, window, left - guesses), Sent(1, guesses, written)


def _run(flags: str) -> int:
    """How many are kept before the first that is not."""
    return len(flags) - len(flags.lstrip("1"))


@cache
def trace(name: str) -> tuple[Answered, ...]:
    return tuple(Answered(**row) for row in json.loads((TRACES / f"{name}.json").read_text(encoding="utf-8")))


def names() -> list[str]:
    return sorted(path.stem for path in TRACES.glob("*.json"))


def badness(prefer: Prefer, spent: tuple[float, float]) -> float:
    cost, seconds = spent
    return {"cost": cost, "latency": seconds, "balanced": math.sqrt(cost * seconds)}[prefer]


Played = Mapping[Plan, tuple[float, float]]


@dataclass(frozen=True)
class Case:
    """One trace in one world, one aim, and who can draft."""

    name: str
    prefer: Prefer
    prices: CostRatios
    pace: Pace
    caches: bool
    can: tuple[Drafter, ...]

    @property
    def world(self) -> World:
        return World(trace(self.name), self.prices, self.pace, self.caches)

    def regret(self, fixed: Played) -> float:
        """How much worse than the best fixed plan: 0.05 is 5 %."""
        best = min(badness(self.prefer, spent) for plan, spent in fixed.items() if plan.drafter in self.can)
        planner = Planner(prefer=self.prefer, prices=self.prices)
        own = self.world.play(lambda: planner.plan(self.can, limit=LIMIT), planner)
        return badness(self.prefer, own) / best - 1.0


LENGTHS = [length for length in drafting.LENGTHS if length <= LIMIT]
PLANS = [Plan("api", length) for length in range(1, LIMIT + 1)]
PLANS += [Plan(drafter, *lengths) for drafter in DRAFTERS[1:] for lengths in product(LENGTHS, LENGTHS)]


def cases() -> Iterator[tuple[Case, Played]]:
    """All worlds, but for those that differ in what the aim does not look at."""
    bills = ((FLAT, True), (LISTED, True), (LISTED, False))
    for name, (prices, caches), pace in product(names(), bills, (HOSTED, NEAR)):
        world = World(trace(name), prices, pace, caches)
        fixed = {plan: world.play(lambda plan=plan: plan) for plan in PLANS}  # type: ignore[misc]
        prefers: list[Prefer] = ["balanced"]
        prefers += ["cost"] if pace is HOSTED else []
        prefers += ["latency"] if prices is FLAT else []
        for prefer, can in product(prefers, (DRAFTERS, DRAFTERS[:2])):
            yield Case(name, prefer, prices, pace, caches, can), fixed


def check_regrets(regrets: Mapping[Case, float]) -> None:
    worst = max(regrets, key=lambda case: regrets[case])
    print(
        f"{len(regrets)} cases, median {statistics.median(regrets.values()):+.1%}, worst {regrets[worst]:+.1%}: {worst}"
    )
    assert statistics.median(regrets.values()) <= 0.05
    assert regrets[worst] <= 0.15


def test_the_traces_are_long_enough() -> None:
    assert len(names()) >= 4
    for name in names():
        assert sum(len(answer.drafted) for answer in trace(name)) >= 400
        assert all(len(answer.drafted) == len(answer.guessed) == len(answer.sure) for answer in trace(name))


def test_the_planner_is_nearly_as_good_as_the_best_fixed_plan_in_hindsight() -> None:
    """For cost and for latency, with all drafters."""
    told = ((case, fixed) for case, fixed in cases() if case.prefer != "balanced" and case.can == DRAFTERS)
    check_regrets({case: case.regret(fixed) for case, fixed in told})


@pytest.mark.slow
def test_it_is_so_in_every_world() -> None:
    check_regrets({case: case.regret(fixed) for case, fixed in cases()})
