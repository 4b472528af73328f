"""Collects what the closed model and the pair say along the references of validation lines, within money and time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

from blackbox_proxy.cassettes.matching import NotRecorded
from blackbox_proxy.core.money.amounts import Price, cost
from blackbox_proxy.errors import BlackboxProxyError, OverBudget
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.arms import AnswerJob, Arm, closed_prompt, pair_prompt
from blackbox_proxy.evaluation.evaluate import Watch
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.places import CollectedLine, PlaceStore
from blackbox_proxy.fitting.selecting import Trial
from blackbox_proxy.fitting.weights import LEAST, CrossFit, cross_fitted
from blackbox_proxy.kept import key_of
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.types import Continuation, Usage

FAILURES = 3
"""So many errors one after another end the collection."""

AGAIN = 2
"""How often an endpoint that is asked in words may read and write the answer so far once more."""


@dataclass(frozen=True, slots=True)
class Room:
    """What may be taken. dollars: None for no limit. ends: by the clock."""

    dollars: float | None = None
    ends: float = math.inf


@dataclass(frozen=True, slots=True)
class _Need:
    """What some lines take at most. dollars: None where no price is known. waiting: calls of lines not kept yet."""

    calls: int = 0
    dollars: float | None = 0.0
    waiting: int = 0

    def __add__(self, other: _Need) -> _Need:
        both = None if self.dollars is None or other.dollars is None else self.dollars + other.dollars
        return _Need(self.calls + other.calls, both, self.waiting + other.waiting)

    def __str__(self) -> str:
        paid = "an unknown price" if self.dollars is None else f"{self.dollars:.4f} USD"
        return f"{self.calls:,} calls and {paid}"


@final
@dataclass(slots=True)
class Collector:
    """Collects once, behind what helps the closed model most.

    Attributes:
        bench: What is asked.
        store: Where places are kept.
        say: Told what is decided.
        watch: Told what is asked.
        clock: Seconds.
        seed: Of the folds.
        lines: What was collected.
    """

    bench: Bench
    store: PlaceStore
    say: Callable[[str], object]
    watch: Watch
    clock: Callable[[], float]
    seed: int = 0
    lines: list[CollectedLine] = field(default_factory=list)

    def __call__(self, closed: Trial, room: Room) -> CrossFit | None:
        """Weights, cross-fitted; None where there is no money, or no time, or nothing to fit them to.

        Args:
            closed: The closed model behind the front, with what it answered so far: its prompts and its seconds are
                those of the collection.
            room: What may be taken.
        """
        items, need = self._payable(closed, room)
        if len(items) < LEAST:
            self.say(f"the learnt rule is left out: {self._lacking(closed, room)}")
            return None
        self.say(
            f"log-probs along {len(items)} reference answers are collected, to learn weights of the pair from: {need} "
            "at most"
        )
        self.lines = list(self._collected(items, closed, room))
        fit = cross_fitted(self.lines, seed=self.seed)
        usable = sum(bool(line.places) for line in self.lines)
        self.say(f"too few to learn from: {usable} lines" if fit is None else fit.sentence)
        return fit

    def _lacking(self, closed: Trial, room: Room) -> str:
        """Why too few lines can be collected."""
        validation = self.bench.task.validation
        if len(validation) < LEAST:
            return f"it needs {LEAST} lines to compare on, and there are {len(validation)}"
        least = sum((self._need(item, closed) for item in validation[:LEAST]), _Need())
        if room.dollars is not None and least.dollars is not None and least.dollars > room.dollars:
            return f"{LEAST} reference answers may take {least}, and {max(0.0, room.dollars):.4f} USD are to spare"
        return f"{LEAST} reference answers may take {least}, and there is no time for that"

    def _payable(self, closed: Trial, room: Room) -> tuple[Sequence[Item], _Need]:
        """The first lines, as many as the room is enough for in any case."""
        need, items = _Need(), list[Item]()
        for item in self.bench.task.validation:
            more = need + self._need(item, closed)
            dear = room.dollars is not None and more.dollars is not None and more.dollars > room.dollars
            if dear or self.clock() + more.waiting * closed.seconds > room.ends:
                break
            need, items = more, [*items, item]
        return items, need

    def _need(self, item: Item, closed: Trial) -> _Need:
        """What one line takes at most, by the longest prompt of the closed model so far."""
        steerer, able = self._steerer(), self.bench.api.capabilities()
        calls = able.ways * steerer.collecting_calls(item.reference)[1]
        tokens = len(self.bench.both.spell(item.reference.encode()))
        again = AGAIN * tokens if able.continuation is Continuation.APPROXIMATE else 0
        read = max((answer.input for answer in closed.given.answers.values()), default=0)
        paid = cost(Usage(input=read + tokens + again, output=steerer.steering.draft + again), self._price)
        waiting = 0 if self.store[self._key(item, closed)] else calls
        return _Need(calls, None if paid is None else calls * float(paid), waiting)

    @property
    def _price(self) -> Price | None:
        return self.bench.api.account.price() if self.bench.api.account else None

    def _collected(self, items: Sequence[Item], closed: Trial, room: Room) -> Iterator[CollectedLine]:
        """Line after line, until money or time is up, or errors have no end."""
        tick = self.watch("collecting", sum(self.store[self._key(item, closed)] is None for item in items))
        failures = 0
        for item in items:
            try:
                kept = self.store[self._key(item, closed)]
                if kept is None:
                    if self.clock() > room.ends:
                        self.say("the collection ends: it has taken its share of the time")
                        return
                    kept = self._ask(item, closed)
                    tick(kept)
                yield kept
                failures = 0
            except NotRecorded:
                raise
            except OverBudget as error:
                self.say(f"the collection ends: {error.message}")
                return
            except BlackboxProxyError as error:
                failures += 1
                self.say(f"no log-probs along {item.reference[:40]!r}: {error.message}")
                if failures >= FAILURES:
                    return

    def _ask(self, item: Item, closed: Trial) -> CollectedLine:
        """Collect a line, and keep it."""
        job = AnswerJob(_arm(closed), item)
        asked, pair_asked = closed_prompt(self.bench.task, job), pair_prompt(self.bench.task, job)
        result = self._steerer().collect(asked, item.reference, pair_prompt=pair_asked)
        if result.finish == "budget":
            raise OverBudget(result.notes[-1], hint="raise the budget; what was collected is kept")
        line = CollectedLine(
            self._key(item, closed), item.name, tuple(result.places), result.usage.requests, result.cost
        )
        self.store.keep(line)
        return line

    def _steerer(self) -> Steerer:
        return Steerer(self.bench.api, self.bench.both, self.bench.task.steering)

    def _key(self, item: Item, closed: Trial) -> str:
        of = key(self.bench, AnswerJob(_arm(closed), item))
        return key_of({"of": of, "reference": item.reference})


def _arm(closed: Trial) -> Arm:
    """The steered arm behind the same front, as whose prompts the lines are read."""
    return Arm("collected", "steered", 0, alpha=1.0, before=closed.candidate.front.before)
