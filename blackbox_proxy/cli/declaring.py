"""Options that are declared once, as the fields of a dataclass, and the commands that take them.

A command names the dataclass in its signature. `with_options` puts an option for each field in that place, and hands
the command one object. What declares options are the groups of this package (the endpoint, the budgets, the prompt, the
pair), the knobs of `Steering`, and the choices of a training run, `Recipe`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

import typer

ENDPOINT = "Endpoint"
FEATURES = "Endpoint features"
PROMPT = "Prompt"
STEERING = "Steering"
ANSWER = "Answer"
WHOLE = "Whole answers"
DRAFTING = "Drafting"
BUDGET = "Budget"
CASSETTE = "Cassette"
ENGINE = "Engine"
OUTPUT = "Output"
FINE = "Steering details"
"""Where help lists options."""

MODEL_SHORT = "-m"
"""How `--model` is written in short, on every command that has it."""

PANELS: Mapping[str, str] = {
    "pair": STEERING,
    "answer": ANSWER,
    "whole": WHOLE,
    "calls": DRAFTING,
    "endpoint": FEATURES,
    "fine": FINE,
    "training": "Training",
    "adapter": "Adapter",
    "loss": "Loss",
}
"""Where help lists the fields of a group that is declared outside this package."""

Command = Callable[..., None]


def option(
    default: Any,  # noqa: ANN401 (of the field's type)
    help: str,  # noqa: A002 (as typer calls it)
    *,
    panel: str,
    flag: str = "",
    short: str = "",
    unset: str = "",
    argument: bool = False,
    read: Callable[[str], object] | None = None,
) -> Any:  # noqa: ANN401 (a field takes the type of its annotation)
    """A field that is an option of the commands that take its dataclass.

    Args:
        default: What the command gets where the option is not given.
        help: What it is for, in one or two sentences.
        panel: Where help lists it.
        flag: How it is written; as the field is called where empty.
        short: How it is written in short; not at all where empty.
        unset: What holds where it is not given, in words; the default itself where empty.
        argument: Whether it is an argument, which stands without a name.
        read: What makes the field's value of the text that is given; None where typer does.
    """
    metadata = {"help": help, "panel": panel, "option": flag, "short": short, "unset": unset, "argument": argument}
    return field(default=default, metadata=metadata | ({} if read is None else {"read": read}))


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields a command takes; stands beside the type of its parameter, `Annotated[EndpointOptions, Fields(...)]`.

    The command gets the dataclass itself, or a mapping of what was given where its parameter is one.

    Attributes:
        of: The dataclass that declares the options; that of the parameter where None.
        only: Names of the fields that it takes; all where empty.
        but: Names of the fields that it does not take.
        unset: What holds where an option is not given, in words, by field, or for all of them. The command is told
            nothing of such an option then; of the others it is told the default that is declared.
    """

    of: type | None = None
    only: Collection[str] = ()
    but: Collection[str] = ()
    unset: str | Mapping[str, str] = field(default_factory=dict)

    def unset_of(self, name: str) -> str | None:
        """What holds where a field is not given; None where that is the default that is declared."""
        return self.unset if isinstance(self.unset, str) else self.unset.get(name)

    def takes(self, one: Field[Any]) -> bool:
        """Whether a field is an option of the command. One whose group is None is set by code alone."""
        offered = one.metadata.get("group", "") is not None
        return offered and one.name not in self.but and (not self.only or one.name in self.only)


@dataclass(frozen=True, slots=True)
class _OptionGroup:
    """A parameter of a command that stands for options. make: what it is made into, from values by name."""

    make: Callable[..., object]
    declared: Mapping[str, Field[Any]]
    parameters: tuple[inspect.Parameter, ...]

    @classmethod
    def read(cls, annotation: object) -> _OptionGroup | None:
        """The group that an annotation names, if it names one."""
        kind, *beside = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
        chosen = next((one for one in beside if isinstance(one, Fields)), Fields())
        source = chosen.of or kind
        if not is_dataclass(source):
            return None
        types = get_type_hints(source)
        declared = {one.name: one for one in fields(source) if chosen.takes(one)}
        parameters = tuple(_parameter(one, types[name], chosen) for name, one in declared.items())
        make: Callable[..., object] = kind if isinstance(kind, type) and is_dataclass(kind) else dict
        return cls(make, declared, parameters)

    def take(self, given: dict[str, Any]) -> object:
        """The object for the command; takes its options out of what was given."""
        values = {name: _value(one, given.pop(name)) for name, one in self.declared.items()}
        return self.make(**{name: value for name, value in values.items() if value is not None})


def with_options(command: Command) -> Command:
    """Gives a command the options that its parameters stand for, in their places."""
    signature = inspect.signature(command, eval_str=True)
    groups = {name: _OptionGroup.read(one.annotation) for name, one in signature.parameters.items()}

    def called(**given: Any) -> None:  # noqa: ANN401 (each option has a type of its own)
        objects = {name: group.take(given) for name, group in groups.items() if group is not None}
        command(**given, **objects)

    def parameters() -> Iterator[inspect.Parameter]:
        for name, one in signature.parameters.items():
            group = groups[name]
            yield from (one.replace(kind=one.KEYWORD_ONLY),) if group is None else group.parameters

    listed = list(parameters())
    called.__name__, called.__doc__, called.__module__ = command.__name__, command.__doc__, command.__module__
    called.__annotations__ = {one.name: one.annotation for one in listed}
    vars(called)["__signature__"] = signature.replace(parameters=listed)
    return called


def _parameter(one: Field[Any], kind: Any, chosen: Fields) -> inspect.Parameter:  # noqa: ANN401 (any type)
    """The option of a field: a text where the field is read from one, a list where it takes several texts."""
    default, unset, elsewhere = one.default, one.metadata.get("unset", ""), chosen.unset_of(one.name)
    if "read" in one.metadata:
        kind, default = str | None, None
    elif isinstance(default, tuple):
        kind, default, unset = list[str] | None, None, unset or "none"
    shown: bool | str = unset or True
    if elsewhere is not None:
        kind, default, shown = kind | None, None, elsewhere or False
    panel = one.metadata.get("panel") or PANELS[one.metadata["group"]]
    make = typer.Argument if one.metadata.get("argument") else typer.Option
    typed = make(*_names(one), help=one.metadata["help"], rich_help_panel=panel, show_default=shown)
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, typed]
    )


def _names(one: Field[Any]) -> tuple[str, ...]:
    """How an option is written, where that does not follow from the field's name alone: typer then takes the names."""
    flag, short = one.metadata.get("option", ""), one.metadata.get("short", "")
    if short:
        return flag or f"--{one.name.replace('_', '-')}", short
    return (flag,) if flag else ()


def _value(one: Field[Any], given: Any) -> object:  # noqa: ANN401 (what an option gave)
    """What an option gave, as the field takes it; None where it was not given."""
    if given is None:
        return None
    if "read" in one.metadata:
        return one.metadata["read"](given)
    return tuple(given) if isinstance(given, list) else given
