"""Reads the deprecated spelling of tools, `functions` and `function_call`, as that of `tools`. Pure.

A function is a tool, and a chat has one call of it at a time, whose result is a message of the role `function`. Such a
call has no id: the name of its function stands for one.
"""

from __future__ import annotations

from typing import Any

from blackbox_proxy.gateway.spelling import FieldSpelling
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

OLDER, NEWER = ("functions", "function_call"), ("tools", "tool_choice")
"""The fields that declare tools, as they were called, and as they are."""

_NEUTRAL: tuple[object, ...] = (None, [], "none", "auto")
"""Values at which a field of either spelling declares nothing."""

_NAMES = {
    r"tools\[(\d+)\]\.function": r"functions[\1]",
    "tools": "functions",
    r"tool_choice\.function": "function_call",
    "tool_choice": "function_call",
}
_TURN, _CALL, _RESULT = r"(messages\[{}\])", r"\.tool_calls(\[0\](\.function|\.id)?)?", r"\.tool_call_id"


def declares_functions(body: Body) -> bool:
    """Whether a request declares tools in the deprecated spelling."""
    return any(body.get(name) not in _NEUTRAL for name in OLDER)


def with_tools(body: Body) -> tuple[Body, FieldSpelling]:
    """The request in the newer spelling, and how a refusal of it names the fields of the older one.

    Raises Refusal for a request in both.
    """
    chat = {name: value for name, value in body.items() if name not in OLDER}
    names: dict[str, str] = {}
    if declares_functions(body):
        chat |= _declared(body)
        names |= _NAMES
    if isinstance(turns := body.get("messages"), list):
        chat["messages"] = [_turn(item, at, names) for at, item in enumerate(turns)]
    return chat, FieldSpelling(names)


def _declared(body: Body) -> dict[str, Any]:
    both = [name for name in NEWER if body.get(name) not in _NEUTRAL]
    if both:
        older = next(name for name in OLDER if body.get(name) not in _NEUTRAL)
        raise Refusal(f"'{older}' and '{both[0]}' exclude each other; send '{both[0]}'.", param=older)
    functions = body.get("functions")
    if functions is not None and not isinstance(functions, list):
        raise fields.wrong_type("functions", "an array of objects", functions)
    fields.boolean(body, "parallel_tool_calls")
    return {
        "tools": [{"type": "function", "function": function} for function in functions or ()],
        "tool_choice": _choice(body.get("function_call")),
        "parallel_tool_calls": False,
    }


def _choice(value: object) -> object:
    """`function_call` as a `tool_choice`."""
    if value in (None, "none", "auto"):
        return value
    if not isinstance(value, dict):
        raise Refusal(
            f"Invalid value for 'function_call': {fields.shown(value)}. There are 'none', 'auto', and an object with "
            "the 'name' of a function.",
            param="function_call",
            code="invalid_value",
        )
    return {"type": "function", "function": value}


def _turn(item: object, at: int, names: dict[str, str]) -> object:
    """A message in the newer spelling; what refusals of it are to be called is put into `names`."""
    if not isinstance(item, dict):
        return item
    turn = _TURN.format(at)
    if item.get("role") == "function":
        names[turn + _RESULT] = r"\1.name"
        content = "" if item.get("content") is None else item["content"]
        return {"role": "tool", "content": content, "tool_call_id": item.get("name")}
    call = item.get("function_call")
    if item.get("role") != "assistant" or call is None:
        return item
    if item.get("tool_calls"):
        raise Refusal(
            "'function_call' and 'tool_calls' exclude each other in one message; send 'tool_calls'.",
            param=f"messages[{at}].function_call",
        )
    names[turn + _CALL] = r"\1.function_call"
    others = {name: value for name, value in item.items() if name != "function_call"}
    return {**others, "tool_calls": [{"id": _id(call), "type": "function", "function": call}]}


def _id(call: object) -> object:
    return call.get("name") if isinstance(call, dict) else None
