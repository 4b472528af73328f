"""Puts the user's lines to arms, within money and time, and knows what all of a fit has cost so far.

Answers are kept by `evaluation`'s store, and every decision follows from kept answers alone, so that a run which was
killed goes on, and decides the same. The ledger's budget is the hard limit; what is planned keeps below it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import final

from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.answers import AnswerStore
from blackbox_proxy.evaluation.arms import AnswerJob, Arm
from blackbox_proxy.evaluation.evaluate import Watch
from blackbox_proxy.evaluation.run import Run
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.summary import ArmAnswers, given
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.affording import KEPT_BACK
from blackbox_proxy.fitting.candidates import FitArm, stages_of
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.places import CollectedLine
from blackbox_proxy.fitting.selecting import Trial


class TimeUp(BlackboxProxyError):
    """The time that a fit may take is used up."""


@final
@dataclass(slots=True)
class LineAsker:
    """Asks, for one fit.

    Attributes:
        bench: What answers are made with.
        store: Where they are kept.
        limits: What the fit may take.
        say: Told each decision in one line.
        watch: Told what is asked.
        clock: Seconds.
        started: By `clock`.
        notes: What cut the fit short.
        collected: What was collected besides answers, which has its own price.
    """

    bench: Bench
    store: AnswerStore
    limits: FitLimits
    say: Callable[[str], object]
    watch: Watch
    clock: Callable[[], float] = time.monotonic
    started: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)
    collected: Callable[[], Sequence[CollectedLine]] = tuple
    _keys: set[str] = field(default_factory=set)
    _known: dict[tuple[Arm, str], str] = field(default_factory=dict)

    def __call__(self, arms: Sequence[FitArm], items: Sequence[Item], what: str, *, deadline: float) -> None:
        """Ask what has no answer yet. Raises OverBudget, TimeUp, and what ends a run.

        Args:
            arms: Who is asked.
            items: Lines.
            what: What this is, for one who watches.
            deadline: By the clock.
        """
        plan = stages_of(arms, items)
        self.count(self.key(one, item) for one in arms for item in items)
        self.bench.stop.clear()
        run = Run(self.bench, self.store, at_once=self.limits.at_once)
        shown = self.watch(what, run.waiting(plan))

        def tick(answer: object) -> None:
            shown(answer)
            if self.clock() > deadline:
                raise TimeUp("the time is used up", hint="give more --minutes; what was answered is kept")

        run.tick = tick
        run(plan)

    def trial(self, one: FitArm, count: int) -> Trial:
        """An arm with what it answered of the first validation lines."""
        return Trial(one, self.given(one, self.bench.task.validation[:count]))

    def given(self, one: FitArm, items: Sequence[Item]) -> ArmAnswers:
        """What an arm answered to some lines."""
        asked = [(item, self.store.last(self.key(one, item))) for item in items]
        return given(one.arm, asked, scorer(self.bench.task.scorer))

    def error(self, one: FitArm, items: Sequence[Item]) -> str:
        """Why an arm did not answer the first of some lines that it failed on; "" where it answered all of them."""
        kept = (self.store.last(self.key(one, item)) for item in items)
        return next((answer.error for answer in kept if answer is not None and answer.error), "")

    def key(self, one: FitArm, item: Item) -> str:
        """What an answer is kept under."""
        job = AnswerJob(one.answering(item), item)
        at = (job.arm, item.name)
        if at not in self._known:
            self._known[at] = key(self.bench, job)
        return self._known[at]

    def count(self, keys: Iterable[str]) -> None:
        """Count the answers of some keys as asked for: what they cost is spent."""
        self._keys.update(keys)

    def spent(self) -> Decimal | None:
        """Dollars of what was asked for so far; None where some are unknown.

        What a run that was killed had asked for beyond that does not count yet, or this one would decide otherwise.
        """
        answers = [answer.cost for at in self._keys if (answer := self.store.last(at)) is not None]
        costs = [*answers, *(line.cost for line in self.collected())]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if len(known) == len(costs) else None

    def room(self, share: float = 1.0) -> float | None:
        """US dollars to spare of a share of the budget; None for no limit."""
        budget, spent = self.limits.budget, self.spent()
        return None if budget is None or spent is None else KEPT_BACK * float(budget) * share - float(spent)

    def deadline(self, share: float) -> float:
        """When a share of the time is used up, by the clock."""
        return math.inf if self.limits.minutes is None else self.started + 60 * self.limits.minutes * share

    def is_late(self, share: float) -> bool:
        """Whether a share of the time is used up."""
        return self.clock() > self.deadline(share)

    def so_far(self) -> str:
        """What was spent, and how long it took."""
        spent = self.spent()
        paid = "an unknown price" if spent is None else f"{float(spent):.4f} USD"
        return f"{paid} and {self.clock() - self.started:.0f} s so far"

    def note(self, text: str) -> None:
        """Say and keep what cut the fit short."""
        self.notes.append(text)
        self.say(text)
