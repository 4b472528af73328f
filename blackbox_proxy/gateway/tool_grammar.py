"""What an answer that may call tools is held to: a grammar of text, of calls, or of both. Pure.

A call is written as `openai_http.tool_text` has it, with arguments of the tool's schema. Where `response_format`, or
another constraint, holds the text of an answer, the answer is such a text or consists of calls; else free text may come
before the calls, and holds no mark of a call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from blackbox_proxy.constraints import Constraint, Grammar, JsonSchema, JsonWithin, OneOf, Regex
from blackbox_proxy.errors import InputError
from blackbox_proxy.guidance import COMPACT, ConstraintAcceptor, check_size, library
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.tool_text import BARE, BEFORE_ARGUMENTS, BEFORE_NAME, BETWEEN, CALL, TAGGED
from blackbox_proxy.openai_http.tools import Tool, ToolSet

MOST_CALLS = 32
"""Most calls of one answer: a model may otherwise call the same tool for ever."""

FIELD = "tools[{}].function.parameters"
"""Where the schema of a tool stands in a request, by its number."""


def held_to_tools(
    tools: ToolSet, response: Constraint | None, *, field: str = FIELD
) -> tuple[ToolSet, Constraint | None]:
    """The tools, with how an answer that calls them is read, and what the answer is held to.

    Args:
        tools: Those of a request.
        response: What the text of the answer is held to, where it does not call; None for any text.
        field: Where a schema stands in the request.

    Raises:
        Refusal: For a schema that cannot be obeyed, with the place in it; and for a grammar beside calls.
    """
    if not tools.offered:
        return tools, response
    if isinstance(response, Grammar) and tools.mode == "auto":
        raise Refusal(
            "A grammar and 'tools' exclude each other where the answer may be either; use a schema, an expression or "
            "options, or set 'tool_choice' to 'none' or 'required'.",
            param="tool_choice",
            code="invalid_value",
        )
    try:
        constraint = Grammar(grammar(tools, response), tuple(_parts(tools, response)))
        ConstraintAcceptor(constraint)
    except InputError as error:
        _refuse_schema(tools, field)
        raise Refusal(
            f"Invalid 'tools': all of them together cannot be obeyed: {error.message}.", param="tools"
        ) from None
    return replace(tools, stands_alone=response is not None), constraint


def grammar(tools: ToolSet, response: Constraint | None) -> str:
    """The grammar in Lark, as llguidance reads it."""
    numbered = list(enumerate(tools.offered))
    behind_mark = TAGGED.opening.removeprefix(CALL) + BEFORE_NAME
    return "\n".join(
        (
            *_starts(tools, response),
            f"rest: body{_more('more', tools)}",
            f"more: {_literal(BETWEEN + CALL)} body",
            f"body: {_literal(behind_mark)} ({_either('call', tools)}) {_literal(TAGGED.closing)}",
            *(f"call_{at}: {_literal(tool.name + BEFORE_ARGUMENTS)} arguments_{at}" for at, tool in numbered),
            *(f"arguments_{at}: {_schema(tool)}" for at, tool in numbered),
        )
    )


def _starts(tools: ToolSet, response: Constraint | None) -> Iterator[str]:
    """The first rules: what an answer may be."""
    if tools.mode == "required":
        yield f"start: {_literal(CALL)} rest"
    elif response is None:
        yield from _free(tools)
    elif isinstance(response, JsonSchema):
        yield f"start: form | {_literal(CALL)} rest"
        yield f"form: {inlined(response)}"
    else:
        yield f"start: FORM | {_literal(CALL)} rest"
        yield f"FORM: {inlined(response)} & ~/{CALL}(?s:.*)/"


def _free(tools: ToolSet) -> Iterator[str]:
    """Free text, perhaps with calls behind it, or calls without marks.

    llguidance takes the longest lexeme, so each head of a call is one lexeme, and no text goes on behind it.
    """
    names = "|".join(tool.name for tool in tools.offered)
    head = re.escape(BARE.head("\0")).replace("\0", f"({names})")
    yield f"start: TEXT | opening rest | bare{_more('another', tools)}"
    yield f"TEXT: /(?s:.*)/ & ~/(?s:.*){CALL}(?s:.*)/ & ~/{head}(?s:.*)/"
    yield "opening[lazy]: OPENING"
    yield f"OPENING: /(?s:.*){CALL}/ & ~/{head}(?s:.*)/"
    yield f"bare: {_either('bare', tools)}"
    yield f"another: {_either('another', tools)}"
    for at, tool in enumerate(tools.offered):
        yield f"bare_{at}: {_literal(BARE.head(tool.name))} arguments_{at} {_literal(BARE.closing)}"
        yield f"another_{at}: {_literal(BETWEEN + BARE.head(tool.name))} arguments_{at} {_literal(BARE.closing)}"


def _parts(tools: ToolSet, response: Constraint | None) -> Iterator[JsonWithin]:
    """Where JSON stands in such an answer: arguments, and a text that is JSON as a whole."""
    for tool in tools.offered:
        schema, bare = arguments_of(tool).text, BARE.head(tool.name)
        yield JsonWithin(TAGGED.head(tool.name), schema)
        if tools.mode == "auto" and response is None:
            yield JsonWithin(bare, schema, is_all=True)
            yield JsonWithin(BARE.closing + BETWEEN + bare, schema, is_all=True)
    if tools.mode == "auto" and isinstance(response, JsonSchema):
        yield JsonWithin("", response.text, is_all=True)


def _more(rule: str, tools: ToolSet) -> str:
    """What may follow a call: others, and what would part another one from it, which many models write at the end."""
    return f" {rule}{{0,{MOST_CALLS - 1}}} {_literal(BETWEEN)}?" if tools.parallel else ""


def _either(rule: str, tools: ToolSet) -> str:
    return " | ".join(f"{rule}_{at}" for at in range(len(tools.offered)))


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _schema(tool: Tool) -> str:
    return inlined(arguments_of(tool))


def arguments_of(tool: Tool) -> JsonSchema:
    """What the arguments of a call are held to."""
    return JsonSchema.of(closed(json.loads(tool.parameters)))


def closed(schema: Mapping[str, object]) -> Mapping[str, object]:
    """A schema of arguments without any that it does not name, where it names some and says nothing of others.

    What it allows is a part of what the schema allows: a model would otherwise make up names.
    """
    open_ended = {
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
    }
    if "properties" not in schema or open_ended & set(schema):
        return schema
    return {**schema, "additionalProperties": False}


def check_stops(tools: ToolSet, stops: Sequence[str]) -> None:
    """Raises Refusal for a stop string with which no call could ever be whole."""
    frame = TAGGED.opening + BEFORE_NAME, BEFORE_ARGUMENTS, TAGGED.closing
    for stop in stops if tools.offered else ():
        if any(stop in part for part in frame):
            raise Refusal(
                f"Invalid 'stop': {stop!r} stands in each call of a tool, which would be cut there.",
                param="stop",
                code="invalid_value",
            )


def _refuse_schema(tools: ToolSet, field: str) -> None:
    """Raises Refusal for the first tool whose schema cannot be obeyed; the words name the place in it."""
    for at, tool in enumerate(tools.tools):
        if tool not in tools.offered:
            continue
        try:
            ConstraintAcceptor(arguments_of(tool))
        except InputError as error:
            raise Refusal(
                f"Invalid schema for function '{tool.name}': {error.message}.",
                param=field.format(at),
                code="invalid_function_parameters",
            ) from None


def inlined(constraint: Constraint) -> str:
    """A constraint as it stands in a rule of a grammar in Lark.

    Raises InputError for a grammar, whose rules have names of their own, and for what is too large to compile.
    """
    check_size(constraint)
    match constraint:
        case JsonSchema():
            schema = {**json.loads(constraint.text), "x-guidance": COMPACT}
            return f"%json {json.dumps(schema, ensure_ascii=False)}"
        case Regex():
            return _rule(library().LLMatcher.grammar_from_regex(constraint.pattern))
        case OneOf():
            return f"({' | '.join(map(_literal, constraint.options))})"
        case Grammar():
            raise InputError("a grammar cannot stand inside another", hint="use a schema, an expression or options")


def _rule(grammar: str) -> str:
    """What the grammar of an expression has as its first rule: the expression, with its delimiters escaped."""
    (only,) = json.loads(grammar)["grammars"]
    return str(only["lark_grammar"]).removeprefix("start: ")
