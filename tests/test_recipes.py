"""A recipe comes back from its file as it was, and says what is wrong with one that was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.recipes import (
    ArmEvidence,
    FittedRecipe,
    RecipeEndpoint,
    RecipeEvidence,
    read_recipe,
    write_recipe,
)
from blackbox_proxy.steering import Schedule
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
