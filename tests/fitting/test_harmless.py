"""What `fit` does about an arm that harms questions of another kind: a gate, a route, or a warning."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.core.decoding.routing import Route
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob, Arm, Speaker, recipe_arm
from blackbox_proxy.evaluation.statistics import Mean, Paired
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.evaluation.task import Item, ScoringRule
from blackbox_proxy.fitting.asker import LineAsker
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.harmless import (
    HarmlessChoice,
    HarmRemedy,
    TriedVariant,
    gated,
    may_replace,
    replaced,
    thresholds,
)
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.offtask import TOKENS, OffTaskCheck, OffTaskHarm, questions
from blackbox_proxy.fitting.planning import task_of_items
from blackbox_proxy.fitting.report import off_task_sentence, page_of, sentences
from blackbox_proxy.fitting.routing import routed
from blackbox_proxy.fitting.selecting import Terms, Trial
from blackbox_proxy.recipes import read_recipe
from tests.fitting.test_fit import STEERED, Killed, killed_after, plain
from tests.fitting.worlds import RIGHT, Elsewhere, World, served

ASKED = 12
UNSURE = {"right": 0.55, "wrong": 0.45}
NEAR = Elsewhere(UNSURE, {"wrong": 0.55, "right": 0.45}, {"wrong": 0.4, "right": 0.6})
"""The members differ by 0.15, which opens a gate at 0.1 and not one at 0.2; on the lines they differ by 0.55."""

FAR = Elsewhere(UNSURE, {"wrong": 0.9, "right": 0.1}, {"wrong": 0.1, "right": 0.9})


def test_a_gate_takes_the_place_of_an_arm_that_harms_and_the_recipe_and_the_page_say_so(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    with served(replace(STEERED, elsewhere=NEAR), tmp_path) as setting:
        outcome, paid = setting.fit(off_task=ASKED), setting.booked()
        recipe.write_text(outcome.recipe.toml(), "utf-8")
        read = read_recipe(recipe)
        with setting.connected() as api:
            bench = Bench(outcome.task, api, setting.pair, setting.endpoint.base_url, "scripted")
            item, chosen = outcome.task.test[0], outcome.compared.chosen.candidate.arm
            assert key(bench, AnswerJob(recipe_arm(read, n=1), item)) == key(bench, AnswerJob(chosen, item))
    assert (read.way, read.steering["gate"], read.steering["threshold"]) == ("steered", "divergence", 0.2)
    assert read.arm == f"{read.evidence.instead_of}_gate_0.2"
    assert (read.evidence.off_task, read.evidence.lost, read.evidence.instead_lost) == (ASKED, 0.0, 1.0)
    assert read.evidence.spent_usd == pytest.approx(float(paid))
    assert (read.evidence.n, read.evidence.score > 0.6) == (21, True)
    assert outcome.remedy is not None
    assert [one.harm.harmful for one in outcome.remedy.tried] == [True, False]
    said = f"{read.evidence.instead_of} had won, but it loses 1.00 (0.52 to 1.00) of score on 12 questions"
    assert said in sentences(outcome)[1]
    page = page_of(outcome, title="", lines="", by="")
    assert (page.harmful, said in page.sentences[1], sum(row.chosen for row in page.rows)) == (False, True, 1)
    assert read.arm in {row.name for row in page.rows}


@pytest.mark.slow
def test_a_fit_that_is_killed_while_it_looks_for_a_gate_comes_to_the_same_recipe(tmp_path: Path) -> None:
    chance = random.Random(5)
    (tmp_path / "parts").mkdir()
    with served(replace(STEERED, elsewhere=NEAR), tmp_path) as setting:
        outcome, paid = setting.fit(off_task=ASKED), setting.booked()
        other, killed = replace(setting, folder=tmp_path / "parts"), 0
        for _ in range(4):
            try:
                other.fit(off_task=ASKED, watch=killed_after(chance.randrange(60, 120)))
            except Killed:
                killed += 1
        again = other.fit(off_task=ASKED)
        assert (killed > 2, other.booked()) == (True, paid)
    assert outcome.recipe.evidence.instead_of
    assert plain(again.recipe).split("price =")[0] == plain(outcome.recipe).split("price =")[0]


def test_where_no_gate_helps_the_warning_has_both_figures(tmp_path: Path) -> None:
    with served(replace(STEERED, elsewhere=FAR), tmp_path) as setting:
        outcome = setting.fit(off_task=ASKED)
    assert outcome.remedy is not None
    assert (outcome.remedy.taken, len(outcome.remedy.tried)) == (None, 3)
    assert (outcome.recipe.evidence.lost, outcome.recipe.evidence.instead_of) == (1.0, "")
    assert "gate" not in outcome.recipe.steering
    warning = off_task_sentence(outcome)
    assert (
        "send it only questions like these lines. 3 variants of it were tried, and none may take its place: " in warning
    )
    assert "loses 1.00 (0.52 to 1.00) of score on these questions instead of 1.00 (0.52 to 1.00), so no" in warning
    assert page_of(outcome, title="", lines="", by="").off_task == warning


LINES = tuple(Item(prompt=f"line {n}", reference=f"r{n}") for n in range(12))
COST = Decimal("0.001")
HARM = OffTaskHarm(Mean(1.0, 0.9, 1.0, ASKED), Paired(0.5, 0.2, 0.8, ASKED, 0.01))
STEERED_ARM = Arm("steered_alpha_1", "steered", 0, alpha=1.0)
CLOSED = Arm("closed", "closed", 0)


def trial(arm: Arm, right: int, *, features: bool = False) -> Trial:
    """An arm that is right of the first lines; what it knows of its answers tells which."""
    calls = int(arm.calls)
    answers = {
        item.name: KeptAnswer(
            *("", "lines", item.name, arm.name),
            cost=COST * calls,
            calls=calls,
            output=TOKENS,
            features=(1.0, -0.1 if at < right else -9.0, -0.1, -0.1, 0.5) if features else (),
        )
        for at, item in enumerate(LINES)
    }
    scores = {item.name: float(at < right) for at, item in enumerate(LINES)}
    return Trial(FitArm(arm, arm.name), ArmAnswers(arm, answers, scores))


@dataclass(slots=True)
class Tried:
    """A harmful arm whose variants' answers are kept, so that nothing is asked."""

    asker: LineAsker
    compared: ComparedArms

    def choice(self, limits: FitLimits | None = None) -> HarmlessChoice:
        asker = replace(self.asker, limits=limits or FitLimits(), started=0.0)
        check = OffTaskCheck(asker.bench, asker.store, say=asker.say, counted=asker.count)
        return HarmlessChoice(asker, check, self.compared, CLOSED, HARM, questions()[:ASKED])

    def keep(self, arm: Arm, right: int, *, lines: bool = False) -> None:
        """Answers of an arm: right of the first of its lines, or of the questions of another kind."""
        task = self.asker.bench.task
        other = replace(task, name="off-task", max_tokens=TOKENS)
        bench = replace(self.asker.bench, task=task if lines else other)
        for at, item in enumerate(LINES if lines else questions()[:ASKED]):
            text = item.reference if at < right else f"not by {arm.name}"
            kept = KeptAnswer(key(bench, AnswerJob(arm, item)), bench.task.name, item.name, arm.name, text, cost=COST)
            self.asker.store.keep(replace(kept, calls=1))


