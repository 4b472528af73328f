"""The options of a command that are knobs of steering: made from `Steering`, which declares them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from typing import Annotated, Any, get_type_hints

import typer

from blackbox_proxy.cli.options import ABLE, ANSWER, CALLS, FINE, PAIR
from blackbox_proxy.steering import Group, Steering

PANELS: Mapping[Group, str] = {"pair": PAIR, "answer": ANSWER, "calls": CALLS, "endpoint": ABLE, "fine": FINE}
"""Where help lists the knobs of a group."""

Command = Callable[..., None]


def with_knobs(*, but: Collection[str] = ()) -> Callable[[Command], Command]:
    """Gives a command an option for each knob, and hands it what was chosen as its argument `knobs`.

    but: knobs for which the command has options of its own.
    """

    def wrap(command: Command) -> Command:
        offered = [one for one in fields(Steering) if one.metadata["group"] is not None and one.name not in but]

        def called(**given: object) -> None:
            chosen = {one.name: _value(given.pop(one.name)) for one in offered}
            command(**given, knobs=chosen)

        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.name != "knobs"]
        parameters = [*own, *map(_parameter, offered)]
        called.__name__, called.__doc__, called.__module__ = command.__name__, command.__doc__, command.__module__
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        vars(called)["__signature__"] = signature.replace(parameters=parameters)
        return called

    return wrap


def _parameter(knob: Field[Any]) -> inspect.Parameter:
    """The option of a knob; a list where the knob takes several texts."""
    kind, default = get_type_hints(Steering)[knob.name], knob.default
    shown: bool | str = True
    if isinstance(default, tuple):
        kind, default, shown = list[str] | None, None, "none"
    option = typer.Option(
        help=knob.metadata["help"], rich_help_panel=PANELS[knob.metadata["group"]], show_default=shown
    )
    return inspect.Parameter(
        knob.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _value(given: object) -> object:
    """What an option gave, as `Steering` takes it: several texts as a tuple."""
    return tuple(given) if isinstance(given, list) else () if given is None else given
