"""Requests to /responses and /messages are the chats that they say: any JSON is read so, or refused by its own name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.gateway.messages.reading import read_message_request
from blackbox_proxy.gateway.messages.turns import FAILED
from blackbox_proxy.gateway.requests import GatewayRequest, RequestLimits, read_chat
from blackbox_proxy.gateway.responses.reading import read_response
from blackbox_proxy.openai_http.fields import Refusal
from tests.standin.raw import Json
from tests.standin.test_requests import VALUES

LIMITS = RequestLimits()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}}, "required": ["city"]}
ARGUMENTS = {"city": "Lima"}

TEXTS = st.text("ab é\n", max_size=5)
TURNS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["user", "assistant", "system"]), TEXTS),
        st.tuples(st.just("tools"), st.lists(TEXTS, min_size=1, max_size=2)),
    ),
    max_size=5,
)
"""Turns of a chat: who says what, or what the tools gave that were called."""

FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.5, 1]),
        "top_p": st.sampled_from([0.5, 1]),
        "seed": st.integers(0, 9),
        "stream": st.booleans(),
        "steering": st.just({"alpha": 0.5}),
    },
)
"""Fields that all three routes have under one name."""


def in_chat(turns: list[Any], system: str | None) -> list[Json]:
    said: list[Json] = [] if system is None else [{"role": "system", "content": system}]
    for number, (who, what) in enumerate(turns):
        if who != "tools":
            said.append({"role": who, "content": what})
            continue
        calls = [
            {"id": f"c{number}{at}", "type": "function", "function": {"name": "f", "arguments": json.dumps(ARGUMENTS)}}
            for at in range(len(what))
        ]
        said.append({"role": "assistant", "content": None, "tool_calls": calls})
        said += [{"role": "tool", "tool_call_id": f"c{number}{at}", "content": one} for at, one in enumerate(what)]
    return said


def in_responses(turns: list[Any]) -> list[Json]:
    items: list[Json] = []
    for number, (who, what) in enumerate(turns):
        if who != "tools":
            kind = "output_text" if who == "assistant" else "input_text"
            parts = [{"type": kind, "text": what[:2]}, {"type": kind, "text": what[2:]}]
            items.append({"role": who, "content": parts if number % 2 else what})
            continue
        names = [f"c{number}{at}" for at in range(len(what))]
        arguments = json.dumps(ARGUMENTS)
        items += [{"type": "function_call", "name": "f", "arguments": arguments, "call_id": name} for name in names]
        items += [
            {"type": "function_call_output", "call_id": name, "output": one}
            for name, one in zip(names, what, strict=True)
        ]
    return items


def in_messages(turns: list[Any]) -> list[Json]:
    said: list[Json] = []
    for number, (who, what) in enumerate(turns):
        if who != "tools":
            blocks = [{"type": "text", "text": what[:2]}, {"type": "text", "text": what[2:]}]
            said.append({"role": who, "content": blocks if number % 2 else what})
            continue
        names = [f"c{number}{at}" for at in range(len(what))]
        calls = [{"type": "tool_use", "id": name, "name": "f", "input": ARGUMENTS} for name in names]
        results = [
            {"type": "tool_result", "tool_use_id": name, "content": one} for name, one in zip(names, what, strict=True)
        ]
        said += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    return said


def spaced(turns: list[Any]) -> list[Any]:
    """Without an assistant's turn before a call, which other routes take for the text of the same turn."""
    kept: list[Any] = []
    for turn in [*turns, ("user", "a")]:
        while turn[0] == "tools" and kept and kept[-1][0] == "assistant":
            kept.pop()
        kept.append(turn)
    return kept