@contextmanager
def tried(folder: Path, chosen: Trial, *others: Trial) -> Iterator[Tried]:
    with ExitStack() as stack:
        setting = stack.enter_context(served(World(closed=lambda _n, _flag: RIGHT), folder, numbers=range(100, 101)))
        api = stack.enter_context(setting.connected())
        store = stack.enter_context(AnswerStore(folder / "kept.jsonl"))
        task = replace(task_of_items("lines", ScoringRule(), max_tokens=8), validation=LINES)
        bench = Bench(task, api, setting.pair, "there", "scripted")
        asker = LineAsker(bench, store, FitLimits(), setting.said.append, lambda _what, _total: lambda _: None)
        predicted, nobody = Mean(1.0, 0.9, 1.0, len(LINES)), ArmAnswers(chosen.candidate.arm, {}, {})
        one = Tried(asker, ComparedArms(chosen, (chosen, *others), (chosen,), {chosen.name: 3}, predicted, nobody))
        one.keep(CLOSED, ASKED)
        yield one


def gate(at: float) -> Arm:
    return gated(FitArm(STEERED_ARM, ""), at).arm


@pytest.mark.parametrize(("right", "taken"), [(12, True), (11, True), (8, False)])
def test_a_gate_is_taken_where_its_validation_score_is_no_worse_than_a_tie(
    right: int, *, taken: bool, tmp_path: Path
) -> None:
    """One line of twelve is within one standard error, four are not."""
    with tried(tmp_path, trial(STEERED_ARM, 12)) as one:
        one.keep(gate(0.1), ASKED - 3)
        one.keep(gate(0.2), ASKED)
        one.keep(gate(0.2), right, lines=True)
        remedy = one.choice()()
    assert remedy is not None
    assert (remedy.taken is not None) is taken
    assert [one.trial.name[-8:] for one in remedy.tried] == ["gate_0.1", "gate_0.2"]
    assert f"and scores {right / 12:.2f} instead of 1.00 on 12 validation lines." in remedy.sentence
    after = replaced(one.compared, remedy, lines=20)
    assert after.chosen.name == ("steered_alpha_1_gate_0.2" if taken else "steered_alpha_1")
    assert [trial.name for trial in after.trials] == ["steered_alpha_1", "steered_alpha_1_gate_0.2"]
    assert after.stayed["steered_alpha_1_gate_0.2"] == 3


