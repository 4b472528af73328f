"""The reference of the command line is what the commands say today, and every word of it can be found there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blackbox_proxy.cli import knob_reference
from blackbox_proxy.cli.reference import Parameter, page
from blackbox_proxy.knobs import NAMES
from tests.cli.test_help import COMMANDS, names

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_that_of_the_present_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "`make reference` writes it anew"


def test_the_page_of_the_knobs_is_that_of_today_and_has_each_of_them() -> None:
    text = knob_reference.page()
    assert PAGE.with_name("knobs.md").read_text(encoding="utf-8") == text, "`make reference` writes it anew"
    assert re.findall(r"^\| `(\w+)` ", text, flags=re.MULTILINE) == list(NAMES)
    assert "| `draft` | Most tokens to draft for one call. | in [1, 256]; 64 at most in a request | `8` |" in text


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
