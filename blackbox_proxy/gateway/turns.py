"""The turns of a chat as other routes' requests are read into them, with where each stands in its request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

Turn = dict[str, Any]
"""A message as /chat/completions reads it."""


@final
@dataclass(slots=True)
class Turns:
    """The turns of a chat as they are read, and where each stands in the request; at last, where the next would."""

    turns: list[Turn] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def add(self, turn: Turn, place: str) -> None:
        self.turns.append(turn)
        self.places.append(place)

    def add_call(self, call: Turn, place: str) -> None:
        """A call of a tool: it belongs to the assistant's turn before it, where there is one."""
        if not self.turns or self.turns[-1]["role"] != "assistant":
            self.add({"role": "assistant", "content": None}, place)
        self.turns[-1].setdefault("tool_calls", []).append(call)


def role_of(item: Body, place: str, roles: Sequence[str]) -> str:
    """Who speaks. Raises Refusal for nobody of these."""
    role = item.get("role")
    if role not in roles:
        raise Refusal(
            f"Invalid value: {fields.shown(role)}. Supported values are: {', '.join(map(repr, roles))}.",
            param=f"{place}.role",
            code="invalid_value",
        )
    return str(role)


def unsupported(param: str, reason: str) -> Refusal:
    """A value that the route knows and this server does not do."""
    return Refusal(f"Unsupported value of '{param}': {reason}.", param=param, code="unsupported_value")
