"""The reference of the command line is what the commands say today, and every word of it can be found there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blackbox_proxy.cli.reference import Parameter, page
from tests.cli.test_help import COMMANDS, names

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_that_of_the_present_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "`make reference` writes it anew"


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=names)
def test_every_option_of_every_command_has_a_row(path: tuple[str, ...]) -> None:
    section = re.split(r"^## blackbox-proxy ", page(), flags=re.MULTILINE)
    (mine,) = (text for text in section[1:] if text.splitlines()[0] == " ".join(path))
    for option in COMMANDS[path].params:
        assert f"| `{written(option)}" in mine, option.name
        assert option.help.replace("|", "\\|") in mine


def written(parameter: Parameter) -> str:
    """How a row of the table begins."""
    return parameter.name.upper() if parameter.param_type_name == "argument" else parameter.opts[0]


def test_what_may_be_chosen_is_named() -> None:
    assert "`--drafter api\\|pair_prefixes\\|pair_echo\\|auto`" in page()
    assert "| `--max-tokens N` | Most tokens of the answer. | `256` |" in page()
