"""The option `--recipe`, and what it changes in a command: the endpoint, the pair, the prompt and the knobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blackbox_proxy.cli.declaring import STEERING
from blackbox_proxy.cli.endpoint import OFF

if TYPE_CHECKING:
    from blackbox_proxy.recipes import FittedRecipe

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
