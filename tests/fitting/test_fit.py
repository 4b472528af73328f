"""Fits in worlds in which it is known what is best: the winner is right, no budget is passed, a killed run goes on."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.answers import AnswerStore
from blackbox_proxy.evaluation.arms import AnswerJob, recipe_arm
from blackbox_proxy.fitting.fit import fit
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.places import CollectedLine
from blackbox_proxy.fitting.planning import FitOptions
from blackbox_proxy.fitting.report import sentences
from blackbox_proxy.fitting.weights import cross_fitted
from blackbox_proxy.recipes import FittedRecipe, read_recipe, write_recipe
from blackbox_proxy.run.recipe import RecipeSteerer
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, ReferencePlace
from tests.fitting.worlds import (
    INSTRUCTIONS,
    OTHER,
    RIGHT,
    WRONG,
    PairWithoutScores,
    Says,
    Setting,
    World,
    served,
)


def mostly(n: int) -> Says:
    """Right on four questions of five."""
    return RIGHT if n % 5 else WRONG


FEW_SHOT = World(closed=lambda n, flag: mostly(n) if "S" in flag else WRONG)
INSTRUCTED = World(closed=lambda n, flag: mostly(n) if "I" in flag else WRONG)
EXPERT = World(closed=lambda _n, _flag: OTHER, expert=mostly)
NOTHING_BETTER = World(closed=lambda n, _flag: mostly(n))
STEERED = World(
    closed=lambda n, flag: WRONG if flag or not n % 7 else {"wrong": 0.5, "right": 0.45, "other": 0.05},
    expert=lambda _: {"other": 0.5, "right": 0.45, "wrong": 0.05},
    anti_expert=lambda _: {"wrong": 0.6, "other": 0.35, "right": 0.05},
)
"""Each alone is wrong of everything; what they say together is right."""


@pytest.mark.parametrize(
    ("world", "instructions", "way", "name"),
    [
        (FEW_SHOT, "", "closed", "closed_shots_2"),
        (INSTRUCTED, INSTRUCTIONS, "closed", "closed_instructed"),
        (EXPERT, "", "expert", "expert"),
        (NOTHING_BETTER, "", "closed", "closed"),
        (STEERED, "", "steered", "steered_alpha_"),
    ],
)
def test_the_best_arm_wins_and_of_equal_ones_the_cheapest(
    world: World, instructions: str, way: str, name: str, tmp_path: Path
) -> None:
    with served(world, tmp_path) as setting:
        outcome = setting.fit(instructions=instructions)
    recipe = outcome.recipe
    assert recipe.way == way
    assert recipe.arm.startswith(name)
    assert recipe.evidence.n == recipe.evidence.test == 21
    assert recipe.evidence.score >= 0.6
    assert recipe.evidence.low <= recipe.evidence.score <= recipe.evidence.high
    assert recipe.evidence.predicted_low <= recipe.evidence.score <= recipe.evidence.predicted_high
    assert (recipe.evidence.usd_per_1000 == 0) is (way == "expert")


LABELLED = World(
    closed=lambda n, flag: {"other": 1.0} if flag else {"other": 0.5, "yes" if n % 2 else "no": 0.3, "wrong": 0.2},
    expert=lambda _: {"other": 1.0},
    anti_expert=lambda _: {"other": 1.0},
    reference=lambda n: "yes" if n % 2 else "no",
)
"""What the closed model says is no label; of the labels it prefers the right one."""


def sure(n: int) -> Says:
    """Sure of even questions, and mistaken about odd ones."""
    return {"wrong": 0.5, "right": 0.3, "other": 0.2} if n % 2 else {"right": 0.93, "wrong": 0.05, "other": 0.02}


LEARNT = World(
    closed=lambda n, flag: WRONG if flag else {"right": 0.7, "wrong": 0.3} if n % 2 else {"wrong": 0.9, "right": 0.1},
    expert=sure,
    anti_expert=sure,
)
"""The pair's members agree, so that no alpha changes anything; what they are sure of is right all the same.

