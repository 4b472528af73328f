"""The planner against the best fixed choice in hindsight, on what real answers kept of drafts.

A trace holds, for each token of some answers, whether the API would have drafted it and whether the pair would have
guessed it (tests/bench/traces.py records them). That is all a round depends on, so any plan can be played over it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from blackbox_proxy.core.drafting import DRAFTERS, Drafter, Plan, Planner, Prices
from blackbox_proxy.steering import Prefer
from blackbox_proxy.types import Usage

LIMIT = 16
TRACES = Path(__file__).parent / "traces"
FLAT = Prices(1.0, 1.0, 1.0)
LISTED = Prices(0.15, 0.075, 0.60)


@dataclass(frozen=True)
class Answered:
    """One answer: tokens of the prompt, and for each of its own whether the API, and the pair, would have said it."""

    input: int
    drafted: str
    guessed: str


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
    prices: Prices
    pace: Pace
    caches: bool

    def play(self, choose: Callable[[], Plan], paid: Planner | None = None) -> tuple[float, float]:
        """Money and seconds of all answers."""
        cost = seconds = 0.0
        for answer in self.answers:
            at = before = 0
            while at < len(answer.drafted):
                plan = choose()
                made, used, usage, took = self.round(plan, answer, at=at, before=before)
                before = at + answer.input
                cost, seconds = cost + self.prices.of(usage), seconds + took
                if paid is not None:
                    paid.paid(used, usage, seconds=took)
                    for here in range(at, at + made):
                        paid.saw(
                            drafted=answer.drafted[here] == "1",
                            guessed=answer.guessed[here] == "1",
                            last=here == len(answer.drafted) - 1,
                        )
                at += made
        return cost, seconds

    def round(self, plan: Plan, answer: Answered, *, at: int, before: int) -> tuple[int, Plan, Usage, float]:
        """Tokens gained, what was really asked for, and what it took."""
        left, prompt = len(answer.drafted) - at, answer.input + at
        cached = min(before, prompt) if self.caches else 0
        if plan.drafter == "window":
            run = _run(answer.drafted[at:])
            length = min(plan.length, left) if run == left else plan.length
            usage = Usage(input=prompt, cached=cached, output=length, requests=1)
            return min(run + 1, length, left), plan, usage, self.pace.call + length * self.pace.token
        run = _run(answer.guessed[at:])
        length = min(plan.length, left - 1) if run >= left - 1 else plan.length
        if not length:
            return self.round(Plan("window", 1), answer, at=at, before=before)
        used, made = Plan(plan.drafter, length), min(run, length) + 1
        took = self.pace.call + self.pace.token + length * self.pace.guess
        if plan.drafter == "echo":
            sent = prompt + length
            return made, used, Usage(input=sent, output=1, requests=1), took + sent * self.pace.read
        whole = sum(prompt + n for n in range(length + 1))
        held = whole - (length + 1 + prompt - cached) if self.caches else 0
        usage = Usage(input=whole, cached=max(held, 0), output=length + 1, requests=1)
        return made, used, usage, took + length * self.pace.prompt


def _run(flags: str) -> int:
    """How many are kept before the first that is not."""
    return len(flags) - len(flags.lstrip("1"))


def trace(name: str) -> list[Answered]:
    return [Answered(**row) for row in json.loads((TRACES / f"{name}.json").read_text(encoding="utf-8"))]


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
    prices: Prices
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


PLANS = [Plan(drafter, length) for drafter in DRAFTERS for length in range(1, LIMIT + 1)]


def cases() -> Iterator[tuple[Case, Played]]:
    """All worlds, but for those that differ in what the aim does not look at."""
    for name, prices, pace, caches in product(names(), (FLAT, LISTED), (HOSTED, NEAR), (True, False)):
        world = World(trace(name), prices, pace, caches)
        fixed = {plan: world.play(lambda plan=plan: plan) for plan in PLANS}  # type: ignore[misc]
        prefers: list[Prefer] = ["balanced"]
        prefers += ["cost"] if pace is HOSTED else []
        prefers += ["latency"] if prices is FLAT and caches else []
        for prefer, can in product(prefers, (DRAFTERS, DRAFTERS[:2])):
            yield Case(name, prefer, prices, pace, caches, can), fixed


def test_the_traces_are_long_enough() -> None:
    assert len(names()) >= 4
    for name in names():
        assert sum(len(answer.drafted) for answer in trace(name)) >= 400
        assert all(len(answer.drafted) == len(answer.guessed) for answer in trace(name))


def test_the_planner_is_nearly_as_good_as_the_best_fixed_plan_in_hindsight() -> None:
    regrets = {case: case.regret(fixed) for case, fixed in cases()}
    worst = max(regrets, key=lambda case: regrets[case])
    print(
        f"{len(regrets)} cases, median {statistics.median(regrets.values()):+.1%}, worst {regrets[worst]:+.1%}: {worst}"
    )
    assert statistics.median(regrets.values()) <= 0.05
    assert regrets[worst] <= 0.15
