"""A recipe comes back from its file as it was, and says what is wrong with one that was changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blackbox_proxy.core.decoding.routing import Route
from blackbox_proxy.errors import InputError
from blackbox_proxy.recipes import (
    ArmEvidence,
    FittedRecipe,
    RecipeEndpoint,
    RecipeEvidence,
    RouteEvidence,
    read_recipe,
    write_recipe,
)
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.types import Message, Prompt

RECIPE = FittedRecipe(
    arm="steered_shots_2",
    way="steered",
    endpoint=RecipeEndpoint(model="m", profile="mistral", top_k=5),
    pair="my.pair.toml",
    instructions='Say "so"\nand\tno more \x7f \u00e9 \U0001f600.',
    examples=(("q1 \\ \u2028", "a1"), ("q2", 'a"2')),
    steering={"alpha": 1.25, "max_tokens": 12, "tail": "reveal", "stop": ("\n",), "schedule": Schedule(((0, 1.5),))},
    evidence=RecipeEvidence(
        date="2026-11-30",
        lines_digest="abc",
        n=20,
        score=0.0,
        predicted=0.5,
        usd_per_1000=0.0,
        arms=(ArmEvidence(name="closed", n=20, score=0.5, low=0.3, high=0.7, asked_in=3),),
    ),
)


def test_a_recipe_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "my.pair.toml").write_text("", "utf-8")
    there = RECIPE.__class__(
        **{**{n: getattr(RECIPE, n) for n in RECIPE.__slots__}, "pair": str(tmp_path / RECIPE.pair)}
    )
    path = tmp_path / "recipe.toml"
    write_recipe(there, path)
    assert 'pair = "my.pair.toml"' in path.read_text("utf-8")
    assert read_recipe(path) == there


PARTED = RouteEvidence(
    n=40, against="closed", local=0.5, local_low=0.35, local_high=0.65, loss=-0.02, loss_low=-0.1, loss_high=0.1
)
ROUTED = replace(
    RECIPE,
    way="route",
    options=("x", "y"),
    route=Route(0.75, "choice", (("one", 2.5), ("weakest", 0.125), ("distance", -1e-7))),
    evidence=RECIPE.evidence.model_copy(update={"route": PARTED}),
)


def test_a_route_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    write_recipe(ROUTED, path)
    assert read_recipe(path) == ROUTED
    assert (ROUTED.api_way, RECIPE.api_way) == ("choice", "steered")
    assert replace(ROUTED, route=Route(0.5, "closed", (("one", 1.0),))).with_knobs({})["alpha"] == 0.0


ROUTE = 'arm = "a"\nway = "route"\npair = "demo"\n[route]\nthreshold = 0.5\nelsewhere = "closed"\n'


def test_examples_and_instructions_stand_before_the_question() -> None:
    asked = RECIPE.asked(Prompt.ask("q")).messages
    assert [turn.role for turn in asked] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert asked[-1] == Message("user", "q")
    with pytest.raises(InputError, match="puts turns before the question"):
        RECIPE.asked(Prompt(text="raw"))


def test_knobs_that_are_given_win() -> None:
    closed = FittedRecipe("closed", "closed", RecipeEndpoint(), steering={"max_tokens": 9})
    assert closed.with_knobs({}) == {"max_tokens": 9, "alpha": 0.0}
    assert RECIPE.with_knobs({"alpha": 2.0})["alpha"] == 2.0
    assert "alpha" not in RECIPE.with_knobs({"schedule": Schedule(((0, 1.0),))})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('arm = "a"\nway = "closed"\nkey = "sk-1"\n', "key: "),
        ('arm = "a"\nway = "sideways"\n', "way: "),
        ('arm = "a"\nway = "steered"\n', "needs a pair"),
        ('arm = "a"\nway = "choice"\npair = "demo"\noptions = ["x"]\n', "two options"),
        ('arm = "a"\nway = "closed"\n[steering]\nwarmth = 1\n', "steering.warmth: "),
        ('arm = "a"\nway = "closed"\n[steering]\nmax_tokens = 0\n', "steering: "),
        ("arm = ", "is not TOML"),
        ('arm = "a"\nway = "route"\npair = "demo"\n', "the way 'route' and the table [route] need each other"),
        (ROUTE + "weights = {}\n", "route: the weights of a route must name some of"),
        (ROUTE + "weights = { luck = 1.0 }\n", "route.weights.luck"),
        (ROUTE + "weights = { one = nan }\n", "must be finite"),
        (ROUTE.replace("closed", "expert") + "weights = { one = 1.0 }\n", "route.elsewhere: "),
        (ROUTE.replace("closed", "choice") + "weights = { one = 1.0 }\n", "two options"),
        (ROUTE.replace('"route"', '"closed"') + "weights = { one = 1.0 }\n", "need each other"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the recipe"):
        read_recipe(tmp_path / "none.toml")
