"""Tools that an answer may call, their calls and results, as values; and how requests for chats declare them. Pure.

A tool is a function of the client's. The model is told of it in words, an answer that calls it is held to its schema,
and the client runs it. Knows no grammar, no text in which calls are written, and no reply's shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

MOST_TOOLS = 128
"""Tools that one request may declare, as at OpenAI."""

LONGEST_TOOLS = 200_000
"""Most characters of all tools of a request, as JSON: a stranger has them compiled."""

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What a tool may be called: nothing that JSON would have to escape."""

NO_ARGUMENTS = '{"type": "object", "properties": {}}'
"""The schema of a tool that takes none."""

ToolMode = Literal["none", "auto", "required"]
"""Whether an answer calls tools: `none`: it does not; `auto`: as the model likes; `required`: it consists of calls."""


@final
@dataclass(frozen=True, slots=True)
class Tool:
    """A function that an answer may call.

    Attributes:
        name: What it is called (`NAME`).
        description: What the model is told of it.
        parameters: The schema of its arguments, as JSON: that of an object.
        strict: Whether the client asked for strict adherence to the schema. Calls adhere to it in any case.
    """

    name: str
    description: str = ""
    parameters: str = NO_ARGUMENTS
    strict: bool = False


@final
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool.

    Attributes:
        name: The tool.
        arguments: JSON; the beginning of it, where the answer was cut; whatever a client sends, in a history.
        id: By which its result is known; "" for one that is drawn when the call is sent.
    """

    name: str
    arguments: str
    id: str = ""


@final
@dataclass(frozen=True, slots=True)
class ToolSet:
    """The tools of one request, and which of them its answer may or must call.

    Attributes:
        tools: All that are declared.
        mode: Whether an answer calls tools.
        only: The names of those that may be called; empty where all may. One name and the mode `required` are OpenAI's
            named function.
        parallel: Whether one answer may have several calls.
        stands_alone: Whether an answer that calls has no text besides, since its text is held to a form of its own. A
            reader then looks for calls at its beginning alone (`AnswerReader`).
        as_functions: Whether they are declared as the deprecated `functions`, so that a call is answered as one of
            those.
    """

    tools: tuple[Tool, ...]
    mode: ToolMode = "auto"
    only: tuple[str, ...] = ()
    parallel: bool = True
    stands_alone: bool = False
    as_functions: bool = False

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that the answer may call: the model is told of these, and of no others."""
        if self.mode == "none":
            return ()
        return tuple(tool for tool in self.tools if not self.only or tool.name in self.only)


def read_tools(body: Body) -> ToolSet | None:
    """The tools of a request to /chat/completions: `tools`, `tool_choice` and `parallel_tool_calls`.

    None where it declares none. Raises Refusal, which names the field, for what is no declaration of tools.
    """
    parallel = body.get("parallel_tool_calls") is None or fields.boolean(body, "parallel_tool_calls")
    tools = _tools(body.get("tools"))
    mode, only = read_choice(body.get("tool_choice"), tools)
    return ToolSet(tools, mode, only, parallel) if tools else None


