"""The text in which a model is told of tools, calls them, and reads their results. Pure.

It is the form that many open models are trained on: functions as lines of JSON in a system turn, a call as JSON
between <tool_call> and </tool_call>, a result between <tool_response> and </tool_response> in a user's turn. What a
user says or a tool gives is never taken for one of these marks: a mark that it spells is parted, as a control token is
(`local.controls`), or escaped where it stands in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, final

from blackbox_proxy.local.controls import APART
from blackbox_proxy.openai_http.tools import Tool, ToolCall, ToolSet
from blackbox_proxy.types import Message, Prompt

CALL = "<tool_call>"
"""The mark with which a call begins."""

BEFORE_NAME, BEFORE_ARGUMENTS, BEHIND = '\n{"name": "', '", "arguments": ', "}\n</tool_call>"
"""What stands around the name and the arguments of a call, behind its mark."""

BETWEEN = "\n"
"""What stands between two calls, and between text and a call."""

_MARKS = re.compile(r"<(/?(?:tools|tool_call|tool_response)>)")

ChatRole = Literal["system", "user", "assistant", "tool"]


@final
@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One turn of a chat in which tools may be called.

    Attributes:
        role: Who speaks; `tool`: the result of a call.
        text: What is said; "" for an assistant that only calls.
        calls: An assistant's calls, behind what it says.
        call_id: Of a result: the id of its call.
    """

    role: ChatRole
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


def chat_prompt(turns: Sequence[ChatTurn], tools: ToolSet | None) -> Prompt:
    """The turns as models read them that know no tools but by text, with the tools that may be called described first.

    Where there are neither tools nor calls nor results, it is what the turns say, and nothing else.
    """
    offered = () if tools is None else tools.offered
    if not offered and not any(turn.calls or turn.role == "tool" for turn in turns):
        return Prompt(tuple(Message(turn.role, turn.text) for turn in turns))
    messages = [message for _, group in groupby(turns, _is_result) for message in _messages(list(group))]
    if tools is None or not offered:
        return Prompt(tuple(messages))
    described = description(tools)
    if messages and messages[0].role == "system":
        first, *rest = messages
        return Prompt((Message("system", f"{first.content}\n\n{described}"), *rest))
    return Prompt((Message("system", described), *messages))


def description(tools: ToolSet) -> str:
    """What a system turn says of the tools that may be called, and of how."""
    lines = "\n".join(described(tool) for tool in tools.offered)
    call = f'{CALL}{BEFORE_NAME}NAME{BEFORE_ARGUMENTS}{{"ARGUMENT": VALUE}}{BEHIND}'
    may = "Several calls may follow each other." if tools.parallel else "Make one call at a time."
    must = "Answer with a call." if tools.mode == "required" else "Where no function helps, answer in words."
    return (
        f"# Functions\n\nYou can call these functions, each of them described by a line of JSON:\n<tools>\n{lines}\n"
        "</tools>\n\nA call is the function's name and its arguments as JSON, between two tags:\n"
        f"{call}\n\n{may} {must}"
    )


def described(tool: Tool) -> str:
    """A tool as a line of JSON."""
    about = {"description": tool.description} if tool.description else {}
    parameters = json.loads(tool.parameters)
    return _line({"type": "function", "function": {"name": tool.name, **about, "parameters": parameters}})


def written(call: ToolCall) -> str:
    """A call as a model writes it. Arguments that are no JSON, as of a call that was cut, stand there as a string."""
    return f"{CALL}{BEFORE_NAME}{call.name}{BEFORE_ARGUMENTS}{_arguments(call.arguments)}{BEHIND}"


def _arguments(text: str) -> str:
    try:
        return _line(json.loads(text))
    except (ValueError, RecursionError):
        return _line(text)


def _line(value: object) -> str:
    """A value as JSON in one line, in which no mark stands. Raises ValueError for numbers that JSON has not."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not line.isascii() and re.search("[\ud800-\udfff]", line):
        line = json.dumps(value, allow_nan=False)
    return _MARKS.sub(r"\\u003c\1", line)


def _parted(text: str) -> str:
    """A text with its marks parted, so that it has none."""
    return _MARKS.sub(rf"<{APART}\1", text)


def _is_result(turn: ChatTurn) -> bool:
    return turn.role == "tool"


def _messages(turns: Sequence[ChatTurn]) -> Iterable[Message]:
    """Turns as messages; results that follow each other are one."""
    if turns[0].role == "tool":
        results = (f"<tool_response>\n{_parted(turn.text)}\n</tool_response>" for turn in turns)
        yield Message("user", "\n".join(results))
        return
    for turn in turns:
        said = turn.text if turn.role == "system" else _parted(turn.text)
        yield Message(turn.role, BETWEEN.join([*([said] if said else []), *map(written, turn.calls)]))
