"""Reads requests to /messages as chats: what both routes have is read in one place, by the chat's rules. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blackbox_proxy.gateway.messages.faults import NO_THREADS
from blackbox_proxy.gateway.messages.turns import read_messages
from blackbox_proxy.gateway.requests import STEPS, STEPS_ELSEWHERE, GatewayRequest, RequestLimits, read_chat
from blackbox_proxy.gateway.spelling import FieldSpelling, each_tool, refuse_others, refuse_unknown, within
from blackbox_proxy.gateway.turns import unsupported
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

_REFUSED: Mapping[str, tuple[tuple[object, ...], str]] = {
    "thinking": (({"type": "disabled"},), "this model answers without thinking; leave it out"),
    "mcp_servers": (([],), "this server calls no tools; run them at the client"),
    "container": ((), "this server runs no code"),
    STEPS: ((), STEPS_ELSEWHERE),
    "context_management": (({}, {"edits": []}), "this server leaves out no turns; send what the model is to read"),
    "compaction": ((), "this server compacts no turns; send what the model is to read"),
    "fallbacks": (([],), "this server has no models to fall back on"),
}
_REFUSED_WITHIN: Mapping[str, tuple[tuple[object, ...], str]] = {
    "output_config.effort": ((), "this server has no such knob; say it in 'system'"),
    "output_config.task_budget": ((), "this server has no such knob; use 'max_tokens'"),
}
_ELSEWHERE = {
    "stop": "stop_sequences",
    "max_completion_tokens": "max_tokens",
    "response_format": "output_config.format",
    "functions": "tools",
    "function_call": "tool_choice",
    "user": "metadata.user_id",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
_UNKNOWN = (
    *_ELSEWHERE,
    *("n", "logprobs", "top_logprobs", "modalities", "audio", "stream_options"),
    *("continue_final_message", "add_generation_prompt"),
)
_READ = (
    *("system", "messages", "max_tokens", "metadata", "output_config", "output_format", "stop_sequences"),
    *("tool_choice", "tools"),
)
"""Fields that mean something else in a chat, or nothing."""

_NAMES = {
    "max_completion_tokens": "max_tokens",
    r"response_format\.json_schema": "output_config.format",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    r"tools\[(\d+)\]\.function\.parameters": r"tools[\1].input_schema",
    r"tools\[(\d+)\]\.function": r"tools[\1]",
    r"tool_choice\.function": "tool_choice",
    "metadata": "metadata.user_id",
    "user": "metadata.user_id",
}
_WITHIN_TURNS = {r"\.tool_call_id": ".tool_use_id", r"\.tool_calls\[\d+\](\.function)?": ""}


def read_message_request(body: Body, limits: RequestLimits) -> GatewayRequest:
    """A request to /messages."""
    if body.get("max_tokens") is None:
        raise Refusal(
            "Missing required parameter: 'max_tokens'.", param="max_tokens", code="missing_required_parameter"
        )
    return read_counted(body, limits)


def read_counted(body: Body, limits: RequestLimits) -> GatewayRequest:
    """A request to /messages/count_tokens, which has no `max_tokens`."""
    refuse_unknown(body, _UNKNOWN, known=_ELSEWHERE)
    if body.get("thread") is not None:
        message = "Unsupported parameter: 'thread': this server keeps no messages; send the whole conversation."
        raise Refusal(message, param="thread", code=NO_THREADS)
    refuse_others(body, _REFUSED)
    refuse_others(within(body, "output_config"), _REFUSED_WITHIN)
    turns = read_messages(body)
    chat: dict[str, Any] = {name: value for name, value in body.items() if name not in {*_READ, *_REFUSED}}
    chat |= {"messages": turns.turns, "max_completion_tokens": body.get("max_tokens"), "stop": _stops(body)}
    chat |= {"response_format": _format(body), "tools": _tools(body), "user": _user(body)}
    chat |= _choice(body)
    with FieldSpelling(_NAMES, turns.places, _WITHIN_TURNS).spelled():
        return read_chat({name: value for name, value in chat.items() if value is not None}, limits)


def _user(body: Body) -> object:
    return within(body, "metadata").get("metadata.user_id")


def _stops(body: Body) -> object:
    stops = body.get("stop_sequences")
    if stops is not None and not isinstance(stops, list):
        raise fields.wrong_type("stop_sequences", "an array of strings", stops)
    return stops


def _format(body: Body) -> object:
    """`output_config.format`, or `output_format` as it was called before, as a chat's `response_format`."""
    newer, older = within(body, "output_config").get("output_config.format"), body.get("output_format")
    form, name = (older, "output_format") if newer is None else (newer, "output_config.format")
    if form is None:
        return None
    described = fields.mapping(form, name)
    if described.get("type") != "json_schema":
        raise unsupported(f"{name}.type", f"{fields.shown(described.get('type'))}: there is 'json_schema'")
    return {"type": "json_schema", "json_schema": {"schema": described.get("schema")}}


def _tools(body: Body) -> list[Any]:
    """Functions as a chat describes them. Raises Refusal for tools that Anthropic itself runs or describes."""
    return each_tool(body, _tool)


def _tool(tool: Body, place: str) -> Body:
    if tool.get("type") not in (None, "custom"):
        raise unsupported(
            f"{place}.type", f"{fields.shown(tool['type'])}: this server knows tools with an 'input_schema' only"
        )
    for name, neutral in (("defer_loading", False), ("input_examples", [])):
        if tool.get(name) not in (None, neutral):
            raise unsupported(f"{place}.{name}", "leave it out; 'description' may say as much")
    schema = fields.mapping(tool.get("input_schema"), f"{place}.input_schema")
    function = {name: tool[name] for name in ("name", "description", "strict") if name in tool}
    return {"type": "function", "function": {**function, "parameters": schema}}


def _choice(body: Body) -> dict[str, Any]:
    """`tool_choice` as a chat has it."""
    if body.get("tool_choice") is None:
        return {}
    choice = fields.mapping(body["tool_choice"], "tool_choice")
    parallel = not fields.boolean(choice, "disable_parallel_tool_use")
    match choice.get("type"):
        case "auto" | "none" as kind:
            return {"tool_choice": kind, "parallel_tool_calls": parallel}
        case "any":
            return {"tool_choice": "required", "parallel_tool_calls": parallel}
        case "tool":
            named = {"type": "function", "function": {"name": choice.get("name")}}
            return {"tool_choice": named, "parallel_tool_calls": parallel}
        case other:
            raise unsupported("tool_choice.type", f"{fields.shown(other)}: there are 'auto', 'any', 'tool' and 'none'")