So it is taken unasked on a route, and elsewhere the learnt rule answers.
"""


def test_the_learnt_rule_wins_where_no_alpha_does_and_its_recipe_says_the_same(tmp_path: Path) -> None:
    with served(LEARNT, tmp_path) as setting:
        outcome = setting.fit()
        path = tmp_path / "recipe.toml"
        write_recipe(outcome.recipe, path)
        with setting.connected() as api:
            steerer = RecipeSteerer(read_recipe(path), api, setting.pair)
            said = [steerer.complete(item.prompt).text for item in outcome.task.test]
    recipe, chosen = outcome.recipe, outcome.compared.chosen
    assert (recipe.arm, recipe.evidence.score) == ("route_steered_learnt", 1.0)
    learnt = next(one for one in outcome.compared.trials if one.name == "steered_learnt")
    assert learnt.score == max(one.score for one in outcome.compared.trials)
    assert said == [outcome.compared.answers.answers[item.name].text for item in outcome.task.test]
    assert any("are collected, to learn weights of the pair from: " in line for line in setting.said)
    assert any("by learnt weights that were fitted to other lines" in line for line in setting.said)
    assert recipe.evidence.predicted_low <= 1.0
    assert chosen.candidate.by_line.keys() == {item.name for item in outcome.task.validation}


def test_no_line_is_answered_by_weights_that_it_was_fitted_to() -> None:
    """The weights of a line are those that come of the lines of other folds alone, whatever is known of its own."""
    lines = [CollectedLine(f"k{n}", f"i{n:02}", (place(n),)) for n in range(20)]
    fit = cross_fitted(lines, seed=1)
    assert fit is not None
    for at in (0, 7, 19):
        other = replace(lines[at], places=(place(at + 1), place(at + 1)))
        again = cross_fitted([*lines[:at], other, *lines[at + 1 :]], seed=1)
        assert again is not None
        assert again.by_line[lines[at].item] == fit.by_line[lines[at].item]
        assert again.whole != fit.whole
    assert len({id(one) for one in fit.by_line.values()}) == 5
    assert cross_fitted(lines[:7], seed=1) is None


def place(n: int) -> ReferencePlace:
    """A place of which the expert is right when it is sure."""
    logs = (math.log(0.3 + 0.02 * n), math.log(0.7 - 0.02 * n))
    expert = (math.log(0.9), math.log(0.1)) if n % 2 else (math.log(0.6), math.log(0.4))
    return ReferencePlace(logs, expert, logs, (1.0, math.exp(max(expert)), 0.1, math.exp(max(logs))), (n // 3) % 2)


def test_labels_are_chosen_from(tmp_path: Path) -> None:
    """Few answers that come again: the odds of the labels are one more arm, and its recipe names them."""
    with served(LABELLED, tmp_path) as setting:
        recipe = setting.fit().recipe
    assert (recipe.way, recipe.options) == ("choice", ("no", "yes"))
    assert recipe.evidence.score == 1.0


def test_every_decision_is_said_in_one_line(tmp_path: Path) -> None:
    with served(FEW_SHOT, tmp_path) as setting:
        outcome = setting.fit()
    assert not any("\n" in line for line in setting.said)
    rounds = [line for line in setting.said if line.startswith("round ")]
    assert [line.split(",")[0] for line in rounds] == ["round 1", "round 2", "round 3"]
    assert all("USD and" in line for line in rounds)
    assert "dropped" in rounds[0]
    use, why, costs = sentences(outcome)
    assert use.startswith("Use the closed model after 2 examples: 0.")
    assert "better than the closed model by itself" in why
    assert "21 held-back lines, which agree with the 0." in use
    assert costs.startswith("It costs 0.")
    assert ", and the closed model by itself 0." in costs


def test_the_simplest_that_does_it_is_taken_by_price(tmp_path: Path) -> None:
    """The closed model is right a little more often than the expert, who costs nothing and is equally sure always."""
    close = World(
        closed=lambda n, _: mostly(n), expert=lambda n: RIGHT if n % 4 else WRONG, anti_expert=lambda _: OTHER
    )
    with served(close, tmp_path) as setting:
        assert setting.fit(FitLimits(prefer="cost")).recipe.arm == "expert"
        dear = setting.fit(FitLimits(prefer="balanced", point=10.0)).recipe
        cheap = setting.fit(FitLimits(prefer="balanced", point=0.0)).recipe
    assert (dear.arm, cheap.arm) == ("closed", "expert")


@pytest.mark.parametrize("budget", ["0.004", "0.007", "0.012", "0.02"])
def test_no_budget_is_passed_and_the_best_of_what_it_pays_for_is_taken(budget: str, tmp_path: Path) -> None:
    with served(FEW_SHOT, tmp_path) as setting:
        outcome = setting.fit(FitLimits(budget=Decimal(budget)))
        assert 0 < setting.booked() <= Decimal(budget)
    assert outcome.recipe.arm.startswith("closed_shots_")
    if budget != "0.02":
        assert outcome.compared.notes


def test_a_budget_that_decides_nothing_is_said_before_it_is_spent(tmp_path: Path) -> None:
    with served(FEW_SHOT, tmp_path) as setting:
        with pytest.raises(InputError, match=r"decides nothing: 2 arms on 6 lines take 0\.00012\d* USD at the least"):
            setting.fit(FitLimits(budget=Decimal("0.00001")))
        assert setting.booked() == 0
        with pytest.raises(InputError, match="does not pay for one answer"):
            setting.fit(FitLimits(budget=Decimal("0.00013")))
        with pytest.raises(InputError, match="decides nothing: about 0"):
            setting.fit(FitLimits(budget=Decimal("0.0003")))
        assert setting.booked() <= Decimal("0.0003")


def plain(recipe: FittedRecipe) -> str:
    """A recipe without its day."""
    return replace(recipe, evidence=recipe.evidence.model_copy(update={"date": ""})).toml()


def lines_of(path: Path) -> int:
    return path.read_text("utf-8").count("\n")


class Killed(BaseException):
    """The process ends here."""


def killed_after(count: int) -> Callable[[str, int], Callable[[object], object]]:
    """Watches a fit, and ends it after so many answers."""
    remaining = iter(range(count))

    def tick(_: object) -> None:
        if next(remaining, None) is None:
            raise Killed

    return lambda _what, _total: tick


@pytest.mark.parametrize("budget", [None, Decimal("0.012")])
def test_a_fit_that_is_killed_goes_on_to_the_same_recipe(budget: Decimal | None, tmp_path: Path) -> None:
    chance, limits = random.Random(3), FitLimits(budget=budget)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    with served(FEW_SHOT, tmp_path / "whole") as setting:
        whole, paid = setting.fit(limits), setting.booked()
        kept = {name: lines_of(setting.folder / name) for name in ("answers.jsonl", "places.jsonl")}
        other = replace(setting, folder=tmp_path / "parts")
        kills = 0
        for _ in range(20):
            try:
                other.fit(limits, watch=killed_after(chance.randrange(1, 40)))
            except Killed:
                kills += 1
        outcome = other.fit(limits)
        assert kills >= 4
        assert kept == {name: lines_of(other.folder / name) for name in kept}
        assert other.booked() == paid
    assert plain(outcome.recipe).split("price =")[0] == plain(whole.recipe).split("price =")[0]


def test_several_questions_at_a_time_come_to_the_same_recipe(tmp_path: Path) -> None:
    recipes = []
    for at_once in (1, 3):
        folder = tmp_path / str(at_once)
        folder.mkdir()
        with served(FEW_SHOT, folder) as setting:
            recipes.append(plain(setting.fit(FitLimits(at_once=at_once)).recipe).split("price =")[0])
    assert recipes[0] == recipes[1]


def test_time_that_is_up_ends_the_comparison_with_what_there_is(tmp_path: Path) -> None:
    with served(FEW_SHOT, tmp_path) as setting:
        outcome = setting.fit(FitLimits(minutes=1e-6))
    assert any("the time is used up" in note for note in outcome.compared.notes)
    assert outcome.compared.tested is None


def test_an_endpoint_without_log_probs_leaves_the_expert(tmp_path: Path) -> None:
    with served(EXPERT, tmp_path, quirks=["ignored-logprobs"]) as setting:
        outcome = setting.fit()
    assert outcome.recipe.arm == "expert"
    assert "shows no log-probs" in outcome.compared.notes[0]
    assert {trial.name for trial in outcome.compared.trials if trial.scores} >= {"closed", "closed_shots_2", "answers"}


BLIND_STEERED = World(
    closed=lambda _n, flag: WRONG if flag else {"wrong": 0.5, "right": 0.4, "other": 0.1},
    expert=lambda _: {"other": 0.5, "right": 0.45, "wrong": 0.05},
    anti_expert=lambda _: {"wrong": 0.6, "other": 0.35, "right": 0.05},
)


@pytest.mark.parametrize(("world", "arm"), [(BLIND_STEERED, "answers"), (FEW_SHOT, "closed_shots_2")])
def test_without_log_probs_whole_answers_and_examples_can_win(world: World, arm: str, tmp_path: Path) -> None:
    """The recipe says how the closed model is asked, and is asked the same by `evaluate` and by `Steerer`."""
    with served(world, tmp_path, quirks=["ignored-logprobs"]) as setting:
        outcome = setting.fit()
        recipe, task = outcome.recipe, outcome.task
        assert (recipe.arm, recipe.steering["way"]) == (arm, "answers")
        chosen, again = outcome.compared.chosen.candidate.arm, recipe_arm(recipe, n=len(task.test))
        with setting.connected() as api:
            bench = Bench(task, api, setting.pair, setting.endpoint.base_url, "scripted")
            item = task.test[0]
            assert key(bench, AnswerJob(again, item)) == key(bench, AnswerJob(chosen, item))
            steerer = Steerer(api, setting.pair, Steering(**recipe.with_knobs({})))
            said = steerer.complete(recipe.asked(Prompt.ask(item.prompt)), pair_prompt=item.prompt).text
    assert said == outcome.compared.answers.answers[item.name].text


def test_instructions_are_tried_with_steering_too(tmp_path: Path) -> None:
    """The closed model is best after instructions, though seldom right; steered behind them it mostly is."""
    world = replace(
        STEERED, closed=lambda n, flag: (RIGHT if n % 3 else STEERED.closed(n, "")) if flag == "I" else OTHER
    )
    with served(world, tmp_path) as setting:
        recipe = setting.fit(instructions=INSTRUCTIONS).recipe
    assert recipe.way == "steered"
    assert "_instructed" in recipe.arm
    assert (recipe.instructions, recipe.examples) == (INSTRUCTIONS, ())


def test_what_the_collection_may_take_is_said_and_it_is_left_out_where_it_is_too_much(tmp_path: Path) -> None:
    with served(STEERED, tmp_path) as setting:
        outcome = setting.fit(FitLimits(budget=Decimal("0.004")))
        assert setting.booked() <= Decimal("0.004")
    assert any(line.startswith("the learnt rule is left out: 8 reference answers may take ") for line in setting.said)
    assert outcome.recipe.arm in {trial.name for trial in outcome.compared.trials}
    assert not (tmp_path / "places.jsonl").read_text("utf-8")


def test_lines_that_the_pair_cannot_hold_are_said_before_anything_is_asked(tmp_path: Path) -> None:
    with served(FEW_SHOT, tmp_path) as setting:
        row = json.dumps(["q" + 300 * "1", "right"]) + "\n"
        setting.lines.write_text(setting.lines.read_text("utf-8") + row, "utf-8")
        with pytest.raises(InputError, match="1 of 61 lines are longer than the 256 tokens that the pair holds"):
            setting.fit()
        assert setting.booked() == 0


def test_a_hopeless_budget_is_said_before_an_expert_is_trained(tmp_path: Path) -> None:
    with served(FEW_SHOT, tmp_path) as setting, setting.connected() as api:
        options = FitOptions(limits=FitLimits(budget=Decimal("0.000001")))
        with pytest.raises(InputError, match="decides nothing: 2 arms on 6 lines take"):
            fit(setting.lines, api=api, folder=tmp_path / "fit", options=options)
        assert setting.booked() == 0
    assert not (tmp_path / "fit").exists()


def test_an_arm_that_fails_again_and_again_is_asked_no_more(tmp_path: Path) -> None:
    """The pair scores no whole texts, so whole answers cannot be weighed; all else is compared."""
    with served(FEW_SHOT, tmp_path) as setting:
        no_scores = replace(setting, pair=PairWithoutScores(setting.pair.members))
        outcome = no_scores.fit()
    assert outcome.recipe.arm == "closed_shots_2"
    assert any(
        note.startswith("answers_shots_2 fails: way='answers' needs a source") for note in outcome.compared.notes
    )


@pytest.fixture(scope="module")
def few_shot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with served(FEW_SHOT, tmp_path_factory.mktemp("few_shot")) as setting:
        yield setting


@pytest.mark.parametrize("limits", [FitLimits(prefer="cost"), FitLimits(budget=Decimal(1))])
def test_a_budget_or_a_preference_needs_a_price(few_shot: Setting, limits: FitLimits) -> None:
    with pytest.raises(InputError, match="nobody says what 'closed' costs"):
        few_shot.fit(limits, priced=False)


def test_the_recipe_reproduces_the_answers_of_the_arm(few_shot: Setting) -> None:
    """The prompt is put together by the same code, so the kept answers are found under the same keys."""
    outcome = few_shot.fit()
    task, arm = outcome.task, outcome.compared.chosen.candidate.arm
    with few_shot.connected() as api, AnswerStore(few_shot.folder / "answers.jsonl") as store:
        bench = Bench(task, api, few_shot.pair, few_shot.endpoint.base_url, "scripted")
        again = recipe_arm(outcome.recipe, n=len(task.test))
        for item in task.test:
            assert key(bench, AnswerJob(again, item)) == key(bench, AnswerJob(arm, item))
            assert store[key(bench, AnswerJob(again, item))] is not None


def test_steering_by_a_recipe_says_what_the_arm_said(few_shot: Setting) -> None:
    """The closed model after examples, by evaluation and by the public calls."""
    outcome = few_shot.fit()
    recipe = outcome.recipe
    steering = Steering(**recipe.with_knobs({}))
    answers = outcome.compared.answers.answers
    with few_shot.connected() as api:
        steerer = Steerer(api, OffsetTable({}), steering)
        said = {item.name: steerer.complete(recipe.asked(Prompt.ask(item.prompt))).text for item in outcome.task.test}
    assert said == {name: answer.text for name, answer in answers.items()}
    assert len(set(said.values())) > 10
