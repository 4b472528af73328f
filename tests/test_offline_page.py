"""docs/offline.md, beyond what runs of pytest show: the container's recipe, and the tables against what is there."""

from __future__ import annotations

import json
import re
from typing import Any

from blackbox_proxy import pytest_plugin
from blackbox_proxy.standin.control import StandinControl
from blackbox_proxy.standin.scenarios.file import ExchangeTable, ScenarioFile
from tests.cli.test_help import COMMANDS, below
from tests.pytest_plugin.runs import PAGE, blocks

INSTRUCTIONS = {"FROM", "RUN", "COPY", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the recipe, each with the rest of its line."""
    (recipe,) = blocks("dockerfile")
    lines = (line.partition(" ") for line in recipe.splitlines() if line.strip())
    return [(word, rest) for word, _, rest in lines]


def test_the_recipe_of_a_container_can_be_read() -> None:
    """Known instructions, one base that is a supported Python, and lists that are JSON."""
    read = instructions()
    assert {word for word, _ in read} == INSTRUCTIONS
    assert read[0][0] == "FROM"
    assert re.fullmatch(r"python:3\.1[1-3]-slim", read[0][1])
    for word, rest in read:
        if word in ("ENTRYPOINT", "HEALTHCHECK"):
            assert all(isinstance(part, str) for part in json.loads(rest.removeprefix("CMD ")))


def test_the_container_runs_a_command_that_the_parser_takes() -> None:
    """It listens where other containers reach it, at the port that it exposes."""
    words: list[str] = json.loads(dict(instructions())["ENTRYPOINT"])
    assert words[:2] == ["blackbox-proxy", "standin"]
    context: Any = below(COMMANDS[()])["standin"].make_context("standin", words[2:])
    assert context.params["host"] == "0.0.0.0"  # noqa: S104 (a container's own)
    assert str(context.params["port"]) == dict(instructions())["EXPOSE"]


def rows(heading: str) -> set[str]:
    """The names in code in the first column of the table below a line."""
    table = PAGE.partition(heading)[2].partition("\n\n")[0]
    first = (line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    return {name for cell in first for name in re.findall(r"`(\w+)", cell)}


def test_the_tables_name_what_there_is() -> None:
    fixtures = {"standin", "standin_gguf", "tiny_pair", "tiny_pair_file", "steered"}
    assert rows("| fixture | what it is |") == fixtures
    assert fixtures <= set(vars(pytest_plugin))
    shown = {name for name in vars(StandinControl) if not name.startswith("_")}
    assert rows("| | |\n|---|---|") == shown | {"url"}
    fields = set(ExchangeTable.model_fields) | set(ScenarioFile.model_fields) | {"others"}
    assert rows("| field | meaning |") == fields - {"exchange"}