def test_what_may_be_given_up_is_said_by_what_is_preferred() -> None:
    before, worse = trial(STEERED_ARM, 12), trial(STEERED_ARM, 8)
    assert not may_replace(before, worse, Terms("quality"))
    assert may_replace(before, trial(STEERED_ARM, 10), Terms("cost"))
    assert not may_replace(before, worse, Terms("cost"))
    free = trial(Arm("expert", "expert", 0), 8)
    assert may_replace(before, free, Terms("balanced", point=0.01))
    assert not may_replace(before, free, Terms("balanced", point=1.0))
    part = replace(worse, given=ArmAnswers(STEERED_ARM, {}, {}))
    assert not may_replace(before, part, Terms())


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            FitLimits(budget=Decimal("0.02")),
            "steered_alpha_1_gate_0.1 is not tried: 12 questions and 12 validation lines may take 0.0240 USD",
        ),
        (FitLimits(minutes=1.0), "steered_alpha_1_gate_0.1 is not tried: the time is used up"),
    ],
)
def test_where_money_or_time_is_too_little_that_is_said_and_nothing_is_asked(
    limits: FitLimits, said: str, tmp_path: Path
) -> None:
    with tried(tmp_path, trial(STEERED_ARM, 12)) as one:
        choice = one.choice(limits)
        assert choice() is None
        assert any(note.startswith(said) for note in choice.asker.notes)
        assert one.asker.spent() == 0


@pytest.mark.parametrize("compared_already", [False, True])
def test_a_route_to_the_closed_model_takes_the_place_of_an_expert_that_harms(
    *, compared_already: bool, tmp_path: Path
) -> None:
    """The expert alone was the cheapest; the route costs a call where it is unsure, and scores no worse."""
    expert, closed = trial(Arm("expert", "expert", 0), 11, features=True), trial(CLOSED, 12)
    route = routed(expert, closed, best=expert, terms=Terms())
    assert route is not None
    others = (closed, route.trial) if compared_already else (closed,)
    with tried(tmp_path, expert, *others) as one:
        one.keep(route.trial.candidate.arm, ASKED)
        remedy = one.choice()()
    assert remedy is not None
    assert (remedy.taken is not None, len(remedy.tried)) == (True, 1)
    after = replaced(one.compared, remedy, lines=20)
    assert (after.chosen.name, after.route) == ("route_closed", route)
    assert [trial.name for trial in after.trials] == ["expert", "closed", "route_closed"]


def test_a_gate_of_a_route_leaves_what_the_expert_answers_alone(tmp_path: Path) -> None:
    """Validation lines are asked only where the closed model is; the route and its expert stay."""
    arm = replace(STEERED_ARM, name="route_x", speaker="route", route=Route(0.5, "steered", (("one", 1.0),)))
    before = trial(arm, 12)
    local = LINES[3].name
    kept = {**before.given.answers, local: replace(before.given.answers[local], calls=0, text="the expert's")}
    chosen = replace(before, given=replace(before.given, answers=kept))
    with tried(tmp_path, chosen) as one:
        one.keep(gated(FitArm(arm, ""), 0.1).arm, ASKED)
        one.keep(gate(0.1), 12, lines=True)
        remedy = one.choice()()
    assert remedy is not None
    assert remedy.taken is not None
    after = remedy.taken.trial
    assert after.candidate.arm.route == arm.route
    assert dict(after.candidate.arm.knobs) == {"gate": "divergence", "threshold": 0.1}
    assert after.given.answers[local].text == "the expert's"
    assert after.scores == before.scores


@pytest.mark.parametrize(
    ("speaker", "knobs", "tried_at"),
    [
        ("steered", (), (0.1, 0.2, 0.4)),
        ("steered", (("gate", "divergence"),), (0.2, 0.4)),
        ("steered", (("gate", "divergence"), ("threshold", 0.4)), ()),
        ("steered", (("samples", 8), ("way", "answers")), ()),
        ("choice", (), ()),
        ("expert", (), ()),
        ("closed", (), ()),
    ],
)
def test_a_gate_is_tried_where_tokens_are_steered_and_only_a_narrower_one(
    speaker: Speaker, knobs: tuple[tuple[str, object], ...], tried_at: tuple[float, ...]
) -> None:
    one = FitArm(Arm(speaker, speaker, 0, knobs=knobs), "", by_line={"a": Arm("a", speaker, 0, alpha=0.25)})
    assert thresholds(one) == tried_at
    line = gated(one, 0.2).by_line["a"]
    assert (line.alpha, dict(line.knobs)["threshold"]) == (0.25, 0.2)


def test_the_variant_that_harms_least_is_named() -> None:
    def one(name: str, lost: float) -> tuple[Trial, OffTaskHarm]:
        named = Trial(FitArm(replace(STEERED_ARM, name=name), ""), ArmAnswers(STEERED_ARM, {}, {}))
        return named, replace(HARM, lost=replace(HARM.lost, value=lost))

    several = tuple(TriedVariant(*one(name, lost)) for name, lost in (("a", 0.4), ("b", 0.2), ("c", 0.3)))
    said = HarmRemedy(trial(STEERED_ARM, 12), HARM, several).sentence
    assert said.startswith("3 variants of it were tried, and none may take its place: b loses 0.20 (")
    assert said.endswith("instead of 0.50 (0.20 to 0.80), so no validation line was put to it.")
