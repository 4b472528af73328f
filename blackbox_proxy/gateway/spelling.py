"""Requests of other routes are read as chats; a refusal then names the fields as the route calls them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

_TURN = re.compile(r"messages\[(?P<at>[0-9]+)\](?P<rest>.*)")
_QUOTED = re.compile(r"'(?P<name>[a-z_][a-z_0-9.\[\]]*)'")


@final
@dataclass(frozen=True, slots=True)
class FieldSpelling:
    """How a route calls what a chat calls otherwise.

    names: patterns of a chat's names, each with the route's name for what it fits. turns: where each turn of the chat
    stands in the request. within: the same as `names` for what stands inside of a turn.
    """

    names: Mapping[str, str]
    turns: Sequence[str] = ()
    within: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def spelled(self) -> Iterator[None]:
        """Refusals that are raised inside name the route's fields."""
        try:
            yield
        except Refusal as refusal:
            message = _QUOTED.sub(lambda quoted: f"'{self.name(quoted['name'])}'", refusal.message)
            param = None if refusal.param is None else self.name(refusal.param)
            raise Refusal(message, status=refusal.status, param=param, code=refusal.code, wait=refusal.wait) from None

    def name(self, chats: str) -> str:
        """The route's name of a field of a chat."""
        turn = _TURN.fullmatch(chats)
        if turn is not None and int(turn["at"]) < len(self.turns):
            return self.turns[int(turn["at"])] + _renamed(turn["rest"], self.within)
        return _renamed(chats, self.names)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """A name by the first pattern that fits it up to a dot, a bracket or its end."""
    for pattern, spelled in names.items():
        fitting = re.match(rf"{pattern}(?=[.\[]|$)", name)
        if fitting is not None:
            return fitting.expand(spelled) + name[fitting.end() :]
    return name


def within(body: Body, name: str) -> Body:
    """The fields of an object in the body, by their whole names."""
    value = {} if body.get(name) is None else fields.mapping(body[name], name)
    return {f"{name}.{key}": item for key, item in value.items()}


def each_tool(body: Body, describe: Callable[[Body, str], Body]) -> list[Any]:
    """The tools of a request as a chat describes them. describe: one tool; it is told where that stands."""
    given = [] if body.get("tools") is None else body["tools"]
    if not isinstance(given, list):
        raise fields.wrong_type("tools", "an array of objects", given)
    return [describe(fields.mapping(tool, f"tools[{at}]"), f"tools[{at}]") for at, tool in enumerate(given)]


def refuse_others(body: Body, refused: Mapping[str, tuple[tuple[object, ...], str]]) -> None:
    """Raises Refusal for a field that the route knows and this server does not do.

    refused: of each field the values that change nothing, and why others are refused.
    """
    for name, (neutral, reason) in refused.items():
        value = body.get(name)
        if value is not None and value not in neutral:
            raise Refusal(f"Unsupported parameter: '{name}': {reason}.", param=name, code="unsupported_parameter")


def refuse_unknown(body: Body, names: Sequence[str], *, known: Mapping[str, str]) -> None:
    """Raises Refusal for fields that only a chat has. known: what the route calls the same thing."""
    for name in names:
        if body.get(name) is not None:
            hint = f" This route calls it '{known[name]}'." if name in known else ""
            raise Refusal(f"Unknown parameter: '{name}'.{hint}", param=name, code="unknown_parameter")
