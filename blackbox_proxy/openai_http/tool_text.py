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

BEFORE_NAME, BEFORE_ARGUMENTS = '{"name": "', '", "arguments": '
"""What stands before the name of a call, and between that and its arguments."""

BETWEEN = "\n"
"""What stands between two calls, and between text and a call."""


@final
@dataclass(frozen=True, slots=True)
class CallForm:
    """What stands around the JSON of a call: opening is before it; closing begins with the JSON's last brace."""

    opening: str
    closing: str

    def head(self, name: str) -> str:
        """All that stands before the arguments of a call."""
        return f"{self.opening}{BEFORE_NAME}{name}{BEFORE_ARGUMENTS}"


TAGGED = CallForm(f"{CALL}\n", "}\n</tool_call>")
"""How models are told to write a call, and how those of a history are written."""

BARE = CallForm("", "}")
"""How some models write a call all the same: an answer that begins so, with the name of a tool, is no text."""

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
    call = f'{TAGGED.opening}{{"name": <function-name>, "arguments": <arguments-as-json-object>{TAGGED.closing}'
    must = () if tools.mode == "auto" else ("Answer with a call.",)
    single = () if tools.parallel else ("Make one call at a time.",)
    said = (
        "# Tools\n\nYou may call functions to assist the user. Their signatures, one JSON object a line:\n"
        f"<tools>\n{lines}\n</tools>\n\nTo call a function, answer with its name and its arguments as a JSON object "
        f"within <tool_call></tool_call> tags:\n{call}"
    )
    return "\n".join((said, *must, *single))


def described(tool: Tool) -> str:
    """A tool as a line of JSON."""
    about = {"description": tool.description} if tool.description else {}
    parameters = json.loads(tool.parameters)
    return _line({"type": "function", "function": {"name": tool.name, **about, "parameters": parameters}})


def written(call: ToolCall) -> str:
    """A call as a model writes it. Arguments that are no JSON, as of a call that was cut, stand there as a string."""
    return f"{TAGGED.head(call.name)}{_arguments(call.arguments)}{TAGGED.closing}"


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
