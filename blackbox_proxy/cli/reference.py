"""Writes the reference of the command line, one Markdown page, from the commands themselves.

`python -m blackbox_proxy.cli.reference FILE` writes it; a test compares docs/cli.md with what would be written today.
What a value looks like is read from the annotations, which every version of typer keeps.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Protocol, cast, get_args, get_origin, get_type_hints

import typer.main

from blackbox_proxy.cli.commands import app

PROGRAM = "blackbox-proxy"
HEAD = f"""# The command line

Written by `make reference` from the commands themselves; `{PROGRAM} COMMAND --help` says the same. Exit status: 0 where
it worked, 1 where it failed, 2 where what was given cannot be used, 130 where it was interrupted.

"""
_WORDS = {int: "N", float: "X", str: "TEXT", Path: "FILE"}


class Parameter(Protocol):
    """An option or an argument, as every version of typer has it."""

    name: str
    param_type_name: str
    opts: list[str]
    secondary_opts: list[str]
    help: str | None
    default: Any
    show_default: bool | str | None
    required: bool
    multiple: bool
    hidden: bool


class Command(Protocol):
    """A command or a group; only a group has `commands`."""

    help: str | None
    epilog: str | None
    params: list[Parameter]
    callback: Callable[..., object] | None


def page() -> str:
    """The whole reference as Markdown."""
    commands = list(_commands(cast(Command, typer.main.get_command(app))))
    contents = "\n".join(
        f"* [`{_name(path)}`](#{_name(path).replace(' ', '-')}): {_summary(c)}" for path, c in commands
    )
    return HEAD + contents + "\n\n" + "\n".join(_section(path, command) for path, command in commands)


def _commands(command: Command, *path: str) -> Iterator[tuple[Sequence[str], Command]]:
    """Every command and group but the program itself, by name."""
    below = cast(Mapping[str, Command], getattr(command, "commands", {}))
    for name, inner in sorted(below.items()):
        yield (*path, name), inner
        yield from _commands(inner, *path, name)


def _name(path: Sequence[str]) -> str:
    return " ".join((PROGRAM, *path))


def _summary(command: Command) -> str:
    return inspect.cleandoc(command.help or "").partition("\n\n")[0].replace("\n", " ")


def _section(path: Sequence[str], command: Command) -> str:
    """One command: what it does, its arguments and options, its examples."""
    parts = [f"## {_name(path)}", inspect.cleandoc(command.help or "")]
    rows = [_row(parameter, _annotations(command)) for parameter in command.params if not parameter.hidden]
    if rows:
        parts.append("| | | default |\n|---|---|---|\n" + "\n".join(rows))
    if command.epilog:
        parts.append(inspect.cleandoc(command.epilog))
    return "\n\n".join(parts) + "\n"


def _annotations(command: Command) -> Mapping[str, object]:
    return get_type_hints(command.callback, include_extras=False) if command.callback else {}


def _row(parameter: Parameter, annotations: Mapping[str, object]) -> str:
    """How it is written, what it means, what holds where it is left out."""
    written = _written(parameter, annotations.get(parameter.name))
    cells = (f"`{written}`", parameter.help or "", _default(parameter))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _written(parameter: Parameter, annotation: object) -> str:
    if parameter.param_type_name == "argument":
        return parameter.name.upper() + ("..." if get_origin(annotation) is list else "")
    names = ", ".join((*parameter.opts, *parameter.secondary_opts))
    return f"{names} {_value(annotation)}".rstrip()


def _value(annotation: object) -> str:
    """The form of a value: a word for its type, or what may be chosen; empty for a switch."""
    if get_origin(annotation) is Annotated:
        return _value(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    inner = [one for one in get_args(annotation) if one is not NoneType]
    if inner:
        return _value(inner[0])
    return _WORDS.get(cast(type, annotation), "")


def _default(parameter: Parameter) -> str:
    """What holds where it is left out; empty where that is nothing, or off."""
    if parameter.required:
        return "must be given"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.default is None or parameter.default is False or parameter.default == ():
        return ""
    return "on" if parameter.default is True else f"`{parameter.default}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
