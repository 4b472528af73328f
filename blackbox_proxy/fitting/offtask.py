"""What a recipe does to questions of another kind: how many answers it changes, and how much score it loses.

100 short questions of general knowledge and 50 word problems come with the package; a check takes the first few of an
order that is fair to both. They are asked of the closed model by itself and of the recipe; an answer is right where it
mentions the fact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import final

from blackbox_proxy.cassettes.matching import NotRecorded
from blackbox_proxy.errors import BlackboxProxyError, InputError
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob, Arm
from blackbox_proxy.evaluation.evaluate import Watch
from blackbox_proxy.evaluation.run import Run, stages
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.statistics import Mean, Paired, mean, paired
from blackbox_proxy.evaluation.task import Item, ScoringRule, Task
from blackbox_proxy.fitting.examples import with_choices
from blackbox_proxy.fitting.selecting import Trial

USUAL = 30
"""Questions of a check where nobody says."""

MOST = 150

FEWEST = 10
"""Fewest questions that say anything."""

TOLERATED = 0.05
"""Lost score above which a warning is given."""

TOKENS = 32
"""Length of an answer."""


@final
@dataclass(frozen=True, slots=True)
class OffTaskHarm:
    """What a recipe does to questions of another kind.

    Attributes:
        changed: Share of answers that are another text than the closed model's.
        lost: The closed model's score less the recipe's, on the same questions.
    """

    changed: Mean
    lost: Paired

    @property
    def harmful(self) -> bool:
        """Whether more score is lost than is tolerated."""
        return self.lost.value > TOLERATED

    @property
    def sentence(self) -> str:
        """What came of it, and what to do about it."""
        lost, share = self.lost, self.changed
        said = (
            f"On {lost.n} questions of another kind it changes {share.value:.0%} of the closed model's answers "
            f"({share.low:.0%} to {share.high:.0%}), and their score by {0.0 - lost.value:+.2f} "
            f"({0.0 - lost.high:+.2f} to {0.0 - lost.low:+.2f})"
        )
        return f"{said}: send it only questions like these lines." if self.harmful else f"{said}."


@lru_cache(maxsize=1)
def questions() -> tuple[Item, ...]:
    """All 150: two of general knowledge, then a word problem, and so on."""
    folder = files("blackbox_proxy.fitting") / "data"
    general, sums = (
        [Item.model_validate_json(line) for line in (folder / name).read_text("utf-8").splitlines()]
        for name in ("off_task.jsonl", "word_problems.jsonl")
    )
    return tuple(item for at, last in enumerate(sums) for item in (*general[2 * at : 2 * at + 2], last))


@final
@dataclass(frozen=True, slots=True)
class OffTaskCheck:
    """A check of one recipe.

    Attributes:
        bench: What its own lines are answered with.
        store: Where answers are kept.
        count: How many questions are asked, at most; 0 for none.
        room: US dollars that it may spend; None for no limit.
        labels: What is chosen from, where it chooses.
        say: Told in one line why less was asked.
        watch: Told what is asked.
        late: Whether the time is used up.
        at_once: Calls of the closed model under way at a time.
        counted: Told the keys of the answers that are asked for.
    """

    bench: Bench
    store: AnswerStore
    count: int = USUAL
    room: float | None = None
    labels: tuple[str, ...] = ()
    say: Callable[[str], object] = lambda _: None
    watch: Watch = lambda _what, _total: lambda _: None
    late: Callable[[], bool] = lambda: False
    at_once: int = 1
    counted: Callable[[Iterable[str]], object] = lambda _: None

    def __call__(self, chosen: Trial, closed: Arm) -> OffTaskHarm | None:
        """What the recipe does. None where it is the closed model by itself, or too little could be asked."""
        arm = chosen.candidate.arm
        if not self.count or (arm.speaker == "closed" and not arm.before):
            return None
        items = self.payable(chosen)
        if len(items) < FEWEST:
            self.say(f"questions of another kind are not asked: {FEWEST} of them are not paid for")
            return None
        return self.harm_of(arm, closed, items)

    def harm_of(self, arm: Arm, closed: Arm, items: Sequence[Item]) -> OffTaskHarm | None:
        """What an arm does to some of the questions; None where too few of them could be asked."""
        arms = (replace(closed, n=len(items)), replace(arm, name="recipe", n=len(items)))
        self._ask(arms, items)
        return self._compared(arms, items)

    def payable(self, chosen: Trial) -> tuple[Item, ...]:
        """The first questions, as many as are paid for, to the closed model and to the recipe."""
        items = with_choices(questions()[: self.count], self.labels)
        each = 2 * price_of_question(chosen)
        if self.room is None or not math.isfinite(each) or not each:
            return items
        return items[: max(0, int(self.room / each))]

    def _ask(self, arms: Sequence[Arm], items: Sequence[Item]) -> None:
        """Ask what has no answer yet, until money or time is used up, or the endpoint refuses."""
        self._bench.stop.clear()
        run, plan = Run(self._bench, self.store, at_once=self.at_once), stages(arms, items)
        self.counted(key(self._bench, AnswerJob(arm, item)) for arm in arms for item in items)
        shown = self.watch("questions of another kind", run.waiting(plan))

        def tick(answer: object) -> None:
            shown(answer)
            if self.late():
                raise _Late("the time is used up", hint="give more --minutes")

        run.tick = tick
        try:
            run(plan)
        except NotRecorded:
            raise
        except BlackboxProxyError as error:
            self.say(f"not all questions of another kind are asked: {error.message}")

    @property
    def _bench(self) -> Bench:
        return replace(self.bench, task=_task(self.bench.task))

    def _compared(self, arms: tuple[Arm, Arm], items: Sequence[Item]) -> OffTaskHarm | None:
        """Closed model and recipe, on the questions that both answered."""
        score = scorer(ScoringRule(kind="mentions"))
        both = [(item, self._kept(arms[0], item), self._kept(arms[1], item)) for item in items]
        asked = [(item, one, other) for item, one, other in both if one is not None and other is not None]
        before = [score(one.text, item) for item, one, _ in asked]
        after = [score(other.text, item) for item, _, other in asked]
        changed = mean([float(one.text.strip() != other.text.strip()) for _, one, other in asked])
        lost = paired(before, after)
        if changed is None or lost is None or lost.n < FEWEST:
            return None
        return OffTaskHarm(changed, lost)

    def _kept(self, arm: Arm, item: Item) -> KeptAnswer | None:
        return self.store[key(self._bench, AnswerJob(arm, item))]


class _Late(BlackboxProxyError):
    """The time is used up."""


def price_of_question(trial: Trial) -> float:
    """US dollars of one question to an arm: its answer is taken to be as dear as the longest there may be."""
    lengths = [answer.output for answer in trial.given.answers.values() if answer.output]
    longer = max(1.0, TOKENS * len(lengths) / sum(lengths)) if lengths else 1.0
    return longer * trial.per_answer


def check_count(count: int) -> None:
    """Raises InputError for a number of questions that there is not."""
    if count and not FEWEST <= count <= MOST:
        raise InputError(f"{FEWEST} to {MOST} questions of another kind can be asked, not {count}", hint="0 asks none")


def _task(task: Task) -> Task:
    """The questions as a task: nothing of the user's own task holds for them but its knobs."""
    rule = ScoringRule(kind="mentions")
    return replace(task, name="off-task", title="off-task", scorer=rule, form=None, max_tokens=TOKENS, instructions="")
