"""Reads the turns of a chat in which tools may have been called: an assistant's calls, and their results. Pure.

As at OpenAI, each call has one result, which comes before anyone else speaks. Results have no names in the text that
models read, so they are put into the order of their calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.tool_text import ChatRole, ChatTurn
from blackbox_proxy.openai_http.tools import ToolCall, check_count, function_of, tool_name
from blackbox_proxy.openai_http.turns import check_messages, read_content, read_message

LONGEST_ID = 512
"""Most characters of a call's id."""


def read_tool_turns(value: object, param: str) -> tuple[ChatTurn, ...]:
    """The turns of an array of messages. Raises Refusal for anything else."""
    turns = [_turn(item, f"{param}[{at}]") for at, item in enumerate(check_messages(value, param))]
    return in_order(turns, param)


def _turn(value: object, param: str) -> ChatTurn:
    message = fields.mapping(value, param)
    if message.get("role") == "tool":
        text = read_content(message.get("content"), f"{param}.content", nothing=False)
        return ChatTurn("tool", text, call_id=_id(message.get("tool_call_id"), f"{param}.tool_call_id"))
    calls: tuple[ToolCall, ...] = ()
    if message.get("role") == "assistant" and message.get("tool_calls") is not None:
        calls = _calls(message["tool_calls"], f"{param}.tool_calls")
        message = {name: part for name, part in message.items() if name != "tool_calls"}
    said = read_message(message, param)
    return ChatTurn(cast(ChatRole, said.role), said.content, calls)


def _calls(value: object, param: str) -> tuple[ToolCall, ...]:
    if not isinstance(value, list):
        raise fields.wrong_type(param, "an array of objects", value)
    check_count(value, param)
    return tuple(_call(item, f"{param}[{at}]") for at, item in enumerate(value))


def _call(value: object, param: str) -> ToolCall:
    function = function_of(value, param)
    return ToolCall(
        tool_name(function.get("name"), f"{param}.function.name"),
        fields.text(function.get("arguments"), f"{param}.function.arguments"),
        _id(fields.mapping(value, param).get("id"), f"{param}.id"),
    )


def _id(value: object, param: str) -> str:
    text = fields.text(value, param)
    if not 0 < len(text) <= LONGEST_ID:
        raise Refusal(f"Invalid '{param}': an id has 1 to {LONGEST_ID} characters.", param=param, code="invalid_value")
    return text


def in_order(turns: Sequence[ChatTurn], param: str) -> tuple[ChatTurn, ...]:
    """The turns, with results in the order of their calls.

    Raises Refusal for a result of no call, a call without a result, and one that has two.
    """
    ordered: list[ChatTurn] = []
    calls = _OpenCalls({}, "")
    for at, turn in enumerate([*turns, ChatTurn("user")]):
        if turn.role == "tool":
            calls.answer(turn, f"{param}[{at}]")
            continue
        ordered += calls.answered(f"{param}[{at}]")
        ordered.append(turn)
        calls = _OpenCalls({call.id: place for place, call in enumerate(turn.calls)}, f"{param}[{at}].tool_calls")
        if len(calls.places) < len(turn.calls):
            raise _refused("Two calls have the same id.", calls.param)
    return tuple(ordered[:-1])


@dataclass(slots=True)
class _OpenCalls:
    """The calls of one turn. places: by their ids; param: where they stand; results: by the places of their calls."""

    places: Mapping[str, int]
    param: str
    results: dict[int, ChatTurn] = field(default_factory=dict)

    def answer(self, result: ChatTurn, param: str) -> None:
        place = self.places.get(result.call_id)
        if place is None or place in self.results:
            raise _refused(
                f"'{param}' is the result of '{result.call_id[:80]}', which is no call of the assistant's message "
                "before it that has no result yet.",
                f"{param}.tool_call_id",
            )
        self.results[place] = result

    def answered(self, param: str) -> list[ChatTurn]:
        """The results in the order of the calls. Raises Refusal where one is missing; param: of the turn behind."""
        for name, place in self.places.items():
            if place not in self.results:
                raise _refused(
                    f"The call '{name[:80]}' has no result, which has to come before '{param}'.",
                    f"{self.param}[{place}].id",
                )
        return [self.results[place] for place in sorted(self.results)]


def _refused(message: str, param: str) -> Refusal:
    return Refusal(message, param=param, code="invalid_value")
