"""Reads requests to /responses as chats: what both routes have is read in one place, by the chat's rules.

Nothing is kept here between two requests, so whatever refers to something kept is refused. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blackbox_proxy.gateway.requests import MOST_TOP, STEPS, STEPS_ELSEWHERE, GatewayRequest, RequestLimits, read_chat
from blackbox_proxy.gateway.responses.items import read_input
from blackbox_proxy.gateway.spelling import FieldSpelling, each_tool, refuse_others, refuse_unknown, within
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.openai_http.responses import includes_logprobs
from blackbox_proxy.steering import Steering

_NOTHING_KEPT = "this server keeps no responses; send the whole input"
_REFUSED: Mapping[str, tuple[tuple[object, ...], str]] = {
    "store": ((False,), f"{_NOTHING_KEPT}, with 'store' false or left out"),
    "previous_response_id": ((), _NOTHING_KEPT),
    "conversation": ((), _NOTHING_KEPT),
    "background": ((False,), "this server answers while the client waits; leave it out"),
    "prompt": ((), "this server keeps no prompts; send 'instructions' and 'input'"),
    "context_management": (([],), "this server compacts no input; send what the model is to read"),
    "truncation": (("disabled",), "this server leaves out no turns; send what the model is to read"),
    "moderation": ((), "this server moderates nothing"),
    STEPS: ((), STEPS_ELSEWHERE),
}
_REFUSED_WITHIN: Mapping[str, tuple[tuple[object, ...], str]] = {
    "reasoning.effort": (("none",), "this model is answered without reasoning"),
    "text.verbosity": (("medium",), "this server has no such knob; say it in 'instructions'"),
}
_ELSEWHERE = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "functions": "tools",
    "function_call": "tool_choice",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}
_UNKNOWN = (*_ELSEWHERE, "n", "logprobs", "modalities", "audio", "continue_final_message", "add_generation_prompt")
_READ = (
    *("input", "instructions", "include", "max_output_tokens", "reasoning", "stream_options", "text", "tool_choice"),
    *("tools", "top_logprobs"),
)
"""Fields that mean something else in a chat, or nothing."""

_NAMES = {
    "max_completion_tokens": "max_output_tokens",
    r"response_format\.json_schema": "text.format",
    "response_format": "text.format",
    r"tools\[(\d+)\]\.function": r"tools[\1]",
    r"tool_choice\.function": "tool_choice",
    r"tool_choice\.allowed_tools\.tools\[(\d+)\]\.function": r"tool_choice.tools[\1]",
    r"tool_choice\.allowed_tools": "tool_choice",
    "messages": "input",
}
_WITHIN_TURNS = {r"\.tool_call_id": ".call_id", r"\.tool_calls\[\d+\](\.function)?": ""}
_OF_FORMAT = ("name", "description", "schema", "strict")
_OF_FUNCTION = ("name", "description", "parameters", "strict")


def read_response(body: Body, limits: RequestLimits) -> GatewayRequest:
    """A request to /responses."""
    refuse_unknown(body, _UNKNOWN, known=_ELSEWHERE)
    refuse_others(body, _REFUSED)
    refuse_others({**within(body, "reasoning"), **within(body, "text")}, _REFUSED_WITHIN)
    _check_stream_options(body)
    turns = read_input(body)
    chat: dict[str, Any] = {name: value for name, value in body.items() if name not in {*_READ, *_REFUSED}}
    chat |= {"messages": turns.turns, "max_completion_tokens": body.get("max_output_tokens")}
    chat |= {"response_format": _format(body), "tools": _tools(body), "tool_choice": _choice(body)}
    alternatives = fields.integer(body, "top_logprobs", low=0, high=MOST_TOP)
    if includes_logprobs(body):
        chat |= {"logprobs": True, "top_logprobs": alternatives or 0}
    with FieldSpelling(_NAMES, turns.places, _WITHIN_TURNS).spelled():
        return read_chat({name: value for name, value in chat.items() if value is not None}, limits)


def _check_stream_options(body: Body) -> None:
    """Raises Refusal for options that make no sense. Padding against listeners is nobody's need on this way."""
    if body.get("stream_options") is None:
        return
    if not fields.boolean(body, "stream"):
        raise Refusal("'stream_options' is only allowed when 'stream' is enabled.", param="stream_options")
    fields.boolean(fields.mapping(body["stream_options"], "stream_options"), "include_obfuscation")


def _format(body: Body) -> object:
    """`text.format` as a chat's `response_format`."""
    form = within(body, "text").get("text.format")
    if not isinstance(form, Mapping) or form.get("type") != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": {name: form[name] for name in _OF_FORMAT if name in form}}


def _tools(body: Body) -> list[Any]:
    """Functions as a chat describes them. Raises Refusal for tools that OpenAI itself runs."""
    return each_tool(body, _tool)


def _tool(tool: Body, place: str) -> Body:
    if tool.get("type") != "function":
        raise _not_run(f"{place}.type", tool.get("type"))
    for name in ("defer_loading", "async"):
        if tool.get(name) not in (None, False):
            raise Refusal(
                f"Unsupported parameter: '{place}.{name}'; leave it out.",
                param=f"{place}.{name}",
                code="unsupported_parameter",
            )
    return {"type": "function", "function": {name: tool[name] for name in _OF_FUNCTION if name in tool}}


def _choice(body: Body) -> object:
    """`tool_choice` as a chat has it: the name of a function stands in an object of its own there."""
    choice = body.get("tool_choice")
    if not isinstance(choice, Mapping):
        return choice
    match choice.get("type"):
        case "function":
            return {"type": "function", "function": {"name": choice.get("name")}}
        case "allowed_tools":
            allowed = {"mode": choice.get("mode"), "tools": _allowed(choice.get("tools"))}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        case other:
            raise _not_run("tool_choice.type", other)


def _allowed(tools: object) -> object:
    if not isinstance(tools, list):
        return tools
    return [
        {"type": "function", "function": {"name": tool.get("name")}}
        if isinstance(tool, Mapping) and tool.get("type") == "function"
        else tool
        for tool in tools
    ]


def _not_run(param: str, kind: object) -> Refusal:
    return Refusal(
        f"Unsupported value of '{param}': {fields.shown(kind)}: this server runs no tools; send 'function'.",
        param=param,
        code="unsupported_value",
    )


def echoed(body: Body, steering: Steering) -> dict[str, object]:
    """What a reply tells again of its request. steering: how it is answered."""
    text, tools = within(body, "text"), _tools(body)
    return {
        **{name: body.get(name) for name in ("instructions", "max_output_tokens", "user")},
        "background": False,
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": steering.temperature,
        "text": {"format": text.get("text.format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [{"type": "function", "parameters": None, "strict": True, **tool["function"]} for tool in tools],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": steering.top_p,
        "truncation": "disabled",
    }
