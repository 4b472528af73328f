"""The option `--recipe`, and what it changes in a command: the endpoint, the pair, the prompt and the knobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blackbox_proxy.cli.declaring import STEERING
from blackbox_proxy.cli.endpoint import OFF
from blackbox_proxy.cli.options import write_json

if TYPE_CHECKING:
    from blackbox_proxy.recipes import FittedRecipe
    from blackbox_proxy.run.steerer import Steerer
    from blackbox_proxy.types import Prompt

RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        help="A recipe that `fit` wrote: endpoint, pair, examples, instructions and knobs. What is given besides wins.",
        rich_help_panel=STEERING,
        show_default=OFF,
    ),
]


def read_given(path: Path | None) -> FittedRecipe | None:
    """The recipe; None where none is given. Raises InputError."""
    if path is None:
        return None
    from blackbox_proxy.recipes import read_recipe

    return read_recipe(path)


def typed(context: typer.Context, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs that were typed: a default of the command must not stand in place of the recipe's."""
    sources = {name: context.get_parameter_source(name) for name in knobs}
    return {name: value for name, value in knobs.items() if (source := sources[name]) and source.name == "COMMANDLINE"}


def answer_alone(pair: Path, asked: Prompt, *, tokens: int, as_json: bool) -> None:
    """The answer of the tuned small model by itself, which calls nobody."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.local.loading import load_pair

    with load_pair(pair) as local:
        text = local.members[0].answer(asked, max_tokens=tokens).decode("utf-8", "replace")
    if as_json:
        write_json({"text": text, "way": "expert", "cost_usd": "0"})
        return
    show.write(f"{text}\n")
    show.note("by the tuned small model alone, as the recipe says: nobody was called")


def answer_chosen(steerer: Steerer, asked: tuple[Prompt, Prompt], options: Sequence[str], *, as_json: bool) -> None:
    """The likeliest of the recipe's options. asked: what the closed model reads, and what the pair does."""
    from blackbox_proxy.cli import odds, show

    choice = steerer.choose(asked[0], options, pair_prompt=asked[1])
    if as_json:
        write_json({"text": choice.likeliest.text, "way": "choice", **odds.choice_json(choice)})
        return
    show.write(f"{choice.likeliest.text}\n")
    sure = "certified" if choice.certified else "the bounds of others overlap"
    show.note(f"the likeliest of {len(options)} options, {choice.likeliest.steered:.2f} ({sure})")
