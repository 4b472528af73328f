"""A chat with tools as an endpoint that knows tools is sent it: the turns and the tools as OpenAI has them. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from blackbox_proxy.gateway.tool_grammar import arguments_of
from blackbox_proxy.openai_http.tool_text import BETWEEN, CALL, TAGGED, ChatTurn
from blackbox_proxy.openai_http.tools import Tool, ToolSet
from blackbox_proxy.types import OfferedTool, ToolChat


def tool_chat(turns: Sequence[ChatTurn], tools: ToolSet) -> ToolChat:
    """The chat, with the tools that may be called, and how calls of them are written in an answer."""
    fields: dict[str, Any] = {
        "messages": list(map(_message, turns)),
        "tools": list(map(_tool, tools.offered)),
        "tool_choice": _choice(tools),
    }
    if not tools.parallel:
        fields["parallel_tool_calls"] = False
    offered = (OfferedTool(tool.name, arguments_of(tool).text, TAGGED.head(tool.name)) for tool in tools.offered)
    return ToolChat(json.dumps(fields), tuple(offered), CALL, TAGGED.closing, BETWEEN)


def _message(turn: ChatTurn) -> dict[str, Any]:
    if turn.role == "tool":
        return {"role": "tool", "tool_call_id": turn.call_id, "content": turn.text}
    if not turn.calls:
        return {"role": turn.role, "content": turn.text}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in turn.calls
    ]
    return {"role": turn.role, "content": turn.text or None, "tool_calls": calls}


def _tool(tool: Tool) -> dict[str, Any]:
    about: dict[str, Any] = {"description": tool.description} if tool.description else {}
    strict = {"strict": True} if tool.strict else {}
    function = {"name": tool.name, **about, "parameters": json.loads(tool.parameters), **strict}
    return {"type": "function", "function": function}


def _choice(tools: ToolSet) -> object:
    """Whether an answer calls tools: of those that are sent any may be called."""
    if tools.mode == "required" and len(tools.only) == 1:
        return {"type": "function", "function": {"name": tools.only[0]}}
    return tools.mode
