"""Questions of another kind: which there are, and what a recipe is said to do to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob, Arm
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.evaluation.task import ScoringRule
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.offtask import FEWEST, MOST, TOKENS, OffTaskCheck, check_count, questions
from blackbox_proxy.fitting.planning import task_of_items
from blackbox_proxy.fitting.selecting import Trial
from blackbox_proxy.recipes import read_recipe
from tests.fitting.worlds import RIGHT, WRONG, World, served

STEERED = Arm("steered_alpha_1", "steered", 0, alpha=1.0)
CLOSED = Arm("closed", "closed", 0)
COST = Decimal("0.001")


def test_there_are_150_questions_and_the_first_ones_are_of_both_kinds() -> None:
    every = questions()
    assert len(every) == len({item.prompt for item in every}) == MOST
    assert sum("Answer with the number." in item.prompt for item in every) == 50
    assert sum("Answer with the number." in item.prompt for item in every[:30]) == 10
    score = scorer(ScoringRule(kind="mentions"))
    assert all(score(f"It is {item.reference}.", item) == 1.0 for item in every)


def test_no_word_problem_is_right_by_repeating_its_numbers() -> None:
    for item in questions():
        if "Answer with the number." in item.prompt:
            assert item.reference not in re.findall(r"\d+", item.prompt)


@dataclass(slots=True)
class Checked:
    """A check whose answers are all there, so that nothing is asked."""

    bench: Bench
    store: AnswerStore
    said: list[str] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)

    def keep(self, arm: Arm, *, right: int, count: int = 30) -> None:
        """Answers of an arm to the first questions: so many of them right, the others wrong."""
        task = replace(self.bench.task, name="off-task", max_tokens=TOKENS)
        bench = replace(self.bench, task=task)
        for at, item in enumerate(questions()[:count]):
            text = f"It is {item.reference}." if at < right else f"{arm.name} does not know."
            kept = KeptAnswer(key(bench, AnswerJob(arm, item)), "off-task", item.name, arm.name, text, cost=COST)
            self.store.keep(kept)

    def check(self, count: int = 30, room: float | None = None) -> OffTaskCheck:
        return OffTaskCheck(
            self.bench, self.store, count=count, room=room, say=self.said.append, counted=self.counted.update
        )


@contextmanager
def checked(folder: Path) -> Iterator[Checked]:
    with ExitStack() as stack:
        setting = stack.enter_context(served(World(closed=lambda _n, _flag: RIGHT), folder))
        api = stack.enter_context(setting.connected())
        store = stack.enter_context(AnswerStore(folder / "kept.jsonl"))
        task = task_of_items("lines", ScoringRule(), max_tokens=8)
        yield Checked(Bench(task, api, setting.pair, "there", "scripted"), store)


def chosen(arm: Arm) -> Trial:
    """A winner whose one answer cost a cent and took all the tokens that an answer may have."""
    answer = KeptAnswer("", "", "q", arm.name, "said", cost=Decimal("0.01"), output=TOKENS)
    return Trial(FitArm(arm, arm.name), ArmAnswers(arm, {"q": answer}, {"q": 1.0}))


def test_harm_is_the_score_that_is_lost_against_the_closed_model(tmp_path: Path) -> None:
    with checked(tmp_path) as one:
        one.keep(CLOSED, right=20)
        one.keep(STEERED, right=11)
        harm = one.check()(chosen(STEERED), CLOSED)
    assert harm is not None
    assert harm.changed.value == pytest.approx(19 / 30)
    assert harm.lost.value == pytest.approx(0.3)
    assert harm.lost.n == 30
    assert harm.lost.low < 0.3 < harm.lost.high
    assert len(one.counted) == 60
    assert harm.harmful
    assert "changes 63% of the closed model's answers" in harm.sentence
    assert harm.sentence.endswith(": send it only questions like these lines.")


def test_what_loses_little_is_no_harm(tmp_path: Path) -> None:
    with checked(tmp_path) as one:
        one.keep(CLOSED, right=20)
        one.keep(STEERED, right=19)
        harm = one.check()(chosen(STEERED), CLOSED)
    assert harm is not None
    assert not harm.harmful
    assert "their score by -0.03 (" in harm.sentence
    assert harm.sentence.endswith(").")


def test_the_closed_model_by_itself_is_not_asked_and_neither_is_anyone_where_nobody_wants_it(tmp_path: Path) -> None:
    with checked(tmp_path) as one:
        assert one.check()(chosen(CLOSED), CLOSED) is None
        assert one.check(0)(chosen(STEERED), CLOSED) is None
    assert not one.said


def test_only_what_is_paid_for_is_asked(tmp_path: Path) -> None:
    """A question takes two answers of a cent each."""
    with checked(tmp_path) as one:
        one.keep(CLOSED, right=5, count=12)
        one.keep(STEERED, right=5, count=12)
        harm = one.check(room=0.25)(chosen(STEERED), CLOSED)
        assert harm is not None
        assert harm.lost.n == 12
        assert one.check(room=0.02 * (FEWEST - 0.5))(chosen(STEERED), CLOSED) is None
    assert one.said == ["questions of another kind are not asked: 10 of them are not paid for"]


def test_a_number_of_questions_that_there_is_not_is_refused() -> None:
    check_count(0)
    check_count(MOST)
    for count in (FEWEST - 1, MOST + 1, -1):
        with pytest.raises(InputError, match="10 to 150 questions of another kind"):
            check_count(count)


def test_a_fit_has_what_came_of_it_in_its_evidence_and_asks_nothing_twice(tmp_path: Path) -> None:
    """To what no script has, the closed model says nothing, and the expert a wrong word."""
    world = World(closed=lambda _n, _flag: WRONG, expert=lambda n: RIGHT if n % 5 else WRONG)
    with served(world, tmp_path) as setting:
        outcome = setting.fit(off_task=12)
        paid, recipe = setting.booked(), tmp_path / "recipe.toml"
        again = setting.fit(FitLimits(budget=Decimal(1)), off_task=12)
        assert setting.booked() == paid
        recipe.write_text(outcome.recipe.toml(), "utf-8")
    evidence = read_recipe(recipe).evidence
    assert outcome.recipe.arm == again.recipe.arm == "expert"
    assert (evidence.off_task, evidence.lost) == (12, 0.0)
    assert evidence.spent_usd == pytest.approx(float(paid))
