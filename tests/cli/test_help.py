"""Help: every command has some, with an example that its parser takes, and none loads anything heavy."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, Protocol, cast

import pytest
import typer.main

from blackbox_proxy.cli.commands import app
from blackbox_proxy.cli.settings import Settings
from blackbox_proxy.steering import Steering
from blackbox_proxy.tasks.demonstration import LOADS, demo_task
from tests.cli.runs import Cli

HEAVY = ("jinja2", "llama_cpp", "numpy", "openai", "starlette", "tiktoken", "torch", "uvicorn")


class Command(Protocol):
    """A command or a group, as typer and click 8 both have it; only a group has `commands`."""

    epilog: str | None
    params: list[Any]

    def make_context(self, info_name: str | None, args: list[str]) -> object: ...


def below(command: Command) -> dict[str, Command]:
    return cast(dict[str, Command], getattr(command, "commands", {}))


def commands(command: Command, *path: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every command and group with the words that name it."""
    yield path, command
    for name, found in below(command).items():
        yield from commands(found, *path, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


def names(path: tuple[str, ...]) -> str:
    return " ".join(path) or "blackbox-proxy"


def examples(command: Command) -> list[list[str]]:
    """The words after `blackbox-proxy` in each example of a command's help."""
    quoted = re.findall(r"`([^`]+)`", command.epilog or "")
    return [shlex.split(text.split("| ")[-1])[1:] for text in quoted]


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_every_command_has_help_with_an_example(cli: Cli, path: tuple[str, ...]) -> None:
    said = cli(*path, "--help")
    assert said.status == 0
    assert "Usage: " + " ".join(("blackbox-proxy", *path)) in said.out
    assert "Example" in said.out
    assert said.err == ""


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    assert [option.name for option in COMMANDS[path].params if not option.help] == []


def test_every_model_may_be_named_in_short() -> None:
    models = [option.opts for command in COMMANDS.values() for option in command.params if "--model" in option.opts]
    assert len(models) > 10
    assert {tuple(opts) for opts in models} == {("--model", "-m")}


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_every_example_is_one_that_the_parser_takes(path: tuple[str, ...]) -> None:
    assert examples(COMMANDS[path])
    for words in examples(COMMANDS[path]):
        command = COMMANDS[()]
        while words and words[0] in below(command):
            command = below(command)[words.pop(0)]
        assert command is not COMMANDS[()]
        if words != ["--help"]:
            command.make_context("example", words)  # parses, and calls nothing; raises for what it does not know


def test_steer_shows_its_options_in_groups_each_with_its_default(cli: Cli) -> None:
    """What holds where an option is left out, also where that is nothing, or a setting."""
    options = [option for option in COMMANDS["steer",].params if option.param_type_name == "option"]
    assert [option.name for option in options if not option.rich_help_panel] == []
    assert [option.name for option in options if not _default(option)] == []
    assert len({option.rich_help_panel for option in options}) > 5
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", cli("steer", "--help").out).split())
    assert said.count("[default:") == len(options)
    for option in options:
        assert option.rich_help_panel in said


def _default(option: Any) -> str:  # noqa: ANN401 (typer's, of every version)
    told = option.show_default if isinstance(option.show_default, str) else option.default
    return "" if told is None else str(told)


def test_the_defaults_that_are_settings_are_those_of_the_settings() -> None:
    """They are told in words, since help reads no settings."""
    options = {option.name: option for option in COMMANDS["steer",].params}
    fields = Settings.model_fields
    for name in ("alpha", "template", "top_k", "api_key_env"):
        assert str(options[name].show_default).endswith(str(fields[name].default)), name
    assert fields["alpha"].default == Steering().alpha
    for name in ("max_tokens", "temperature", "top_p", "min_p", "seed", "draft", "nucleus", "threshold"):
        assert options[name].default == getattr(Steering(), name)
    for name in ("gate", "drafter", "prefer", "event", "target", "tail", "rule", "repetition_stop"):
        assert options[name].default == getattr(Steering(), name)


def test_the_alpha_of_the_demo_is_that_which_help_shows() -> None:
    (alpha,) = (option for option in COMMANDS["demo",].params if option.name == "alpha")
    assert {alpha.show_default} == {str(demo_task(load).alpha) for load in LOADS}


def loaded_by_help(before: str) -> list[str]:
    """Heavy modules that are there after every command was asked for help, in a process of its own."""
    script = f"""
        import contextlib, io, sys
        {before}
        from blackbox_proxy.cli import main
        for words in {[list(path) for path in COMMANDS]!r}:
            sys.argv = ["blackbox-proxy", *words, "--help"]
            with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
                main()
            assert "Usage" in shown.getvalue(), words
        print(*sorted({set(HEAVY)!r} & set(sys.modules)))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by_help("") == []


def test_the_check_of_what_help_loads_can_fail() -> None:
    assert "numpy" in loaded_by_help("import numpy")


@pytest.mark.parametrize("path", [(), ("pair",), ("weights",)], ids=names)
def test_a_group_without_a_command_shows_its_help(cli: Cli, path: tuple[str, ...]) -> None:
    said = cli(*path)
    assert said.status == 2
    assert "Commands" in said.out + said.err


@pytest.mark.parametrize("words", [("nonsense",), ("steer", "--nonsense"), ("standin",), ("demo", "--questions", "0")])
def test_a_wrong_command_line_is_refused(cli: Cli, words: tuple[str, ...]) -> None:
    said = cli(*words)
    assert said.status == 2
    assert "Usage" in said.err
    assert said.out == ""