@given(turns=TURNS, system=st.none() | TEXTS, fields=FIELDS, tools=st.booleans())
def test_each_route_reads_the_same_chat(turns: list[Any], system: str | None, fields: Json, tools: bool) -> None:  # noqa: FBT001
    turns = spaced(turns)
    function = {"name": "f", "description": "d", "parameters": SCHEMA}
    chat: Json = {"messages": in_chat(turns, system), "max_tokens": 9, "user": "ann", **fields}
    response: Json = {"input": in_responses(turns), "max_output_tokens": 9, "user": "ann", **fields}
    message: Json = {"messages": in_messages(turns), "max_tokens": 9, "metadata": {"user_id": "ann"}, **fields}
    if system is not None:
        response["instructions"] = message["system"] = system
    if tools:
        chat |= {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
        response |= {"tools": [{"type": "function", **function}], "tool_choice": "required"}
        message["tools"] = [{"name": "f", "description": "d", "input_schema": SCHEMA}]
        message["tool_choice"] = {"type": "any"}
    wanted = read_chat(chat, LIMITS)
    assert read_response(response, LIMITS) == wanted
    assert read_message_request(message, LIMITS) == wanted


def asked(read: Callable[..., GatewayRequest], body: Json) -> GatewayRequest | Refusal:
    try:
        return read(body, LIMITS)
    except Refusal as error:
        return error


OF_RESPONSES = [
    *("model", "input", "instructions", "include", "top_logprobs", "max_output_tokens", "temperature", "top_p"),
    *("stream", "stream_options", "tools", "tool_choice", "text", "reasoning", "store", "background", "truncation"),
    *("metadata", "user", "prompt", "conversation", "stop", "seed", "steering", "parallel_tool_calls"),
]
OF_MESSAGES = [
    *("model", "messages", "system", "max_tokens", "temperature", "top_p", "top_k", "stream", "tools", "tool_choice"),
    *("stop_sequences", "metadata", "thinking", "output_config", "container", "mcp_servers", "steering", "seed"),
]


@given(changes=st.dictionaries(st.sampled_from(OF_RESPONSES), VALUES, max_size=6))
def test_any_object_is_a_response_or_refused(changes: dict[str, Json]) -> None:
    outcome = asked(read_response, {"input": "a", **changes})
    assert isinstance(outcome, GatewayRequest) or outcome.status == 400


@given(changes=st.dictionaries(st.sampled_from(OF_MESSAGES), VALUES, max_size=6))
def test_any_object_is_a_message_or_refused(changes: dict[str, Json]) -> None:
    outcome = asked(read_message_request, {"messages": [{"role": "user", "content": "a"}], "max_tokens": 9, **changes})
    assert isinstance(outcome, GatewayRequest) or outcome.status == 400


USER = {"role": "user", "content": "a"}
FUNCTION = {"type": "function", "name": "f", "parameters": SCHEMA}


def item(**fields: Json) -> Json:
    """Another item after a user's."""
    return {"input": [USER, fields]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": 3}, "text"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tokens": 3}, "max_tokens"),
        ({"messages": [USER]}, "messages"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "n"),
        ({"include": ["everything"]}, "include[0]"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {}}, "stream_options"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0].type"),
        ({"tools": [{**FUNCTION, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [{**FUNCTION, "name": "f f"}]}, "tools[0].name"),
        ({"tools": [{**FUNCTION, "parameters": {"type": "array"}}]}, "tools[0].parameters.type"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": 3}, "input"),
        ({"input": []}, "input"),
        (item(type="item_reference", id="x"), "input[1].type"),
        (item(type="web_search_call"), "input[1].type"),
        (item(role="nobody", content="a"), "input[1].role"),
        (item(role="user", content=[{"type": "input_image"}]), "input[1].content[0].type"),
        (item(role="user", content=[{"type": "input_text", "text": 3}]), "input[1].content[0].text"),
        (item(role="assistant", content=[{"type": "refusal", "refusal": "No."}]), "input[1].content[0].type"),
        (item(type="reasoning", summary=[{"type": "summary_text", "text": "a"}]), "input[1].summary"),
        (item(type="reasoning", encrypted_content="a"), "input[1].encrypted_content"),
        (item(type="function_call", name="f", arguments="{}"), "input[1].call_id"),
        (item(type="function_call", name="f", arguments={}, call_id="c"), "input[1].arguments"),
        (item(type="function_call", name="f f", arguments="{}", call_id="c"), "input[1].name"),
        (item(type="function_call_output", call_id="c", output="a"), "input[1].call_id"),
        (item(type="function_call_output", call_id="c", output=[{"type": "input_file"}]), "input[1].output[0].type"),
    ],
)
def test_what_a_response_cannot_have_is_refused_by_name(change: Json, param: str) -> None:
    outcome = asked(read_response, {"input": "a", **change})
    assert isinstance(outcome, Refusal)
    assert (outcome.param, outcome.status) == (param, 400)
    assert f"'{param}'" in outcome.message or not outcome.message.startswith("Invalid '")


@pytest.mark.parametrize(
    "change",
    [
        {"store": False, "background": False, "truncation": "disabled", "previous_response_id": None},
        {"reasoning": {"effort": None, "summary": "auto"}, "text": {"format": {"type": "text"}, "verbosity": "medium"}},
        {"include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "service_tier": "auto"},
        {"input": [USER, {"type": "reasoning", "id": "r", "summary": [], "content": None, "encrypted_content": None}]},
        {"top_logprobs": 3, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"stream": None, "stream_options": None},
    ],
)
def test_what_changes_no_answer_is_read(change: Json) -> None:
    plain = asked(read_response, {"input": [USER]})
    assert asked(read_response, {"input": [USER], **change}) == plain


TOOL = {"name": "f", "input_schema": SCHEMA}


def block(role: str = "user", **fields: Json) -> Json:
    """One more message of one block."""
    return {"messages": [USER, {"role": role, "content": [fields]}, USER]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"thinking": {"type": "adaptive"}}, "thinking"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"compaction": {"type": "auto"}}, "compaction"),
        ({"output_format": {"type": "xml"}}, "output_format.type"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"stop": ["a"]}, "stop"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"user": "ann"}, "user"),
        ({"metadata": {"user_id": 3}}, "metadata.user_id"),
        ({"logprobs": True}, "logprobs"),
        ({"system": 3}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"messages": []}, "messages"),
        ({"messages": [USER, {"role": "assistant", "content": "a"}]}, "messages"),
        (block(type="image", source={}), "messages[1].content[0].type"),
        (block(type="document", source={}), "messages[1].content[0].type"),
        (block(role="assistant", type="thinking", thinking="a", signature="b"), "messages[1].content[0].type"),
        (block(type="tool_use", id="t", name="f", input={}), "messages[1].content[0].type"),
        (block(role="assistant", type="tool_use", id="t", name="f f", input={}), "messages[1].content[0].name"),
        (block(role="assistant", type="tool_use", id="t", name="f", input=3), "messages[1].content[0].input"),
        (block(type="tool_result", tool_use_id="t", content="a"), "messages[1].content[0].tool_use_id"),
        (
            block(type="tool_result", tool_use_id="t", content=[{"type": "image"}]),
            "messages[1].content[0].content[0].type",
        ),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "name": "f f"}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{**TOOL, "input_schema": {"type": "array"}}]}, "tools[0].input_schema.type"),
        ({"tools": [{**TOOL, "input_examples": [{}]}]}, "tools[0].input_examples"),
        ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ],
)
def test_what_a_message_cannot_have_is_refused_by_name(change: Json, param: str) -> None:
    outcome = asked(read_message_request, {"messages": [USER], "max_tokens": 9, **change})
    assert isinstance(outcome, Refusal)
    assert (outcome.param, outcome.status) == (param, 400)


def test_a_tool_that_failed_says_so() -> None:
    turns = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": True}]},
    ]
    read = asked(read_message_request, {"messages": [USER, *turns], "max_tokens": 9})
    assert isinstance(read, GatewayRequest)
    assert read.turns[-1].text == f"{FAILED}no"