def _tools(value: object) -> tuple[Tool, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise fields.wrong_type("tools", "an array of objects", value)
    check_count(value, "tools")
    tools = [tool_of(function_of(item, f"tools[{at}]"), f"tools[{at}].function") for at, item in enumerate(value)]
    return checked(tools, "tools")


def check_count(value: Sequence[object], param: str) -> None:
    """Raises Refusal for more tools than are read."""
    if len(value) > MOST_TOOLS:
        raise Refusal(
            f"Invalid '{param}': array too long. Expected at most {MOST_TOOLS} tools, but got {len(value)} instead.",
            param=param,
            code="array_above_max_length",
        )


def function_of(value: object, param: str) -> Body:
    """What stands under `function` in an object of the type "function". Raises Refusal for another type."""
    item = fields.mapping(value, param)
    if item.get("type") != "function":
        raise Refusal(
            f"Invalid value: {fields.shown(item.get('type'))}. Supported values are: 'function'.",
            param=f"{param}.type",
            code="invalid_value",
        )
    return fields.mapping(item.get("function"), f"{param}.function")


def tool_of(described: Body, param: str, *, schema: str = "parameters") -> Tool:
    """One tool. described: an object with its name, its description and its schema. schema: the field of the schema."""
    name = tool_name(described.get("name"), f"{param}.name")
    description, strict = described.get("description"), described.get("strict")
    if not isinstance(strict, bool | None):
        raise fields.wrong_type(f"{param}.strict", "a boolean", strict)
    return Tool(
        name,
        "" if description is None else fields.text(description, f"{param}.description"),
        _parameters(described.get(schema), name, f"{param}.{schema}"),
        strict=bool(strict),
    )


def tool_name(value: object, param: str) -> str:
    """A name. Raises Refusal for one that no tool can have."""
    name = fields.text(value, param)
    if not NAME.fullmatch(name):
        raise Refusal(
            f"Invalid '{param}': {name[:80]!r} does not match '^[a-zA-Z0-9_-]{{1,64}}$'.",
            param=param,
            code="invalid_value",
        )
    return name


def _parameters(value: object, name: str, param: str) -> str:
    """The schema as JSON; it describes an object, said or unsaid."""
    schema = fields.mapping({} if value is None else value, param)
    if not schema:
        return NO_ARGUMENTS
    if schema.get("type", "object") != "object":
        raise Refusal(
            f"Invalid schema for function '{name}': arguments are an object, so 'type' must be \"object\", "
            f"not {fields.shown(schema['type'])}.",
            param=f"{param}.type",
            code="invalid_function_parameters",
        )
    try:
        return fields.text(json.dumps({"type": "object", **schema}, ensure_ascii=False), param)
    except RecursionError:
        raise Refusal(f"Invalid '{param}': nested too deeply.", param=param, code="invalid_value") from None


def checked(tools: Sequence[Tool], param: str) -> tuple[Tool, ...]:
    """Tools that can stand beside each other. Raises Refusal for a name that comes twice, and for too much text."""
    names: set[str] = set()
    for at, tool in enumerate(tools):
        if tool.name in names:
            raise Refusal(
                f"Invalid '{param}': the name '{tool.name}' comes twice.", param=f"{param}[{at}]", code="invalid_value"
            )
        names.add(tool.name)
    length = sum(len(tool.name) + len(tool.description) + len(tool.parameters) for tool in tools)
    if length > LONGEST_TOOLS:
        raise Refusal(
            f"Invalid '{param}': {length:,} characters; at most {LONGEST_TOOLS:,} are read.",
            param=param,
            code="invalid_value",
        )
    return tuple(tools)


def read_choice(value: object, tools: Sequence[Tool]) -> tuple[ToolMode, tuple[str, ...]]:
    """`tool_choice` as a mode, and the names of the tools that may be called where not all may."""
    match value:
        case None:
            return "auto", ()
        case "none" | "auto" | "required" as mode:
            return _among(mode, (), tools)
        case {"type": "function"}:
            named = function_of(value, "tool_choice")
            return _among("required", (tool_name(named.get("name"), "tool_choice.function.name"),), tools)
        case {"type": "allowed_tools", **others}:
            return _allowed(fields.mapping(others.get("allowed_tools"), "tool_choice.allowed_tools"), tools)
        case _:
            raise Refusal(
                f"Invalid value for 'tool_choice': {fields.shown(value)}. There are 'none', 'auto', 'required', and "
                'objects of the types "function" and "allowed_tools".',
                param="tool_choice",
                code="invalid_value",
            )


def _allowed(value: Body, tools: Sequence[Tool]) -> tuple[ToolMode, tuple[str, ...]]:
    """OpenAI's `allowed_tools`: a mode for some of the tools."""
    param = "tool_choice.allowed_tools"
    mode, listed = value.get("mode"), value.get("tools")
    if mode not in ("auto", "required"):
        raise Refusal(
            f"Invalid value: {fields.shown(mode)}. Supported values are: 'auto' and 'required'.",
            param=f"{param}.mode",
            code="invalid_value",
        )
    if not isinstance(listed, list) or not listed:
        raise fields.wrong_type(f"{param}.tools", "an array of objects", listed)
    check_count(listed, f"{param}.tools")
    names = [
        tool_name(function_of(item, f"{param}.tools[{at}]").get("name"), f"{param}.tools[{at}].function.name")
        for at, item in enumerate(listed)
    ]
    return _among("auto" if mode == "auto" else "required", tuple(dict.fromkeys(names)), tools)


def _among(mode: ToolMode, only: tuple[str, ...], tools: Sequence[Tool]) -> tuple[ToolMode, tuple[str, ...]]:
    """A choice that the tools allow. Raises Refusal for one that they do not."""
    if mode == "required" and not tools:
        raise Refusal("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    missing = [name for name in only if name not in {tool.name for tool in tools}]
    if missing:
        raise Refusal(
            f"Invalid 'tool_choice': '{missing[0]}' is none of the tools.", param="tool_choice", code="invalid_value"
        )
    return mode, only
